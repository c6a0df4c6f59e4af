"""The sampler's side: a vLLM weight-transfer engine that verifies every tensor before it loads it, whatever the
transport."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from vllm.config.weight_transfer import WeightTransferConfig
from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from actors.weight_sync.assembly import Assembly
from actors.weight_sync.channel import ReceiveChannel
from actors.weight_sync.records import Arrivals, Handshake, TensorSpec, Update, torch_dtype
from rlsys.errors import WeightSyncError
from rlsys.registry import resolve

if TYPE_CHECKING:
    from vllm.config import VllmConfig


@dataclass
class InitInfo(WeightTransferInitInfo):
    handshake: Handshake


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    update: Update


class Receiver(WeightTransferEngine[InitInfo, UpdateInfo]):
    """One worker's receiving end.

    vLLM keeps a layer's weights in a form of its own (on CPU, repacked for its kernels), so tensors go through its
    layerwise reload: the loaders of `start_weight_update` collect them and `finish_weight_update` converts what is not
    yet converted.
    """

    init_info_cls = InitInfo
    update_info_cls = UpdateInfo

    def __init__(
        self, config: WeightTransferConfig, vllm_config: VllmConfig, device: torch.device, model: torch.nn.Module
    ) -> None:
        super().__init__(config, vllm_config, device, model)
        self.channel: ReceiveChannel | None = None
        self.arrivals: Arrivals | None = None
        self.places: Mapping[str, frozenset[str]] = {}
        """Names of the model's own parameters that each tensor fills."""
        self.filled: set[str] | None = set()
        """Those of them that the running update has filled; None of a model that does not say."""

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        handshake = init_info.handshake
        self.shutdown()
        rank = handshake.engine * self.parallel_config.world_size + self.parallel_config.rank
        channel = resolve("actors.weight_sync", handshake.transport, "ReceiveChannel")
        self.channel = channel(handshake.channel, rank, self.device)
        self.arrivals, self.assembly = Arrivals(handshake.expected, handshake.base), Assembly(handshake)

    def start_weight_update(self) -> None:
        if self.arrivals is None:
            raise WeightSyncError("the trainer has not introduced itself: open the weight sync first")
        self.arrivals.start()
        self.assembly.start()
        self.own = {name for name, _ in self.model.named_parameters()}
        self.filled = set()
        initialize_layerwise_reload(self.model)
        if not self.assembly.learned:
            self.places = places(self.model, self.assembly.loaded)
            self.assembly.learn({name: modules(own) for name, own in self.places.items()})

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # The base class ends in torch.accelerator.synchronize(), which a CPU-only torch does not have.
        try:
            self.receive_weights(self.parse_update_info(update_info))
        except BaseException:
            finalize_layerwise_reload(self.model, self.model_config)  # leave no half-collected layer to the next update
            raise
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: UpdateInfo) -> None:
        assert self.channel is not None
        assert self.arrivals is not None
        update = update_info.update
        data = self.channel.receive(update.offset, update.nbytes)
        if tensors := list(self.assembly.take(list(self.arrivals.check(update, data)))):
            self.load(tensors)
        if not update.last:
            return
        if self.assembly.late:
            self.load(self.assembly.rest(self.device))
        if self.filled is None:  # what such a model got is covered by the probe alone
            return
        wanted = self.own
        if self.assembly.frozen and not update.base:
            wanted = {own for name in self.assembly.always() for own in self.places[name]}
        if unfilled := wanted - self.filled:
            raise WeightSyncError(
                f"tensor {sorted(unfilled)[0]}: the sampler has it and no tensor of the trainer fills it"
            )

    def load(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        loaded = self.model.load_weights(iter(tensors))  # type: ignore[operator]
        self.filled = None if loaded is None or self.filled is None else self.filled | loaded

    def finish_weight_update(self) -> None:
        assert self.arrivals is not None
        finalize_layerwise_reload(self.model, self.model_config)
        reprocess_tied(self.model, self.filled)
        self.arrivals.complete()

    def shutdown(self) -> None:
        if self.channel is not None:
            self.channel.close()
            self.channel = None


def places(model: torch.nn.Module, tensors: Mapping[str, TensorSpec]) -> dict[str, frozenset[str]]:
    """The model's own parameters that each tensor fills, by its name: what the model says when it is given the tensor
    and none of its loaders does anything. Of a model that does not say, one name that stands for all of it."""
    found: dict[str, frozenset[str]] = {}
    with loading_nothing(model):
        for name, spec in tensors.items():
            tensor = torch.empty(spec.shape, dtype=torch_dtype(spec.dtype), device="meta")
            loaded = model.load_weights(iter([(name, tensor)]))  # type: ignore[operator]
            found[name] = frozenset(("",) if loaded is None else loaded)
    return found


def modules(parameters: frozenset[str]) -> frozenset[str]:
    return frozenset(name.rpartition(".")[0] for name in parameters)


@contextmanager
def loading_nothing(model: torch.nn.Module) -> Iterator[None]:
    parameters: list[Any] = list(model.parameters())
    loaders = [(own, own.weight_loader) for own in parameters if hasattr(own, "weight_loader")]
    for own in parameters:
        own.weight_loader = ignore
    try:
        yield
    finally:
        for own in parameters:
            del own.weight_loader
        for own, loader in loaders:
            own.weight_loader = loader


def ignore(*_: object, **__: object) -> None: ...


def reprocess_tied(model: torch.nn.Module, filled: set[str] | None) -> None:
    """Convert the weights of layers that share another layer's (a tied output head) again, where these were filled
    (None: perhaps).

    No tensor is loaded into such a layer, so vLLM's reload leaves it alone; but on CPU it holds a repacked copy, which
    would stay the old one.
    """
    fresh = {id(own) for name, own in model.named_parameters() if filled is None or name in filled}
    seen: set[int] = set()
    for layer in model.modules():
        weights = {id(weight) for weight in layer.parameters(recurse=False)}
        method = vars(layer).get("quant_method") or layer._modules.get("quant_method")
        if weights & seen & fresh and isinstance(method, QuantizeMethodBase):
            method.process_weights_after_loading(layer)
        seen |= weights

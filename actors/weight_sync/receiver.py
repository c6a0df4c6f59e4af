"""The sampler's side: a vLLM weight-transfer engine that verifies every tensor before it loads it, whatever the
transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from vllm.config.weight_transfer import WeightTransferConfig
from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from actors.weight_sync.channel import ReceiveChannel
from actors.weight_sync.records import Arrivals, Handshake, Update
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
        self.unfilled: set[str] = set()
        """The model's own parameters that the running update has not filled yet."""

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        handshake = init_info.handshake
        self.shutdown()
        rank = handshake.engine * self.parallel_config.world_size + self.parallel_config.rank
        channel = resolve("actors.weight_sync", handshake.transport, "ReceiveChannel")
        self.channel = channel(handshake.channel, rank, self.device)
        self.arrivals = Arrivals(handshake.expected)

    def start_weight_update(self) -> None:
        if self.arrivals is None:
            raise WeightSyncError("the trainer has not introduced itself: open the weight sync first")
        self.arrivals.start()
        self.unfilled = {name for name, _ in self.model.named_parameters()}
        initialize_layerwise_reload(self.model)

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
        tensors = list(self.arrivals.check(update, data))
        if tensors:
            loaded = self.model.load_weights(iter(tensors))  # type: ignore[operator]
            # Models that do not say what they loaded are covered by the probe alone.
            self.unfilled = self.unfilled - loaded if loaded is not None else set()
        if update.last and self.unfilled:
            raise WeightSyncError(
                f"tensor {sorted(self.unfilled)[0]}: the sampler has it and no tensor of the trainer fills it"
            )

    def finish_weight_update(self) -> None:
        assert self.arrivals is not None
        finalize_layerwise_reload(self.model, self.model_config)
        reprocess_tied(self.model)
        self.arrivals.complete()

    def shutdown(self) -> None:
        if self.channel is not None:
            self.channel.close()
            self.channel = None


def reprocess_tied(model: torch.nn.Module) -> None:
    """Convert the weights of layers that share another layer's (a tied output head) again.

    No tensor is loaded into such a layer, so vLLM's reload leaves it alone; but on CPU it holds a repacked copy, which
    would stay the old one.
    """
    seen: set[int] = set()
    for layer in model.modules():
        weights = {id(weight) for weight in layer.parameters(recurse=False)}
        method = vars(layer).get("quant_method") or layer._modules.get("quant_method")
        if weights & seen and isinstance(method, QuantizeMethodBase):
            method.process_weights_after_loading(layer)
        seen |= weights

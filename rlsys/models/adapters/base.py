"""What an adapter is: the part of a model that is trained in place of all of it.

A kind is a file of this folder that defines two classes: `Config`, its settings, and `Adapter`, which puts it into a
model and knows what a model without it would need to compute the same. The base class itself is full training: nothing
is put in place, all is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rlsys.config.base import Model
from rlsys.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

PACKAGE = "rlsys.models.adapters"


class AdapterConfig(Model):
    """The base of every kind's `Config`."""

    kind: str
    """Which part of the model is trained, and how: a file of rlsys/models/adapters, or the dotted path of your own."""
    path: str | None = None
    """Folder of a saved adapter to go on from (or of a run's final model that holds one); it must be of the same kind,
    settings and base."""
    export: Literal["both", "merged", "adapter"] = "both"
    """What a finished run's `final` holds: the merged model, the adapter alone (in `final/adapter`), or both."""

    unmergeable: ClassVar[str | None] = None
    """Why weights of a plain model can't compute the same; None where they do, so that a sampler can be sent them."""

    @property
    def keeps_base(self) -> bool:
        """Whether training leaves the base model's own weights alone, so that without the adapter it is there still."""
        return False

    @property
    def positions(self) -> int:
        """How many places of the model's window it takes from each sequence."""
        return 0

    def loaded(self) -> AdapterConfig:
        """The kind that computes the same from what is saved."""
        return self

    never_with: ClassVar[Mapping[str, str]] = {}
    """Reasons against settings: of `packing` (rows without padding), `checkpointing` (activations computed again) and
    `zero_3` (weights spread over ranks)."""
    package: ClassVar[str | None] = None
    """What must be installed beside rlsys: its name, and the extra's is the kind's."""


@dataclass(frozen=True, slots=True)
class Merge:
    """How one weight of a plain model is made of the base's and of what is trained. It can be pickled: a sampler may
    merge for itself."""

    formula: Callable[..., Tensor]
    """(weight, *parts), all float32, to the merged weight, float32: a frozen dataclass of the kind's file."""
    parts: tuple[str, ...]
    """Names of the trained parameters that it reads, in its order."""

    def __call__(self, weight: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """In `weight`'s dtype: computed in float32 and rounded once."""
        return self.formula(weight.float(), *(part.float() for part in parts)).to(weight.dtype)


class Adapter:
    """One kind in one model, in place. Made on the CPU (or the meta device) before weights are spread over ranks; all
    ranks must seed torch equally before."""

    config: Any
    """Its kind's `Config`; None for full training."""

    def __init__(self, network: PreTrainedModel, config: AdapterConfig | None = None) -> None:
        """Raises ConfigError for settings that do not fit the model."""
        self.network, self.config = network, config
        before = {id(parameter): name for name, parameter in network.named_parameters()}
        self.place()
        self.base_names = {name: before.get(id(parameter)) for name, parameter in network.named_parameters()}
        """By parameter, the name under which the base model knows it; None for what the adapter brought."""
        self._train_head()

    def place(self) -> None:
        """Freeze what is not trained, and add what is, in place."""

    def _train_head(self) -> None:
        """A scalar head is new, so it is trained with every kind."""
        from rlsys.models.value_model import SCALAR_HEAD

        if self.network.get_output_embeddings() is None:
            self.network.get_submodule(SCALAR_HEAD).requires_grad_(True)

    @property
    def exports(self) -> str:
        """As `AdapterConfig.export`; all that full training leaves is a model."""
        return "merged" if self.config is None else self.config.export

    @property
    def packs(self) -> bool:
        """Whether rows may be trained without padding."""
        return self.config is None or "packing" not in self.config.never_with

    def delivered_as(self, name: str) -> str | None:
        """Name of a parameter in the model that `merged` makes; None where it is folded into others. Where nothing can
        be folded, the adapter's own parameters keep their names."""
        own = self.base_names[name]
        return name if own is None and self.config is not None and self.config.unmergeable else own

    def plain(self, name: str, parameter: Tensor) -> Tensor:
        """A parameter as it is in a plain model, in the model's dtype; nothing is folded into it yet."""
        return parameter.detach()

    def plain_shape(self, name: str, parameter: Tensor) -> tuple[int, ...]:
        """The shape of `plain`."""
        return tuple(parameter.shape)

    def constants(self) -> int:
        """Bytes that the base takes beside its parameters."""
        return 0

    def merge(self, name: str) -> Merge | None:
        """What is folded into this parameter of the base; None where nothing is."""
        return None

    def parts(self, name: str) -> Sequence[nn.Parameter]:
        """What `merged` reads beside this parameter; whoever spread the weights over ranks must gather it first."""
        how = self.merge(name)
        return [self.network.get_parameter(part) for part in how.parts] if how else ()

    def merged(self, name: str, parameter: Tensor) -> Tensor:
        """The weight that a model without adapter needs to compute the same, in the model's dtype."""
        how, weight = self.merge(name), self.plain(name, parameter)
        return how(weight, [part.detach() for part in self.parts(name)]) if how else weight

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """For a while the network is the base model again. Only for kinds that keep it (`keeps_base`)."""
        assert self.config is not None, "full training has no adapter"
        assert self.config.keeps_base, f"{self.config.kind} changes weights of the base"
        self.enable(False)
        try:
            yield
        finally:
            self.enable(True)

    def enable(self, on: bool) -> None:
        """Let the adapter have its say, or not. Every kind that keeps the base defines it."""
        raise NotImplementedError

    def rate(self, name: str) -> float:
        """Factor on the learning rate of a trained parameter."""
        return 1.0

    def borrowed(self) -> Iterator[tuple[nn.Module, nn.Parameter]]:
        """Parameters that a module's forward pass reads and that no module called by it owns: ZeRO-3 must be told."""
        return iter(())

    def saved(self) -> list[str]:
        """Names of the parameters that an adapter's folder holds."""
        return [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]

    def tensors(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """`saved` parameters, whole and on the CPU, as the folder's safetensors name them."""
        return parameters

    def description(self) -> dict[str, Any]:
        """What adapter_config.json says."""
        assert self.config is not None
        return self.config.model_dump(mode="json", exclude={"path", "export"})

    def load(self, tensors: dict[str, Tensor], described: Mapping[str, Any]) -> None:
        """Take over what `tensors` and `description` gave. Raises ConfigError, which names what differs."""
        take_over(self, tensors)


def optimizer_groups(adapter: Adapter, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters as torch's optimizers take them, those at the learning rate itself first. As is usual,
    norms and biases are not decayed."""
    groups: dict[tuple[float, bool], list[Any]] = {}
    for name, parameter in adapter.network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((adapter.rate(name), parameter.dim() < 2), []).append(parameter)
    return [
        {"params": parameters, "lr": learning_rate * rate, "weight_decay": 0.0 if flat else weight_decay}
        for (rate, flat), parameters in sorted(groups.items(), key=lambda group: (group[0][0] != 1, group[0]))
    ]


def take_over(adapter: Adapter, tensors: dict[str, Tensor]) -> None:
    """Copy the tensors into the adapter's parameters."""
    parameters = dict(adapter.network.named_parameters())
    own = {name: parameters[name] for name in adapter.saved()}
    names = dict(zip(_names(adapter, own), own.values(), strict=True))
    if names.keys() != tensors.keys():
        only = sorted(names.keys() ^ tensors.keys())[0]
        where = "is not among its tensors" if only in names else "is among its tensors, and this config has no such"
        near = did_you_mean(only, tensors.keys() if only in names else names.keys())
        raise ConfigError(f"model.adapter.path: {only} {where}{near}; take its settings")
    for name, parameter in names.items():
        if parameter.shape != tensors[name].shape:
            raise ConfigError(
                f"model.adapter.path: {name} has the shape {[*tensors[name].shape]} there and {[*parameter.shape]} "
                "here; take its settings"
            )
        parameter.data.copy_(tensors[name])


def _names(adapter: Adapter, own: Mapping[str, Tensor]) -> list[str]:
    """As the file calls each of them, in order: found by what `tensors` makes of each alone."""
    return [next(iter(adapter.tensors({name: parameter.detach()}))) for name, parameter in own.items()]


def no_such(key: str, wanted: str, what: str, options: Sequence[str]) -> ConfigError:
    """`wanted` is none of `options`; the message names the nearest, and the first of them all."""
    listed = ", ".join(options[:12]) + (f" and {len(options) - 12} more" if len(options) > 12 else "")
    return ConfigError(f"model.adapter.{key}: {wanted!r} is no {what}{did_you_mean(wanted, options)} (known: {listed})")

"""Which linear layers get an adapter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from rlsys.errors import ConfigError
from rlsys.models.adapters.base import AdapterConfig, no_such

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

ATTENTION = ("attn", "attention")
"""In the name of a module around the linear layers of attention."""


class TargetedConfig(AdapterConfig):
    """Settings of kinds that change some linear layers."""

    target_modules: str | tuple[str, ...] = "all_linear"
    """Linear layers that get an adapter: all_linear (all but the output head), attention, a list of names (the last
    part, as in q_proj, or more of it), or a regular expression that matches whole names."""
    first_layers: PositiveInt | None = None
    """Of these only those in the first so many layers (with last_layers: or in the last)."""
    last_layers: PositiveInt | None = None
    """Of these only those in the last so many layers."""
    modules_to_save: tuple[str, ...] = ()
    """Other modules that are trained whole and saved with the adapter, as in [norm]."""

    @property
    def keeps_base(self) -> bool:
        return not self.modules_to_save


def linear_layers(network: PreTrainedModel) -> dict[str, nn.Linear]:
    """By name; without the output head, whose weights log-probs use directly, and the scalar head, which is trained
    anyway."""
    from torch import nn

    from rlsys.models.value_model import SCALAR_HEAD

    head = network.get_output_embeddings()
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module is not head and name != SCALAR_HEAD
    }


def chosen(network: PreTrainedModel, config: TargetedConfig) -> list[str]:
    """Names of the linear layers that the config means. Raises ConfigError for a target that is none, with the nearest
    name, and where none is left."""
    every = list(linear_layers(network))
    found = _named(network, every, config.target_modules)
    kept = [name for name in found if _in_layers(layer_number(name), layer_count(network), config)]
    if not kept:
        raise ConfigError(
            "model.adapter.target_modules: none of them is in the layers that first_layers and last_layers leave"
        )
    return kept


def _named(network: PreTrainedModel, every: list[str], targets: str | tuple[str, ...]) -> list[str]:
    if targets == "all_linear":
        return every
    if targets == "attention":
        found = [name for name in every if any(word in part for part in name.split(".")[:-1] for word in ATTENTION)]
        if not found:
            raise ConfigError("model.adapter.target_modules: attention: no module here is called so; name its layers")
        return found
    if isinstance(targets, str):
        return _matching(every, targets)
    for target in targets:
        if not any(_is(name, target) for name in every):
            head = next((n for n, m in network.named_modules() if m is network.get_output_embeddings()), None)
            if head is not None and _is(head, target):
                raise ConfigError(
                    f"model.adapter.target_modules: the output head ({target}) can't have an adapter; leave it out"
                )
            what = f"linear layer of {type(network).__name__}"
            raise no_such("target_modules", target, what, list(dict.fromkeys(n.rpartition(".")[2] for n in every)))
    return [name for name in every if any(_is(name, target) for target in targets)]


def _matching(every: list[str], pattern: str) -> list[str]:
    try:
        found = [name for name in every if re.fullmatch(pattern, name)]
    except re.error as error:
        raise ConfigError(f"model.adapter.target_modules: {pattern!r} is no regular expression: {error}") from error
    if not found:
        what = "linear layer's name, and as a regular expression matches none"
        raise no_such("target_modules", pattern, what, [*every, "all_linear", "attention"])
    return found


def _is(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _in_layers(number: int | None, count: int, config: TargetedConfig) -> bool:
    first, last = config.first_layers, config.last_layers
    for key, wanted in (("first_layers", first), ("last_layers", last)):
        if wanted is not None and wanted > count:
            raise ConfigError(f"model.adapter.{key}: {wanted} is more than the {count} layers of the model")
    if first is None and last is None:
        return True
    return number is not None and (number < (first or 0) or number >= count - (last or 0))


def layer_number(name: str) -> int | None:
    """The layer that a module or parameter belongs to, from 0; None for what stands outside of them."""
    return next((int(part) for part in name.split(".") if part.isdecimal()), None)


def layer_count(network: PreTrainedModel) -> int:
    return network.config.get_text_config().num_hidden_layers


def short(network: PreTrainedModel, names: list[str]) -> list[str]:
    """The same layers by the last part of their names, where these alone say which; else the whole names."""
    last = sorted({name.rpartition(".")[2] for name in names})
    meant = [name for name in linear_layers(network) if name.rpartition(".")[2] in last]
    return last if meant == names else names


def train_whole(network: PreTrainedModel, modules: tuple[str, ...]) -> None:
    """Train the modules of these names (or last parts of names) in place. Raises ConfigError for one that is none."""
    named = {name: module for name, module in network.named_modules() if name}
    for wanted in modules:
        found = [module for name, module in named.items() if _is(name, wanted)]
        if not found or not any(True for module in found for _ in module.parameters()):
            options = list(dict.fromkeys(name.rpartition(".")[2] for name in named if "lora" not in name))
            raise no_such("modules_to_save", wanted, "module with weights", options)
        for module in found:
            module.requires_grad_(True)


def fits(rank: int, network: PreTrainedModel, names: list[str]) -> None:
    """Raises ConfigError for a rank above that of a layer's own weight."""
    layers = linear_layers(network)
    for name in names:
        inputs, outputs = layers[name].in_features, layers[name].out_features
        if rank > min(inputs, outputs):
            raise ConfigError(
                f"model.adapter.rank: {rank} is more than {name} can have ({outputs} x {inputs}); at most "
                f"{min(inputs, outputs)}"
            )

"""An adapter in PEFT's format, read as the model that it makes of its base: one tensor at a time.

| kind | W becomes |
|---|---|
| LoRA (Hu et al. 2021), rsLoRA (Kalajdzievski 2023) | W + s B A, with s = alpha / r or alpha / sqrt(r) |
| DoRA (Liu et al. 2024) | m (W + s B A) / norm of each row of (W + s B A) |
| IA3 (Liu et al. 2022) | its rows times l; its columns times l in the feed-forward layers |

What `modules_to_save` holds takes the place of the base's. Whatever else the file holds is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from peft import IA3Config, LoraConfig, PeftConfig
from peft.utils.constants import SAFETENSORS_WEIGHTS_NAME
from peft.utils.other import get_pattern_key
from torch import Tensor

from rlsys.errors import ConfigError
from rlsys.merging.shards import Spec, Weights, read, specs_of
from rlsys.models.adapters.shared.files import check_version, read_origin
from rlsys.models.version import OF_TOKENS, version_of

PREFIX = "base_model.model."
PARTS = re.compile(
    r"(?P<module>.+)\."
    r"(?P<part>lora_[AB]\.weight|lora_embedding_[AB]|lora_magnitude_vector|ia3_l)"
)
CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq")
"""Ways to begin that take something out of the base; the adapter belongs to what is left of it."""


@dataclass(frozen=True)
class Adapter:
    """Same reading as `Weights`. Raises ConfigError, which names the tensor, for an adapter that does not fit."""

    folder: Path
    base: Weights

    @cached_property
    def config(self) -> LoraConfig | IA3Config:
        config = PeftConfig.from_pretrained(str(self.folder))
        if not isinstance(config, (LoraConfig, IA3Config)):
            kind = str(config.peft_type).removeprefix("PeftType.")
            raise ConfigError(
                f"{self.folder}: an adapter of kind {kind}, and only LORA (with rsLoRA and DoRA) and IA3 are merged "
                "tensor by tensor; let peft's merge_and_unload make a model of it, and give that"
            )
        begun = str(config.init_lora_weights) if isinstance(config, LoraConfig) else ""
        if begun.lower().startswith(CHANGES_THE_BASE):
            raise ConfigError(
                f"{self.folder}: began by {begun}, which changed the base's weights; let peft convert it to plain LoRA "
                "(path_initial_model_for_weight_conversion)"
            )
        return config

    @cached_property
    def files(self) -> list[Path]:
        file = self.folder / SAFETENSORS_WEIGHTS_NAME
        if not file.is_file():
            raise ConfigError(f"{self.folder}: no {SAFETENSORS_WEIGHTS_NAME}; save the adapter as safetensors")
        return [file]

    @cached_property
    def places(self) -> dict[str, tuple[Path, Spec]]:
        """Those of the base; what the adapter says of them has been looked at."""
        self._check_base()
        for name, own in self._own.items():
            if name not in self.base.places:
                raise ConfigError(f"{self.folder}: changes {name}, which the base ({self.base.folder}) does not have")
            self._check(name, own)
        return self.base.places

    def spec(self, name: str) -> Spec:
        return self.places[name][1]

    def read(self, name: str) -> Tensor:
        """In float32 where the adapter changes it."""
        own = self._own.get(name)
        if own is None:
            return self.base.read(name)
        found = {part: read(self.files[0], key).float() for part, key in own.items()}
        weight = found.pop("") if "" in found else self.base.read(name).float()
        if not found:
            return weight
        if "ia3_l" in found:
            return weight * found["ia3_l"].reshape(self._scale_shape(name, tuple(weight.shape)))
        changed = weight + self._scale(name) * self._product(found)
        if (magnitude := found.get("lora_magnitude_vector")) is not None:
            rows = changed.T if self._transposed else changed
            rows = rows * (magnitude.reshape(-1) / torch.linalg.vector_norm(rows, dim=1)).unsqueeze(1)
            return rows.T if self._transposed else rows
        return changed

    @cached_property
    def _specs(self) -> dict[str, Spec]:
        return specs_of(self.files[0])

    @cached_property
    def _own(self) -> dict[str, dict[str, str]]:
        """By name of the base's tensor: the parts that change it, each by its key in the file; part "" replaces it."""
        found: dict[str, dict[str, str]] = {}
        for tensor, part, key in self._keys():
            found.setdefault(tensor, {})[part] = key
        return found

    def _keys(self) -> Iterator[tuple[str, str, str]]:
        for key in self._specs:
            name = key.removeprefix(PREFIX).replace(".base_layer.", ".")
            if (match := PARTS.fullmatch(name)) is not None:
                weight, bias = f"{match['module']}.weight", f"{match['module']}.bias"
                yield weight, match["part"], key
                if match["part"] == "ia3_l" and bias in self.base.places and not self._scales_inputs(weight):
                    yield bias, "ia3_l", key
            elif name in self.base.places:
                yield name, "", key
            else:
                raise ConfigError(f"{self.folder}: holds {key}, of which it is not known what it does to the base")

    def _check_base(self) -> None:
        """Raises ConfigError for an adapter of another base, as far as its folder says, or of a rounded one."""
        said, here = str(self.folder), self.base.folder
        origin = read_origin(said, self.folder)
        if origin is None:
            return
        if origin["kind"] == "qlora":
            raise ConfigError(
                f"{said}: is of kind qlora, whose base was rounded to four bits, and would be added to the base as it "
                "was before; take the merged model that its run left"
            )
        if not origin["version"].endswith(f"@{here.name[:12]}"):  # the hub's cache names a folder by its commit
            check_version(said, origin, version_of(here, OF_TOKENS), "the base")

    def _check(self, name: str, own: Mapping[str, str]) -> None:
        shape = self.base.spec(name).shape
        sizes = {part: self._specs[key].shape for part, key in own.items()}
        whole = sizes.pop("", shape)
        match sizes:
            case _ if not sizes:
                fits = True
            case {"ia3_l": given}:
                fits = math.prod(given) == math.prod(self._scale_shape(name, shape))
            case {"lora_A.weight": a, "lora_B.weight": b} if len(a) == len(b) == 2:
                made = (a[1], b[0]) if self._transposed else (b[0], a[1])
                fits = made == shape and a[0] == b[1]
            case {"lora_embedding_A": a, "lora_embedding_B": b} if len(sizes) == 2:
                fits = (a[1], b[0]) == shape and a[0] == b[1]
            case _:
                fits = False
        if not fits or whole != shape:
            told = ", ".join(f"{part} {list(size)}" for part, size in (sizes or {"weight": whole}).items())
            raise ConfigError(f"{self.folder}: {name} is {list(shape)} in the base, and the adapter has {told}")

    @property
    def _transposed(self) -> bool:
        """Whether the base's weights are inputs x outputs, as GPT-2's."""
        return self.config.fan_in_fan_out

    def _scale(self, name: str) -> float:
        config, module = self.config, name.removesuffix(".weight")
        assert isinstance(config, LoraConfig)
        rank, alpha = (
            (pattern or {}).get(get_pattern_key(list(pattern or {}), module), usual)
            for pattern, usual in ((config.rank_pattern, config.r), (config.alpha_pattern, config.lora_alpha))
        )
        return alpha / (math.sqrt(rank) if config.use_rslora else rank)

    def _product(self, found: Mapping[str, Tensor]) -> Tensor:
        if "lora_embedding_A" in found:
            return (found["lora_embedding_B"] @ found["lora_embedding_A"]).T
        product = found["lora_B.weight"] @ found["lora_A.weight"]
        return product.T if self._transposed else product

    def _scale_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """That IA3's scales must have to be multiplied with the base's tensor: along its inputs or its outputs."""
        if len(shape) == 1:
            return shape
        rows, columns = shape
        return (1, columns) if self._scales_inputs(name) != self._transposed else (rows, 1)

    def _scales_inputs(self, name: str) -> bool:
        """Whether IA3 scales what goes into the layer (feed-forward), not what comes out."""
        config = self.config
        assert isinstance(config, IA3Config)
        module, feedforward = name.rpartition(".")[0], config.feedforward_modules or ()
        if isinstance(feedforward, str):
            return re.fullmatch(feedforward, module) is not None
        return any(module == end or module.endswith(f".{end}") for end in feedforward)

"""Adapters that vLLM serves beside their base: LoRA and what is saved like it, on the base that they were trained on.

vLLM knows an adapter by its folder, and reads this again whenever the adapter was put out of memory; what it keeps of
prompts stays with the folder's name. So that it never mixes two adapters, it is given a copy, in a folder named by the
adapter's content: what is trained into the folder later changes nothing that is served.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rlsys import registry
from rlsys.errors import ConfigError
from rlsys.models.adapters.base import PACKAGE
from rlsys.models.adapters.shared.files import (
    BASE,
    CONFIG,
    WEIGHTS,
    adapter_folder,
    check_version,
    read_json,
    read_origin,
)
from rlsys.models.version import OF_TOKENS, fingerprint, version_of

THE_MODEL = "base"
"""What a router calls the served model itself; no adapter may be called so."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM can make room for."""
SERVED_KINDS = "lora, rslora and lora_plus"
UNLIKE_LORA = ("use_dora", "lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora")
"""Entries of peft's LoRA settings that change what it computes; vLLM computes none of that."""
PLAIN_STARTS = ("true", "false", "gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""`init_lora_weights` of adapters that belong to the base as it is."""


@dataclass(frozen=True)
class Base:
    """The served model."""

    folder: Path
    """Or its hub id."""

    @cached_property
    def version(self) -> str:
        return version_of(self.folder, OF_TOKENS)


@dataclass(frozen=True)
class Adapter:
    """One that fits its base, as it was given."""

    name: str
    folder: Path
    rank: int
    """The largest of its layers."""
    warning: str | None = None

    def copied(self, into: Path) -> Path:
        """Its folder's copy, made whole or not at all."""
        copy = into / fingerprint(self.folder, (CONFIG, WEIGHTS))
        if not copy.is_dir():
            made = into / f"{copy.name}.{os.getpid()}"
            made.mkdir(parents=True)
            for file in (CONFIG, WEIGHTS):
                shutil.copyfile(self.folder / file, made / file)
            made.rename(copy)
        return copy


def named(texts: Sequence[str]) -> dict[str, str]:
    """Path by name, of `--adapter name=PATH`. Raises ConfigError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, path = (part.strip() for part in text.partition("="))
        if not (equals and path):
            raise ConfigError(f"--adapter {text}: wanted name=PATH, as in maths=runs/maths")
        check_name(f"--adapter {text}", name, tuple(found))
        found[name] = path
    return found


def check_name(said: str, name: str, taken: Sequence[str]) -> None:
    """Raises ConfigError for a name that requests can't use, or that something else has."""
    if not name:
        raise ConfigError(f"{said}: wanted a name before the =, as in maths=runs/maths")
    if name == THE_MODEL:
        raise ConfigError(
            f"{said}: {THE_MODEL!r} is what a router calls the model itself; give the adapter another name"
        )
    if name in taken:
        raise ConfigError(f"{said}: the name {name!r} is taken; choose another")


def fitting(said: str, name: str, path: Path, base: Base) -> Adapter:
    """The adapter of a run (or of its final model), or the adapter's own folder. Raises ConfigError, which begins with
    `said`, where there is none, and for one that vLLM can't serve or of another base."""
    folder = adapter_folder(said, path).resolve()
    _check_kind(said, read_json(said, folder / CONFIG), read_origin(said, folder))
    return Adapter(name, folder, _rank(read_json(said, folder / CONFIG, "r")), check_base(said, folder, base))


def check_base(said: str, folder: Path, base: Base) -> str | None:
    """A warning where the adapter has no base.json, which peft writes none of: its base can't be compared. Raises
    ConfigError for one of a base whose weights have another hash."""
    origin = read_origin(said, folder)
    if origin is None:
        trained_on = read_json(said, folder / CONFIG).get("base_model_name_or_path")
        return (
            f"{said}: has no {BASE}, so its base can't be compared with {base.folder}; it says that it was trained on "
            f"{trained_on}"
        )
    check_version(said, origin, base.version, "this")
    return None


def room(adapters: Sequence[Adapter], largest: int | None) -> int:
    """The rank that vLLM makes room for: of the adapters, and of later ones up to `largest`. Raises ConfigError."""
    wanted = max([adapter.rank for adapter in adapters] + [largest or 1])
    fits = next((rank for rank in RANKS if rank >= wanted), None)
    if fits is None:
        who = next((f"--adapter {one.name}: has rank" for one in adapters if one.rank == wanted), "--max-rank")
        raise ConfigError(f"{who} {wanted}: vLLM serves ranks up to {RANKS[-1]}; serve the merged model instead")
    return fits


def _check_kind(said: str, described: dict[str, Any], origin: dict[str, Any] | None) -> None:
    """Raises ConfigError for one that vLLM does not compute as it was trained."""
    kind = origin["kind"] if origin else described.get("kind") or str(described.get("peft_type")).lower()
    if kind == "qlora":
        raise ConfigError(
            f"{said}: is of kind qlora, whose base was rounded to four bits, and vLLM would add it to the base as it "
            "was before; serve its merged model instead (the run's final)"
        )
    unlike = [key for key in UNLIKE_LORA if described.get(key)]
    if described.get("peft_type") != "LORA" or unlike:
        shown = f"{kind} ({', '.join(unlike)})" if kind == "lora" else kind
        raise ConfigError(f"{said}: is of kind {shown}, and vLLM serves {SERVED_KINDS}; {_instead(kind)}")
    if described.get("task_type") == "SEQ_CLS":
        raise ConfigError(f"{said}: is a reward model's, which writes no text; give a language model's")
    if whole := described.get("modules_to_save"):
        raise ConfigError(
            f"{said}: holds whole modules too ({', '.join(whole)}), which vLLM does not serve; serve its merged model"
        )
    if described.get("bias", "none") != "none":
        raise ConfigError(f"{said}: trained biases too, which vLLM does not serve; serve its merged model")
    start = str(described.get("init_lora_weights", True)).lower()
    if start not in PLAIN_STARTS:
        raise ConfigError(
            f"{said}: began by {start}, which changed the base's weights; let peft convert it to plain LoRA "
            "(path_initial_model_for_weight_conversion)"
        )


def _instead(kind: str) -> str:
    try:
        unmergeable = registry.resolve(PACKAGE, kind, "Config").unmergeable
    except ConfigError:  # none of ours
        unmergeable = None
    if unmergeable:
        return f"it can't be merged either ({unmergeable}), so train one of those"
    return "serve its merged model instead (a run's final, or `rlsys merge`)"


def _rank(described: dict[str, Any]) -> int:
    return max([described["r"], *(described.get("rank_pattern") or {}).values()])

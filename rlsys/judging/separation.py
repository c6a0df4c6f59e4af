"""Which model judges, by its content, and whether it is the one that it judges."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from rlsys.config.judge import JudgeConfig
from rlsys.errors import ConfigError

WEIGHTS = ("*.safetensors", "*.bin")
WORDS = ("*.json", "*.jinja", "*.model", "*.txt")
"""What else decides what a model says: configuration, tokenizer, chat template."""


def fingerprint(folder: Path, patterns: tuple[str, ...] = (*WEIGHTS, *WORDS)) -> str:
    """The first 12 hex characters of the SHA-256 of a model folder's files: of all that decides what it says, or of those named. Raises ConfigError
    where there is none."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if not found:
        raise ConfigError(f"{folder}: no model: none of {', '.join(patterns)} is there")
    digest = hashlib.sha256()
    for path in found:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def version_of(model: Path, hub_cache: Path | None = None) -> str:
    """A model and its version: of a local folder its name and `fingerprint`, of a hub id the commit that was loaded into the hub's cache (None: where
    the library keeps it). Raises ConfigError for a hub id that was not."""
    if model.is_dir():
        return f"{model.name}@{fingerprint(model)}"
    cached = try_to_load_from_cache(str(model), "config.json", cache_dir=hub_cache)
    if not isinstance(cached, str):
        raise ConfigError(
            f"judge.model {model}: which version of it is this? It is not in the hub's cache; download it and give the folder"
        )
    return f"{model}@{Path(cached).parent.name[:12]}"


def shared_weights(config: JudgeConfig, judge: Path | None, policy: Path) -> str | None:
    """The warning that the judge and the policy are the same weights, where it can be known: a judge prefers its own answers
    (Panickssery et al. 2024, arXiv 2404.13076). `judge`: the folder or hub id of a vLLM judge."""
    advice = "its opinions are not independent of what it judges: take another model for judge.model"
    if config.backend == "rollout":
        return f"judge.backend=rollout: the policy judges itself, with weights that change as it learns; {advice}"
    if judge is not None and _same_weights(judge, policy):
        return f"judge.model={config.model}: the judge starts from the same weights as the policy; {advice}"
    if config.backend == "openai" and Path(config.model).name == policy.name:
        return f"judge.model={config.model}: the endpoint's model has the name of the policy's, and may be the same weights; {advice}"
    return None


def _same_weights(one: Path, other: Path) -> bool:
    if one == other:
        return True
    if not (one.is_dir() and other.is_dir()):
        return False
    sizes = [sorted((path.name, path.stat().st_size) for pattern in WEIGHTS for path in folder.glob(pattern)) for folder in (one, other)]
    return sizes[0] == sizes[1] and fingerprint(one, WEIGHTS) == fingerprint(
        other, WEIGHTS
    )  # hashing reads all of them, so sizes come first

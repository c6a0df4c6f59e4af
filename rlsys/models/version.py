"""Which model it is, by its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from rlsys.errors import ConfigError

WEIGHTS = ("*.safetensors", "*.bin")
WORDS = ("*.json", "*.jinja", "*.model", "*.txt")
"""What else decides what a model says: configuration, tokenizer, chat template."""
OF_TOKENS = (*WEIGHTS, "config.json")
"""What decides the log-probs of given tokens."""


def fingerprint(folder: Path, patterns: tuple[str, ...] = (*WEIGHTS, *WORDS)) -> str:
    """The first 12 hex characters of the SHA-256 of a model folder's files: of all that decides what it says, or of
    those named. Raises ConfigError where there is none."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if not found:
        raise ConfigError(f"{folder}: no model: none of {', '.join(patterns)} is there")
    digest = hashlib.sha256()
    for path in found:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def version_of(model: Path, patterns: tuple[str, ...] = (*WEIGHTS, *WORDS), hub_cache: Path | None = None) -> str:
    """A model and its version: of a local folder its name and `fingerprint`, of a hub id the commit that was loaded
    into the hub's cache (None: where the library keeps it). Raises ConfigError for a hub id that was not."""
    if model.is_dir():
        return f"{model.name}@{fingerprint(model, patterns)}"
    cached = try_to_load_from_cache(str(model), "config.json", cache_dir=hub_cache)
    if not isinstance(cached, str):
        raise ConfigError(
            f"{model}: which version of this model is it? It is not in the hub's cache; download it and give the folder"
        )
    return f"{model}@{Path(cached).parent.name[:12]}"

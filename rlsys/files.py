"""Writing files so that a killed process leaves the old content or the new, never half of either."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def fsync(path: Path) -> None:
    """Force a file's content, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Replace the content of `path` in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        fsync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)


def to_json(values: Mapping[str, Any], indent: int | None = None) -> str:
    """Strict JSON. JSON knows no NaN and no infinity: both become null. Raises TypeError on what is not plain data."""
    return json.dumps(_finite(values), indent=indent, ensure_ascii=False, allow_nan=False)


def read_lines(path: Path) -> Iterator[str]:
    """Lines with their ends, which is only \\n: `str.splitlines` would also cut at U+0085, U+2028 and others, which
    JSON leaves as they are."""
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from file


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def save_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    """Write `weights` as the safetensors of a Hugging Face folder, readable by whom its config.json is: the library
    makes files that only their owner may read."""
    from huggingface_hub import save_torch_state_dict  # takes a second

    save_torch_state_dict(weights, folder, metadata={"format": "pt"})
    for file in folder.glob("*.safetensors"):
        shutil.copymode(folder / "config.json", file)

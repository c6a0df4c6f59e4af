"""The scale of a reward model's scores, kept in its folder: their mean and standard deviation on its held-out data."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rlsys.errors import ConfigError

FILE = "reward_scale.json"


def write_scale(folder: Path, mean: float, std: float) -> None:
    (folder / FILE).write_text(json.dumps({"mean": mean, "std": std}), encoding="utf-8")


def read_scale(folder: Path) -> tuple[float, float]:
    """Mean and standard deviation. Raises ConfigError where they are not known."""
    file = folder / FILE
    if not file.is_file():
        raise ConfigError(
            f"reward_models: normalize needs {file}, which method reward_model writes when it has held-out data; set "
            "normalize to false"
        )
    scale = json.loads(file.read_text(encoding="utf-8"))
    if not math.isfinite(scale["mean"]) or not 0 < scale["std"] < math.inf:
        raise ConfigError(
            f"{file}: a mean of {scale['mean']} and a standard deviation of {scale['std']} normalise nothing; set "
            "normalize to false"
        )
    return scale["mean"], scale["std"]

"""Weights as the files of a Hugging Face folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from torch import Tensor


def save_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    """Write `weights` into `folder`, readable by whom its config.json is: safetensors makes files that only their owner may
    read."""
    save_torch_state_dict(weights, folder, metadata={"format": "pt"})
    for file in folder.glob("*.safetensors"):
        shutil.copymode(folder / "config.json", file)

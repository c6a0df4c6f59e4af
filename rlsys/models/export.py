"""A plain Hugging Face folder from weights: what `AutoModelForCausalLM` and vLLM load."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig

from rlsys.models.load import load_config


def write_model(folder: Path, source: Path, dtype: torch.dtype, weights: dict[str, Tensor]) -> None:
    """Write `weights` (on the CPU, under the names of the model at `source`) with the config and tokenizer of `source`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(source)
    config.dtype = dtype
    config.save_pretrained(folder)
    with suppress(OSError):  # a model need not come with one
        GenerationConfig.from_pretrained(str(source)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(source)).save_pretrained(folder)
    save_torch_state_dict(weights, folder, metadata={"format": "pt"})

"""A plain Hugging Face folder from weights: what `AutoModelForCausalLM` (with a scalar head
`AutoModelForSequenceClassification`) and vLLM load."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

from rlsys.files import save_weights
from rlsys.models.load import load_config
from rlsys.models.value_model import HEADS


def write_model(
    folder: Path, source: Path, dtype: torch.dtype, weights: dict[str, Tensor], architecture: str, heads: int | None
) -> None:
    """Write `weights` (on the CPU, under the names of a model of class `architecture`) with the config and tokenizer of
    `source`. `heads`: outputs of its scalar head; none for a language model. Its generation config is for whoever knows
    where it stops to write (`save_generation_config`)."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(source)
    tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
    config.dtype = dtype
    config.architectures = [architecture]
    if heads is not None:
        config.num_labels = heads
        setattr(config, HEADS, heads)
        # Transformers scores the last token that is not padding: with EOS for padding that would be the one before the
        # EOS.
        config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id != tokenizer.eos_token_id else None
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_weights(folder, weights)

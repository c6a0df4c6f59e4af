"""What the runs need beside the playground: pairs of answers, and a model with biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rlsys.files import to_json, write_whole
from rlsys.playground.models import MAX_POSITIONS, byte_tokenizer
from rlsys.playground.shapes import SIZES
from rlsys.playground.splits import SPLITS
from rlsys.playground.tasks import rows

TASK = "sort_digits"
HELD_OUT = 256
"""Pairs."""


def write_pairs(folder: Path) -> dict[str, Path]:
    """Files by split: the sorted digits, and the same digits in another order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {split: folder / f"pairs-{split}.jsonl" for split in SPLITS}
    for split, file in files.items():
        right, wrong = rows(TASK, split), rows(TASK, split, wrong_fraction=1.0)
        pairs = [
            {"prompt": one["prompt"], "chosen": one["answer"], "rejected": other["answer"]}
            for one, other in zip(right, wrong, strict=True)
        ]
        kept = pairs[:HELD_OUT] if split == "test" else pairs
        write_whole(file, "".join(f"{to_json(pair)}\n" for pair in kept))
    return files


def with_biases(folder: Path) -> Path:
    """Qwen2 of the smallest model's shape: it has biases of queries, keys and values, where the playground's models
    have none. Made unless it is there."""
    if not folder.is_dir():
        tokenizer: Any = byte_tokenizer()
        shape = SIZES["0.5m"]
        config = Qwen2Config(
            vocab_size=len(tokenizer) + 1,  # transformers adds <|endoftext|> to every tokenizer of a Qwen2
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            intermediate_size=shape.intermediate,
            max_position_embeddings=MAX_POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        torch.manual_seed(0)
        Qwen2ForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder

"""What a model has learned from preferences: pairs that it never saw, and the gold reward of what it samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from rlsys.data.collate import collate_comparisons
from rlsys.data.load import Comparison
from rlsys.objectives.reward_model_loss import pairs
from rlsys.playground.letters import gold

MAX_TOKENS = 12


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one model. log_probs_B: of every held-out answer, summed over its tokens; tokens_B: how many. gold: of its own
    samples, by prompt."""

    log_probs_B: Tensor
    tokens_B: Tensor
    gold: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A model beside the one that it started from."""

    likelier: float
    """Share of held-out pairs whose better answer is the likelier one, by its mean log-prob per token (a tie counts
    half)."""
    preferred: float
    """Share of held-out pairs whose better answer gained more log-prob since the start than the worse one; 0.5 for the
    start itself."""
    gold: float
    """Mean gold reward of its samples."""
    win_rate: float
    """Share of held-out prompts whose samples have a higher mean gold reward than the start's (a tie counts half); 0.5
    for the start itself."""


@torch.no_grad()
def answers_of(
    folder: Path, held_out: Sequence[Comparison], prompts: Sequence[str], samples: int, seed: int
) -> Answers:
    """By plain transformers, at temperature 1, in this process: none of the training code is asked how good its model
    is."""
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    batch = collate_comparisons(held_out, tokenizer.pad_token_id)
    log_probs_BTV = model(batch.token_ids_BT).logits[:, :-1].log_softmax(-1)
    log_probs_BT = log_probs_BTV.gather(-1, batch.token_ids_BT[:, 1:, None])[..., 0]
    mask_BT = batch.loss_mask_BT[:, 1:]
    found: dict[str, list[float]] = {}
    torch.manual_seed(seed)
    asked = [[{"role": "user", "content": letters}] for letters in prompts]
    given = torch.tensor(tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False))
    made = model.generate(
        given.repeat_interleave(samples, 0),
        attention_mask=torch.ones_like(given).repeat_interleave(samples, 0),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=MAX_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
    )
    texts = tokenizer.batch_decode(made[:, given.shape[1] :], skip_special_tokens=True)
    for number, text in enumerate(texts):
        found.setdefault(letters := prompts[number // samples], []).append(gold(letters, text))
    return Answers(torch.where(mask_BT, log_probs_BT, 0).sum(1).double(), mask_BT.sum(1).double(), found)


def outcome(after: Answers, start: Answers, held_out: Sequence[Comparison]) -> Outcome:
    better_P, worse_P = pairs(collate_comparisons(held_out, 0))
    mean_B, gain_B = after.log_probs_B / after.tokens_B, after.log_probs_B - start.log_probs_B
    return Outcome(
        likelier=share(mean_B[better_P] - mean_B[worse_P]),
        preferred=share(gain_B[better_P] - gain_B[worse_P]),
        gold=fmean(value for values in after.gold.values() for value in values),
        win_rate=share(
            torch.tensor([fmean(values) - fmean(start.gold[letters]) for letters, values in after.gold.items()])
        ),
    )


def share(differences: Tensor) -> float:
    """Of those above 0; one of 0 counts half."""
    return float(((differences.sign() + 1) / 2).double().mean())

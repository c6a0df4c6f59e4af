"""Rows in the columns of public data sets, each trained on for one step by the stage that takes them."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support.format_samples import FORMATS, page
from support.public_rows import PUBLIC
from support.sample import Sample
from torch import Tensor

from rlsys.batch import Batch
from rlsys.config.dataset import DatasetConfig
from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate
from rlsys.data.labelled import load_labelled
from rlsys.data.load import Demonstration, load_comparisons, load_demonstrations, load_prompts, load_texts
from rlsys.data.report import Loaded
from rlsys.data.stream import Stream
from rlsys.methods import dpo, kto, sft
from rlsys.methods.base import Method, Step
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.stats import Stats
from rlsys.playground.models import byte_tokenizer, random_model
from rlsys.playground.shapes import Shape
from rlsys.roles import Roles

TOKENIZER = byte_tokenizer()
TOKENIZER.chat_template = "{% if tools %}{{ tools | tojson }}{% endif %}" + str(TOKENIZER.chat_template)
TINY = Shape(hidden=64, layers=1, heads=2, kv_heads=2, head_size=32, intermediate=128)
LOADERS = {
    "prompts": load_prompts,
    "demonstrations": load_demonstrations,
    "comparisons": load_comparisons,
    "labelled": load_labelled,
    "texts": load_texts,
}
SAMPLES = [*FORMATS, *PUBLIC]


@cache
def untrained() -> Any:
    return random_model(TINY, seed=0)


class TinyPolicy:
    """A whole language model and plain gradient descent, in this process."""

    identity = "tiny"

    def __init__(self) -> None:
        self.model = copy.deepcopy(untrained())

    def outputs(self, batch: Batch) -> Outputs:
        logits = self.model(batch.token_ids_BT).logits[:, :-1].log_softmax(-1)
        taken = logits.gather(-1, batch.token_ids_BT[:, 1:, None])[..., 0]
        return Outputs(torch.cat([torch.zeros(len(taken), 1), taken], 1) * batch.loss_mask_BT)

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        with torch.no_grad():
            return self.outputs(batch).log_probs_BT

    def forward_backward(self, batch: Any, loss: Any) -> Stats:
        total, stats = loss(self.outputs(batch), batch)
        (total / loss.normalizer(batch)).backward()
        return stats

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        with torch.no_grad():
            for parameter in self.model.parameters():
                assert parameter.grad is not None
                parameter -= 0.05 * parameter.grad
                parameter.grad = None
        return {}

    def of(self, rows: list[Demonstration]) -> list[float]:
        """Log-probs of the trained tokens."""
        return self.log_probs(collate(rows, 0), 1.0).sum(1).tolist()


def load(folder: Path, sample: Sample) -> Loaded[Any]:
    file = folder / f"{sample.settings.get('split', 'train')}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in sample.rows))
    return LOADERS[sample.kind](DatasetConfig(path=str(file), **sample.settings), TOKENIZER, 1000, True, None)


def trained(row: Demonstration) -> tuple[str, ...]:
    """Each stretch of trained tokens, without the EOS that ends it."""
    text = "".join(
        str(TOKENIZER.decode([token])) if mask else "<|pad|>"
        for token, mask in zip(row.token_ids, row.loss_mask, strict=True)
    )
    return tuple(part for part in text.replace("<|eos|>", "<|pad|>").split("<|pad|>") if part)


@dataclass
class Trained:
    """What the model makes of rows before and after one step on them."""

    before: list[float]
    after: list[float]


def step(algorithm: Method, rows: list[Any], measured: list[Demonstration]) -> Trained:
    policy = TinyPolicy()
    before = policy.of(measured)
    roles: Any = Roles(policy=policy, reference=TinyPolicy())  # type: ignore[arg-type]
    one = Step(number=1, version=0, seed=0)
    algorithm.learn(roles, algorithm.collect(roles, Stream(rows, 0, False), one), one)
    return Trained(before, policy.of(measured))


def ids(sample: Sample) -> str:
    return f"{sample.name or sample.format}-{sample.kind}"


@pytest.mark.parametrize("sample", [one for one in SAMPLES if one.kind in ("demonstrations", "texts")], ids=ids)
def test_what_is_imitated_becomes_likelier(tmp_path: Path, sample: Sample):
    loaded = load(tmp_path, sample)
    assert loaded.report.format == sample.format
    assert trained(loaded.rows[0]) == sample.trained
    config = sft.Config(batch_size=1, tokens="all" if sample.kind == "texts" else "assistant")
    done = step(sft.Method(config, SamplingConfig(), 0), loaded.rows, loaded.rows)
    assert done.after > done.before


@pytest.mark.parametrize("sample", [one for one in SAMPLES if one.kind == "comparisons"], ids=ids)
def test_the_better_answer_gains_on_the_worse(tmp_path: Path, sample: Sample):
    loaded = load(tmp_path, sample)
    (row,) = loaded.rows
    assert loaded.report.format == sample.format
    best, worst = (row.answers[row.grades.index(end)] for end in (max(row.grades), min(row.grades)))
    assert trained(best) + trained(worst) == sample.trained
    done = step(
        dpo.Method(dpo.Config(batch_size=1), SamplingConfig(), 0),
        loaded.rows,
        [best, worst],
    )
    assert done.after[0] - done.before[0] > done.after[1] - done.before[1]


@pytest.mark.parametrize("sample", [one for one in SAMPLES if one.kind == "labelled"], ids=ids)
def test_the_good_answer_gains_on_the_bad(tmp_path: Path, sample: Sample):
    loaded = load(tmp_path, sample)
    assert loaded.report.format == sample.format
    answers = [row.answer for row in loaded.rows]
    said = tuple(f"{'' if row.desirable else 'not '}{''.join(trained(row.answer))}" for row in loaded.rows)
    assert said == sample.trained
    done = step(kto.Method(kto.Config(batch_size=2), SamplingConfig(), 0), loaded.rows, answers)
    assert done.after[0] - done.before[0] > done.after[1] - done.before[1]


@pytest.mark.parametrize("sample", [one for one in SAMPLES if one.kind == "prompts"], ids=ids)
def test_the_ground_truth_can_be_reinforced(tmp_path: Path, sample: Sample):
    """REINFORCE on two samples: the ground truth (or any answer, where there is none) as the right one, and another."""
    loaded = load(tmp_path, sample)
    (prompt,) = loaded.rows
    assert loaded.report.format == sample.format
    assert ((prompt.answer or "",), loaded.report.unanswered) == (sample.trained, int(not sample.trained[0]))
    before = len(prompt.token_ids)
    answers = [TOKENIZER(text, add_special_tokens=False)["input_ids"] for text in (prompt.answer or "four", "another")]
    rows = [
        Demonstration(prompt.prompt_id, (*prompt.token_ids, *own), (0,) * before + (1,) * len(own)) for own in answers
    ]  # type: ignore[misc]
    policy = TinyPolicy()
    start = policy.of(rows)
    (-(policy.outputs(collate(rows, 0)).log_probs_BT.sum(1) * torch.tensor([0.5, -0.5])).sum()).backward()
    policy.optimizer_step()
    gained = [now - was for now, was in zip(policy.of(rows), start, strict=True)]
    assert gained[0] > gained[1]


def test_there_are_twenty_public_data_sets():
    assert len({sample.name for sample in PUBLIC}) >= 20


def test_the_page_is_made_of_the_samples():
    found = Path(__file__).parents[2] / "docs" / "data_formats.md"
    assert found.read_text(encoding="utf-8") == page(), "python tests/support/format_samples.py > docs/data_formats.md"

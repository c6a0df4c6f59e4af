"""Prompts read from a file, and a sampler that says what it is told: for methods that make data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rlsys.config.dataset import DatasetConfig
from rlsys.config.sampling import Sampling
from rlsys.data.load import load_prompts
from rlsys.methods.base import Experience, Step
from rlsys.playground.models import byte_tokenizer
from rlsys.samples import Abstention, Group, Prompt, RewardResult, Score, Trajectory

TOKENIZER = byte_tokenizer()
EOS = 258
STEP = Step(number=1, version=0, seed=0)


class Scripted:
    """Answers with the texts that it was given, in turn."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = answers

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        for number, prompt in enumerate(prompts):
            texts = self.answers[number % len(self.answers)]
            assert len(texts) == sampling.n
            yield Group(prompt, tuple(sample(prompt, index, text, tag) for index, text in enumerate(texts)))


def sample(prompt: Prompt, index: int, text: str, tag: str) -> Trajectory:
    response = [*text.encode(), EOS]
    before = len(prompt.token_ids)
    return Trajectory(
        sample_id=f"{tag}/{prompt.prompt_id}/{prompt.epoch}/{index}",
        prompt_id=prompt.prompt_id,
        sample_index=index,
        token_ids=[*prompt.token_ids, *response],
        loss_mask=[0] * before + [1] * len(response),
        log_probs=[0.0] * before + [-1.0] * len(response),
        policy_versions=[-1] * before + [0] * len(response),
        finish_reason="stop",
        text=text,
    )


def length(prompt: Prompt, trajectory: Trajectory) -> RewardResult:
    """One point for each letter; refuses answers that begin with a question mark."""
    return Abstention("no idea") if trajectory.text.startswith("?") else Score(float(len(trajectory.text)))


def prompts(file: Path, lines: Sequence[str], **settings: Any) -> list[Prompt]:
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return load_prompts(DatasetConfig(path=str(file), **settings), TOKENIZER, 100, strict=True, quarantine=None).rows


def asked(tmp_path: Path, count: int) -> list[Prompt]:
    return prompts(tmp_path / "prompts.jsonl", ['{"prompt": "q"}'] * count)


def counts(experience: Experience) -> dict[str, float]:
    return {
        name.removeprefix("dataset/"): count
        for name, count in experience.metrics.items()
        if name.startswith("dataset/") and count
    }

"""Makes a preference data set: samples answers, scores them with the experiment's rewards, writes which is better.
Trains nothing.

The rows (`dataset.jsonl` in the run's folder) are what `rlsys.data.load.load_comparisons` reads. They hold text, so an
answer is tokenised anew there, and an EOS follows it. That gives the sampled tokens back for a tokenizer of bytes and
valid UTF-8; any other may cut the same text into other tokens, and special tokens within an answer are lost. An answer
that ran into the token limit is read as if it had ended. A `system_prompt` is not in the row, because it belongs to a
data set's settings: whoever reads the rows sets the same one.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from rlsys.data.stream import Source
from rlsys.methods.base import Experience, Facts, MethodConfig, Step
from rlsys.methods.shared.makes_data import MakesData, counted, different_texts, prompt_columns
from rlsys.methods.shared.sampling import collect_groups, rollout_metrics
from rlsys.roles import Roles
from rlsys.samples import Score, ScoredGroup, Trajectory, stable_seed

Reason = Literal["unscored", "empty", "equal_texts", "tied"]
"""Why a prompt makes no row: fewer than two of its answers have a score, of these fewer than two have text, or two
different texts, or all of these have one score."""
REASONS: tuple[Reason, ...] = ("unscored", "empty", "equal_texts", "tied")


class Config(MethodConfig):
    name: str = "label_by_reward"
    """This file."""
    prompts_per_step: PositiveInt = 256
    """Prompts of one step; the data set comes from loop.steps of them."""
    answers: int = Field(default=2, ge=2)
    """Samples per prompt: two make a pair, more make a ranking."""
    label_temperature: NonNegativeFloat = 0.0
    """The annotator prefers a to b with probability sigmoid((score a - score b) / label_temperature), as Bradley and
    Terry assume; 0 is always the better one."""
    label_noise: float = Field(default=0.0, ge=0, le=1)
    """Then each pair is turned round with this probability."""

    @property
    def facts(self) -> Facts:
        return Facts(
            rows="prompts",
            needs=frozenset({"rollout", "reward"}),
            makes="data set",
            rows_per_step=self.prompts_per_step,
            samples_per_prompt=self.answers,
        )

    @model_validator(mode="after")
    def _pairs_are_turned(self) -> Self:
        if self.label_noise and self.answers > 2:
            raise ValueError(
                "label_noise: turns pairs round, and answers above 2 make rankings; set label_temperature instead"
            )
        return self


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    trajectory: Trajectory
    score: float


@dataclass(frozen=True)
class Method(MakesData[Config]):
    def collect(self, roles: Roles, source: Source, step: Step) -> Experience:
        """Metrics that begin with `dataset/` count prompts: each is either among the `rows` or has one `Reason`; of the
        rows, `mislabelled` ones contradict the scores."""
        prompts = source.take(self.config.prompts_per_step)
        groups = collect_groups(roles, prompts, self.sampling.sampling(self.config.answers), tag=f"train-{step.number}")
        counts = Counter[str]()
        rows: list[dict[str, Any]] = []
        for group in groups:
            answers = comparable(group)
            if isinstance(answers, str):
                counts[answers] += 1
                continue
            ranked = self.ranked(
                answers, Random(stable_seed(step.seed, "label", group.prompt.prompt_id, group.prompt.epoch))
            )
            rows.append(row(group, ranked))
            counts["rows"] += 1
            counts["mislabelled"] += ranked != sorted(ranked, key=lambda graded: -graded[0].score)
        metrics = rollout_metrics(groups) | counted(counts, ("rows", "mislabelled", *REASONS))
        return Experience(version=step.version, groups=tuple(groups), rows=tuple(rows), metrics=metrics)

    def ranked(self, answers: Sequence[ScoredAnswer], chance: Random) -> list[tuple[ScoredAnswer, float]]:
        """Best first, each with the grade that the annotator gives it: the score plus `label_temperature` times a
        standard Gumbel variable.

        Sorted by such grades, a goes before b with Bradley and Terry's probability, and more answers follow Plackett
        and Luce (Yellott 1977). The same numbers are drawn whatever the settings: label noise changes nothing but the
        rows that it turns round.
        """
        noise = [-math.log(chance.expovariate(1.0) or sys.float_info.min) for _ in answers]
        turned = chance.random() < self.config.label_noise
        graded = [
            (answer, answer.score + self.config.label_temperature * gumbel)
            for answer, gumbel in zip(answers, noise, strict=True)
        ]
        return sorted(graded, key=lambda pair: pair[1], reverse=not turned)


def comparable(group: ScoredGroup) -> list[ScoredAnswer] | Reason:
    """Scored answers that have text, the first of each text; or why they say nothing."""
    scored = [
        ScoredAnswer(trajectory, result.value)
        for trajectory, result in zip(group.trajectories, group.results, strict=True)
        if isinstance(result, Score)
    ]
    if len(scored) < 2:
        return "unscored"
    different = different_texts([answer.trajectory for answer in scored])
    if isinstance(different, str):
        return different
    kept = {sample.sample_id for sample in different}
    answers = [answer for answer in scored if answer.trajectory.sample_id in kept]
    return answers if len({answer.score for answer in answers}) > 1 else "tied"


def row(group: ScoredGroup, ranked: Sequence[tuple[ScoredAnswer, float]]) -> dict[str, Any]:
    """{prompt, chosen, rejected, ...} of a group of two, {prompt, answers, grades, ...} of a larger one."""
    common = prompt_columns(group.prompt)
    texts = [answer.trajectory.text for answer, _ in ranked]
    scores = [answer.score for answer, _ in ranked]
    ids = [answer.trajectory.sample_id for answer, _ in ranked]
    if len(group.trajectories) > 2:
        return {
            **common,
            "answers": texts,
            "grades": [grade for _, grade in ranked],
            "scores": scores,
            "sample_ids": ids,
        }
    pair = {"chosen": texts[0], "rejected": texts[1], "chosen_score": scores[0], "rejected_score": scores[1]}
    return {**common, **pair, "chosen_id": ids[0], "rejected_id": ids[1]}

"""Held-out measures: rewards and accuracy of answers to held-out prompts, or what a method measures on rows of its
own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Protocol, runtime_checkable

from rlsys.batch import ScoredBatch
from rlsys.config.experiment import EvaluationConfig
from rlsys.config.sampling import SamplingConfig
from rlsys.methods.base import Measures
from rlsys.methods.shared.sampling import collect_groups, mean_parts
from rlsys.roles import Roles
from rlsys.run import pass_at_k, signals
from rlsys.run.win_rate import SAMPLED, win_rate
from rlsys.samples import Abstention, Prompt, Sample, Score, ScoredGroup


@dataclass(frozen=True, slots=True)
class Judgement:
    """Says which answers are right, and which are better."""

    part: str | None
    """Of the reward: an answer is right whose `part` reaches `pass_score`. With None of either, nothing is called right
    or wrong."""
    pass_score: float | None
    better_by: str | None = None
    """The part of the reward by which answers are better or worse; None is the whole reward."""

    def accuracy(self, groups: Sequence[ScoredGroup]) -> float | None:
        """Right answers over scored answers; abstentions are not counted as wrong. None when nothing was scored or is
        judged."""
        part, least = self.part, self.pass_score
        if part is None or least is None:
            return None
        right = [
            result.parts[part] >= least for group in groups for result in group.results if isinstance(result, Score)
        ]
        return sum(right) / len(right) if right else None

    def is_right(self, score: Score) -> bool:
        """Where nothing is called right or wrong, nothing is right."""
        return self.part is not None and self.pass_score is not None and score.parts[self.part] >= self.pass_score


@dataclass(frozen=True)
class Evaluation:
    """The outcome: metrics by name, every sample for the ledger, and the number that picks the best checkpoint (None:
    nothing was scored)."""

    metrics: dict[str, float]
    groups: tuple[ScoredGroup, ...] = ()
    score: float | None = None


class Evaluator(Protocol):
    def __call__(self, roles: Roles, step: int) -> Evaluation: ...

    def accuracy(self, groups: Sequence[ScoredGroup]) -> float | None:
        """The same judgement on training samples."""
        ...


@runtime_checkable
class ComparesWithStart(Protocol):
    """An evaluator that can tell how the model does against the one that the run began with."""

    def against_start(self, groups: Sequence[ScoredGroup], start: Sequence[Sample]) -> dict[str, float]:
        """Metrics of an evaluation's `groups` beside what was recorded of step 0."""
        ...


@dataclass(frozen=True)
class AnswerEvaluator:
    """Held-out prompts and how to sample and judge them."""

    prompts: tuple[Prompt, ...]
    config: EvaluationConfig
    sampling: SamplingConfig
    judgement: Judgement
    pad_id: int
    trusted: signals.Trusted | None = None
    """What the reward is held against."""

    def __call__(self, roles: Roles, step: int) -> Evaluation:
        """Rewards and accuracy, sampled (these decide which checkpoint is best) and greedy."""
        modes = {}
        if self.config.greedy:
            modes["greedy"] = self.sampling.greedy()
        if self.config.samples:
            modes["sampled"] = self.sampling.sampling(self.config.samples)
        metrics: dict[str, float] = {}
        groups: list[ScoredGroup] = []
        score = None
        for mode, sampling in modes.items():
            tag = f"{SAMPLED}{step}" if mode == "sampled" else f"eval-{mode}-{step}"
            scored = collect_groups(roles, self.prompts, sampling, tag)
            groups += scored
            measured = self.measure(roles, scored, mode == "sampled")
            metrics |= {f"eval/{name}_{mode}": value for name, value in measured.items()}
            score = measured.get("accuracy", measured.get(self.judgement.better_by or "reward"))
        return Evaluation(metrics, tuple(groups), score)

    def measure(self, roles: Roles, groups: Sequence[ScoredGroup], sampled: bool) -> dict[str, float]:
        metrics = mean_parts(result for group in groups for result in group.results)
        metrics["reward"] = fmean(score for group in groups for score in group.scores)
        accuracy = self.accuracy(groups)
        if accuracy is not None:
            metrics["accuracy"] = accuracy
        if self.trusted is not None and (exploits := self.trusted.exploits(groups)) is not None:
            metrics["exploits"] = exploits
        if sampled:
            metrics |= signals.of_answers(groups)
            config = self.config
            metrics |= pass_at_k.measured(groups, self.judgement.is_right, config.pass_at, config.majority, config)
        metrics["abstained"] = float(
            sum(isinstance(result, Abstention) for group in groups for result in group.results)
        )
        # Greedy answers are not drawn from the policy, so they estimate no KL.
        if sampled and roles.reference is not None and roles.policy is not None:
            batch, temperature = ScoredBatch.from_groups(groups, self.pad_id), self.sampling.temperature
            gap_BT = roles.policy.log_probs(batch, temperature) - roles.reference.log_probs(batch, temperature)
            metrics["kl"] = float(gap_BT.sum(1).mean())
        return metrics

    def accuracy(self, groups: Sequence[ScoredGroup]) -> float | None:
        return self.judgement.accuracy(groups)

    def against_start(self, groups: Sequence[ScoredGroup], start: Sequence[Sample]) -> dict[str, float]:
        """`eval/win_rate_sampled`, how often the sampled answers are better than those of step 0; how much they have
        grown; and `eval/proxy_gap_sampled`, by how much the reward has run away from what it stands for."""
        found = {"win_rate": win_rate(groups, start, self.judgement.better_by), **signals.growth(groups, start)}
        if self.trusted is not None:
            found["proxy_gap"] = self.trusted.gap(groups, start)
        return {f"eval/{name}_sampled": value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class RowEvaluator:
    """Held-out rows of a method that measures itself."""

    rows: tuple[Any, ...]
    method: Measures

    def __call__(self, roles: Roles, step: int) -> Evaluation:
        measured = self.method.measure(roles, self.rows)
        return Evaluation({f"eval/{name}": value for name, value in measured.metrics.items()}, score=measured.score)

    def accuracy(self, groups: Sequence[ScoredGroup]) -> float | None:
        return None


@dataclass(frozen=True)
class AnsweredEvaluator:
    """Held-out prompts with their answers: what the method measures on these, and beside it the policy's own
    answers, whose score decides."""

    of_rows: RowEvaluator
    of_answers: AnswerEvaluator

    def __call__(self, roles: Roles, step: int) -> Evaluation:
        sampled = self.of_answers(roles, step)
        return replace(sampled, metrics=self.of_rows(roles, step).metrics | sampled.metrics)

    def accuracy(self, groups: Sequence[ScoredGroup]) -> float | None:
        return self.of_answers.accuracy(groups)

    def against_start(self, groups: Sequence[ScoredGroup], start: Sequence[Sample]) -> dict[str, float]:
        return self.of_answers.against_start(groups, start)

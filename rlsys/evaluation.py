"""Held-out accuracy: the share of answers that the chosen reward calls right, sampled and greedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlsys.batch import Abstention, Prompt, Score, ScoredGroup
from rlsys.config.models import EvaluationConfig, SamplingConfig
from rlsys.roles import Roles
from rlsys.rollouts import collect_groups


@dataclass(frozen=True, slots=True)
class Judgement:
    """Says which results are right: those whose reward `part` reaches `pass_score`."""

    part: str
    pass_score: float

    def accuracy(self, groups: Sequence[ScoredGroup]) -> float | None:
        """Right answers over scored answers; abstentions are not counted as wrong. None when nothing was scored."""
        right = [result.parts[self.part] >= self.pass_score for group in groups for result in group.results if isinstance(result, Score)]
        return sum(right) / len(right) if right else None


@dataclass(frozen=True)
class Evaluation:
    """The outcome: metrics by name, and every sample for the ledger."""

    metrics: dict[str, float]
    groups: tuple[ScoredGroup, ...]

    @property
    def score(self) -> float | None:
        """The number that picks the best checkpoint: sampled accuracy where it was measured, else greedy."""
        return self.metrics.get("eval/accuracy_sampled", self.metrics.get("eval/accuracy_greedy"))


@dataclass(frozen=True)
class Evaluator:
    """Held-out prompts and how to sample and judge them."""

    prompts: tuple[Prompt, ...]
    config: EvaluationConfig
    sampling: SamplingConfig
    judgement: Judgement

    def __call__(self, roles: Roles, step: int) -> Evaluation:
        modes = {}
        if self.config.samples:
            modes["sampled"] = self.sampling.sampling(self.config.samples)
        if self.config.greedy:
            modes["greedy"] = self.sampling.greedy()
        metrics: dict[str, float] = {}
        groups: list[ScoredGroup] = []
        for mode, sampling in modes.items():
            scored = collect_groups(roles, self.prompts, sampling, tag=f"eval-{mode}-{step}")
            groups += scored
            accuracy = self.judgement.accuracy(scored)
            if accuracy is not None:
                metrics[f"eval/accuracy_{mode}"] = accuracy
            metrics[f"eval/abstained_{mode}"] = float(sum(isinstance(r, Abstention) for group in scored for r in group.results))
        return Evaluation(metrics, tuple(groups))

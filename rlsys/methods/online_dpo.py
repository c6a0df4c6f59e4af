"""Online DPO: sample, rank, train on the best against the worst, sync, repeat (Guo et al. 2024, OAIF, arXiv 2402.04792;
with k samples and a verifiable reward as in Pang et al. 2024, arXiv 2404.19733, who add a likelihood term:
`sft_weight`). With the policy as its own judge (`judge.backend: rollout`) it is a self-rewarding language model (Yuan
et al. 2024, arXiv 2401.10020), trained step by step instead of in rounds.

The loss is any of `rlsys.objectives.preference_loss`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from pydantic import Field, PositiveInt

from rlsys.batch import ComparisonBatch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate
from rlsys.data.stream import Source
from rlsys.methods.base import Experience, Facts, Learned, Step
from rlsys.methods.shared.preferences import LossSettings, with_reference
from rlsys.methods.shared.sampling import collect_groups, rollout_metrics
from rlsys.methods.shared.update import update
from rlsys.objectives.preference_loss import PreferenceKind, PreferenceLoss
from rlsys.roles import Roles
from rlsys.samples import Score, ScoredGroup, Trajectory, stable_seed

Reason = Literal["unscored", "tied", "equal"]
"""Why a prompt makes no pair: fewer than two of its samples have a score, these have one score, or the best and the
worst are the same tokens."""
REASONS: tuple[Reason, ...] = ("unscored", "tied", "equal")


class Config(LossSettings):
    name: str = "online_dpo"
    """This file."""
    kind: PreferenceKind = "dpo"
    """The loss: that of the method of the same name."""
    prompts_per_step: PositiveInt = 64
    """Prompts of one training step."""
    group_size: int = Field(default=2, ge=2)
    """Samples per prompt, of which the best and the worst make the pair."""
    epochs: PositiveInt = 1
    """Passes over each step's pairs."""
    mini_batches: PositiveInt = 1
    """Optimizer steps per pass. A step with fewer pairs takes fewer, and one without any none, while policy.schedule is
    laid out over all that there may be: where pairs are few, the learning rate ends above the schedule's last one."""

    @property
    def facts(self) -> Facts:
        return Facts(
            rows="prompts",
            needs=frozenset({"policy", "rollout", "reward", *(("reference",) if self.loss().needs_reference else ())}),
            updates_per_step=self.epochs * self.mini_batches,
            rows_per_step=self.prompts_per_step,
            samples_per_prompt=self.group_size,
            rows_together=2,
        )

    @property
    def loss_kind(self) -> PreferenceKind:
        return self.kind


@dataclass(frozen=True, slots=True)
class BestAndWorst:
    """The best and the worst sample of a prompt."""

    name: str
    chosen: Trajectory
    rejected: Trajectory


@dataclass(frozen=True)
class Pairs(Experience):
    pairs: tuple[BestAndWorst, ...] = ()


@dataclass(frozen=True)
class Method:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    @cached_property
    def loss(self) -> PreferenceLoss:
        return self.config.loss(self.sampling.temperature)

    def collect(self, roles: Roles, source: Source, step: Step) -> Pairs:
        """Metrics that begin with `dataset/` count prompts: each gives one of the `pairs`, or has one `Reason`."""
        prompts = source.take(self.config.prompts_per_step)
        groups = collect_groups(
            roles, prompts, self.sampling.sampling(self.config.group_size), tag=f"train-{step.number}"
        )
        found = [pair_of(group) for group in groups]
        pairs = tuple(pair for pair in found if isinstance(pair, BestAndWorst))
        counts = Counter("pairs" if isinstance(pair, BestAndWorst) else pair for pair in found)
        metrics = rollout_metrics(groups) | {f"dataset/{name}": float(counts[name]) for name in ("pairs", *REASONS)}
        return Pairs(step.version, tuple(groups), metrics=metrics, pairs=pairs)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        """A step without any pair changes nothing. The advantage of a chosen sample is 1, that of a rejected one -1."""
        assert isinstance(experience, Pairs)
        assert roles.policy is not None
        if not experience.pairs:
            return Learned({})
        batch = with_reference(collate_pairs(experience.pairs, self.pad_id), self.loss, roles.reference)
        stats = update(
            roles.policy, batch, self.loss, self.config.epochs, self.config.mini_batches, step.seed, step.number
        )
        sides = {pair.chosen.sample_id: 1.0 for pair in experience.pairs} | {
            pair.rejected.sample_id: -1.0 for pair in experience.pairs
        }
        return Learned(stats, sides)


def pair_of(group: ScoredGroup) -> BestAndWorst | Reason:
    """The first of its best samples against the first of its worst ones; abstentions are neither."""
    scored = [
        (sample, result.value)
        for sample, result in zip(group.trajectories, group.results, strict=True)
        if isinstance(result, Score)
    ]
    if len(scored) < 2:
        return "unscored"
    (chosen, most), (rejected, least) = (pick(scored, key=lambda one: one[1]) for pick in (max, min))
    if most == least:
        return "tied"
    if chosen.token_ids == rejected.token_ids:
        return "equal"
    return BestAndWorst(f"{group.prompt.prompt_id}/{group.prompt.epoch}", chosen, rejected)


def collate_pairs(pairs: Sequence[BestAndWorst], pad_id: int) -> ComparisonBatch:
    """Two rows per pair, the chosen answer first."""
    batch = collate([sample for pair in pairs for sample in (pair.chosen, pair.rejected)], pad_id)
    return ComparisonBatch(
        **vars(batch),
        unit_B=torch.arange(len(pairs)).repeat_interleave(2),
        grade_B=torch.tensor([1.0, 0.0] * len(pairs)),
        preference_B=torch.ones(len(batch)),
        comparison_id_B=torch.tensor([stable_seed(pair.name) for pair in pairs]).repeat_interleave(2),
    )

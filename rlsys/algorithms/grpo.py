"""GRPO: group-relative policy optimization (Shao et al. 2024, DeepSeekMath, section 4.1), with the options that later papers added.

Generate G samples per prompt, score them, take the advantage relative to the group, step on the clipped surrogate. No critic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from rlsys.algorithm import Experience, Learned, Step
from rlsys.batch import PolicyBatch, ScoredBatch, ScoredGroup
from rlsys.config.base import Model
from rlsys.config.models import SamplingConfig
from rlsys.data.stream import Stream
from rlsys.errors import ConfigError
from rlsys.objectives.advantages import group_relative
from rlsys.objectives.kl import KL_ESTIMATORS, KlName
from rlsys.objectives.off_policy import SequenceTruncation, TokenTruncation
from rlsys.objectives.policy_loss import ClippedSurrogate, PolicyGradientLoss
from rlsys.objectives.reduction import ReductionName, make_reduction
from rlsys.roles import Roles
from rlsys.rollouts import collect_groups, punish_overlong, rollout_metrics, scored_ids
from rlsys.update import update

CORRECTIONS = {"token": TokenTruncation, "sequence": SequenceTruncation}


class Config(Model):
    name: str = "grpo"
    """This file."""
    prompts_per_step: PositiveInt = 32
    """Prompts of one training step."""
    group_size: int = Field(default=8, ge=2)
    """Samples per prompt."""
    epochs: PositiveInt = 1
    """Passes over each step's samples."""
    mini_batches: PositiveInt = 1
    """Optimizer steps per pass."""
    scale_by_std: bool = True
    """Divide the advantage by the group's standard deviation; false is Dr. GRPO (Liu et al. 2025)."""
    clip_low: PositiveFloat = 0.2
    """The probability ratio is clipped from below at 1 - clip_low."""
    clip_high: PositiveFloat = 0.2
    """The probability ratio is clipped from above at 1 + clip_high; 0.28 is DAPO's clip-higher (Yu et al. 2025)."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Bound on the ratio for negative advantages (Ye et al. 2020); none is off."""
    reduction: ReductionName = "sequence_mean"
    """Mean over tokens (DAPO), over sequences of their token means (GRPO), or sum over sampling.max_tokens (Dr. GRPO)."""
    kl_coef: NonNegativeFloat = 0.0
    """Weight of the KL to the reference in the loss; above 0 a reference actor is started."""
    kl_estimator: KlName = "k3"
    """Estimator of that KL (Schulman 2020)."""
    entropy_coef: NonNegativeFloat = 0.0
    """Weight of an entropy bonus."""
    importance_sampling: Literal["off", "token", "sequence"] = "token"
    """Correct for the sampler's log-probs being not quite the trainer's, with truncated weights per token or per sequence."""
    importance_cap: PositiveFloat = 2.0
    """Those weights are truncated here."""
    equal_groups: Literal["keep", "drop", "resample"] = "keep"
    """Groups whose rewards are all equal teach nothing: keep them, leave them out, or draw other prompts for them (DAPO's dynamic sampling)."""
    max_resamples: PositiveInt = 4
    """With `resample`: rounds of further prompts before going on with fewer groups."""
    overlong_buffer: NonNegativeInt = 0
    """Responses that end within so many tokens of sampling.max_tokens lose up to 1 point, linearly (DAPO); 0 is off."""


@dataclass(frozen=True)
class Samples(Experience):
    kept: tuple[ScoredGroup, ...] = ()
    """The groups to train on."""


@dataclass(frozen=True)
class Algorithm:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    rows = "prompts"

    def __post_init__(self) -> None:
        config, samples = self.config, self.config.prompts_per_step * self.config.group_size
        if config.overlong_buffer > self.sampling.max_tokens:
            raise ConfigError(f"algorithm.overlong_buffer: {config.overlong_buffer} exceeds sampling.max_tokens={self.sampling.max_tokens}")
        if config.mini_batches > samples:
            raise ConfigError(f"algorithm.mini_batches: {config.mini_batches} is more than the {samples} samples of a step")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"policy", "rollout", "reward"} | ({"reference"} if self.config.kl_coef else set()))

    @property
    def updates_per_step(self) -> int:
        return self.config.epochs * self.config.mini_batches

    def collect(self, roles: Roles, source: Stream, step: Step) -> Samples:
        """Sample and score; with `resample`, go on until enough groups have something to teach."""
        config = self.config
        sampled: list[ScoredGroup] = []
        kept: list[ScoredGroup] = []
        rounds = 1 + (config.max_resamples if config.equal_groups == "resample" else 0)
        for _ in range(rounds):
            prompts = source.take(config.prompts_per_step - len(kept))
            groups = collect_groups(roles, prompts, self.sampling.sampling(config.group_size), tag=f"train-{step.number}")
            if config.overlong_buffer:
                groups = punish_overlong(groups, self.sampling.max_tokens, config.overlong_buffer)
            sampled += groups
            # A group with one scored sample has nothing to be compared with: it teaches nothing, and its abstentions are counted.
            several = [group for group in groups if len(group.scores) > 1]
            kept += [group for group in several if config.equal_groups == "keep" or len(set(group.scores)) > 1]
            if len(kept) == config.prompts_per_step:
                break
        metrics = rollout_metrics(sampled) | {"rollout/groups_left_out": float(len(sampled) - len(kept))}
        return Samples(version=step.version, groups=tuple(sampled), metrics=metrics, kept=tuple(kept))

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Samples)
        groups = [group for group in experience.kept if len(group.scores) > 1]
        if not groups:
            return Learned({})
        scored = ScoredBatch.from_groups(groups, self.pad_id)
        advantages_B = group_relative(scored.rewards_B, scored.group_index_B, self.config.scale_by_std)
        batch = self.policy_batch(roles, scored, advantages_B)
        stats = update(roles.policy, batch, self.loss, self.config.epochs, self.config.mini_batches, step.seed, step.number)
        return Learned(stats, dict(zip(scored_ids(groups), advantages_B.tolist(), strict=True)))

    def policy_batch(self, roles: Roles, scored: ScoredBatch, advantages_B: Tensor) -> PolicyBatch:
        temperature = self.sampling.temperature
        several_updates = self.updates_per_step > 1
        return PolicyBatch(
            **vars(scored),
            advantages_BT=advantages_B[:, None] * scored.loss_mask_BT,
            old_log_probs_BT=roles.policy.log_probs(scored, temperature) if several_updates else None,
            reference_log_probs_BT=roles.reference.log_probs(scored, temperature) if roles.reference else None,
        )

    @property
    def loss(self) -> PolicyGradientLoss:
        config = self.config
        return PolicyGradientLoss(
            temperature=self.sampling.temperature,
            surrogate=ClippedSurrogate(config.clip_low, config.clip_high, config.dual_clip),
            reduction=make_reduction(config.reduction, self.sampling.max_tokens),
            kl_coefficient=config.kl_coef,
            kl_estimator=KL_ESTIMATORS[config.kl_estimator],
            entropy_coefficient=config.entropy_coef,
            correction=CORRECTIONS[config.importance_sampling](config.importance_cap) if config.importance_sampling != "off" else None,
        )

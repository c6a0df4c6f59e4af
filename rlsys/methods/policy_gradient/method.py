"""Sample, score, compare with a baseline, step on a surrogate: PPO, GRPO and their relatives, by the axes of
`settings.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from rlsys.batch import Batch, PolicyBatch, ScoredBatch, ValueBatch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate
from rlsys.data.mixture import WithPretraining
from rlsys.data.stream import Source
from rlsys.errors import ConfigError
from rlsys.methods.base import Experience, Learned, Step
from rlsys.methods.policy_gradient.estimate import Estimate, estimate
from rlsys.methods.policy_gradient.losses import policy_loss
from rlsys.methods.policy_gradient.settings import IN_GROUPS, Settings
from rlsys.methods.policy_gradient.shaping import (
    adapt_kl_coef,
    current_kl_coef,
    ended,
    response_kl,
    shaped_scores,
    token_kl,
    token_rewards,
)
from rlsys.methods.shared.sampling import collect_groups, punish_overlong, rollout_metrics, scored_samples
from rlsys.methods.shared.update import update
from rlsys.objectives.advantages import explained_variance
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.objectives.stats import Mean, Stats
from rlsys.objectives.value_loss import ClippedValueLoss
from rlsys.roles import Roles
from rlsys.samples import ScoredGroup
from rlsys.side_by_side import side_by_side

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Samples(Experience):
    kept: tuple[ScoredGroup, ...] = ()
    """The groups to train on."""
    greedy: Mapping[tuple[str, int], float] | None = None
    """Score of the greedy answer, by prompt and epoch."""
    pretraining: Batch | None = None


@dataclass(frozen=True)
class Models:
    """What the models say of the samples before the update. float32 [B, T]; None where nobody asked."""

    log_probs_BT: Tensor | None = None
    reference_BT: Tensor | None = None
    values_BT: Tensor | None = None


@dataclass(frozen=True)
class PolicyGradient:
    config: Settings
    sampling: SamplingConfig
    pad_id: int

    def collect(self, roles: Roles, source: Source, step: Step) -> Samples:
        """Sample and score; with `resample`, go on until enough groups have something to teach."""
        config = self.config
        sampled: list[ScoredGroup] = []
        kept: list[ScoredGroup] = []
        rounds = 1 + (config.max_resamples if config.equal_groups == "resample" else 0)
        for _ in range(rounds):
            prompts = source.take(config.prompts_per_step - len(kept))
            groups = collect_groups(
                roles, prompts, self.sampling.sampling(config.group_size), tag=f"train-{step.number}"
            )
            # What its rewards say decides, not how long its answers are.
            teaches = [
                self.compares(group) and (config.equal_groups == "keep" or len(set(group.scores)) > 1)
                for group in groups
            ]
            groups = self.punished(groups)
            sampled += groups
            kept += [group for group, taught in zip(groups, teaches, strict=True) if taught]
            if len(kept) == config.prompts_per_step:
                break
        greedy, beside = self.greedy_baselines(roles, kept, step) if config.baseline == "greedy" else (None, ())
        kept = [group for group in kept if greedy is None or (group.prompt.prompt_id, group.prompt.epoch) in greedy]
        metrics = rollout_metrics(sampled) | {"rollout/groups_left_out": float(len(sampled) - len(kept))}
        return Samples(step.version, tuple(sampled), beside, (), metrics, tuple(kept), greedy, self.pretraining(source))

    def punished(self, groups: Sequence[ScoredGroup]) -> list[ScoredGroup]:
        buffer = round(self.config.overlong_share * self.sampling.max_tokens)
        return punish_overlong(groups, self.sampling.max_tokens, buffer) if buffer else list(groups)

    def compares(self, group: ScoredGroup) -> bool:
        """Whether its samples have something to be compared with; what is left out for its abstentions is counted."""
        return len(group.scores) > (1 if self.config.baseline in IN_GROUPS else 0)

    def greedy_baselines(
        self, roles: Roles, groups: list[ScoredGroup], step: Step
    ) -> tuple[dict[tuple[str, int], float], tuple[ScoredGroup, ...]]:
        """The score of the greedy answer to each group's prompt, where it has one, shaped as the samples' are; and
        those answers."""
        answers = collect_groups(
            roles, [group.prompt for group in groups], self.sampling.greedy(), tag=f"greedy-{step.number}"
        )
        scored = [answer for answer in self.punished(answers) if answer.scores]
        shaped_B = ended(self.config, torch.tensor([answer.scores[0] for answer in scored]), scored_samples(scored))
        names = [(answer.prompt.prompt_id, answer.prompt.epoch) for answer in scored]
        return dict(zip(names, shaped_B.tolist(), strict=True)), tuple(answers)

    def pretraining(self, source: Source) -> Batch | None:
        if not self.config.ptx_coef:
            return None
        if not isinstance(source, WithPretraining):
            raise ConfigError(
                "method.ptx_coef needs data.pretrain, the text to go on imitating; give it, or set ptx_coef to 0"
            )
        return collate(source.pretraining.take(self.config.ptx_batch * self.config.facts.updates_per_step), self.pad_id)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Samples)
        config, memory = self.config, dict(step.memory)
        groups = [group for group in experience.kept if self.compares(group)]
        if not groups:
            return Learned({}, memory=memory)
        scored = ScoredBatch.from_groups(groups, self.pad_id)
        greedy_B = None
        if experience.greedy is not None:
            greedy_B = torch.tensor(
                [
                    experience.greedy[group.prompt.prompt_id, group.prompt.epoch]
                    for group in groups
                    for _ in group.scores
                ]
            )
        models = self.ask(roles, scored)
        coefficient = current_kl_coef(config, memory)
        scores_B = shaped_scores(config, scored.rewards_B, groups, memory)
        kl_BT, measured_kl = None, None
        if models.log_probs_BT is not None and models.reference_BT is not None:
            kl_BT = token_kl(config, models.log_probs_BT, models.reference_BT, scored.loss_mask_BT)
            measured_kl = response_kl(models.log_probs_BT, models.reference_BT)
            if step.number > config.critic_warmup:
                adapt_kl_coef(config, coefficient, measured_kl, len(scored), memory)
        rewards_BT = token_rewards(config, scored, scores_B, kl_BT, coefficient)
        estimated = estimate(config, scored, rewards_BT, models.values_BT, greedy_B)
        stats = self.update(roles, scored, models, estimated, experience.pretraining, coefficient, step)
        if roles.reference is not None:
            stats |= {
                "kl_coef": Mean(coefficient, 1.0),
                "non_score_reward": Mean(float((rewards_BT.sum(1) - scores_B).sum()), len(scored)),
            }
        if measured_kl is not None:
            stats["kl_per_response"] = Mean(measured_kl, 1.0)
        per_sample_B = estimated.advantages_BT.sum(1) / scored.loss_mask_BT.sum(1).clamp(min=1)
        ids = [sample.sample_id for sample in scored_samples(groups)]
        return Learned(stats, dict(zip(ids, per_sample_B.tolist(), strict=True)), memory)

    def ask(self, roles: Roles, batch: ScoredBatch) -> Models:
        """Forward passes of policy, reference and critic, side by side. The policy's own are needed where one step's
        ratios are not all 1, and where the KL is a reward or steers its own weight."""
        config, temperature = self.config, self.sampling.temperature
        policy, reference, critic = roles.policy, roles.reference, roles.critic
        assert policy is not None
        needs_old = self.config.facts.updates_per_step > 1 or (
            reference is not None and (config.kl_in == "reward" or config.kl_target is not None)
        )
        calls: dict[str, Callable[[], Tensor]] = {}
        if needs_old:
            calls["log_probs_BT"] = partial(policy.log_probs, batch, temperature)
        if reference is not None:
            calls["reference_BT"] = partial(reference.log_probs, batch, temperature)
        if critic is not None:
            calls["values_BT"] = partial(critic.values, batch)
        return Models(**side_by_side(calls))

    def update(
        self,
        roles: Roles,
        scored: ScoredBatch,
        models: Models,
        estimated: Estimate,
        pretraining: Batch | None,
        kl_coef: float,
        step: Step,
    ) -> Stats:
        """Policy and critic learn side by side."""
        config = self.config
        assert roles.policy is not None
        batch = PolicyBatch(
            **vars(scored),
            advantages_BT=estimated.advantages_BT,
            old_log_probs_BT=models.log_probs_BT,
            reference_log_probs_BT=models.reference_BT,
        )
        loss = policy_loss(config, self.sampling, kl_coef)
        passes = (config.epochs, config.mini_batches, step.seed, step.number)
        beside = (pretraining, CrossEntropyLoss(weight=config.ptx_coef)) if pretraining is not None else None
        calls: dict[str, Callable[[], Stats]] = {}
        if roles.critic is None or step.number > config.critic_warmup:
            calls["policy"] = partial(update, roles.policy, batch, loss, *passes, beside=beside)
        if roles.critic is not None:
            assert models.values_BT is not None
            assert estimated.returns_BT is not None
            rows = Batch(scored.token_ids_BT, scored.loss_mask_BT, scored.lengths_B)
            values = ValueBatch(**vars(rows), old_values_BT=models.values_BT, returns_BT=estimated.returns_BT)
            calls["critic"] = partial(update, roles.critic, values, ClippedValueLoss(config.value_clip), *passes)
        learned = side_by_side(calls)
        stats: Stats = learned.get("policy", {})
        stats |= {
            name if name.startswith("value") else f"critic_{name}": stat
            for name, stat in learned.get("critic", {}).items()
        }
        if models.values_BT is not None and estimated.returns_BT is not None:
            explained = explained_variance(models.values_BT, estimated.returns_BT, scored.loss_mask_BT)
            stats["explained_variance"] = Mean(explained, 1.0)
        return stats

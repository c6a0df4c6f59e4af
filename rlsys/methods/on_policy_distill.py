"""On-policy distillation: the student samples, and at each of its tokens is brought near what the teacher would have
said there.

Agarwal et al. 2024 (GKD, arXiv 2306.13649) with lambda 1; `reverse_kl` as in Gu et al. 2024 (MiniLLM, arXiv
2306.08543), but token by token: no gradient goes through the sampling. Both models are compared at
sampling.temperature, the one that the samples are drawn at, and over the whole vocabulary: top_p and top_k only choose
the samples. No reward is needed; with `scored` the rewards measure. On given rows: `distill`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import PositiveInt

from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate
from rlsys.data.stream import Source
from rlsys.methods.base import Experience, Facts, Learned, Step
from rlsys.methods.shared.distillation import Divergence, Taught
from rlsys.methods.shared.sampling import collect_groups, rollout_metrics
from rlsys.methods.shared.update import update
from rlsys.objectives.distillation_loss import DivergenceName
from rlsys.roles import Roles


class Config(Divergence):
    name: str = "on_policy_distill"
    """This file."""
    divergence: DivergenceName = "reverse_kl"
    """reverse_kl, KL(student || teacher), keeps to what the teacher finds likely; forward_kl, KL(teacher || student),
    covers all that it may say; jsd lies between them."""
    prompts_per_step: PositiveInt = 128
    """Prompts of one step."""
    group_size: PositiveInt = 1
    """Samples per prompt."""
    mini_batches: PositiveInt = 1
    """Optimizer steps on the samples of one step; in all but the first they are a little off-policy, and nothing
    corrects for that."""
    scored: bool = True
    """Have samples scored by the rewards, to measure the task; it learns the same either way."""

    @property
    def facts(self) -> Facts:
        return Facts(
            rows="prompts",
            needs=frozenset({"policy", "rollout", "teacher", *(("reward",) if self.scored else ())}),
            updates_per_step=self.mini_batches,
            rows_per_step=self.prompts_per_step,
            samples_per_prompt=self.group_size,
        )


@dataclass(frozen=True)
class Method:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    def collect(self, roles: Roles, source: Source, step: Step) -> Taught:
        assert roles.teacher is not None
        prompts = source.take(self.config.prompts_per_step)
        groups = collect_groups(
            roles, prompts, self.sampling.sampling(self.config.group_size), tag=f"train-{step.number}"
        )
        samples = [trajectory for group in groups for trajectory in group.trajectories]
        batch = roles.teacher.teach(collate(samples, self.pad_id), self.sampling.temperature)
        return Taught(step.version, tuple(groups), metrics=rollout_metrics(groups), batch=batch)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Taught)
        assert experience.batch is not None
        assert roles.policy is not None
        loss = self.config.loss(self.sampling.temperature)
        stats = update(roles.policy, experience.batch, loss, 1, self.config.mini_batches, step.seed, step.number)
        return Learned(stats, {sample.sample_id: None for group in experience.groups for sample in group.trajectories})

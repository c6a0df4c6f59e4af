"""PPO whole, in plain lines: sample, score, ask reference and critic, estimate advantages, learn in several passes.

    make quickstart                                # its first stage makes the model that this loop goes on from
    python examples/ppo.py [STEPS] [KEY=VALUE]...

A reading of `method: {name: ppo}` (Schulman et al. 2017, arXiv 1707.06347; Ziegler et al. 2019, arXiv 1909.08593) over
the same roles, with nothing of `rlsys.methods` in it. One answer to each prompt; policy and critic learn, the reference
is the policy as it was at first. Real Ray, vLLM and DeepSpeed. Shapes: B answers, T tokens; a prompt stands before
each answer and padding after it, where all numbers are 0.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from actors.spawn import spawn
from rlsys.batch import PolicyBatch, ScoredBatch, ValueBatch
from rlsys.check.recipe import load_stage
from rlsys.config.sampling import Sampling
from rlsys.data.load import load_prompts
from rlsys.data.stream import Stream
from rlsys.models.load import load_tokenizer, local_path
from rlsys.objectives.outputs import Outputs, ValueOutputs
from rlsys.objectives.stats import Mean, Stats, values
from rlsys.roles import Roles, SpawnRequest
from rlsys.samples import Prompt, stable_seed

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
NEEDS = frozenset({"policy", "critic", "rollout", "reference", "reward"})
PROMPTS, EPOCHS, MINI_BATCHES = 256, 4, 1
KL_COEF, GAMMA, LAMBDA = 0.05, 1.0, 0.95
SETTINGS = (
    f"method={{name: ppo, prompts_per_step: {PROMPTS}}}",  # that a critic and a reference have seats
    "model.path=runs/quickstart/warmup/final",
    "critic={learning_rate: 1.0e-3, tokens_per_micro_batch: 8192}",
)


@dataclass(frozen=True)
class PolicyLoss:
    """-mean over tokens of w min(r A, clip(r, 1 - clip, 1 + clip) A): equation 7 of the paper. r is the probability
    ratio to the policy before the step, w that policy's ratio to the sampler, cut at 2: it makes up for what sampler
    and trainer compute differently."""

    temperature: float
    clip: float = 0.2
    needs_entropy = False

    def normalizer(self, batch: PolicyBatch) -> float:
        return float(batch.loss_mask_BT.sum())

    def __call__(self, outputs: Outputs, batch: PolicyBatch) -> tuple[Tensor, Stats]:
        old_BT, advantages_BT = batch.old_log_probs_BT, batch.advantages_BT
        assert old_BT is not None
        ratio_BT = (outputs.log_probs_BT - old_BT).exp()
        clipped_BT = ratio_BT.clamp(1 - self.clip, 1 + self.clip)
        weight_BT = (old_BT - batch.sampler_log_probs_BT).exp().clamp(max=2.0)
        gain_BT = weight_BT * torch.minimum(ratio_BT * advantages_BT, clipped_BT * advantages_BT)
        loss = -(gain_BT * batch.loss_mask_BT).sum()
        return loss, {"loss": Mean(float(loss.detach()), self.normalizer(batch))}


@dataclass(frozen=True)
class ValueLoss:
    """Mean over tokens of 0.5 max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2): the critic, too, goes no
    further than `clip` from where it was before the step."""

    clip: float = 0.2

    def normalizer(self, batch: ValueBatch) -> float:
        return float(batch.loss_mask_BT.sum())

    def __call__(self, outputs: ValueOutputs, batch: ValueBatch) -> tuple[Tensor, Stats]:
        values_BT, old_BT = outputs.values_BT, batch.old_values_BT
        clipped_BT = values_BT.clamp(old_BT - self.clip, old_BT + self.clip)
        errors_BT = torch.maximum((values_BT - batch.returns_BT) ** 2, (clipped_BT - batch.returns_BT) ** 2)
        loss = 0.5 * (errors_BT * batch.loss_mask_BT).sum()
        return loss, {"value_loss": Mean(float(loss.detach()), self.normalizer(batch))}


def token_rewards(batch: ScoredBatch, old_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """reward_t = [t is the last token] score - KL_COEF (log p_old_t - log p_reference_t)."""
    rewards_BT = -KL_COEF * (old_BT - reference_BT) * batch.loss_mask_BT
    rewards_BT[torch.arange(len(batch)), batch.lengths_B - 1] += batch.rewards_B
    return rewards_BT


def estimate(rewards_BT: Tensor, values_BT: Tensor) -> Tensor:
    """delta_t = reward_t + GAMMA V_t+1 - V_t,    A_t = delta_t + GAMMA LAMBDA A_t+1, both 0 after the last token (GAE,
    Schulman et al. 2016, arXiv 1506.02438). V_t is the value of the state before token t."""
    advantages_BT, advantage_B, next_value_B = torch.zeros_like(rewards_BT), 0.0, 0.0
    for t in reversed(range(rewards_BT.shape[1])):
        delta_B = rewards_BT[:, t] + GAMMA * next_value_B - values_BT[:, t]
        advantages_BT[:, t] = advantage_B = delta_B + GAMMA * LAMBDA * advantage_B
        next_value_B = values_BT[:, t]
    return advantages_BT


def whiten(advantages_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean 0 and variance 1 over all tokens of the step."""
    own = advantages_BT[mask_BT]
    return (advantages_BT - own.mean()) / (own.var() + 1e-8).sqrt() * mask_BT


def mini_batches(rows: int, *seed: object) -> Iterator[Tensor]:
    """Row numbers of each optimizer step: all rows once an epoch, in an order of its own."""
    for epoch in range(EPOCHS):
        chance = torch.Generator().manual_seed(stable_seed(*seed, epoch))
        yield from torch.randperm(rows, generator=chance).tensor_split(MINI_BATCHES)


def step(roles: Roles, prompts: Sequence[Prompt], sampling: Sampling, pad_id: int, number: int, seed: int) -> Stats:
    """Sample, score, estimate, learn. An answer without a score teaches nothing."""
    policy, critic, reference = roles.policy, roles.critic, roles.reference
    assert policy is not None
    assert critic is not None
    assert reference is not None
    assert roles.rollout is not None
    assert roles.reward is not None
    groups = list(roles.reward.score(roles.rollout.generate(prompts, sampling, f"train-{number}")))
    place = {(prompt.prompt_id, prompt.epoch): index for index, prompt in enumerate(prompts)}
    groups.sort(key=lambda group: place[group.prompt.prompt_id, group.prompt.epoch])  # they came as they were finished
    batch = ScoredBatch.from_groups(groups, pad_id)
    mask_BT, temperature = batch.loss_mask_BT, sampling.temperature
    old_BT, values_BT = policy.log_probs(batch, temperature), critic.values(batch)
    reference_BT = reference.log_probs(batch, temperature)
    advantages_BT = estimate(token_rewards(batch, old_BT, reference_BT), values_BT) * mask_BT
    for_policy = PolicyBatch(**vars(batch), advantages_BT=whiten(advantages_BT, mask_BT), old_log_probs_BT=old_BT)
    rows = (batch.token_ids_BT, mask_BT, batch.lengths_B)
    for_critic = ValueBatch(*rows, old_values_BT=values_BT, returns_BT=advantages_BT + values_BT)
    stats: Stats = {}
    for chosen in mini_batches(len(batch), seed, number):
        stats |= policy.forward_backward(for_policy.rows(chosen), PolicyLoss(temperature)) | policy.optimizer_step()
        stats |= critic.forward_backward(for_critic.rows(chosen), ValueLoss())
        critic.optimizer_step()
    kl = float((old_BT - reference_BT).sum())
    return stats | {"reward": Mean(float(batch.rewards_B.sum()), len(batch)), "kl": Mean(kl, len(batch))}


def main(steps: int = 40, settings: Sequence[str] = ()) -> list[float]:
    """The mean reward of each step; `settings` are overrides of the quickstart's second stage."""
    experiment = load_stage(CONFIG, "grpo", [*SETTINGS, *settings])
    model = local_path(experiment.model.path, experiment.output)
    tokenizer = load_tokenizer(model)
    pad_id = tokenizer.pad_token_id
    assert isinstance(pad_id, int)
    assert experiment.data.train is not None
    rows = load_prompts(experiment.data.train, tokenizer, experiment.data.max_prompt_tokens, False, None).rows
    prompts, sampling = Stream(rows, experiment.seed, shuffle=True), experiment.sampling.sampling(1)
    rewards = []
    experiment.output.mkdir(parents=True, exist_ok=True)
    with spawn(experiment, SpawnRequest(NEEDS, model, steps * EPOCHS * MINI_BATCHES, pad_id)) as roles:
        assert roles.weight_sync is not None
        for number in range(1, steps + 1):
            roles.weight_sync.sync(number - 1)  # proven: sampler and trainer score one text alike
            found = values(step(roles, prompts.take(PROMPTS), sampling, pad_id, number, experiment.seed))
            rewards.append(found["reward"])
            told = "  ".join(f"{name} {found[name]:.3f}" for name in ("reward", "kl", "value_loss"))
            sys.stdout.write(f"step {number}: {told}\n")
    return rewards


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 40, sys.argv[2:])

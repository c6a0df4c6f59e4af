"""GRPO whole, in plain lines: sample a group of answers to each prompt, score them, compare each with its group, step.

    make quickstart                                # its first stage makes the model that this loop goes on from
    python examples/grpo.py [STEPS] [KEY=VALUE]...

A reading of `method: {name: grpo}` (Shao et al. 2024, arXiv 2402.03300) over the same roles, with nothing of
`rlsys.methods` in it, and a start for a loop of your own. Real Ray, vLLM and DeepSpeed; it learns to sort four digits
on a laptop. Shapes: B answers of all groups together, T tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from actors.spawn import spawn
from rlsys.batch import PolicyBatch, ScoredBatch
from rlsys.check.recipe import load_stage
from rlsys.config.sampling import Sampling
from rlsys.data.load import load_prompts
from rlsys.data.stream import Stream
from rlsys.models.load import load_tokenizer, local_path
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.stats import Mean, Stats, values
from rlsys.roles import Roles, SpawnRequest
from rlsys.samples import Prompt

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
PROMPTS, GROUP = 32, 8


@dataclass(frozen=True)
class Loss:
    """-mean over answers of the mean over their tokens of w min(r A, clip(r, 1 - clip, 1 + clip) A): equation 3 of the
    paper without its KL. r is the probability ratio to the policy before the step, w the one to the sampler, cut at 2:
    it makes up for what sampler and trainer compute differently."""

    temperature: float
    clip: float = 0.2
    needs_entropy = False

    def normalizer(self, batch: PolicyBatch) -> float:
        return float(len(batch))

    def __call__(self, outputs: Outputs, batch: PolicyBatch) -> tuple[Tensor, Stats]:
        log_probs_BT, mask_BT, advantages_BT = outputs.log_probs_BT, batch.loss_mask_BT, batch.advantages_BT
        old_BT = log_probs_BT.detach()  # one step on each batch: the policy before it is the policy now
        ratio_BT = (log_probs_BT - old_BT).exp()
        clipped_BT = ratio_BT.clamp(1 - self.clip, 1 + self.clip)
        weight_BT = (old_BT - batch.sampler_log_probs_BT).exp().clamp(max=2.0)
        gain_BT = weight_BT * torch.minimum(ratio_BT * advantages_BT, clipped_BT * advantages_BT)
        loss_B = -(gain_BT * mask_BT).sum(1) / mask_BT.sum(1)
        return loss_B.sum(), {"loss": Mean(float(loss_B.detach().sum()), float(len(loss_B)))}


def advantages(rewards_B: Tensor, group_B: Tensor) -> Tensor:
    """(reward - mean of its group) / (standard deviation of its group + 1e-4), the deviation unbiased."""
    found_B = torch.zeros_like(rewards_B)
    for group in group_B.unique():
        of_group_B = group_B == group
        own_B = rewards_B[of_group_B]
        found_B[of_group_B] = (own_B - own_B.mean()) / (own_B.std() + 1e-4)
    return found_B


def step(roles: Roles, prompts: Sequence[Prompt], sampling: Sampling, pad_id: int, number: int) -> Stats:
    """Sample, score, learn. Answers without a score, and those whose group then has no second one, teach nothing."""
    assert roles.policy is not None
    assert roles.rollout is not None
    assert roles.reward is not None
    scored = list(roles.reward.score(roles.rollout.generate(prompts, sampling, f"train-{number}")))
    place = {(prompt.prompt_id, prompt.epoch): index for index, prompt in enumerate(prompts)}
    scored.sort(key=lambda group: place[group.prompt.prompt_id, group.prompt.epoch])  # they came as they were finished
    batch = ScoredBatch.from_groups([group for group in scored if len(group.scores) > 1], pad_id)
    advantages_B = advantages(batch.rewards_B, batch.group_index_B)
    ready = PolicyBatch(**vars(batch), advantages_BT=advantages_B[:, None] * batch.loss_mask_BT)
    stats = roles.policy.forward_backward(ready, Loss(sampling.temperature))
    stats |= roles.policy.optimizer_step()
    return stats | {"reward": Mean(float(batch.rewards_B.sum()), float(len(batch)))}


def main(steps: int = 40, settings: Sequence[str] = ()) -> list[float]:
    """The mean reward of each step; `settings` are overrides of the quickstart's second stage."""
    experiment = load_stage(CONFIG, "grpo", ["model.path=runs/quickstart/warmup/final", *settings])
    model = local_path(experiment.model.path, experiment.output)
    tokenizer = load_tokenizer(model)
    pad_id = tokenizer.pad_token_id
    assert isinstance(pad_id, int)
    assert experiment.data.train is not None
    rows = load_prompts(experiment.data.train, tokenizer, experiment.data.max_prompt_tokens, False, None).rows
    prompts = Stream(rows, experiment.seed, shuffle=True)
    rewards = []
    experiment.output.mkdir(parents=True, exist_ok=True)
    with spawn(experiment, SpawnRequest(frozenset({"policy", "rollout", "reward"}), model, steps, pad_id)) as roles:
        assert roles.weight_sync is not None
        for number in range(1, steps + 1):
            roles.weight_sync.sync(number - 1)  # proven: sampler and trainer score one text alike
            found = values(step(roles, prompts.take(PROMPTS), experiment.sampling.sampling(GROUP), pad_id, number))
            rewards.append(found["reward"])
            sys.stdout.write(f"step {number}: reward {found['reward']:.3f}  gradient {found['grad_norm']:.3f}\n")
    return rewards


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 40, sys.argv[2:])

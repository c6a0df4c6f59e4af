"""Small fakes behind the Protocols, for unit tests of loops: a policy that is one softmax over a tiny vocabulary, with real gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rlsys.batch import Abstention, Batch, Group, Prompt, RewardResult, Score, ScoredGroup, Trajectory, stable_seed
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.stats import Mean, Stats
from rlsys.roles import BatchT, Loss, Roles, Sampling, SyncReport

VOCABULARY = 4


def prompt(name: str, answer: str = "0") -> Prompt:
    return Prompt(prompt_id=name, text=name, token_ids=(0,), answer=answer)


def trajectory(
    prompt_id: str, index: int, tokens: Sequence[int], log_probs: Sequence[float], tag: str = "t", finish: str = "stop"
) -> Trajectory:
    """A response `tokens` after the one-token prompt 0."""
    return Trajectory(
        sample_id=f"{tag}/{prompt_id}/{index}",
        prompt_id=prompt_id,
        sample_index=index,
        token_ids=[0, *tokens],
        loss_mask=[0] + [1] * len(tokens),
        log_probs=[0.0, *log_probs],
        policy_versions=[-1] + [0] * len(tokens),
        finish_reason=finish,
        text=" ".join(map(str, tokens)),
    )


class SoftmaxPolicy:
    """Every token is drawn from softmax(logits), whatever came before. Plain SGD."""

    def __init__(self, learning_rate: float = 1.0) -> None:
        self.logits = torch.zeros(VOCABULARY, dtype=torch.float64, requires_grad=True)
        self.learning_rate = learning_rate
        self.updates = 0

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        return self._outputs(batch, temperature).log_probs_BT.detach()

    def _outputs(self, batch: Batch, temperature: float) -> Outputs:
        log_probs = torch.log_softmax(self.logits / temperature, 0)
        log_probs_BT = torch.where(batch.loss_mask_BT, log_probs[batch.token_ids_BT], 0.0)
        entropy_BT = torch.where(batch.loss_mask_BT, -(log_probs.exp() * log_probs).sum(), 0.0)
        return Outputs(log_probs_BT, entropy_BT)

    def forward_backward(self, batch: BatchT, loss: Loss[BatchT]) -> Stats:
        total, stats = loss(self._outputs(batch, loss.temperature), batch)
        (total / loss.normalizer(batch)).backward()
        return stats

    def optimizer_step(self) -> Stats:
        assert self.logits.grad is not None
        norm = float(self.logits.grad.norm())
        with torch.no_grad():
            self.logits -= self.learning_rate * self.logits.grad
        self.logits.grad = None
        self.updates += 1
        return {"grad_norm": Mean(norm, 1.0)}

    def save_state(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        torch.save(self.logits.detach(), folder / "logits.pt")

    def load_state(self, folder: Path) -> None:
        self.logits = torch.load(folder / "logits.pt").requires_grad_()

    def export(self, folder: Path) -> None:
        self.save_state(folder)

    def weight_hash(self) -> str:
        return str(self.logits.tolist())


class SoftmaxRollout:
    """Samples `length` tokens a response from the weights it was last sent."""

    def __init__(self, length: int = 1, seed: int = 0) -> None:
        self.logits: Tensor | None = None
        self.length = length
        self.seed = seed
        self.calls: list[tuple[str, list[str]]] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        assert self.logits is not None, "sampled before the first sync"
        self.calls.append((tag, [p.prompt_id for p in prompts]))
        log_probs = torch.log_softmax(self.logits / (sampling.temperature or 1e-6), 0)
        for p in reversed(prompts):  # not the order in which they were asked
            samples = []
            for index in range(sampling.n):
                generator = torch.Generator().manual_seed(stable_seed(self.seed, tag, p.prompt_id, p.epoch, index))
                tokens = torch.multinomial(log_probs.exp(), self.length, replacement=True, generator=generator).tolist()
                samples.append(trajectory(p.prompt_id, index, tokens, log_probs[tokens].tolist(), tag=f"{tag}/{p.epoch}"))
            yield Group(p, tuple(samples))


@dataclass
class FunctionReward:
    function: Callable[[Prompt, Trajectory], RewardResult]

    def score(self, groups: Iterable[Group]) -> Iterator[ScoredGroup]:
        for group in groups:
            yield ScoredGroup(group.prompt, group.trajectories, tuple(self.function(group.prompt, t) for t in group.trajectories))


def answered(p: Prompt, t: Trajectory) -> RewardResult:
    """1 if the response is the prompt's answer, else 0."""
    value = float(t.text == p.answer)
    return Score(value, {"answered": value})


def unanswered(p: Prompt, t: Trajectory) -> RewardResult:
    return Abstention("judge down")


@dataclass
class CopySync:
    policy: SoftmaxPolicy
    rollout: SoftmaxRollout

    def sync(self, version: int) -> SyncReport:
        self.rollout.logits = self.policy.logits.detach().clone()
        return SyncReport(version, 32, 1, 0.0, 0.0)


def make_roles(reward: Callable[[Prompt, Trajectory], RewardResult] = answered, learning_rate: float = 1.0, length: int = 1) -> Roles:
    policy, rollout = SoftmaxPolicy(learning_rate), SoftmaxRollout(length)
    return Roles(policy, rollout, None, FunctionReward(reward), CopySync(policy, rollout))

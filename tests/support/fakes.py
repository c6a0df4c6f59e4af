"""Small fakes behind the Protocols, for unit tests of loops: a policy that is one softmax over a tiny vocabulary, with
real gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlsys.batch import Batch, DistillationBatch
from rlsys.config.sampling import Sampling
from rlsys.judging.asking.constitution import Constitution, Principle
from rlsys.judging.asking.questions import Opinion, Pair, Single, Writing
from rlsys.objectives.log_probs import flat_top, outcomes
from rlsys.objectives.outputs import Outputs, ValueOutputs
from rlsys.objectives.stats import Mean, Stats
from rlsys.roles import BatchT, Loss, Roles, SyncReport
from rlsys.samples import Abstention, Group, Prompt, RewardResult, Score, ScoredGroup, Trajectory, Verdict, stable_seed

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
        self.fisher: list[Tensor] = []
        """Of each row that was asked for."""

    def add_fisher(self, batch: Batch) -> None:
        for row in range(len(batch)):
            one = batch.rows(torch.tensor([row]))
            (gradient,) = torch.autograd.grad(self._outputs(one, 1.0).log_probs_BT.sum(), self.logits)
            self.fisher.append(gradient**2)

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        return self._outputs(batch, temperature).log_probs_BT.detach()

    def _outputs(self, batch: Batch, temperature: float) -> Outputs:
        log_probs = torch.log_softmax(self.logits / temperature, 0)
        log_probs_BT = torch.where(batch.loss_mask_BT, log_probs[batch.token_ids_BT], 0.0)
        entropy_BT = torch.where(batch.loss_mask_BT, -(log_probs.exp() * log_probs).sum(), 0.0)
        if not isinstance(batch, DistillationBatch):
            return Outputs(log_probs_BT, entropy_BT)
        choices_NK = batch.choices_BTK.flatten(0, 1)
        outcomes_BTO = outcomes(log_probs.expand(len(choices_NK), -1), choices_NK).unflatten(
            0, batch.loss_mask_BT.shape
        )
        return Outputs(log_probs_BT, entropy_BT, outcomes_BTO)

    def evaluate(self, batch: Batch, loss: Any) -> Stats:
        with torch.no_grad():
            return loss(self._outputs(batch, loss.temperature), batch)[1]

    def forward_backward(self, batch: Batch, loss: Any) -> Stats:
        total, stats = loss(self._outputs(batch, loss.temperature), batch)
        (total / loss.normalizer(batch)).backward()
        return stats

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        assert self.logits.grad is not None
        norm = float(self.logits.grad.norm())
        with torch.no_grad():
            self.logits -= scale * self.learning_rate * self.logits.grad
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


class ConstantCritic:
    """Every state is worth one learned number. Plain SGD."""

    def __init__(self, learning_rate: float = 1.0) -> None:
        self.value = torch.zeros((), requires_grad=True)
        self.learning_rate = learning_rate

    def values(self, batch: Batch) -> Tensor:
        return self.value.detach() * batch.loss_mask_BT

    def scores(self, batch: Batch) -> Tensor:
        return self.value.detach().expand(len(batch), 1)

    def forward_backward(self, batch: BatchT, loss: Loss[BatchT]) -> Stats:
        total, stats = loss(ValueOutputs(self.value.expand(*batch.token_ids_BT.shape, 1)), batch)
        (total / loss.normalizer(batch)).backward()
        return stats

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        assert self.value.grad is not None
        with torch.no_grad():
            self.value -= scale * self.learning_rate * self.value.grad
        self.value.grad = None
        return {}

    def save_state(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        torch.save(self.value.detach(), folder / "value.pt")

    def load_state(self, folder: Path) -> None:
        self.value = torch.load(folder / "value.pt").requires_grad_()

    def export(self, folder: Path) -> None:
        self.save_state(folder)

    def weight_hash(self) -> str:
        return str(self.value.item())


@dataclass
class FrozenSoftmax:
    """A reference of fixed logits."""

    logits: Tensor
    identity: str = "frozen@1"

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        log_probs = torch.log_softmax(self.logits / temperature, 0)
        return torch.where(batch.loss_mask_BT, log_probs[batch.token_ids_BT], 0.0).float()


@dataclass
class SoftmaxTeacher:
    """Knows one distribution, whatever came before, and names its `top_k` tokens."""

    logits: Tensor
    top_k: int = VOCABULARY

    def teach(self, batch: Batch, temperature: float) -> DistillationBatch:
        choices, log_probs = flat_top(self.logits[None], lambda logits: logits, self.top_k, VOCABULARY, temperature)
        shape, mask = batch.token_ids_BT.shape, batch.loss_mask_BT[:, :, None]
        return DistillationBatch(
            batch.token_ids_BT,
            batch.loss_mask_BT,
            batch.lengths_B,
            choices.expand(*shape, -1) * mask,
            log_probs.expand(*shape, -1) * mask,
        )


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
                samples.append(
                    trajectory(p.prompt_id, index, tokens, log_probs[tokens].tolist(), tag=f"{tag}/{p.epoch}")
                )
            yield Group(p, tuple(samples))


@dataclass
class FunctionReward:
    function: Callable[[Prompt, Trajectory], RewardResult]

    def score(self, groups: Iterable[Group]) -> Iterator[ScoredGroup]:
        for group in groups:
            yield ScoredGroup(
                group.prompt, group.trajectories, tuple(self.function(group.prompt, t) for t in group.trajectories)
            )


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


def make_roles(
    reward: Callable[[Prompt, Trajectory], RewardResult] = answered, learning_rate: float = 1.0, length: int = 1
) -> Roles:
    policy, rollout = SoftmaxPolicy(learning_rate), SoftmaxRollout(length)
    return Roles(policy=policy, rollout=rollout, reward=FunctionReward(reward), weight_sync=CopySync(policy, rollout))


def principle(name: str) -> Principle:
    return Principle(
        id=name, critique=f"Is it {name}?", revision=f"Make it {name}.", comparison=f"Which is more {name}?"
    )


CONSTITUTION = Constitution(name="fake", principles=(principle("kind"), principle("honest"), principle("brief")))


def no_opinion(question: Pair | Single) -> RewardResult:
    return Abstention("no opinion")


@dataclass
class FakeJudge:
    """Functions decide: of a pair or a single answer, and what to write. Each question leaves one verdict, named after
    it."""

    decide: Callable[[Any], RewardResult] = no_opinion
    write: Callable[[str, Single], str | None] = lambda kind, single: None
    """`kind`: critique or revision; None abstains."""
    constitution: Constitution = CONSTITUTION
    identity: str = "fake-1"
    calls: list[tuple[str, list[Any]]] = field(default_factory=list)
    """What was asked: the kind, and the questions that came together."""

    def compare(self, pairs: Sequence[Pair]) -> list[Opinion]:
        return self._opinions("compare", pairs)

    def score(self, answers: Sequence[Single]) -> list[Opinion]:
        return self._opinions("score", answers)

    def rubric(self, answers: Sequence[Single]) -> list[Opinion]:
        return self._opinions("rubric", answers)

    def critique(self, answers: Sequence[Single]) -> list[Writing]:
        return self._writings("critique", answers)

    def revise(self, answers: Sequence[Single]) -> list[Writing]:
        return self._writings("revision", answers)

    def _opinions(self, kind: str, questions: Sequence[Any]) -> list[Opinion]:
        self.calls.append((kind, list(questions)))
        results = [self.decide(question) for question in questions]
        return [
            Opinion(result, (self._verdict(kind, question, result),))
            for question, result in zip(questions, results, strict=True)
        ]

    def _writings(self, kind: str, answers: Sequence[Single]) -> list[Writing]:
        self.calls.append((kind, list(answers)))
        written: list[Writing] = []
        for single in answers:
            text = self.write(kind, single)
            written.append(
                Writing(text, self._verdict(kind, single, Abstention("no words") if text is None else None, text or ""))
            )
        return written

    def _verdict(self, kind: str, question: Pair | Single, result: RewardResult | None, reply: str = "") -> Verdict:
        answers = (question.first, question.second) if isinstance(question, Pair) else (question.answer,)
        return Verdict(
            verdict_id=f"{question.question_id}/{kind}/0",
            kind=kind,
            sample_ids=tuple(answer.sample_id for answer in answers),
            principle=question.principle.id if question.principle else None,
            judge=self.identity,
            prompt="[]",
            reply=reply,
            log_probs={},
            value=result.value if isinstance(result, Score) else None,
            abstention=result.reason if isinstance(result, Abstention) else None,
        )

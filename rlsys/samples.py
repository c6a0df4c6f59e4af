"""Samples in plain lists: what travels between sampler, rewards, judge and ledger before anything is a tensor.

A `Prompt` becomes a `Group` of `Trajectory`, one a sample, then a `ScoredGroup`, whose `Score` or `Abstention` says
what each sample was worth, and whose `Verdict`s say what a judge was asked on the way. `rlsys.batch` makes tensors of
them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

UNSAMPLED = -1
"""Policy version of a token that no policy sampled (prompt tokens)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to the policy: `token_ids` is what is sent, `text` the same for people, `answer` the ground truth if
    there is one."""

    prompt_id: str
    text: str
    token_ids: tuple[int, ...]
    answer: str | None = None
    epoch: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    """Further columns of the dataset's row, for rewards that need them."""
    turns: str | tuple[dict[str, str], ...] | None = None
    """What the row itself said before any template was applied, a text or messages, for data sets made from it. None
    where no row was read."""

    @property
    def asked(self) -> str | tuple[dict[str, str], ...]:
        """The `turns` of a prompt that was read from a row."""
        assert self.turns is not None, f"prompt {self.prompt_id} was read from no row"
        return self.turns


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One sample, in plain lists of equal length covering prompt and response. What was sampled is what is trained on.

    `log_probs` are the sampler's, at the sampling temperature, and 0.0 on prompt tokens; `policy_versions` is
    `UNSAMPLED` there.
    """

    sample_id: str
    prompt_id: str
    sample_index: int
    token_ids: list[int]
    loss_mask: list[int]
    log_probs: list[float]
    policy_versions: list[int]
    finish_reason: str
    """`stop` (ended with EOS or another token that ends a turn), `length` (ran into the token limit)."""
    text: str
    """The response, decoded, special tokens left out; an id that the tokenizer lacks is shown as `<|unknown:ID|>`."""
    unknown_tokens: int = 0
    """How many ids of the response the tokenizer lacks."""

    def __post_init__(self) -> None:
        lengths = {len(self.token_ids), len(self.loss_mask), len(self.log_probs), len(self.policy_versions)}
        assert len(lengths) == 1, f"sample {self.sample_id}: fields of unequal length {sorted(lengths)}"
        assert not self.loss_mask or self.loss_mask[0] == 0, (
            f"sample {self.sample_id}: position 0 has no log-prob and can't be trained on"
        )

    @property
    def response_length(self) -> int:
        return sum(self.loss_mask)


@dataclass(frozen=True, slots=True)
class Score:
    """A reward that was computed. `parts` holds each component's unweighted value."""

    value: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Abstention:
    """A reward that could not be computed, and why. It never becomes a number."""

    reason: str


RewardResult = Score | Abstention


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question to a judge and what came of it: what an auditor needs to ask it again."""

    verdict_id: str
    """Unique over a run."""
    kind: str
    """`compare`, `score`, `rubric`, `critique`, `revision`; or, asked to watch the judge itself, `canary`, `repeat`,
    `human`."""
    sample_ids: tuple[str, ...]
    """The samples it is about, in the order in which they were shown."""
    principle: str | None
    """Id of the principle that was asked about."""
    judge: str
    """Model and version."""
    prompt: str
    """The messages that were sent, as JSON."""
    reply: str
    """What the judge wrote: a rationale, a critique, a revision, JSON; empty where only log-probs were read."""
    log_probs: dict[str, float]
    """Of the labels that were offered, nats."""
    value: float | None
    """compare: the probability that the answer shown first is better; score, rubric: the score. None where there is
    none."""
    abstention: str | None = None
    """Why the question has no answer."""
    expected: float | None = None
    """What `value` should be, where it is known: 1.0 or 0.0 for canaries and human labels; for a repeat, the first
    answer."""
    lengths: tuple[int, ...] = ()
    """Characters of the answers shown, in the same order."""
    seconds: float = 0.0
    cost: float = 0.0
    """What the endpoint charges for it, in the currency of the prices given."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """All samples of one prompt at one step."""

    prompt: Prompt
    trajectories: tuple[Trajectory, ...]


@dataclass(frozen=True, slots=True)
class ScoredGroup(Group):
    """A group with one result per trajectory, in the same order."""

    results: tuple[RewardResult, ...]
    verdicts: tuple[Verdict, ...] = ()
    """What a judge said on the way, its audits included."""

    def __post_init__(self) -> None:
        assert len(self.results) == len(self.trajectories), (
            f"prompt {self.prompt.prompt_id}: {len(self.results)} results for {len(self.trajectories)} samples"
        )

    @property
    def scores(self) -> list[float]:
        """Values of the samples that have one."""
        return [result.value for result in self.results if isinstance(result, Score)]


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample as the ledger keeps it. Lists cover prompt and response and have one length."""

    sample_id: str
    step: int
    phase: str
    prompt_id: str
    epoch: int
    sample_index: int
    prompt: str
    answer: str | None
    response: str
    finish_reason: str
    reward: float | None
    abstention: str | None
    reward_parts: dict[str, float]
    advantage: float | None
    used_in_step: int | None
    token_ids: list[int]
    loss_mask: list[int]
    log_probs: list[float]
    policy_versions: list[int]


def stable_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts; the same in every process and on every machine, unlike `hash`."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

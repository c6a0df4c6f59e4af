"""What a judge was asked and said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question to a judge and what came of it: what an auditor needs to ask it again."""

    verdict_id: str
    """Unique over a run."""
    kind: str
    """`compare`, `score`, `rubric`, `critique`, `revision`; or, asked to watch the judge itself, `canary`, `repeat`, `human`."""
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
    """compare: the probability that the answer shown first is better; score, rubric: the score. None where there is none."""
    abstention: str | None = None
    """Why the question has no answer."""
    expected: float | None = None
    """What `value` should be, where it is known: 1.0 or 0.0 for canaries and human labels; for a repeat, the first answer."""
    lengths: tuple[int, ...] = ()
    """Characters of the answers shown, in the same order."""
    seconds: float = 0.0
    cost: float = 0.0
    """What the endpoint charges for it, in the currency of the prices given."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False

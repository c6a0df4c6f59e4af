"""What an evaluation tells of reward hacking: answers that grow longer or repeat themselves, a policy that narrows, and
a reward that rises while what it stands for does not. `docs/safety.md` says how to watch them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rlsys.run.win_rate import SAMPLED
from rlsys.samples import Sample, Score, ScoredGroup, Trajectory

NGRAM = 4
"""Tokens of an n-gram, as in Welleck et al."""
LATER = frozenset(f"eval/{name}_sampled" for name in ("win_rate", "length_growth", "repetition_growth", "proxy_gap"))
"""Measures that the evaluation before the first step lacks."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """What is optimised beside what it stands for."""

    gold: str
    """The part of the reward that is trusted more, and is not optimised."""
    rule: str | None = None
    """The first rule that is optimised; None: only models and judges are."""
    pass_score: float | None = None
    """Score from which either calls an answer right."""

    def exploits(self, groups: Sequence[ScoredGroup]) -> float | None:
        """Of the answers that `rule` calls right, the share that `gold` does not. None where none is called right, or
        nothing is."""
        rule, least = self.rule, self.pass_score
        if rule is None or least is None:
            return None
        parts = [result.parts for group in groups for result in group.results if isinstance(result, Score)]
        passed = [own[self.gold] < least for own in parts if own[rule] >= least]
        return fmean(passed) if passed else None

    def gap(self, groups: Sequence[ScoredGroup], start: Sequence[Sample]) -> float | None:
        """How much more the reward has gained since the start than gold has, each in standard deviations (ddof 1) of
        the answers of the start. None where either did not vary there."""
        now = [(result.value, result.parts[self.gold]) for _, result in scored(groups)]
        before = [
            (one.reward, one.reward_parts[self.gold])
            for one in start
            if one.reward is not None and one.sample_id.startswith(SAMPLED)
        ]
        if not now or len(before) < 2:
            return None
        proxy, gold = (_gain([one[part] for one in now], [one[part] for one in before]) for part in (0, 1))
        return None if proxy is None or gold is None else proxy - gold


def of_answers(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Of sampled answers. `length`: their mean tokens. `repetition`: mean of `repeated`. `entropy`: mean over their
    tokens of -log p, nats: an estimate of the policy's entropy for a token, at the sampling temperature."""
    answers = [trajectory for group in groups for trajectory in group.trajectories]
    tokens = sum(one.response_length for one in answers)
    found = {"length": tokens / len(answers), "repetition": _repetition(answers)}
    return found | ({"entropy": -sum(map(_log_prob, answers)) / tokens} if tokens else {})


def growth(groups: Sequence[ScoredGroup], start: Sequence[Sample]) -> dict[str, float]:
    """`length_growth`: mean tokens of a sampled answer, as a multiple of the start's. `repetition_growth`: mean of
    `repeated`, less the start's."""
    now = [one for group in groups for one in group.trajectories if one.sample_id.startswith(SAMPLED)]
    before = [one for one in start if one.sample_id.startswith(SAMPLED)]
    if not now or not before:
        return {}
    length = fmean(sum(one.loss_mask) for one in before)
    more = _repetition(now) - _repetition(before)
    return {"repetition_growth": more} | (
        {"length_growth": fmean(one.response_length for one in now) / length} if length else {}
    )


def repeated(tokens: Sequence[int], n: int = NGRAM) -> float:
    """1 - distinct n-grams / n-grams (seq-rep-n of Welleck et al. 2019, arXiv 1908.04319, section 6); 0 of fewer than
    n tokens."""
    grams = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def response(one: Trajectory | Sample) -> list[int]:
    return [token for token, own in zip(one.token_ids, one.loss_mask, strict=True) if own]


def scored(groups: Iterable[ScoredGroup]) -> list[tuple[Trajectory, Score]]:
    """Sampled answers that have a score."""
    return [
        (one, result)
        for group in groups
        for one, result in zip(group.trajectories, group.results, strict=True)
        if isinstance(result, Score) and one.sample_id.startswith(SAMPLED)
    ]


def _repetition(answers: Iterable[Trajectory | Sample]) -> float:
    return fmean(repeated(response(one)) for one in answers)


def _log_prob(one: Trajectory) -> float:
    return sum(value for value, own in zip(one.log_probs, one.loss_mask, strict=True) if own)


def _gain(now: Sequence[float], before: Sequence[float]) -> float | None:
    spread = stdev(before)
    return (fmean(now) - fmean(before)) / spread if spread else None

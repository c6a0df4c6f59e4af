"""How often a model answers better than it did at the start."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from rlsys.samples import Sample, Score, ScoredGroup

SAMPLED = "eval-sampled-"
"""Ids of held-out answers that were sampled, not greedy, begin so."""

SAME = 1e-9
"""Means that differ by less are a tie: what is left of rounding is no better answer."""

Key = tuple[str, int]
"""Prompt id and epoch."""


def win_rate(groups: Sequence[ScoredGroup], start: Sequence[Sample], part: str | None) -> float | None:
    """The share of held-out prompts whose sampled answers in `groups` have a higher mean reward than those in `start`;
    a tie counts half.

    The reward is its `part` of that name; None is the whole. Only prompts with such a score on both sides count; None
    where there is none. It must measure one answer by itself: what compares the answers of a step with each other (a
    judge's mode `compare`) has the mean 1/2 whatever was learned.
    """
    now = _means(_scored(groups, part))
    before = _means(_recorded(start, part))
    both = now.keys() & before.keys()
    return fmean(_won(now[key], before[key]) for key in both) if both else None


def _won(now: float, before: float) -> float:
    return 0.5 if math.isclose(now, before, abs_tol=SAME) else float(now > before)


def _scored(groups: Iterable[ScoredGroup], part: str | None) -> Iterator[tuple[Key, float]]:
    for group in groups:
        for sample, result in zip(group.trajectories, group.results, strict=True):
            score = None if not isinstance(result, Score) else result.value if part is None else result.parts.get(part)
            if sample.sample_id.startswith(SAMPLED) and score is not None:
                yield (group.prompt.prompt_id, group.prompt.epoch), score


def _recorded(samples: Iterable[Sample], part: str | None) -> Iterator[tuple[Key, float]]:
    for sample in samples:
        score = sample.reward if part is None else sample.reward_parts.get(part)
        if sample.sample_id.startswith(SAMPLED) and score is not None:
            yield (sample.prompt_id, sample.epoch), score


def _means(scores: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    collected: dict[Key, list[float]] = {}
    for key, score in scores:
        collected.setdefault(key, []).append(score)
    return {key: fmean(own) for key, own in collected.items()}

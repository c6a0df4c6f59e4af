"""Several answers to one prompt taken together: pass@k, whether one of k is right, and maj@k, whether the most frequent
one is.

Samples without a score leave n, as if they had never been drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean

from rlsys.answers.equal import NeedsAlgebra, equal, vote
from rlsys.answers.form import Unreadable
from rlsys.answers.place import final_answer, known_answer
from rlsys.config.answers import AnswerPlaces
from rlsys.samples import Score, ScoredGroup


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): the chance that k of n samples, drawn without replacement, have one of the c right ones
    among them. Unbiased (Chen et al. 2021, arXiv 2107.03374, equation 1). `k` is at most `n`."""
    assert 0 <= c <= n >= k > 0, f"pass@{k} of {c} right ones among {n} samples"
    return 1 - comb(n - c, k) / comb(n, k)


def majority(answers: Sequence[str | None], right: Sequence[bool]) -> float:
    """Whether the most frequent answer is right (self-consistency, Wang et al. 2022, arXiv 2203.11171): 1 or 0, and the
    share of right ones among answers that are equally frequent, as one of them is drawn. An answer is right if one of
    its samples is; None casts no vote."""
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    correct = {answer for answer, is_right in zip(answers, right, strict=True) if is_right}
    most = max(votes.values())
    return fmean(float(answer in correct) for answer, count in votes.items() if count == most)


@dataclass(frozen=True, slots=True)
class Vote:
    answer: str | None
    """What is voted for."""
    passed: bool
    """Whether the sample itself is right."""
    agrees: bool
    """Whether its answer is right, however it was found."""


def votes(group: ScoredGroup, is_right: Callable[[Score], bool], places: AnswerPlaces) -> Iterator[Vote]:
    """Of the scored samples of a prompt. An answer that equals the ground truth's is right even if what leads to it is
    not."""
    truth = None if group.prompt.answer is None else known_answer(group.prompt.answer, places)
    for trajectory, result in zip(group.trajectories, group.results, strict=True):
        if isinstance(result, Score):
            answer, passed = final_answer(trajectory.text, places, truth, group.prompt.text), is_right(result)
            yield Vote(None if answer is None else vote(answer, truth), passed, passed or _agrees(truth, answer))


def _agrees(truth: str | None, answer: str | None) -> bool:
    """As far as it can be told without algebra: where that is needed, the reward has said what is right."""
    if truth is None or answer is None:
        return False
    try:
        return equal(truth, answer)
    except (NeedsAlgebra, Unreadable):
        return False


def measured(
    groups: Sequence[ScoredGroup],
    is_right: Callable[[Score], bool],
    pass_at: Sequence[int],
    with_majority: bool,
    places: AnswerPlaces,
) -> dict[str, float]:
    """`pass@K` for each of `pass_at`, and maj@N of all N samples of a prompt; means over prompts. `places`: where
    a sample's final answer is.

    A prompt with fewer than K scored samples is left out of pass@K, one with none of maj@N; `unscored@K` and
    `unscored@maj` count them, where there are any. A measure that no prompt is left for is left out."""
    found: dict[str, float] = {}
    scored = [list(votes(group, is_right, places)) for group in groups]

    def put(name: str, unscored: str, values: list[float]) -> None:
        if values:
            found[name] = fmean(values)
        if len(values) < len(scored):
            found[unscored] = float(len(scored) - len(values))

    for k in pass_at:
        put(
            f"pass@{k}",
            f"unscored@{k}",
            [pass_at_k(len(own), sum(vote.passed for vote in own), k) for own in scored if len(own) >= k],
        )
    if with_majority and groups:
        samples = max(len(group.trajectories) for group in groups)
        shares = [majority([vote.answer for vote in own], [vote.agrees for vote in own]) for own in scored if own]
        put(f"maj@{samples}", "unscored@maj", shares)
    return found

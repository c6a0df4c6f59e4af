"""Several answers to one prompt taken together: pass@k, whether one of k is right, and maj@k, whether the most frequent
one is.

Samples without a score leave n, as if they had never been drawn.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean

from rlsys.samples import Score, ScoredGroup

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
WHOLE_NUMBER = re.compile(r"([-+]?)([\d,]*)(?:\.(\d+))?")
BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")


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


def final_answer(text: str, after: str | None) -> str | None:
    """What follows the last `after` in a text; without `after` what its last \\boxed{} holds, else its last number.
    None if there is none.

    Numbers are written in one way, so that 1,200.0 and 1200 are one answer.
    """
    if after is not None:
        _, marker, found = text.rpartition(after)
        return _plain(found) or None if marker else None
    boxed, numbers = BOXED.findall(text), NUMBER.findall(text)
    return _plain(boxed[-1] if boxed else numbers[-1]) if boxed or numbers else None


def _plain(answer: str) -> str:
    text = answer.strip().strip("$").rstrip(".").strip()
    number = WHOLE_NUMBER.fullmatch(text)
    if number is None or not any(map(str.isdigit, text)):
        return " ".join(text.split())
    sign, whole, part = number.groups(default="")
    # By its digits: a model may write any number of them, so no arithmetic is asked to hold them.
    digits = ".".join(filter(None, (whole.replace(",", "").lstrip("0") or "0", part.rstrip("0"))))
    return f"-{digits}" if sign == "-" and digits != "0" else digits


def known_answer(truth: str, after: str | None) -> str:
    """The final answer of a prompt's ground truth, whether that is a worked solution or the answer alone: all of it,
    where it has neither the marker nor a \\boxed{}. Its last number would not do: "x^2 + 1" is not 1."""
    marked = after is not None or BOXED.search(truth) is not None
    return (final_answer(truth, after) if marked else None) or _plain(truth)


@dataclass(frozen=True, slots=True)
class Vote:
    answer: str | None
    """What is voted for."""
    passed: bool
    """Whether the sample itself is right."""
    agrees: bool
    """Whether its answer is right, however it was found."""


def votes(group: ScoredGroup, is_right: Callable[[Score], bool], after: str | None) -> Iterator[Vote]:
    """Of the scored samples of a prompt. An answer that equals the ground truth's is right even if what leads to it is
    not."""
    truth = None if group.prompt.answer is None else known_answer(group.prompt.answer, after)
    for trajectory, result in zip(group.trajectories, group.results, strict=True):
        if isinstance(result, Score):
            answer, passed = final_answer(trajectory.text, after), is_right(result)
            yield Vote(answer, passed, passed or (answer is not None and answer == truth))


def measured(
    groups: Sequence[ScoredGroup],
    is_right: Callable[[Score], bool],
    pass_at: Sequence[int],
    with_majority: bool,
    after: str | None,
) -> dict[str, float]:
    """`pass@K` for each of `pass_at`, and maj@N of all N samples of a prompt; means over prompts. `after`: see
    `final_answer`.

    A prompt with fewer than K scored samples is left out of pass@K, one with none of maj@N; `unscored@K` and
    `unscored@maj` count them, where there are any. A measure that no prompt is left for is left out.
    """
    found: dict[str, float] = {}
    scored = [list(votes(group, is_right, after)) for group in groups]

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

"""What is wrong with comparisons as a whole: what the chosen answers have in common, and who contradicts whom."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from rlsys.curation.exact import fingerprint, normal
from rlsys.curation.settings import PreferenceReportConfig
from rlsys.curation.view import View
from rlsys.data.nested import ABSENT, look
from rlsys.data.values import as_text
from rlsys.statistics.share import Share


@dataclass(frozen=True, slots=True)
class Judged:
    """One comparison of two answers."""

    prompt: int
    chosen: int
    rejected: int
    """Fingerprints."""
    chosen_chars: int
    rejected_chars: int
    place: int | None = None
    """At which place the chosen answer was shown."""
    annotator: str | None = None
    time: str | float | None = None


@dataclass(frozen=True)
class PreferenceReport:
    comparisons: int
    longer: Share
    """How often the chosen answer is the longer one, where they differ in length."""
    chars: tuple[float, float]
    """Mean characters of the chosen and of the rejected answers."""
    first: Share
    """How often the chosen answer was shown first; of none where no column says it."""
    repeated: int
    """Pairs of answers to one prompt that were compared several times."""
    agreement: Share
    """Of all pairs of judgements on such a pair, those that agree."""
    conflicts: list[tuple[int, int]]
    """Rows that say the opposite of one another: of each such pair of answers, the first row of either side."""
    by_annotator: dict[str, Share] = field(default_factory=dict)
    """Agreement with the others."""
    slices: list[tuple[str, Share, Share]] = field(default_factory=list)
    """Of each slice of time its first time, how often the longer answer was chosen, and agreement."""


def judged(view: View, value: Any, config: PreferenceReportConfig) -> Judged | None:
    """None of what compares no two answers."""
    if view.kind != "comparison" or len(view.answers) != 2:
        return None

    def column(name: str | None) -> Any:
        found = ABSENT if name is None or not isinstance(value, dict) else look(value, name)
        return None if found is ABSENT else found

    chosen, rejected = view.answers
    place, annotator, time = column(config.position), column(config.annotator), column(config.time)
    return Judged(
        fingerprint(normal(view.prompt)),
        fingerprint(normal(chosen)),
        fingerprint(normal(rejected)),
        len(chosen),
        len(rejected),
        place if isinstance(place, int) else None,
        None if annotator is None else as_text(annotator),
        time if isinstance(time, (str, int, float)) else None,
    )


def report(rows: Sequence[tuple[int, Judged]], config: PreferenceReportConfig) -> PreferenceReport:
    """`rows`: each comparison with its row's number."""
    pairs = _by_pair(rows)
    repeated = {pair: votes for pair, votes in pairs.items() if len(votes) > 1}
    return PreferenceReport(
        comparisons=len(rows),
        longer=longer(one for _, one in rows),
        chars=(_mean(one.chosen_chars for _, one in rows), _mean(one.rejected_chars for _, one in rows)),
        first=Share(sum(one.place == 0 for _, one in rows), sum(one.place is not None for _, one in rows)),
        repeated=len(repeated),
        agreement=agreement(repeated.values()),
        conflicts=[pair for votes in repeated.values() if (pair := _opposites(votes)) is not None],
        by_annotator=_by_annotator(repeated.values()),
        slices=_slices(rows, config.slices),
    )


def longer(rows: Iterable[Judged]) -> Share:
    counts = Counter((one.chosen_chars > one.rejected_chars) for one in rows if one.chosen_chars != one.rejected_chars)
    return Share(counts[True], counts.total())


Votes = list[tuple[int, Judged]]


def agreement(pairs: Iterable[Votes]) -> Share:
    """Of all pairs of judgements on the same two answers."""
    agreeing = total = 0
    for votes in pairs:
        sides = Counter(one.chosen for _, one in votes)
        agreeing += sum(math.comb(count, 2) for count in sides.values())
        total += math.comb(len(votes), 2)
    return Share(agreeing, total)


def _by_pair(rows: Iterable[tuple[int, Judged]]) -> dict[tuple[int, int, int], Votes]:
    found: dict[tuple[int, int, int], Votes] = defaultdict(list)
    for number, one in rows:
        low, high = sorted((one.chosen, one.rejected))
        found[one.prompt, low, high].append((number, one))
    return found


def _opposites(votes: Votes) -> tuple[int, int] | None:
    first: dict[int, int] = {}
    for number, one in votes:
        first.setdefault(one.chosen, number)
    return None if len(first) < 2 else (min(first.values()), max(first.values()))


def _by_annotator(pairs: Iterable[Votes]) -> dict[str, Share]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for votes in pairs:
        for place, (_, one) in enumerate(votes):
            for _, other in votes[:place] + votes[place + 1 :]:
                if one.annotator is not None:
                    counts[one.annotator][0] += one.chosen == other.chosen
                    counts[one.annotator][1] += 1
    return {name: Share(agreeing, total) for name, (agreeing, total) in sorted(counts.items())}


def _slices(rows: Sequence[tuple[int, Judged]], count: int) -> list[tuple[str, Share, Share]]:
    """Of equally many comparisons each; those without a time are in none."""
    timed = sorted((row for row in rows if row[1].time is not None), key=_time)
    size = math.ceil(len(timed) / count)
    found = [timed[start : start + size] for start in range(0, len(timed), size or 1)]
    return [
        (
            str(one[0][1].time),
            longer(judgement for _, judgement in one),
            agreement(votes for votes in _by_pair(one).values() if len(votes) > 1),
        )
        for one in found
    ]


def _time(row: tuple[int, Judged]) -> tuple[bool, Any]:
    """Numbers before texts."""
    return isinstance(row[1].time, str), row[1].time


def _mean(numbers: Iterable[int]) -> float:
    found = list(numbers)
    return fmean(found) if found else math.nan

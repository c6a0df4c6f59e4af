"""How many samples of easy and of hard prompts were accepted, counted so that the counts of several steps can be
added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rlsys.errors import DataError
from rlsys.samples import Prompt

PREFIX = "dataset/difficulty/"
COLUMNS = ("prompts", "samples", "accepted", "paths", "rows")
RATES = (
    (0.0, "none accepted"),
    (0.25, "up to 25% accepted"),
    (0.5, "25% to 50% accepted"),
    (0.75, "50% to 75% accepted"),
    (1.0, "above 75% accepted"),
)
"""Prompts by the share of their samples that is accepted: each bound with what is said of shares up to it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the samples of one prompt."""

    prompt: Prompt
    samples: int
    """Those with a score."""
    accepted: int
    """Duplicates included."""
    paths: int
    """Different ones among the accepted."""
    rows: int


def difficulty(outcome: Outcome, by: str | None) -> str:
    """The prompt's field `by`; None: its own acceptance rate. Raises DataError for a field that it does not have."""
    if by is None:
        rate = outcome.accepted / outcome.samples if outcome.samples else 0.0
        return next(name for bound, name in RATES if rate <= bound)
    if by not in outcome.prompt.fields:
        raise DataError(
            f"prompt {outcome.prompt.prompt_id}: has no field {by!r}, which method.difficulty names; map it in fields "
            "of its data set"
        )
    return outcome.prompt.fields[by]


def difficulty_counts(outcomes: Iterable[Outcome], by: str | None) -> dict[str, float]:
    """`dataset/difficulty/NAME/COLUMN`, which the loop sums over the run."""
    counts: dict[str, float] = {}
    for outcome in outcomes:
        name = difficulty(outcome, by)
        for column, count in zip(
            COLUMNS, (1, outcome.samples, outcome.accepted, outcome.paths, outcome.rows), strict=True
        ):
            key = f"{PREFIX}{name}/{column}"
            counts[key] = counts.get(key, 0.0) + count
    return counts


def is_of_difficulty(name: str) -> bool:
    return name.startswith(PREFIX)


def difficulty_rows(counts: Mapping[str, float]) -> list[tuple[str, str]]:
    """For the closing table: the easiest first, where the order is known."""
    found: dict[str, dict[str, float]] = {}
    for key, count in counts.items():
        if is_of_difficulty(key):
            name, _, column = key.removeprefix(PREFIX).rpartition("/")
            found.setdefault(name, {})[column] = count
    order = {name: -place for place, (_, name) in enumerate(RATES)}
    return [
        (f"prompts, {name}", _told(own))
        for name, own in sorted(found.items(), key=lambda item: (order.get(item[0], 0), item[0]))
    ]


def _told(own: Mapping[str, float]) -> str:
    prompts, samples = own["prompts"], own["samples"]
    rate = f"{own['accepted'] / samples:.1%} of {samples:,.0f} samples" if samples else "no scored sample"
    return (
        f"{prompts:,.0f}: {rate}; {own['paths'] / prompts:.2f} different paths and {own['rows'] / prompts:.2f} rows "
        "each"
    )

"""Compared runs, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rlsys.commands.compare.together import FIGURES, Spread, Together, differing_seeds
from rlsys.commands.report.curves import thinned
from rlsys.commands.standing import progress
from rlsys.run.progress import print_table

WIDTH = 24
"""Characters of a curve."""
BLOCKS = "▁▂▃▄▅▆▇█"


def show(compared: Sequence[Together]) -> None:
    for one in compared:
        for title, head, rows in tables(one):
            if rows:
                print_table(f"{one.name}: {title}" if one.name else title, rows, head=head)


def tables(one: Together) -> list[tuple[str, Sequence[str], list[Sequence[str]]]]:
    """Title, head and rows of each."""
    states = [(what, *cells) for what, cells in state_rows(one)]
    differences = one.differences()
    figures = [(name, *map(figure, values)) for name, values in one.figures()]
    found: list[tuple[str, Sequence[str], list[Sequence[str]]]] = [
        ("state", ("", *one.labels), [*states]),
        ("settings that differ", ("setting", *one.labels), [*differences] or [("none", *[""] * len(one.labels))]),
        ("last figures", ("figure", *one.labels), [*figures]),
        ("curves", ("metric", "run", "curve", "first and last"), curve_rows(one)),
    ]
    for places, spreads in one.seeds():
        seeds = ", ".join(f"{label} ({seed})" for label, seed in differing_seeds(one, places).items())
        found.append((f"over the seeds of {seeds}", SPREAD, spread_rows(spreads)))
    return found


SPREAD = ("figure", "mean ± standard deviation", "least", "most")


def spread_rows(spreads: Sequence[Spread]) -> list[Sequence[str]]:
    return [
        (own.figure, f"{own.mean:.4g} ± {own.deviation:.2g}", figure(own.least), figure(own.most)) for own in spreads
    ]


def state_rows(one: Together) -> list[tuple[str, list[str]]]:
    return [
        ("method", [record.method for record in one.records]),
        ("state", [record.standing for record in one.records]),
        ("step", [progress(record) for record in one.records]),
    ]


def figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def curve_rows(one: Together) -> list[Sequence[str]]:
    """Of each metric that changed: a line for each run, all on one scale."""
    rows: list[Sequence[str]] = []
    for chart in one.charts(WIDTH):
        if chart.title in FIGURES or chart.title.startswith("eval/accuracy"):
            curves = [(label, [value for value in values if value is not None]) for label, values in chart.series]
            if all(len({*values}) < 2 for _, values in curves):
                continue
            low, high = (bound(value for _, values in curves for value in values) for bound in (min, max))
            for place, (label, values) in enumerate(curves):
                ends = f"{figure(values[0])} -> {figure(values[-1])}"
                rows.append(("" if place else chart.title, label, drawn(values, low, high), ends))
    return rows


def drawn(values: Sequence[float], low: float, high: float) -> str:
    """A character for each value, at most `WIDTH`; the lowest block is `low`, the highest `high`, which differ."""
    return "".join(BLOCKS[round((value - low) / (high - low) * (len(BLOCKS) - 1))] for value in thinned(values, WIDTH))

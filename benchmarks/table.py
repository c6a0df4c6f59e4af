"""The results as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.table import Table

from benchmarks.result import Result

HEADER = ("benchmark", "model", "ours / baseline", "ours", "baseline", "ratio", "spread", "aim", "")


def table(results: Sequence[Result]) -> Table:
    """One row per result. Medians; the spread is the smallest and the largest ratio of a pair."""
    made = Table(*HEADER)
    for result in results:
        made.add_row(*row(result))
    return made


def row(result: Result) -> tuple[str, ...]:
    low, high = result.spread
    return (
        result.benchmark,
        result.size,
        result.measure,
        f"{number(median(result.ours))} {result.unit}",
        f"{number(median(result.baseline))} {result.unit}",
        number(result.ratio),
        f"{number(low)} - {number(high)}",
        str(result.aim) if result.aim else "-",
        result.verdict,
    )


def number(value: float) -> str:
    """Three significant digits, and no exponent above 1."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

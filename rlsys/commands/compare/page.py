"""Compared runs, as one file that opens anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlsys.commands.compare.text import tables
from rlsys.commands.compare.together import Together
from rlsys.commands.report.bounds import LARGEST, TRIED, Bounds
from rlsys.commands.report.html import page
from rlsys.errors import ConfigError
from rlsys.files import write_whole


def write(compared: Sequence[Together], path: Path) -> Path:
    """Raises ConfigError if it can't be written there."""
    for bounds in TRIED:
        text = rendered(compared, bounds)
        if len(text.encode()) <= LARGEST:
            break
    else:
        raise ConfigError(f"--html {path}: too many runs for one page; compare fewer at once")
    try:
        write_whole(path, text)
    except OSError as error:
        raise ConfigError(f"--html {path}: can't be written: {error.strerror}") from error
    return path


def rendered(compared: Sequence[Together], bounds: Bounds) -> str:
    of_each = bounds.of_each(max(len(one.records) for one in compared) * len(compared))
    charts = [one.charts(of_each.points) for one in compared]
    first = [sum(map(len, charts[:place])) for place in range(len(charts))]
    return page(
        "compare.html.j2",
        [chart for own in charts for chart in own],
        [],
        title=" · ".join(dict.fromkeys(label for one in compared for label in one.labels)),
        sections=[
            (one.name, [table for table in tables(one) if table[0] != "curves"], own, start)
            for one, own, start in zip(compared, charts, first, strict=True)
        ],
    )

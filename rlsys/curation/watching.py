"""A progress bar with the time left, where somebody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def watching(title: str, rows: int | None) -> Iterator[Callable[[int], None]]:
    """Yields what is to be told how many rows more are done. `rows` None: nobody knows how many there are, and the bar
    tells no time left. Nothing is shown but on a terminal; the bar goes when it is full."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
    console = Console(stderr=True)
    with Progress(
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(title, total=rows)
        yield lambda more: bar.advance(task, more)

"""How a run stands, in a few words."""

from __future__ import annotations

from rlsys.run.progress import COLUMNS
from rlsys.run.record import Record
from rlsys.run.summary import measured_rows, training_rows


def progress(record: Record) -> str:
    """As in `7 of 80`; nothing of a finished run without steps, which makes its model of files."""
    steps = record.steps
    if record.summary is not None:
        ended = f"{steps}, ended early" if record.summary.get("done") else f"{steps} of {steps}"
        return ended if steps else ""
    return f"{record.step} of {'?' if steps is None else steps}"


def headline(record: Record) -> str:
    """The one figure to look at: what was measured on held-out data, before and after; else the newest of what training
    measures; nothing before there is any."""
    if record.summary is not None:
        rows = [*measured_rows(record.summary), *training_rows(record.summary)]
        return f"{rows[0][0]} {rows[0][1]}" if rows else ""
    for line in reversed(record.metrics):
        for label, names in COLUMNS.items():
            for name in names:
                if line.get(name) is not None:
                    return f"{label} {line[name]:.4g} (step {line['step']})"
    return ""

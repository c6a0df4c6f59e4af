"""`report.md`: what each stage of a recipe, or a run, measured and made, and the audit of its AI feedback."""

from __future__ import annotations

from pathlib import Path

from rlsys.commands.report.blocks import Heading
from rlsys.commands.report.markdown import lines_of
from rlsys.commands.report.sections import of_run
from rlsys.errors import RunError
from rlsys.files import write_whole
from rlsys.run.folder import runs_in
from rlsys.run.record import Record

REPORT = "report.md"


def report(folder: Path) -> str:
    """Write `report.md` into the folder of a run or a recipe, finished or not; returns its text. Raises RunError if it
    is neither, or if nothing of it has begun."""
    runs = runs_in(folder)
    if not runs:
        raise RunError(f"{folder}: none of the recipe's stages has begun; there is nothing to report")
    path = folder.expanduser().absolute()
    blocks = (block for run in runs for block in of_run(Record.read(run)))
    lines = lines_of((Heading(path.name, level=1), *blocks))
    text = "\n".join(lines).rstrip() + "\n"
    write_whole(path / REPORT, text)
    return text

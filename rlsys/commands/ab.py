"""`rlsys ab`: what a log of assignments and outcomes shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlsys.errors import ConfigError
from rlsys.files import to_json, write_whole
from rlsys.online.experiment import analysed, lines
from rlsys.online.log import read
from rlsys.run.progress import print_table


def ab(log: Path, control: str | None, shares: Mapping[str, str] | None, alpha: float, output: Path | None) -> None:
    """Print the analysis, and write it to the file `output`, if one is given. Raises DataError, ConfigError."""
    found = read(log)
    made = analysed(
        found, control, None if shares is None else {name: _share(one) for name, one in shares.items()}, alpha
    )
    print_table(str(log), lines(made, found))
    if output is not None:
        write_whole(output, to_json({**made.plain(), "faults": found.faults}, indent=2) + "\n")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < float("inf"):
        raise ConfigError(f"--share {text}: wanted a number above 0, as in control=1,new=1")
    return share

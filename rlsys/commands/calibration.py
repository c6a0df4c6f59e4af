"""`rlsys calibration`: whether probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rlsys.files import to_json, write_whole
from rlsys.run.forecasts import of_path
from rlsys.run.progress import print_table
from rlsys.statistics.calibration import Calibration
from rlsys.statistics.calibration import calibration as measured


def calibration(paths: Sequence[Path], bins: int, output: Path | None) -> None:
    """A table for each kind of forecast of each path; all of them in the file `output`, if one is given. Raises
    DataError."""
    found: dict[str, Calibration] = {}
    for path in paths:
        for name, own in of_path(path).items():
            title = name if str(path) == name else f"{path}: {name}"
            found[title] = measured([one.probability for one in own], [one.outcome for one in own], bins)
    for title, one in found.items():
        print_table(title, rows(one))
    if output is not None:
        plain = {title: {**asdict(one), "interval": one.outcome.interval} for title, one in found.items()}
        write_whole(output, to_json(plain, indent=2) + "\n")


def rows(found: Calibration) -> list[tuple[str, str, str]]:
    """For people: the measures, then the reliability table."""
    verdict = "overconfident" if found.forecast > found.outcome.interval[1] else "as it should be"
    verdict = "underconfident" if found.forecast < found.outcome.interval[0] else verdict
    made = [
        ("forecasts", f"{found.count:,}", f"mean {found.forecast:.3f}, came true {found.outcome}: {verdict}"),
        ("calibration error", f"{found.ece:.4f}", "bins of equal width"),
        ("", f"{found.ece_mass:.4f}", "bins of equal mass"),
        ("", f"{found.debiased:.4f}", "without the noise of outcomes (root mean square)"),
        ("Brier score", f"{found.brier:.4f}", ""),
        ("forecast", "mean", "came true"),
    ]
    made += [(f"{one.least:.3f} to {one.most:.3f}", f"{one.forecast:.3f}", str(one.outcome)) for one in found.table]
    return made

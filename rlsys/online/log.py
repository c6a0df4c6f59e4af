"""The log of an A/B experiment: JSON lines, one for each assignment of a unit (a user, a session) to a variant, and one
for each outcome.

    {"unit": "u17", "variant": "new", "time": "2026-01-31T09:30:00Z"}
    {"unit": "u17", "time": "2026-01-31T09:31:12Z", "outcome": 1}

An assignment may hold its outcome already. `time` is text in ISO 8601 or a number; it orders what is looked at first.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from rlsys.errors import DataError
from rlsys.files import read_lines

KEYS = frozenset({"unit", "variant", "time", "outcome"})
SHOWN = 3
"""Units that are named of many."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One that was assigned to one variant, and has an outcome."""

    unit: str
    variant: str
    time: str | float
    """Of the last outcome: before it, not all is known."""
    outcome: float


@dataclass
class Log:
    units: list[Unit]
    """Those that can be analysed, in the order of their outcomes."""
    assigned: Counter[str]
    """Units of each variant, whether there is an outcome or not; those in several are in none."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """What is wrong, and with which units."""

    def told(self) -> Iterator[str]:
        """A line for each kind of fault."""
        for what, units in self.faults.items():
            names = ", ".join(map(repr, units[:SHOWN])) + (", ..." if len(units) > SHOWN else "")
            yield f"{len(units):,} units {what}: {names}"


def read(path: Path) -> Log:
    """Raises DataError for a line that is not of the format, and for a log with nothing to compare."""
    assignments: dict[str, list[dict[str, Any]]] = {}
    outcomes: dict[str, list[dict[str, Any]]] = {}
    kinds: set[type] = set()
    for number, row in _rows(path):
        kinds.add(str if isinstance(row["time"], str) else float)
        if len(kinds) > 1:
            raise DataError(f"{path}:{number}: time is {row['time']!r}, and earlier ones were of another kind")
        if "variant" in row:
            assignments.setdefault(row["unit"], []).append(row)
        if "outcome" in row:
            outcomes.setdefault(row["unit"], []).append(row)
    return _joined(assignments, outcomes, path)


def _joined(assignments: dict[str, list[dict[str, Any]]], outcomes: dict[str, list[dict[str, Any]]], path: Path) -> Log:
    log, faults = Log([], Counter()), dict[str, list[str]]()

    def fault(what: str, unit: str) -> None:
        faults.setdefault(what, []).append(unit)

    for unit in outcomes.keys() - assignments.keys():
        fault("have an outcome and no assignment, and are left out", unit)
    for unit, own in assignments.items():
        variants = {row["variant"] for row in own}
        if len(variants) > 1:
            fault("are in several variants, and are left out", unit)
            continue
        (variant,) = variants
        log.assigned[variant] += 1
        found = outcomes.get(unit, [])
        first = min(row["time"] for row in own)
        if len(own) > 1:
            fault("are assigned several times to one variant, which counts once", unit)
        if len(found) > 1:
            fault("have several outcomes, whose mean counts", unit)
        if any(row["time"] < first for row in found):
            fault("have an outcome before their assignment, and are left out", unit)
        elif found:
            known = max(row["time"] for row in found)
            log.units.append(Unit(unit, variant, known, fmean(float(row["outcome"]) for row in found)))
    # Equal times are put in an order that has nothing to do with variants.
    log.units.sort(key=lambda one: (one.time, one.unit))
    log.faults = {what: sorted(units) for what, units in sorted(faults.items())}
    if not log.units:
        raise DataError(f"{path}: no unit has one variant and one outcome ({'; '.join(log.told()) or 'it is empty'})")
    return log


def _rows(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        lines = [*read_lines(path)]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise DataError(f"{path}: can't be read: {why}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON: {error}") from error
        if problem := _problem(row):
            raise DataError(f"{path}:{number}: {problem}")
        yield number, {**row, "unit": str(row["unit"])}


def _problem(row: Any) -> str | None:
    if not isinstance(row, dict):
        return "wanted an object with unit, time, and variant or outcome"
    if "unit" not in row or not isinstance(row["unit"], (str, int)) or row["unit"] == "":
        return "wanted unit, a text or a whole number"
    if not isinstance(row.get("time"), (str, int, float)) or isinstance(row["time"], bool):
        return "wanted time, a text in ISO 8601 or a number"
    if not row.keys() & {"variant", "outcome"}:
        return "wanted variant (an assignment), outcome, or both"
    if "variant" in row and (not isinstance(row["variant"], str) or not row["variant"]):
        return f"variant is {row['variant']!r}; wanted a text"
    outcome = row.get("outcome", 0)
    if not isinstance(outcome, (bool, int, float)) or not math.isfinite(outcome):
        return f"outcome is {outcome!r}; wanted a finite number, or true or false"
    return None

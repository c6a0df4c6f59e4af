"""Comparisons whose answer is known, slipped in among the others to see that the judge is still the judge that it
was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rlsys.config.messages import explain_error
from rlsys.config.schema import dotted
from rlsys.errors import ConfigError, did_you_mean
from rlsys.judging.asking.constitution import Constitution, Principle
from rlsys.judging.asking.questions import Turns
from rlsys.judging.asking.templates import Canary, Templates


@dataclass(frozen=True, slots=True)
class Known:
    """`chosen` is better than `rejected`, by `principle` or, with None, in general."""

    turns: Turns
    chosen: str
    rejected: str
    principle: Principle | None


def load_canaries(
    path: str | None, templates: Templates, constitution: Constitution, whole: Constitution
) -> tuple[Known, ...]:
    """Those of the file, else those of the templates. Canaries of principles that the constitution does not have are
    left out: the templates' may be of another constitution's, and the file's of principles of the `whole` constitution
    that were not chosen.

    Raises ConfigError for a file that can't be read, is empty, has a mistake, or of which no canary is left.
    """
    found = templates.canaries if path is None else _read(Path(path).expanduser(), whole)
    principles: dict[str | None, Principle | None] = {principle.id: principle for principle in constitution.principles}
    principles[None] = None
    usable = tuple(
        Known(canary.prompt, canary.chosen, canary.rejected, principles[canary.principle])
        for canary in found
        if canary.principle in principles
    )
    if path is not None and not usable:
        raise ConfigError(
            f"judge.canaries {path}: none of its {len(found)} canaries is of a principle of {constitution.name}"
        )
    return usable


def _read(path: Path, whole: Constitution) -> tuple[Canary, ...]:
    """JSON lines; blank ones are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise ConfigError(f"judge.canaries {path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"judge.canaries {path}: can't be read: {error}") from error
    found = tuple(
        _canary(line, f"judge.canaries {path}:{number}", whole)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )
    if not found:
        raise ConfigError(f"judge.canaries {path}: is empty")
    return found


def _canary(line: str, where: str, whole: Constitution) -> Canary:
    try:
        data = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: wanted an object with prompt, chosen and rejected, got {line.strip():.80}")
    try:
        canary = Canary.model_validate(data)
    except ValidationError as error:
        problems = [explain_error(Canary, detail, data, ()) for detail in error.errors()]
        first = min(
            problems, key=lambda problem: not problem.unknown_key
        )  # an unknown key often explains a missing one
        raise ConfigError(f"{where}: {dotted(first.key)}{': ' * bool(first.key)}{first.message}") from error
    known = [principle.id for principle in whole.principles]
    if canary.principle is not None and canary.principle not in known:
        hint = did_you_mean(canary.principle, known)
        raise ConfigError(
            f"{where}: principle: the constitution {whole.name!r} has no principle {canary.principle!r}{hint} (known: "
            f"{', '.join(sorted(known))})"
        )
    return canary

"""Megabytes of JSON lines that curation reads in a second, against what is promised: exact duplicates alone, and with
MinHash. Alone, it measures memory: `python -m benchmarks.curation 1000` curates a file of so many megabytes."""

from __future__ import annotations

import itertools
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.result import Aim, Result, interleave
from rlsys.config.dataset import DatasetConfig
from rlsys.curation.corpus import Corpus
from rlsys.curation.settings import CurationConfig
from rlsys.curation.survey import survey

if TYPE_CHECKING:
    from benchmarks.workload import Settings
    from rlsys.roles import Spawn

PROMISED = {"exact": 20.0, "near": 2.0}
"""MB/s on two cores."""
MEGABYTES = {"exact": 120.0, "near": 40.0}
QUICK = 0.2
WORDS = 90
"""Of a prompt, and of an answer: about 1.2 kB a row."""
VOCABULARY = 20_000
DUPLICATED = 0.02
"""The share of the rows that are there twice, with another case and white space."""
DRAWN = 40
"""Megabytes of rows that have nothing in common; in a larger file they come again with a number before each text."""
MB = 1_000_000
NO_RULES = {"max_repetition": None, "max_symbols": None, "truncated": False, "unclosed": False, "roles": False}


def run(settings: Settings, spawn: Spawn) -> Iterator[Result]:
    """Each rate beside its promise."""
    for name, promised in PROMISED.items():
        path = settings.folder / f"{name}.jsonl"
        doubled = write(path, QUICK if settings.quick else MEGABYTES[name])
        measured = interleave(lambda path=path, name=name: rate(path, name), lambda own=promised: own, settings.repeats)
        details = {"bytes": float(path.stat().st_size), "duplicates": float(doubled)}
        aim, what = Aim(1.0, more_is_better=True), f"JSON lines, {name} duplicates / promised"
        yield Result("curation", settings.size, what, "MB/s", *measured, aim=aim, details=details)
        path.unlink()


def rate(path: Path, name: str) -> float:
    """Raises RuntimeError unless just the duplicates are found."""
    begun = time.perf_counter()
    found = survey(Corpus((DatasetConfig(path=str(path)),)), config(name))
    seconds = time.perf_counter() - begun
    if found.reasons().keys() != {"duplicate"}:
        raise RuntimeError(f"wanted duplicates alone to be dropped, and found {dict(found.reasons())}")
    return path.stat().st_size / MB / seconds


def config(name: str) -> CurationConfig:
    quality = {**NO_RULES, "refused": None}
    near = 0.8 if name == "near" else None
    return CurationConfig.model_validate({"quality": quality, "pii": None, "deduplication": {"near": near}})


def write(path: Path, megabytes: float) -> int:
    """Rows of random words; returns how many say the same as an earlier one."""
    draw = random.Random(0)
    vocabulary = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 10))) for _ in range(VOCABULARY)]
    size = doubled = 0
    drawn: list[dict[str, str]] = []
    with path.open("w", encoding="utf-8") as file:
        for number in itertools.count():
            if size >= megabytes * MB:
                break
            if size < DRAWN * MB:
                drawn.append({own: " ".join(draw.choices(vocabulary, k=WORDS)) for own in ("prompt", "answer")})
                row = drawn[-1]
            else:
                row = {own: f"{number} {text}" for own, text in drawn[number % len(drawn)].items()}
            size += file.write(json.dumps(row) + "\n")
            if doubled == 0 or draw.random() < DUPLICATED:
                size += file.write(json.dumps({own: text.upper() + "  " for own, text in row.items()}) + "\n")
                doubled += 1
    return doubled


def memory(megabytes: float, name: str) -> None:
    """Prints rate and peak memory: of this process, and of the largest of its children."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write(path, megabytes)
        found = rate(path, name)
    own, child = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{name}: {megabytes:g} MB at {found:.1f} MB/s; peak {own:.0f} MiB, and {child:.0f} MiB in a worker")


if __name__ == "__main__":
    memory(float(sys.argv[1]), *(sys.argv[2:] or ["exact"]))

"""Checkpoints that are whole or absent.

A checkpoint is written into a hidden folder, hashed file by file into `manifest.json`, forced to disk and only then
renamed to `step-N`. So a folder with that name was complete when it got it, and the manifest shows any damage since.
What is damaged, or was gone back from, is kept aside as `aside-step-N`, which nothing reads or deletes.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import xxhash

from rlsys.errors import CheckpointError, SaveError, command
from rlsys.files import fsync, to_json, write_whole

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class File:
    """What a file held when it was written."""

    size: int
    xxh3_128: str
    """Guards against damage, not against forgery: it keeps up with the disk where a cryptographic hash would not."""

    @classmethod
    def of(cls, path: Path) -> File:
        with path.open("rb") as file:
            # file_digest asks for no more than `update`, which xxhash has; its type says otherwise.
            digest: Any = file_digest(file, xxhash.xxh3_128)  # pyright: ignore[reportArgumentType]
        return cls(path.stat().st_size, digest.hexdigest())


class Checkpoints:
    """The checkpoints of one run, in `folder`.

    Opening removes what a killed run left half-written or half-deleted, so open it only while holding the run's lock.
    """

    def __init__(self, folder: Path, keep_last: int) -> None:
        if keep_last < 1:
            raise ValueError(f"keep_last is {keep_last}; at least one checkpoint must be kept")
        self.folder = folder
        self.keep_last = keep_last
        self.set_aside: list[str] = []
        """What was found damaged and kept aside since the last `take_set_aside`, for people."""
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*"):
            shutil.rmtree(leftover)

    def save(self, step: int, write: Callable[[Path], None], score: float | None) -> Path:
        """Let `write` fill a folder and make that the checkpoint of `step`. Then delete all but the `keep_last` newest
        and the one of highest `score` (held-out; None if not measured); until the new one stands, nothing old is
        deleted. An old one that is damaged costs nothing but itself: it is kept aside (`take_set_aside`).

        Raises SaveError if the disk refuses, CheckpointError if the step has a checkpoint already; whatever `write`
        raises passes through.
        """
        final = self.folder / f"step-{step}"
        if final.exists():
            raise CheckpointError(f"{final}: there is already a checkpoint of this step")
        temporary = self.folder / f".step-{step}.writing"
        try:
            temporary.mkdir()
            write(temporary)
            _seal(temporary, step, score)
            temporary.rename(final)
            fsync(self.folder)
        except OSError as error:
            raise SaveError(f"{final}: can't be written: {error}; earlier checkpoints are untouched") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._prune()
        return final

    def latest(self) -> Path | None:
        """The newest checkpoint, verified; None if there is none.

        Raises CheckpointError, naming the damaged file and the way on, if the newest is damaged. It never takes an
        older one by itself: that would undo steps without asking.
        """
        steps = self.steps()
        if not steps:
            return None
        path = self.folder / f"step-{steps[-1]}"
        try:
            self.verify(path)
        except CheckpointError as error:
            whole = next((step for step in reversed(steps[:-1]) if self._is_whole(step)), None)
            older = command("rlsys", "resume", self.folder.parent, "--from", f"step-{whole}")
            remedy = (
                "there is no whole one before it; start the run again"
                if whole is None
                else f"to go on from step {whole}: `{older}`"
            )
            raise CheckpointError(f"{error}; {remedy}") from error
        return path

    def named(self, name: str) -> Path:
        """The checkpoint `step-N` (or `N`), verified. Raises CheckpointError if there is none or it is damaged."""
        step = name.removeprefix("step-")
        if not step.isdecimal() or int(step) not in self.steps():
            known = ", ".join(f"step-{known}" for known in self.steps()) or "none"
            raise CheckpointError(f"{self.folder}: there is no checkpoint {name}; there are: {known}")
        self.verify(path := self.folder / f"step-{int(step)}")
        return path

    def go_back_to(self, path: Path) -> None:
        """Keep all that are newer aside, so that the run can save their steps anew."""
        for step in self.steps():
            if step > step_of(path):
                self._put_aside(step)

    def best(self) -> Path | None:
        """The checkpoint of highest score, verified; the newest of several. None if none has a score. One that is
        damaged is kept aside, and the next best is taken."""
        while (step := self._best_step()) is not None:
            path = self.folder / f"step-{step}"
            try:
                self.verify(path)
            except CheckpointError as error:
                self._put_aside(step, str(error))
            else:
                return path
        return None

    def take_set_aside(self) -> list[str]:
        """A line for each checkpoint that was found damaged since this was last asked."""
        told, self.set_aside = self.set_aside, []
        return told

    def verify(self, path: Path) -> None:
        """Compare every file with the manifest. Raises CheckpointError that names the files which differ."""
        manifest = _manifest(path)
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(_found, [path / name for name in manifest["files"]]))
        damaged = [
            f"{name} is {'missing' if now is None else 'damaged'}"
            for (name, then), now in zip(manifest["files"].items(), found, strict=True)
            if now is None or asdict(now) != then
        ]
        if damaged:
            raise CheckpointError(
                f"{path}: {', '.join(damaged[:5])}{f' and {len(damaged) - 5} more' if len(damaged) > 5 else ''}"
            )

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        return sorted(
            int(number)
            for path in self.folder.glob("step-*")
            if (number := path.name.removeprefix("step-")).isdecimal()
        )

    def _prune(self) -> None:
        best = self._best_step()
        steps = self.steps()
        keep = {*steps[-self.keep_last :], best}
        for step in steps:
            if step not in keep:
                self._delete(step)

    def _best_step(self) -> int | None:
        scores: dict[int, float] = {}
        for step in self.steps():
            try:
                score = _manifest(self.folder / f"step-{step}")["score"]
            except CheckpointError as error:
                self._put_aside(step, str(error))
                continue
            if score is not None:
                scores[step] = score
        return max(scores, key=lambda step: (scores[step], step)) if scores else None

    def _is_whole(self, step: int) -> bool:
        try:
            self.verify(self.folder / f"step-{step}")
        except CheckpointError:
            return False
        return True

    def _put_aside(self, step: int, damage: str | None = None) -> None:
        names = (f"aside-step-{step}{'' if number == 1 else f'-{number}'}" for number in itertools.count(1))
        place = next(place for name in names if not (place := self.folder / name).exists())
        (self.folder / f"step-{step}").rename(place)
        if damage is not None:
            self.set_aside.append(f"{damage}; this old checkpoint is kept aside as {place.name} and not used")

    def _delete(self, step: int) -> None:
        # Renamed first: a kill in the middle of the deletion must not leave a folder that looks like a checkpoint.
        doomed = (self.folder / f"step-{step}").rename(self.folder / f".step-{step}.deleting")
        shutil.rmtree(doomed)


def _seal(folder: Path, step: int, score: float | None) -> None:
    """Force all files to disk and write the manifest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(File.of, paths))
        list(pool.map(fsync, [*paths, *(path for path in folder.rglob("*") if path.is_dir())]))
    manifest = {
        "step": step,
        "score": score if score is not None and math.isfinite(score) else None,
        "files": {path.relative_to(folder).as_posix(): asdict(file) for path, file in zip(paths, files, strict=True)},
    }
    write_whole(folder / MANIFEST, to_json(manifest, indent=1) + "\n")


def step_of(path: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(path.name.removeprefix("step-"))


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        score, files = manifest["score"], manifest["files"]
        if not (score is None or isinstance(score, float | int)) or not isinstance(files, dict):
            raise TypeError("a score is a number, and files have names")
        return {"score": score, "files": files}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: {MANIFEST} is missing") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: {MANIFEST} is damaged") from error


def _found(path: Path) -> File | None:
    return File.of(path) if path.is_file() else None

"""What a judge has said, kept: the same question is paid for once, also over runs."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from rlsys.errors import RunError
from rlsys.judging.backend import Backend, Failure, Reply, Request

MARK = 0x726C7379
"""SQLite's application id of these files: "rlsy"."""
FORMAT = 1
PATIENCE = 60.0
"""Seconds to wait for another process that writes."""
PORTION = 512
"""Requests that are asked together: replies are kept after each portion, so that an outage loses no more than one."""
TABLE = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, identity TEXT NOT NULL, reply TEXT NOT NULL) STRICT"
T = TypeVar("T")


class CachedBackend:
    """A `backend.Backend` that asks another one only what it has not asked before. Failures are not kept. Several
    processes may share the file.

    Raises RunError, from each method, where the file is damaged, is something else, or can't be written.
    """

    def __init__(self, backend: Backend, path: Path) -> None:
        self._backend, self._path = backend, path
        self._lock = threading.Lock()
        self._file = self._safely(self._open)

    @property
    def identity(self) -> str:
        return self._backend.identity

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """See `Backend.ask`. Equal requests are asked once, unless `fresh`; those go past the cache both ways."""
        keys = [f"fresh {index}" if request.fresh else self._key(request) for index, request in enumerate(requests)]
        answers: dict[str, Reply | Failure] = {
            **self._known({key for key, request in zip(keys, requests, strict=True) if not request.fresh})
        }
        unknown: dict[str, Request] = {}
        for key, request in zip(keys, requests, strict=True):
            if key not in answers:
                unknown.setdefault(key, request)
        for start in range(0, len(unknown), PORTION):
            portion = dict(list(unknown.items())[start : start + PORTION])
            replies = dict(zip(portion, self._backend.ask(list(portion.values())), strict=True))
            self._keep(
                {key: reply for key, reply in replies.items() if isinstance(reply, Reply) and not portion[key].fresh}
            )
            answers |= replies
        told: list[Reply | Failure] = []
        for key in keys:
            answer = answers[key]
            told.append(answer)
            if isinstance(answer, Reply):
                answers[key] = replace(
                    answer, cached=True, cost=0.0, seconds=0.0
                )  # for those after the first of its equals
        return told

    def close(self) -> None:
        """The file's connection; the backend stays open."""
        with self._lock:
            self._file.close()

    def _key(self, request: Request) -> str:
        """Over all that a reply depends on: labels come with the log-probs of a greedy reply, and a greedy text needs
        no seed."""
        if request.labels:
            matters: dict[str, object] = {"labels": sorted(request.labels)}
        else:
            matters = {
                "max_tokens": request.max_tokens,
                "temperature": request.temperature,
                "schema": request.schema and dict(request.schema),
            }
            matters |= {"seed": request.seed} if request.temperature > 0 else {}
        whole = {"identity": self.identity, "messages": [dict(message) for message in request.messages], **matters}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def _known(self, keys: set[str]) -> dict[str, Reply]:
        def look() -> dict[str, Reply]:
            rows = [
                self._file.execute("SELECT key, reply FROM replies WHERE key = ?", (key,)).fetchone() for key in keys
            ]
            return {row[0]: Reply(**json.loads(row[1])) for row in rows if row is not None}

        found = self._safely(look)
        return {key: replace(reply, cached=True, cost=0.0, seconds=0.0) for key, reply in found.items()}

    def _keep(self, replies: dict[str, Reply]) -> None:
        rows = [(key, self.identity, json.dumps(asdict(reply))) for key, reply in replies.items()]

        def write() -> None:
            with self._file:
                self._file.executemany("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", rows)

        if rows:
            self._safely(write)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self._path, timeout=PATIENCE, check_same_thread=False)
        try:
            with file:  # one view of all three: another process may be making the file
                file.execute("BEGIN")
                (mark,) = file.execute("PRAGMA application_id").fetchone()
                (version,) = file.execute("PRAGMA user_version").fetchone()
                (tables,) = file.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if (tables or mark or version) and (mark, version) != (MARK, FORMAT):
                raise RunError(
                    f"{self._path}: is no judge cache of this version; name another file in judge.cache, or remove it"
                )
            file.execute("PRAGMA journal_mode=WAL")
            with file:
                file.execute("BEGIN IMMEDIATE")
                file.execute(TABLE)
                file.execute(f"PRAGMA application_id = {MARK}")
                file.execute(f"PRAGMA user_version = {FORMAT}")
        except BaseException:
            file.close()
            raise
        return file

    def _safely(self, work: Callable[[], T]) -> T:
        try:
            with self._lock:
                return work()
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            raise RunError(
                f"{self._path}: the judge's cache can't be used ({error}); remove it if it is damaged, or set "
                "judge.cache=null"
            ) from error

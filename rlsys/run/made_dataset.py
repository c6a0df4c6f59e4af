"""The data set that a run makes: rows as JSON lines, each with the step that made it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rlsys.files import write_whole


class MadeDataset:
    """Rows in `path`, which exists from the first row on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[dict[str, Any]] = []
        self._read = 0  # bytes of the file that `_rows` come from

    def append(self, step: int, rows: Iterable[dict[str, Any]]) -> None:
        lines = (json.dumps({**row, "step": step}, ensure_ascii=False) + "\n" for row in rows)
        first = next(lines, None)
        if first is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(chain([first], lines))

    def rows(self) -> Sequence[dict[str, Any]]:
        """All so far, in order. Only what is new since the last call is read."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                self._rows += map(json.loads, file)
                self._read = file.tell()
        return self._rows

    def truncate_after(self, step: int) -> None:
        """Forget what later steps made, and a last line that a killed run left half-written: a run that goes on from
        `step` makes them anew."""
        if not self.path.exists():
            return
        self._rows, self._read = [], 0
        *whole, _ = self.path.read_text(encoding="utf-8").split("\n")
        write_whole(self.path, "".join(line + "\n" for line in whole if json.loads(line)["step"] <= step))

"""The data set that a run makes: rows as JSON lines, each with the step that made it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rlsys.batch import Prompt, Trajectory
from rlsys.files import write_whole


class Dataset:
    """Rows in `path`, which exists from the first row on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[dict[str, Any]] = []
        self._read = 0  # bytes of the file that `_rows` come from

    def append(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps({**row, "step": step}, ensure_ascii=False) + "\n" for row in rows)

    def rows(self) -> Sequence[dict[str, Any]]:
        """All so far, in order. Only what is new since the last call is read."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                self._rows += map(json.loads, file)
                self._read = file.tell()
        return self._rows

    def truncate_after(self, step: int) -> None:
        """Forget what later steps made, and a last line that a killed run left half-written: a run that goes on from `step` makes them anew."""
        if not self.path.exists():
            return
        self._rows, self._read = [], 0
        *whole, _ = self.path.read_text(encoding="utf-8").split("\n")
        write_whole(self.path, "".join(line + "\n" for line in whole if json.loads(line)["step"] <= step))


def prompt_columns(prompt: Prompt) -> dict[str, Any]:
    """What every row says of its prompt: `prompt`, a text or messages, and `prompt_id`."""
    return {"prompt": prompt.asked if isinstance(prompt.asked, str) else list(prompt.asked), "prompt_id": prompt.prompt_id}


def different_texts(samples: Sequence[Trajectory]) -> list[Trajectory] | Literal["empty", "equal_texts"]:
    """Samples that have text, the first of each text; or, where fewer than two are left, why."""
    texts = [sample for sample in samples if sample.text.strip()]
    first = {sample.text: sample for sample in reversed(texts)}
    if len(texts) < 2:
        return "empty"
    return [sample for sample in texts if first[sample.text] is sample] if len(first) > 1 else "equal_texts"

"""What a merged model says of itself: `README.md` for people, with the front matter that the hub reads, and
`merge.json` for programs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rlsys.config import yaml_file
from rlsys.config.experiment import ModelConfig
from rlsys.config.merge import MergeSettings
from rlsys.files import to_json
from rlsys.merging.greedy_soup import Tried
from rlsys.merging.plan import Plan, Source

README, RECORD = "README.md", "merge.json"


@dataclass(frozen=True)
class Card:
    settings: MergeSettings
    model: ModelConfig
    """Of the base and of what is written."""
    plan: Plan
    tried: Sequence[Tried] = ()
    """What a greedy soup measured, in order."""
    chosen: Sequence[int] | None = None
    """Numbers of the models that went in; None: all."""

    def write(self, folder: Path, name: str, weights: Sequence[Path]) -> None:
        """Into `folder`, of a model of this name, whose `weights` have been written."""
        record = self.record(weights)
        (folder / RECORD).write_text(to_json(record, indent=2) + "\n", encoding="utf-8")
        (folder / README).write_text(self.readme(name, record), encoding="utf-8")

    def record(self, weights: Sequence[Path]) -> dict[str, Any]:
        """Hashes are SHA-256 of whole files, by their names."""
        parts = zip(self.settings.models, self.plan.sources, strict=True)
        return {
            "rlsys": metadata.version("rlsys"),
            "by": self.settings.by.model_dump(mode="json"),
            "seed": self.plan.seed,
            "dtype": self.model.dtype,
            "base": _of(self.plan.base, self.model.path),
            "models": [
                {
                    **_of(source, model.path),
                    **model.model_dump(mode="json", exclude={"path"}),
                    "used": self._used(number),
                }
                for number, (model, source) in enumerate(parts)
            ],
            "tried": [{"models": one.models, "score": one.score, "kept": one.kept} for one in self.tried],
            "weights": {file.name: sha256(file) for file in weights},
        }

    def readme(self, name: str, record: dict[str, Any]) -> str:
        base, models = record["base"], record["models"]
        named = list(dict.fromkeys(one["path"] for one in (base, *models)))
        front = {"library_name": "transformers", "tags": ["merge"], "base_model": named, "base_model_relation": "merge"}
        rows = [("", "path", "weight", "files, SHA-256"), ("---",) * 4, ("base", base["path"], "", _hashes(base))]
        rows += [("adapter" if one["adapter"] else "model", one["path"], _weight(one), _hashes(one)) for one in models]
        settings = ", ".join(f"{key} {value}" for key, value in record["by"].items() if key != "name")
        return "\n".join(
            [
                "---",
                yaml_file.dump(front).rstrip(),
                "---",
                "",
                f"# {name}: merged by {record['by']['name']}",
                "",
                f"{settings + '; ' if settings else ''}seed {record['seed']}; added in float32, rounded once to "
                f"{record['dtype']}; made by rlsys {record['rlsys']}. All settings are in `{RECORD}`.",
                "",
                *(f"| {' | '.join(row)} |" for row in rows),
                "",
            ]
        )

    def _used(self, number: int) -> bool:
        return self.chosen is None or number in self.chosen


def _of(source: Source, path: str) -> dict[str, Any]:
    files = {file.name: sha256(file) for file in source.weights.files}
    return {"path": path, "adapter": source.is_adapter, "files": files}


def _hashes(one: dict[str, Any]) -> str:
    return "<br>".join(f"{name} `{digest}`" for name, digest in one["files"].items())


def _weight(one: dict[str, Any]) -> str:
    if not one["used"]:
        return "left out"
    return f"{one['weight']:g}" + (", by layer" if one["layers"] else "")


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

"""A recipe: training runs chained in one YAML, each stage's model feeding the next, in one folder.

    name: quickstart
    common:
      model: {path: "playground:0.5m", dtype: float32}
    stages:
      - name: warmup
        method: {name: sft}
        ...
      - name: grpo
        method: {name: grpo}
        model: {path: "stage:warmup"}
        ...

A stage is an experiment: what it says is put over `common`, section by section, and a key with dots (`data.train:
{path: mine.jsonl}`) replaces all that was said there, as on the command line. `config: FILE` takes an experiment's file
as the ground below both. Overrides: `output=...` goes to every stage, `seed=1` to every one without a `seed` of its
own, `common.policy.ranks=2` to all that do not say otherwise, `grpo.loop.steps=5` to one. The recipe is saved in its
folder, so that `rlsys resume` skips the stages that are done and goes on inside the one that is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from rlsys.config.base import Model
from rlsys.config.continual import ContinualConfig

NAME = r"^[A-Za-z0-9._-]+$"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a recipe."""

    name: str
    """Name of the stage and of its folder."""
    config: Path | None
    """Experiment file below its settings, relative to the recipe's."""
    settings: dict[str, Any]
    """What the recipe itself says of it: an experiment's sections, and keys with dots."""


class Recipe(Model):
    name: str = Field(pattern=NAME)
    """Name of the recipe and of its folder."""
    output: Path = Path("runs")
    """Folder in which the recipe's folder is made."""
    seed: int = 0
    """Seed of every stage that gives none of its own."""
    common: dict[str, Any] = {}
    """What all stages have in common: sections of an experiment, which a stage's own go over."""
    continual: ContinualConfig | None = None
    """The stages are tasks that one model learns one after the other, with something done against forgetting."""
    stages: tuple[dict[str, Any], ...] = Field(min_length=1)
    """In the order in which they run: each a `name`, and the sections of an experiment or `config`, the file of one."""

    @property
    def steps(self) -> list[Stage]:
        """The stages; their names must have been checked."""
        reserved = ("name", "config")
        return [
            Stage(
                stage["name"],
                Path(stage["config"]) if stage.get("config") is not None else None,
                {key: value for key, value in stage.items() if key not in reserved},
            )
            for stage in self.stages
        ]

"""Merges models into one, by arithmetic on their weights: soups, task vectors, TIES, DARE, SLERP, adapters.

It trains nothing and has no rows and no steps: `model.path` is the base, `by` one of the ways in `rlsys/merging`. Only
`by: greedy_soup` samples, to measure what it tries on `data.eval`, as method `evaluate` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import field_validator, model_validator

from rlsys import registry
from rlsys.config.document import validate_as
from rlsys.config.experiment import Experiment
from rlsys.config.merge import MergeSettings
from rlsys.config.sampling import SamplingConfig
from rlsys.config.schema import dotted
from rlsys.errors import ConfigError
from rlsys.merging.base import PACKAGE, Way
from rlsys.methods.base import Facts, MethodConfig

Measure = Callable[[Path, str], float]
"""How good the model in a folder is, the higher the better; the text names it."""


class Config(MethodConfig, MergeSettings):
    name: str = "merge"
    """This file."""

    @property
    def facts(self) -> Facts:
        needs = frozenset({"rollout", "reward"}) if self.by.measures else frozenset[str]()
        return Facts("prompts", needs, of_files=True)

    @field_validator("by", mode="before")
    @classmethod
    def _resolved(cls, given: Any) -> Way:
        """The `Config` of the way that is named."""
        if isinstance(given, Way):
            return given
        data = {"name": given} if isinstance(given, str) else given
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            known = ", ".join(registry.names(PACKAGE, "merge"))
            raise ValueError(f"wanted the name of a file in {PACKAGE} ({known}), or a section with that name")
        try:
            registry.resolve(PACKAGE, data["name"], "merge")
            model = registry.resolve(PACKAGE, data["name"], "Config")
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if not (inspect.isclass(model) and issubclass(model, Way)):
            raise ValueError(f"Config of {data['name']!r} must be a subclass of rlsys.merging.base.Way")
        config, problems = validate_as(model, data, ("by",))
        if config is None:
            raise ValueError("; ".join(f"{dotted(one.key)}: {one.message}" for one in problems))
        return config

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for number, model in enumerate(self.models):
            rules = [rule for rule in model.layers if rule.density is not None]
            if (model.density is not None or rules) and not self.by.trims:
                raise ValueError(f"models.{number}.density: has no effect: {self.by.name} trims nothing; leave it out")
            if dead := [place for place, rule in enumerate(model.layers) if rule.weight is rule.density is None]:
                raise ValueError(f"models.{number}.layers.{dead[0]}: says nothing; give it a weight or a density")
        if (why := self.by.refusal([model.weight for model in self.models])) is not None:
            raise ValueError(f"models: {why}")
        return self


@dataclass(frozen=True)
class Method:
    """Has one verb: there is nothing to collect or to learn from."""

    config: Config
    sampling: SamplingConfig
    pad_id: int

    def make(self, experiment: Experiment, at: Callable[[str], Path], folder: Path, measure: Measure) -> None:
        """Write the merged model into a new `folder`, which appears whole or not at all. `at`: where a model's path
        is. Raises ConfigError for what does not fit, before anything is written."""
        from rlsys.merging.plan import plan  # brings transformers
        from rlsys.merging.write import Merge

        model, folders = experiment.model, [at(model.path) for model in self.config.models]
        Merge(self.config, model, plan(self.config, at(model.path), folders, experiment.seed)).make(folder, measure)

"""What is merged, and how: the keys of method `merge`. The keys of `by` are declared beside each way of merging."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, PositiveFloat, field_validator

from rlsys.config.base import Model


class LayerRule(Model):
    """Other numbers for some tensors of one model."""

    match: str
    r"""Regular expression that is searched for in a tensor's name, as in layers\.[0-3]\. or mlp."""
    weight: float | None = None
    """Weight of the model there; null: its own."""
    density: float | None = Field(default=None, gt=0, le=1)
    """Density there; null: its own."""

    @field_validator("match")
    @classmethod
    def _is_regular(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern


class MergedModel(Model):
    path: str
    """Hub id or local folder of a model, or of a PEFT adapter of the base (`model.path`); in a recipe, stage:NAME."""
    weight: float = 1.0
    """How much of it; below 0 takes away what it learned (task_arithmetic)."""
    density: float | None = Field(default=None, gt=0, le=1)
    """Share of its task vector that is kept, where the way of merging trims; null: that of `by`."""
    layers: tuple[LayerRule, ...] = ()
    """Other weights and densities for some tensors; the last rule that matches a name decides."""

    def weight_of(self, tensor: str) -> float:
        """Its weight for the tensor of this name."""
        found = [rule.weight for rule in self.rules_of(tensor) if rule.weight is not None]
        return found[-1] if found else self.weight

    def density_of(self, tensor: str, usual: float) -> float:
        """Its density for the tensor of this name; `usual`: where it says nothing of its own."""
        found = [rule.density for rule in self.rules_of(tensor) if rule.density is not None]
        return found[-1] if found else usual if self.density is None else self.density

    def rules_of(self, tensor: str) -> list[LayerRule]:
        """Those that match the name, in order."""
        return [rule for rule in self.layers if re.search(rule.match, tensor)]


class MergeSettings(Model):
    by: Any = Field(default="linear", validate_default=True)
    """How: the name of a file in rlsys/merging or a dotted path, or a section with that `name` and its own keys, as in
    {name: ties, density: 0.2}."""
    models: tuple[MergedModel, ...] = Field(min_length=1)
    """What is merged; task vectors are their differences from the base, `model.path`."""
    shard_gb: PositiveFloat = 5.0
    """Largest file of weights that is written (1 GB is 10^9 bytes); only a single larger tensor makes a larger one."""

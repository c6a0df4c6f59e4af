"""What a run asks of whoever starts its roles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rlsys.config.models import Experiment
from rlsys.roles import Roles


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """What the roles of a run must be able to do."""

    needs: frozenset[str]
    """Roles to start."""
    model: Path
    """Local folder or hub id of the policy's starting weights."""
    optimizer_steps: int
    """Over the whole run, for the learning-rate schedule."""


Spawn = Callable[[Experiment, SpawnRequest], AbstractContextManager[Roles]]
"""Starts the roles; closing the context stops them. `actors.spawn.spawn` is the one for Ray."""

"""A recipe's stages as a sequence of tasks."""

from __future__ import annotations

from typing import Any

from rlsys.config.base import Model


class ContinualConfig(Model):
    tasks: tuple[str, ...] = ()
    """Stages that are the tasks, in their order; none takes all. Each goes on from the one before."""
    against: Any = {"kind": "none"}
    """What is done against forgetting: `kind` is a file in rlsys/continual (none, replay, ewc, isolation), the other
    keys are its own."""
    measure: dict[str, dict[str, Any]] = {}
    """How each task is measured after every task, by its name: sections of a run of method `evaluate` (`data`,
    `rewards`, `sampling`, `evaluation`) over what its stage says of them itself. None: nothing is measured."""

"""What a choice against forgetting is: one file of `rlsys/continual`, named in a recipe as `continual.against: {kind:
ewc, ...}`, that defines `Config`, its settings, and `settings`, what it says of a task's stage:

    def settings(config: Config, earlier: Sequence[Experiment], last: bool) -> dict[str, Any]

`earlier` are the experiments of the tasks before it, `last` says that none follows. Keys have dots, as on the command
line; lists are added to what the stage has. No method knows of any of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rlsys.config.base import Model
from rlsys.config.experiment import Experiment
from rlsys.config.paths import STAGE

PACKAGE = "rlsys.continual"


class Against(Model):
    """The base of every choice's `Config`."""

    kind: str
    """What is done against forgetting: a file of rlsys/continual, or the dotted path of your own module."""

    isolates: ClassVar[bool] = False
    """Whether each task has a model of its own, in place of going on with the one of the task before."""


def beginning(against: Against, earlier: Sequence[Experiment]) -> dict[str, Any]:
    """Where a task starts: at the model of the task before, or, with an adapter, at the base of all with that task's
    adapter; the first task, and each that is isolated, at the base with a new one."""
    if not earlier:
        return {}
    first, before = earlier[0].model, f"{STAGE}{earlier[-1].name}"
    if against.isolates:
        return {"model.path": first.path}
    if first.adapter is None:
        return {"model.path": before}
    return {"model.path": first.path, "model.adapter.path": before}

"""Replay: a fraction of the rows that a task trains on are of the tasks before it, of each alike (experience replay;
Rolnick et al. 2019, arXiv 1811.11682, mix new and old data so)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlsys.config.dataset import Part, Share
from rlsys.config.experiment import Experiment
from rlsys.continual.base import Against
from rlsys.errors import ConfigError


class Config(Against):
    kind: str = "replay"
    """This file."""
    fraction: Share = 0.2
    """Of all rows drawn, this fraction is of earlier tasks (`data.also.fraction`)."""
    keep: Share | None = None
    """Replay only about this share of each old training set, the same rows each time; none replays all of it."""


def settings(config: Config, earlier: Sequence[Experiment], last: bool) -> dict[str, Any]:
    if not earlier:
        return {}
    # An earlier task's own `also` is what it replayed.
    old = [one.data.training()[0] for one in earlier if one.data.train is not None]
    changed: dict[str, Any] = {"fraction": config.fraction / len(old), "weight": 1.0}
    if config.keep is not None:
        if parted := next((one for one in old if one.part is not None), None):
            raise ConfigError(
                f"continual.against.keep: {parted.path} has a part of its own or one held out (data.eval.share), and "
                "keep would take other rows; leave keep out, or hold out by a file of its own"
            )
        changed["part"] = Part(share=config.keep)
    return {"data.also": [one.model_copy(update=changed).model_dump(mode="json") for one in old]}

"""Elastic weight consolidation: how the weights are held near those of earlier tasks."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveFloat

from rlsys.config.base import Model


class EwcConfig(Model):
    of: tuple[str, ...] = ()
    """Final models of earlier tasks (folders, or `stage:NAME`), trained with `samples`: each adds strength / 2 times
    the sum of F (theta - theta*)^2 over the trained weights."""
    strength: PositiveFloat = 1.0
    """The penalty's factor lambda. Fisher information is a mean over whole rows, and the loss is the method's own, so
    its size must be tried."""
    samples: NonNegativeInt = 0
    """At the end, estimate the Fisher information on so many rows of what was trained on, and keep it with the final
    model (in `ewc/`), for later tasks; 0 keeps none."""

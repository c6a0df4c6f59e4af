"""`rlsys cost`: what training a config's models takes, beside full training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rlsys.check.seats import told_of_reference
from rlsys.commands.cost_table import table
from rlsys.commands.validate import experiments


def told(config: Path, overrides: Sequence[str]) -> Iterator[str]:
    """A table for each experiment. Raises ConfigError."""
    found = experiments(config, overrides)[1]
    for number, experiment in enumerate(found):
        yield from table(experiment, found[:number])
        if (reference := told_of_reference(experiment)) is not None:
            yield f"    {reference}"

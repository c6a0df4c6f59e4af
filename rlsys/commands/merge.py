"""`rlsys merge`: an experiment of method `merge`, run by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rlsys.check.load import load
from rlsys.config.experiment import Experiment
from rlsys.config.kinds import kind_of
from rlsys.errors import ConfigError
from rlsys.roles import Roles, SpawnRequest


def merge_experiment(config: Path, overrides: Sequence[str]) -> Experiment:
    """Raises ConfigError for a config of another kind or method."""
    if (kind := kind_of(config)) != "experiment":
        raise ConfigError(f"{config}: is a {kind}; give an experiment of method merge, as configs/merge/two_tasks.yaml")
    experiment = load(config, overrides)
    if not experiment.method.facts.of_files:
        raise ConfigError(f"{config}: is of method {experiment.method.name}, not merge; use `rlsys train {config}`")
    return experiment


@contextmanager
def no_actors(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
    """In the place of `spawn` where nothing is measured, so that Ray is not even imported."""
    yield Roles()

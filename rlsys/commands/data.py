"""`rlsys data`: what is in data sets that nobody should train on. Nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlsys.check.load import load
from rlsys.check.recipe import load_recipe
from rlsys.commands import options
from rlsys.config.contamination import ContaminationConfig
from rlsys.config.dataset import DatasetConfig
from rlsys.config.document import Override
from rlsys.config.experiment import Experiment
from rlsys.config.kinds import kind_of
from rlsys.config.paths import STAGE
from rlsys.curation.corpus import Corpus
from rlsys.curation.report import lines, write
from rlsys.curation.settings import CurationConfig
from rlsys.curation.survey import survey
from rlsys.curation.watching import watching
from rlsys.errors import ConfigError
from rlsys.run.progress import print_table

YAML = (".yaml", ".yml")
NEAR = 0.8
"""Jaccard similarity from which an evaluation prompt counts as found: a report may take longer than a gate."""


@dataclass(frozen=True)
class Chosen:
    """One report to make."""

    title: str
    corpus: Corpus
    config: CurationConfig


def prepared(
    paths: Sequence[str],
    against: Sequence[str],
    fields: dict[str, str],
    split: str | None,
    limit: int | None,
    typed: Sequence[str],
) -> list[Chosen]:
    """A report for each experiment of a config, or one for all files together. Raises ConfigError."""
    evaluation = tuple(options.dataset(path, fields) for path in against)
    if Path(paths[0]).suffix.lower() not in YAML:
        sets = tuple(options.dataset(path, fields, split, limit) for path in paths)
        looked_for = ContaminationConfig(against=evaluation, near=NEAR)
        return [Chosen(", ".join(paths), Corpus(sets, looked_for), _settings(CurationConfig(), typed))]
    if len(paths) > 1 or fields or split or limit:
        raise ConfigError(f"{paths[0]}: a config names its data sets itself; give it alone, without options for them")
    found = [one for experiment in _experiments(Path(paths[0])) if (one := _of(experiment, evaluation, typed))]
    if not found:
        raise ConfigError(f"{paths[0]}: names no data set but what its own stages make; give the files of those")
    return found


def show(chosen: Sequence[Chosen], output: Path | None) -> None:
    """Print each report, and write it into the folder `output`; of several, each into a folder of its own there."""
    for one in chosen:
        begun = time.monotonic()
        with watching(f"reading {one.title}", one.corpus.count()) as done:
            found = survey(one.corpus, one.config, done)
        print_table(one.title, list(lines(found, time.monotonic() - begun)))
        if output is not None:
            folder = output if len(chosen) == 1 else output / one.title
            folder.mkdir(parents=True, exist_ok=True)
            write(found, folder)


def _experiments(path: Path) -> list[Experiment]:
    kind = kind_of(path)
    if kind == "judge-eval":
        raise ConfigError(f"{path}: trains nothing; give the file of its comparisons")
    return load_recipe(path, this_machine=False)[1] if kind == "recipe" else [load(path, this_machine=False)]


def _of(experiment: Experiment, evaluation: tuple[DatasetConfig, ...], typed: Sequence[str]) -> Chosen | None:
    """Its training sets, looked through for its evaluation sets; None where earlier stages make all of them."""
    data, method = experiment.data, experiment.method
    sets = tuple(one for one in data.training() if not one.path.startswith(STAGE))
    if not sets:
        return None
    held_out = data.held_out()
    own = data.contamination
    looked_for = own.model_copy(update={"against": (*own.against, *evaluation), "near": own.near or NEAR})
    if held_out is not None and held_out.path.startswith(STAGE):
        held_out = None
    config = method if isinstance(method, CurationConfig) else CurationConfig()
    return Chosen(experiment.name, Corpus(sets, looked_for, held_out), _settings(config, typed))


def _settings(config: CurationConfig, typed: Sequence[str]) -> CurationConfig:
    given = [Override(text, f"--set {text!r}") for text in typed]
    return options.document(config.model_dump(mode="json"), given).validated(type(config)) if given else config

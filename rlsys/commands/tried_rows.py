"""What `rlsys validate` reads: the first rows of each data set on this machine, by the run's loaders. It downloads
nothing, and judges lengths only where the model's tokenizer is here, too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import PreTrainedTokenizerBase

from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import Experiment
from rlsys.config.paths import STAGE, datasets
from rlsys.config.schema import Key, dotted
from rlsys.curation.gate import check_contamination
from rlsys.data.chat import Renderer
from rlsys.data.report import Loaded, Report
from rlsys.data.sources import PLAYGROUND, elsewhere, read_rows
from rlsys.errors import ConfigError, DataError, TooFewRows
from rlsys.models.load import load_tokenizer, local_path
from rlsys.playground.models import byte_tokenizer
from rlsys.run.inputs import Inputs, row_kind
from rlsys.run.labelled_pairs import load_labelled_pairs
from rlsys.run.preflight import At, check_models

FIRST = 500
"""Rows of each data set that are tried, where they are enough."""


def first_rows(experiment: Experiment, earlier: Sequence[Experiment] = (), every: bool = False) -> Iterator[str]:
    """Lines that say what was read and what was not; `earlier`: the stages of a recipe before this one.

    Raises what the run would before it starts: ConfigError for models that don't fit each other, or settings that don't
    fit the data; DataError for a data set that can't be read or has too few usable rows. Of a large data set the first
    rows are read and, as long as these are too few for the run, more; all with `every` or `data.strict`, and where they
    might have evaluation rows among them.
    """
    model = begins_with(experiment.model.path, earlier)
    with TemporaryDirectory() as built:

        def at(path: str) -> Path | None:
            return _folder(begins_with(path, earlier), Path(built))

        with _named(experiment.name):
            check_models(experiment, at)
        trial = Trial(experiment, model, _tokenizer(model), at, every)
        stand_in = "" if trial.knows_lengths else f"; no length is judged: {model} is no local folder"
        yield from _told(datasets(experiment), trial.read, experiment.name, stand_in)
        with _named(experiment.name):
            trial.check_mixture()
            check_contamination(experiment, here=True)


class Trial:
    """The data sets of an experiment, each read as far as it takes to say that the run can begin."""

    def __init__(
        self, experiment: Experiment, model: str, tokenizer: PreTrainedTokenizerBase | None, at: At, every: bool
    ) -> None:
        self.experiment, self.model, self.every = experiment, model, every or experiment.data.strict
        self.knows_lengths = tokenizer is not None
        # Bytes can express any text, so columns can be told apart by them.
        tokenizer = tokenizer or byte_tokenizer()
        tokenizer.model_max_length = sys.maxsize
        self.rows = Inputs(experiment, tokenizer, at, any_length=not self.knows_lengths)
        self.whole: dict[Key, Loaded[Any]] = {}
        """Data sets of which all rows were read."""

    def read(self, key: Key, config: DatasetConfig) -> tuple[Report, bool] | str:
        """What became of the rows, and whether these were all; or why none was read."""
        kind = row_kind(self.experiment.method.facts, str(key[1]))
        if why := elsewhere(config):
            if self.knows_lengths and key[0] == "data" and kind != "texts":
                Renderer.create(config, self.rows.tokenizer)  # settings that don't fit the tokenizer
            return why
        if key[0] == "judge":
            return load_labelled_pairs(config)[1], True
        if not self.knows_lengths and kind == "comparisons" and _has_reference_tokens(config):
            return f"its log-probs are of the tokens of {self.model}"
        limit = FIRST
        while True:
            ends = self.every or _ends_within(config, limit)
            asked = config if ends else config.model_copy(update={"limit": limit})
            try:
                loaded = self.rows.read(asked, kind)
                self.check(key, loaded)
            except TooFewRows:
                if ends:
                    raise
                limit *= 4
            else:
                if ends:
                    self.whole[key] = loaded
                return loaded.report, ends

    def check(self, key: Key, loaded: Loaded[Any]) -> None:
        """Raises TooFewRows for fewer rows than the run must have. How many blocks texts make is told by tokens."""
        texts = self.experiment.method.facts.rows == "texts"
        if key == ("data", "train") and not self.experiment.data.also and (self.knows_lengths or not texts):
            self.rows.check_training([loaded])
        elif key == ("data", "pretrain") and self.knows_lengths:
            self.rows.check_pretraining(loaded)

    def check_mixture(self) -> None:
        """Of several training sets, where all their rows are known. Raises DataError."""
        parts = [key for key in datasets(self.experiment) if key[:2] in (("data", "train"), ("data", "also"))]
        if len(parts) > 1 and all(key in self.whole for key in parts):
            self.rows.check_training([self.whole[key] for key in parts])


def begins_with(path: str, earlier: Sequence[Experiment]) -> str:
    """The model itself, or the one that a recipe's stage of this path begins with, whose tokenizer and window it
    has."""
    models = {f"{STAGE}{stage.name}": stage.model.path for stage in earlier}
    while path in models:
        path = models[path]
    return path


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors begin with the name of the experiment."""
    try:
        yield
    except (ConfigError, DataError) as error:
        raise type(error)(f"{name}: {error}") from error


def _folder(path: str, built: Path) -> Path | None:
    """None where the model is no local folder."""
    if path.startswith(PLAYGROUND):
        return local_path(path, built)
    folder = Path(path).expanduser()
    return folder if folder.is_dir() else None


def first_labelled(config: DatasetConfig, name: str) -> Iterator[str]:
    """As `first_rows`, of the comparisons that a judge is measured on."""
    return _told({("data",): config}, lambda _, own: elsewhere(own) or (load_labelled_pairs(own)[1], True), name)


def _told(
    found: Mapping[Key, DatasetConfig],
    read: Callable[[Key, DatasetConfig], tuple[Report, bool] | str],
    name: str,
    stand_in: str = "",
) -> Iterator[str]:
    tried, unread = [], []
    for key, config in found.items():
        try:
            got = read(key, config)
        except (ConfigError, DataError) as error:
            raise type(error)(f"{name}: {dotted(key)}: {error}") from error
        if isinstance(got, str):
            unread.append(f"{dotted(key)} {config.path} ({got})")
        else:
            report, whole = got
            notes = [f"first left out: {report.reason}"] if report.reason else []
            told = "".join(f" ({note})" for note in [*notes, *([report.untold] if report.untold else [])])
            which = f"{report.kept} of {'all' if whole else 'the first'} {report.read}"
            tried.append(f"{dotted(key)} {which}{f' as {report.format}' if report.format else ''}{told}")
    if tried:
        yield f"    rows that can be used: {', '.join(tried)}{stand_in}"
    if unread:
        yield f"    not read: {', '.join(unread)}"


def _ends_within(config: DatasetConfig, limit: int) -> bool:
    """Whether the run has no more rows than `limit`."""
    return (config.limit is not None and config.limit <= limit) or next(
        islice(read_rows(config), limit, None), None
    ) is None


def _tokenizer(model: str) -> PreTrainedTokenizerBase | None:
    """None where the model is no local folder: one in the hub's cache is not looked for."""
    if model.startswith(PLAYGROUND):
        return byte_tokenizer()
    folder = Path(model).expanduser()
    return load_tokenizer(folder) if folder.is_dir() else None


def _has_reference_tokens(config: DatasetConfig) -> bool:
    first = next(iter(read_rows(config)), None)
    return (
        first is not None
        and isinstance(first.value, dict)
        and config.fields.get("reference_tokens", "reference_tokens") in first.value
    )

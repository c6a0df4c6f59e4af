"""What `rlsys validate` reads: the first rows of each data set on this machine, by the run's loaders. It downloads nothing, and judges no length."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from rlsys.algorithm import build_algorithm
from rlsys.config.checks import STAGE
from rlsys.config.dataset import DatasetConfig
from rlsys.config.models import Experiment
from rlsys.config.paths import datasets
from rlsys.config.schema import Key, dotted
from rlsys.data.load import Report
from rlsys.data.sources import PLAYGROUND, read_rows
from rlsys.errors import ConfigError, DataError, NoUsableRow
from rlsys.judging.labelled import load_labelled
from rlsys.models.load import load_tokenizer
from rlsys.playground.models import byte_tokenizer
from rlsys.rows import LOADERS, row_kind

FIRST = 20
"""Rows of each data set that are tried."""


def first_rows(experiment: Experiment, earlier: Sequence[Experiment] = ()) -> Iterator[str]:
    """Lines that say what was read and what was not; `earlier`: the stages of a recipe before this one.

    Raises what the run's loader would: DataError for a data set that can't be read or has no usable row, ConfigError for settings that don't fit it.
    That none of the first rows can be used, where more follow, is a line: the run would go on to those.
    """
    model, models = experiment.model.path, {f"{STAGE}{stage.name}": stage.model.path for stage in earlier}
    while model in models:
        model = models[model]
    algorithm, own = build_algorithm(experiment, pad_id=0), _tokenizer(model)
    tokenizer = byte_tokenizer() if own is None else own  # bytes can express any text, so columns can be told apart by them
    tokenizer.model_max_length = sys.maxsize

    def load(key: Key, config: DatasetConfig) -> Report | str:
        if key[0] == "judge":
            return load_labelled(config)[1]
        kind = row_kind(algorithm, str(key[1]))
        if own is None and kind == "comparisons" and _has_reference_tokens(config):
            return f"its log-probs are of the tokens of {model}"
        further = {"max_answer_tokens": sys.maxsize} if kind == "answered" else {}
        return LOADERS[kind](config, tokenizer, sys.maxsize, experiment.data.strict, None, **further).report

    stand_in = f"; by bytes: {model} is no local folder" if own is None else ""
    return _told(datasets(experiment), load, experiment.name, stand_in)


def first_labelled(config: DatasetConfig, name: str) -> Iterator[str]:
    """As `first_rows`, of the comparisons that a judge is measured on."""
    return _told({("data",): config}, lambda _, own: load_labelled(own)[1], name)


def _told(
    found: Mapping[Key, DatasetConfig], load: Callable[[Key, DatasetConfig], Report | str], name: str, stand_in: str = ""
) -> Iterator[str]:
    read, unread = [], []
    for key, config in found.items():
        try:
            got = _elsewhere(config) or _tried(config, partial(load, key))
        except (ConfigError, DataError) as error:
            raise type(error)(f"{name}: {dotted(key)}: {error}") from error
        if isinstance(got, NoUsableRow):
            yield f"    warning: {dotted(key)} {config.path}: none of the first {FIRST} rows can be used: {got.reason}"
        elif isinstance(got, str):
            unread.append(f"{dotted(key)} {config.path} ({got})")
        else:
            read.append(f"{dotted(key)} {got.kept} of {got.read}")
    if read:
        yield f"    first rows that can be used: {', '.join(read)}{stand_in}"
    if unread:
        yield f"    not read: {', '.join(unread)}"


def _tried(config: DatasetConfig, load: Callable[[DatasetConfig], Report | str]) -> Report | NoUsableRow | str:
    """What came of the first rows; raises NoUsableRow where the run would read no others."""
    try:
        return load(config.model_copy(update={"limit": min(FIRST, config.limit or FIRST)}))
    except NoUsableRow as error:
        allowed = config.limit is None or config.limit > FIRST
        if allowed and next(islice(read_rows(config), FIRST, None), None) is not None:
            return error
        raise


def _elsewhere(config: DatasetConfig) -> str | None:
    """Why it can't be read here."""
    if config.path.startswith(STAGE):
        return "made by the recipe"
    here = config.path.startswith(PLAYGROUND) or Path(config.path).expanduser().exists()
    return None if here else "no such file, so a hub id"


def _tokenizer(model: str) -> PreTrainedTokenizerBase | None:
    """None where the model is no local folder: one in the hub's cache is not looked for."""
    if model.startswith(PLAYGROUND):
        return byte_tokenizer()
    folder = Path(model).expanduser()
    return load_tokenizer(folder) if folder.is_dir() else None


def _has_reference_tokens(config: DatasetConfig) -> bool:
    first = next(iter(read_rows(config)), None)
    return first is not None and isinstance(first.value, dict) and config.fields.get("reference_tokens", "reference_tokens") in first.value

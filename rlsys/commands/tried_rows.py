"""What `rlsys validate` reads: the first rows of each data set on this machine, by the run's loaders. It downloads
nothing, and judges lengths only where the model's tokenizer is here, too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import Experiment
from rlsys.config.paths import STAGE, datasets
from rlsys.config.schema import Key, dotted
from rlsys.data.report import Loaded, Report
from rlsys.data.sources import PLAYGROUND, elsewhere, read_rows
from rlsys.errors import ConfigError, DataError, NoUsableRow
from rlsys.models.load import load_tokenizer
from rlsys.playground.models import byte_tokenizer
from rlsys.run.inputs import Inputs, row_kind
from rlsys.run.labelled_pairs import load_labelled_pairs

FIRST = 20
"""Rows of each data set that are tried."""


def first_rows(experiment: Experiment, earlier: Sequence[Experiment] = ()) -> Iterator[str]:
    """Lines that say what was read and what was not; `earlier`: the stages of a recipe before this one.

    Raises what the run's loader would: DataError for a data set that can't be read or has no usable row, ConfigError
    for settings that don't fit it. That none of the first rows can be used, where more follow, is a line: the run would
    go on to those. Where the run would read no others, they are also judged as a whole: DataError for too few of them,
    or labels of one kind.
    """
    model, models = experiment.model.path, {f"{STAGE}{stage.name}": stage.model.path for stage in earlier}
    while model in models:
        model = models[model]
    facts, own = experiment.method.facts, _tokenizer(model)
    tokenizer = (
        byte_tokenizer() if own is None else own
    )  # bytes can express any text, so columns can be told apart by them
    tokenizer.model_max_length = sys.maxsize
    rows, found = Inputs(experiment, tokenizer, any_length=own is None), datasets(experiment)
    whole: dict[Key, Loaded[Any]] = {}

    def load(key: Key, config: DatasetConfig) -> Report | str:
        if key[0] == "judge":
            return load_labelled_pairs(config)[1]
        kind = row_kind(facts, str(key[1]))
        if own is None and kind == "comparisons" and _has_reference_tokens(config):
            return f"its log-probs are of the tokens of {model}"
        loaded = rows.read(config, kind)
        if _reads_no_more(found[key]) and not (
            own is None and kind == "texts"
        ):  # into how many blocks they are cut goes by tokens
            whole[key] = loaded
        return loaded.report

    stand_in = f"; no length is judged: {model} is no local folder" if own is None else ""
    yield from _told(found, load, experiment.name, stand_in)
    training = [key for key in found if key[:2] in (("data", "train"), ("data", "also"))]
    try:
        if all(key in whole for key in training):
            rows.check_training([whole[key] for key in training])
        if (key := ("data", "pretrain")) in whole:
            rows.check_pretraining(whole[key])
    except DataError as error:
        raise DataError(f"{experiment.name}: {error}") from error


def first_labelled(config: DatasetConfig, name: str) -> Iterator[str]:
    """As `first_rows`, of the comparisons that a judge is measured on."""
    return _told({("data",): config}, lambda _, own: load_labelled_pairs(own)[1], name)


def _told(
    found: Mapping[Key, DatasetConfig],
    load: Callable[[Key, DatasetConfig], Report | str],
    name: str,
    stand_in: str = "",
) -> Iterator[str]:
    read, unread = [], []
    for key, config in found.items():
        try:
            got = elsewhere(config) or _tried(config, partial(load, key))
        except (ConfigError, DataError) as error:
            raise type(error)(f"{name}: {dotted(key)}: {error}") from error
        if isinstance(got, NoUsableRow):
            yield f"    warning: {dotted(key)} {config.path}: none of the first {FIRST} rows can be used: {got.reason}"
        elif isinstance(got, str):
            unread.append(f"{dotted(key)} {config.path} ({got})")
        else:
            why = f" (first left out: {got.reason})" if got.reason else ""
            read.append(
                f"{dotted(key)} {got.kept} of {'all' if _reads_no_more(config) else 'the first'} {got.read}{why}"
            )
    if read:
        yield f"    rows that can be used: {', '.join(read)}{stand_in}"
    if unread:
        yield f"    not read: {', '.join(unread)}"


def _tried(config: DatasetConfig, load: Callable[[DatasetConfig], Report | str]) -> Report | NoUsableRow | str:
    """What came of the first rows; raises NoUsableRow where the run would read no others."""
    try:
        return load(config.model_copy(update={"limit": min(FIRST, config.limit or FIRST)}))
    except NoUsableRow as error:
        if _reads_no_more(config):
            raise
        return error


def _reads_no_more(config: DatasetConfig) -> bool:
    """Whether the run has no more rows than are tried."""
    limited = config.limit is not None and config.limit <= FIRST
    return limited or next(islice(read_rows(config), FIRST, None), None) is None


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

"""What `rlsys validate` reads: the first rows of each data set on this machine, by the run's loaders. It downloads
nothing, and judges lengths only where the model's tokenizer is here, too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
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
from rlsys.data.report import Loaded, Report
from rlsys.data.sources import PLAYGROUND, elsewhere, read_rows
from rlsys.errors import ConfigError, DataError, NoUsableRow
from rlsys.methods.base import Facts
from rlsys.models.load import load_tokenizer, local_path
from rlsys.playground.models import byte_tokenizer
from rlsys.run.inputs import Inputs, row_kind
from rlsys.run.labelled_pairs import load_labelled_pairs
from rlsys.run.preflight import check_models

FIRST = 20
"""Rows of each data set that are tried."""


def first_rows(experiment: Experiment, earlier: Sequence[Experiment] = ()) -> Iterator[str]:
    """Lines that say what was read and what was not; `earlier`: the stages of a recipe before this one.

    Raises what the run's loader would: DataError for a data set that can't be read or has no usable row, ConfigError
    for settings that don't fit it, or models that don't fit each other. Where none of the first rows can be used, all
    are read. Where the run would read no others, they are also judged as a whole: DataError for too few of them, or
    labels of one kind. Training sets are read whole where they might have evaluation rows: DataError for too many.
    """
    model = begins_with(experiment.model.path, earlier)
    facts, own = experiment.method.facts, _tokenizer(model)
    with TemporaryDirectory() as built, _named(experiment.name):
        check_models(experiment, lambda path: _folder(begins_with(path, earlier), Path(built)))
    tokenizer = (
        byte_tokenizer() if own is None else own
    )  # bytes can express any text, so columns can be told apart by them
    tokenizer.model_max_length = sys.maxsize
    rows, found = Inputs(experiment, tokenizer, any_length=own is None), datasets(experiment)
    whole: dict[Key, Loaded[Any]] = {}
    judged: set[Key] = set()

    def load(key: Key, config: DatasetConfig) -> Report | str:
        if key[0] == "judge":
            return load_labelled_pairs(config)[1]
        kind = row_kind(facts, str(key[1]))
        if own is None and kind == "comparisons" and _has_reference_tokens(config):
            return f"its log-probs are of the tokens of {model}"
        loaded = rows.read(config, kind)
        if own is not None or kind != "texts":  # into how many blocks they are cut goes by tokens
            judged.add(key)
        if _reads_no_more(found[key]) and key in judged:
            whole[key] = loaded
        return loaded.report

    stand_in = f"; no length is judged: {model} is no local folder" if own is None else ""
    yield from _told(found, load, experiment.name, stand_in)
    training = [key for key in found if key[:2] in (("data", "train"), ("data", "also"))]
    with _named(experiment.name):
        (first, *others) = training or [None]
        if not others and first in judged - whole.keys() and _too_few(found[first], facts):
            whole[first] = rows.read(found[first], facts.rows)
        if all(key in whole for key in training):
            rows.check_training([whole[key] for key in training])
        if (key := ("data", "pretrain")) in whole:
            rows.check_pretraining(whole[key])
        check_contamination(experiment, here=True)


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


def _too_few(config: DatasetConfig, facts: Facts) -> bool:
    """Whether the data set has fewer rows, usable or not, than a step takes."""
    wanted = facts.rows_per_step
    return (
        wanted is not None and elsewhere(config) is None and sum(1 for _ in islice(read_rows(config), wanted)) < wanted
    )


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
        if isinstance(got, str):
            unread.append(f"{dotted(key)} {config.path} ({got})")
        else:
            which = "all" if got.read > FIRST or _reads_no_more(config) else "the first"
            notes = [f"first left out: {got.reason}"] if got.reason else []
            told = "".join(f" ({note})" for note in [*notes, *([got.untold] if got.untold else [])])
            read.append(
                f"{dotted(key)} {got.kept} of {which} {got.read}{f' as {got.format}' if got.format else ''}{told}"
            )
    if read:
        yield f"    rows that can be used: {', '.join(read)}{stand_in}"
    if unread:
        yield f"    not read: {', '.join(unread)}"


def _tried(config: DatasetConfig, load: Callable[[DatasetConfig], Report | str]) -> Report | str:
    """What came of the first rows or, where none of them can be used, of all. Raises NoUsableRow where none can be."""
    try:
        return load(config.model_copy(update={"limit": min(FIRST, config.limit or FIRST)}))
    except NoUsableRow:
        if _reads_no_more(config):
            raise
    return load(config)


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

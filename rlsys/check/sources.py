"""Paths of data sets and models: what is mistyped, and what the settings beside them can't mean."""

from __future__ import annotations

from collections.abc import Iterator

from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.config.paths import STAGE, datasets, model_paths
from rlsys.config.schema import Key
from rlsys.data.prompt_format import format_columns
from rlsys.data.sources import PLAYGROUND, looks_local
from rlsys.errors import ConfigError, did_you_mean, nearest
from rlsys.playground.shapes import SIZES
from rlsys.playground.splits import SPLITS
from rlsys.playground.tasks import TASKS


def dataset_problems(experiment: Experiment) -> Iterator[Problem]:
    data = experiment.data
    if data.also and experiment.method.facts.rows == "tasks":
        yield Problem(
            ("data", "also"), "seed tasks are one set, of which every step sees the whole; put them into one file"
        )
    if not data.also and data.mix_temperature != 1:
        yield Problem(
            ("data", "mix_temperature"), "has no effect on a single training set; leave it out, or give data.also"
        )
    fractions = [one.fraction for one in data.also if one.fraction is not None]
    if sum(fractions) >= 1:
        yield Problem(("data", "also"), f"fractions of {sum(fractions):g} leave nothing for data.train; lower them")
    for key, dataset in datasets(experiment).items():
        if dataset.fraction is not None and key[:2] != ("data", "also"):
            yield Problem((*key, "fraction"), "has no effect outside data.also; leave it out")
        elif dataset.fraction is not None and dataset.weight != 1:
            yield Problem((*key, "weight"), "has no effect beside fraction; leave one of them out")
        if dataset.weight != 1 and not (data.also and key[:2] in (("data", "train"), ("data", "also"))):
            yield Problem(
                (*key, "weight"), "has no effect outside a mixture of training sets (data.also); leave it out"
            )
        try:
            format_columns(dataset)
        except ConfigError as error:
            yield Problem((*key, "templates" if dataset.templates else "prompt_format"), str(error))
        if wrong := misspelt(dataset.path):
            yield Problem((*key, "path"), wrong)
        if dataset.path.startswith(STAGE) and dataset.split.partition("[")[0] != "train":
            made = f"what a stage made is one split, train, and not {dataset.split!r}"
            yield Problem((*key, "split"), f"{made}; set it to train or a slice of it")
        task = dataset.path.removeprefix(PLAYGROUND)
        if task == dataset.path:
            if dataset.wrong_fraction:
                yield Problem((*key, "wrong_fraction"), "is for playground:TASK only; leave it out")
        elif task not in TASKS:
            yield Problem(
                (*key, "path"), f"{dataset.path!r}: no such task (known: {', '.join(TASKS)}){did_you_mean(task, TASKS)}"
            )
        elif (split := dataset.split.partition("[")[0]) not in SPLITS:
            yield Problem((*key, "split"), f"{dataset.path} has no split {split!r} (known: {', '.join(SPLITS)})")
        elif dataset.wrong_fraction and TASKS[task].spoilt is None:
            yield Problem(
                (*key, "wrong_fraction"),
                f"has no meaning for {dataset.path}: no answer is right or wrong; leave it out",
            )
    for key, path in named_models(experiment):
        if wrong := misspelt(path):
            yield Problem(key, wrong)
        size = path.removeprefix(PLAYGROUND)
        if size != path and size not in SIZES:
            yield Problem(key, f"{path!r}: no such size (known: {', '.join(SIZES)}){did_you_mean(size, SIZES)}")


def misspelt(path: str) -> str | None:
    """What is wrong with a path that begins like `playground:` or `stage:` and would be taken for a hub id."""
    word, colon, rest = path.partition(":")
    if not colon or path.startswith((PLAYGROUND, STAGE)) or looks_local(path):
        return None
    close = nearest(word, [kind.rstrip(":") for kind in (PLAYGROUND, STAGE)])
    hint = f"; did you mean {close}:{rest}?" if close else ""
    return f"{path!r}: a hub id has no colon, and a file or folder of this name is ./{path}{hint}"


def named_models(experiment: Experiment) -> Iterator[tuple[Key, str]]:
    """Model paths that are not those of a recipe's stages."""
    return ((key, path) for key, path in model_paths(experiment).items() if not path.startswith(STAGE))

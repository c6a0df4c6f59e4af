"""`rlsys validate`: everything that can be said of a config before anything is started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rlsys.check.judge_eval import load_judge_eval
from rlsys.check.load import load
from rlsys.check.machine import local_gpus
from rlsys.check.recipe import load_recipe
from rlsys.check.running_cluster import address_to_join
from rlsys.check.seats import demands, seating, told_of_reference
from rlsys.config.experiment import Experiment
from rlsys.config.judge import JudgeConfig
from rlsys.config.judge_eval import JudgeEval
from rlsys.config.kinds import Kind, kind_of
from rlsys.config.paths import datasets, model_paths
from rlsys.config.schema import dotted
from rlsys.data.sources import PLAYGROUND, elsewhere
from rlsys.errors import ConfigError


def validated(config: Path, overrides: Sequence[str], every: bool = False) -> Iterator[str]:
    """Lines that say what the config will run, what it will need, and what became of the first rows of its data, or of
    `every` row. Raises ConfigError, and DataError for data that the run could not use."""
    if kind_of(config) == "judge-eval":
        yield from _of_judge(evaluation_of_judge(config, overrides))
        return
    _, found = experiments(config, overrides)
    for number, experiment in enumerate(found):
        tried = [*_tried(experiment, found[:number], every)]
        yield _summary(experiment)
        if experiment.model.adapter is not None:
            yield from _trained(experiment, found[:number])
        if (reference := told_of_reference(experiment)) is not None:
            yield f"    {reference}"
        yield from _scale_at_an_endpoint(experiment.judge)
        yield from tried


def experiments(config: Path, overrides: Sequence[str]) -> tuple[Kind, list[Experiment]]:
    """The experiment, or those of a recipe in order. Raises ConfigError."""
    kind = kind_of(config)
    if kind == "judge-eval":
        raise ConfigError(f"{config}: measures a judge and trains nothing; use `rlsys judge-eval {config}`")
    return kind, load_recipe(config, overrides)[1] if kind == "recipe" else [load(config, overrides)]


def evaluation_of_judge(config: Path, overrides: Sequence[str]) -> JudgeEval:
    """Raises ConfigError."""
    if (kind := kind_of(config)) != "judge-eval":
        wanted = "give one with name, judge and data, as configs/judge/evaluate.yaml"
        raise ConfigError(f"{config}: is a config of `rlsys train` ({kind}); {wanted}")
    return load_judge_eval(config, overrides)


def _of_judge(evaluation: JudgeEval) -> Iterator[str]:
    from rlsys.commands.tried_rows import first_labelled

    judge, attacks = evaluation.judge, f", {evaluation.attacks} attacks" if evaluation.attacks else ""
    tried = [*first_labelled(evaluation.data, evaluation.name)]
    yield f"OK  {evaluation.name}: {judge.model} ({judge.backend}) judges {evaluation.data.path}{attacks}"
    yield from tried


def _tried(experiment: Experiment, earlier: Sequence[Experiment], every: bool) -> Iterator[str]:
    named = (path for one in (experiment, *earlier) for path in model_paths(one).values())
    local = any(path.startswith(PLAYGROUND) or Path(path).expanduser().is_dir() for path in named)
    if not local and datasets(experiment) and all(elsewhere(config) for config in datasets(experiment).values()):
        unread = (f"{dotted(key)} {config.path} ({elsewhere(config)})" for key, config in datasets(experiment).items())
        yield f"    not read: {', '.join(unread)}"
        return
    from rlsys.commands.tried_rows import first_rows  # brings transformers

    yield from first_rows(experiment, earlier, every)


def _trained(experiment: Experiment, earlier: Sequence[Experiment]) -> Iterator[str]:
    """What the adapter leaves to be trained, where its models are here."""
    from rlsys.commands.cost_table import table

    yield from (f"    {line}" for line in table(experiment, earlier, download=False))


def _scale_at_an_endpoint(judge: JudgeConfig | None) -> Iterator[str]:
    """Only the endpoint knows the tokens of its model, so a long scale is a doubt, not an error."""
    if judge is None or judge.backend != "openai" or judge.reward is None or judge.reward.mode != "score":
        return
    if judge.max_score >= 10:
        yield (
            f"    judge.max_score {judge.max_score}: if the model behind {judge.model!r} writes 10 as two tokens, it "
            "may not be told apart from 1, and such scores will be missing; max_score: 9 is safe with every model"
        )


def _summary(experiment: Experiment) -> str:
    use_gpus, needs = local_gpus(experiment) > 0, experiment.method.facts.needs
    if experiment.method.facts.of_files and not needs:
        method = experiment.method
        return (
            f"OK  {experiment.name}: {', '.join(one.path for one in method.models)} merged by {method.by.name} on "
            f"{experiment.model.path}; no actors"
        )
    layout = seating(experiment, needs, use_gpus)
    actors = ", ".join(f"{demand.actors} {role}" for role, demand in demands(experiment, needs, use_gpus).items())
    loop = experiment.loop
    length = f"{loop.steps} steps" if loop.steps is not None else f"{loop.epochs:g} epochs"
    address = address_to_join(experiment.cluster)
    where = f"of the Ray cluster at {address} (checked when it is joined)" if address else "of this machine"
    return (
        f"OK  {experiment.name}: {experiment.method.name} on {experiment.model.path}, {length}; "
        f"actors: {actors}; {layout.total('CPU'):g} CPUs and {layout.total('GPU'):g} GPUs {where}"
    )

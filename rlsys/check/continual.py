"""A recipe's stages as a sequence of tasks: what the choice against forgetting says of each of them, and the stages
that measure every task after each."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rlsys import registry
from rlsys.config.continual import ContinualConfig
from rlsys.config.document import Document, Override, validate_as
from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.config.paths import STAGE
from rlsys.config.recipe import Recipe
from rlsys.continual.base import PACKAGE, Against, beginning
from rlsys.continual.matrix import model_of
from rlsys.errors import ConfigError, did_you_mean
from rlsys.models.adapters.base import AdapterConfig

SHARED = ("cluster", "logging", "rollout", "scoring", "judge", "reward_models")
"""Sections of `common` that a stage which measures has, too."""
OR_NO_TASK = "leave it out, or take the stage out of continual.tasks"
OF_ANSWERS = {"rewards", "sampling", "evaluation"}
"""Sections of a task's stage that say how its answers are measured."""


def resolved(config: ContinualConfig) -> tuple[Against | None, list[Problem]]:
    """The `Config` of the choice that `against` names, and what is wrong with it."""
    data, key = config.against, ("continual", "against")
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        known = ", ".join(registry.names(PACKAGE, "settings"))
        return None, [Problem((*key, "kind"), f"required key is missing: the name of a file in {PACKAGE} ({known})")]
    try:
        registry.resolve(PACKAGE, data["kind"], "settings")
        model = registry.resolve(PACKAGE, data["kind"], "Config")
    except ConfigError as error:
        return None, [Problem((*key, "kind"), str(error))]
    if not (inspect.isclass(model) and issubclass(model, Against)):
        wanted = f"Config of {data['kind']!r} must be a subclass of {PACKAGE}.base.Against"
        return None, [Problem((*key, "kind"), wanted)]
    return validate_as(model, data, key)


def continual_problems(recipe: Recipe) -> Iterator[Problem]:
    config = recipe.continual
    if config is None:
        return
    names = [stage.get("name") for stage in recipe.stages]
    for index, task in enumerate(config.tasks):
        if task not in names:
            known = [name for name in names if isinstance(name, str)]
            yield Problem(("continual", "tasks", index), f"{task!r} is no stage{did_you_mean(task, known)}")
    tasks = tasks_of(recipe)
    if set(tasks) <= set(names) and [*tasks] != [name for name in names if name in tasks]:
        yield Problem(("continual", "tasks"), "wanted each stage once, in the order in which they run")
    if wrong := sorted(config.measure.keys() ^ set(tasks)) if config.measure else []:
        what = "is measured, and is no task" if wrong[0] in config.measure else "is a task, and is not measured"
        yield Problem(("continual", "measure"), f"{wrong[0]} {what}; name all tasks here, or none")
    for number, stage in enumerate(recipe.stages):
        if stage.get("name") not in tasks[1:]:
            continue
        given = [key for key in stage if key == "model.path"]
        model = stage.get("model")
        if given or (isinstance(model, dict) and "path" in model):
            why = f"a task begins with the model of the one before; {OR_NO_TASK}"
            yield Problem(("stages", number, "model", "path"), why)
    yield from resolved(config)[1]


def tasks_of(recipe: Recipe) -> tuple[str, ...]:
    assert recipe.continual is not None
    return recipe.continual.tasks or tuple(str(stage.get("name")) for stage in recipe.stages)


@dataclass
class Sequel:
    """The tasks of a recipe whose `continual` has been checked."""

    recipe: Recipe

    @cached_property
    def config(self) -> ContinualConfig:
        assert self.recipe.continual is not None
        return self.recipe.continual

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        return tasks_of(self.recipe)

    @cached_property
    def against(self) -> Against:
        against, problems = resolved(self.config)
        assert against is not None, problems
        return against

    def put_over(self, stage: Document, name: str, done: Sequence[Experiment], where: str) -> None:
        """What follows for a task from those before it; nothing for a stage that is no task."""
        if name not in self.tasks:
            return
        number, earlier = self.tasks.index(name), self.before(name, done)
        settings = registry.resolve(PACKAGE, self.against.kind, "settings")
        last = number == len(self.tasks) - 1
        for key, value in {**beginning(self.against, earlier), **settings(self.against, earlier, last)}.items():
            section, _, own = key.rpartition(".")
            before = stage.data.get(section, {}).get(own) if isinstance(value, list) else None
            stage.override(Override(f"{key}={json.dumps([*(before or ()), *value] if before else value)}", where))

    def before(self, name: str, done: Sequence[Experiment]) -> list[Experiment]:
        """The tasks before the one of this name."""
        by_name = {experiment.name: experiment for experiment in done}
        return [by_name[task] for task in self.tasks[: self.tasks.index(name)]]

    def check(self, experiment: Experiment, done: Sequence[Experiment]) -> Iterator[Problem]:
        """Of a stage that has been put together, after those that are `done`; overrides may have changed where it
        begins."""
        if experiment.name not in self.tasks:
            return
        adapter = experiment.model.adapter
        found = {
            "model.path": experiment.model.path,
            "model.adapter.path": adapter.path if isinstance(adapter, AdapterConfig) else None,
        }
        for key, value in beginning(self.against, self.before(experiment.name, done)).items():
            if found[key] != value:
                yield Problem(tuple(key.split(".")), f"this task begins with {value}; {OR_NO_TASK}")
        if self.against.isolates and adapter is None:
            why = f"continual.against: {self.against.kind} gives each task an adapter of its own"
            yield Problem(("model", "adapter"), f"{why}; give it, as in adapter: {{kind: lora}}")

    def cells(self) -> dict[tuple[int, int], str]:
        """The stage that measures R[i][j], task j after task i."""
        found = {}
        for i in range(len(self.tasks)):
            for j, task in enumerate(self.tasks):
                model = model_of(i, j, self.against.isolates)
                found[i, j] = f"{'base' if model is None else self.tasks[model]}_on_{task}"
        return found

    def measuring(self, after: str, common: Document, stages: Sequence[Experiment]) -> Iterator[Document]:
        """The stages that measure, once task `after` is done, what was not measured before."""
        if after not in self.tasks or not self.config.measure:
            return
        row, cells = self.tasks.index(after), self.cells()
        before = {name for (i, _), name in cells.items() if i < row}
        by_name = {experiment.name: experiment for experiment in stages}
        for j, task in enumerate(self.tasks):
            model = model_of(row, j, self.against.isolates)
            path = by_name[self.tasks[0]].model.path if model is None else f"{STAGE}{self.tasks[model]}"
            if cells[row, j] not in before:
                yield self._measuring(cells[row, j], path, by_name[task], common)

    def _measuring(self, name: str, path: str, task: Experiment, common: Document) -> Document:
        where = common.where(("continual", "measure", task.name)) + f": stage {name}"
        found = Document.empty(where)
        plain = {key: value for key, value in self.recipe.common.items() if key in SHARED}
        plain |= {"name": name, "method": {"name": "evaluate"}, "loop": {"steps": 1}, "seed": self.recipe.seed}
        plain |= {"output": str(self.recipe.output)}
        plain["model"] = {"path": path, "dtype": task.model.dtype}
        held_out = task.data.held_out()
        if task.method.facts.by_answers and held_out is not None:
            plain |= task.model_dump(mode="json", include=OF_ANSWERS) | {
                "data": {"eval": held_out.model_dump(mode="json"), "max_prompt_tokens": task.data.max_prompt_tokens}
            }
        found.data = json.loads(json.dumps(plain))
        found.put_over(common, ("continual", "measure", task.name), f": stage {name}")
        return found

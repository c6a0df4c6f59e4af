"""An experiment from its YAML file: read, names resolved, everything checked. Each mistake is one line: where, which
key, what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rlsys import registry
from rlsys.check import settings
from rlsys.check.machine import machine_problems
from rlsys.check.renamed import new_name, old_sections
from rlsys.check.wiring import source_problems
from rlsys.config.base import Model
from rlsys.config.document import Document, Override, validate_as
from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.config.schema import Key
from rlsys.errors import ConfigError, nearest
from rlsys.methods.base import PACKAGE, MethodConfig
from rlsys.models.adapters.base import PACKAGE as ADAPTERS
from rlsys.models.adapters.base import AdapterConfig


def load(
    path: Path | str,
    overrides: Sequence[str | Override] = (),
    *,
    by: str = "command line",
    this_machine: bool = True,
    check: Callable[[Experiment], Iterable[Problem]] = source_problems,
) -> Experiment:
    """Read, override, validate. `method` of the result is the `Config` of the file that it names.

    Overrides are `policy.ranks=2`, `rewards.0.weight=2`, `model.adapter.rank=8`, `judge=null`: dotted keys, values in
    YAML; errors in them are said to be `by` this. For `this_machine` and `check` see `checked`. Raises ConfigError with
    one line for each problem.
    """
    return checked(Document.read(Path(path), overrides, by), this_machine=this_machine, check=check)


def checked(
    document: Document, *, this_machine: bool = True, check: Callable[[Experiment], Iterable[Problem]] = lambda _: ()
) -> Experiment:
    """The experiment that the document describes. `this_machine` also checks files, CPUs and GPUs; leave it out to read
    a config that another machine will run, or has run. `check` finds what else is wrong. Raises ConfigError with one
    line for each problem."""
    experiment, problems = _validate(document.data)
    if experiment is not None and not problems:
        on_machine = machine_problems(experiment) if this_machine else []
        problems = [*settings.combinations(experiment), *on_machine, *check(experiment)]
    if problems or experiment is None:
        raise ConfigError(document.report(problems))
    return experiment


def _validate(data: dict[str, Any]) -> tuple[Experiment | None, list[Problem]]:
    """The experiment with its method resolved, and everything found wrong (then it may be None)."""
    if old := [*old_sections(data)]:
        return None, old
    config, found = _method(data["method"]) if "method" in data else (None, [])
    if "method" in data and (config is None or config.facts.of_files):  # of an unknown one nothing more is asked
        data = {"data": {}, "loop": {"steps": 1}} | data
    experiment, problems = validate_as(Experiment, data, ())
    if "method" in data:
        problems += found
        if experiment is not None and config is not None:
            experiment = experiment.model_copy(update={"method": config})
    adapter = experiment.model.adapter if experiment is not None else None
    if experiment is not None and adapter is not None:
        config, found = _adapter(adapter)
        problems += found
        experiment = experiment.model_copy(update={"model": experiment.model.model_copy(update={"adapter": config})})
    rewards = data.get("rewards")
    for index, spec in enumerate(rewards if isinstance(rewards, list) else []):
        problems += _reward_problems(spec, ("rewards", index))
    return experiment, problems


def _method(data: Any) -> tuple[MethodConfig | None, list[Problem]]:
    """The `Config` of the method that the section names, and what is wrong with it."""
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        known, near = (
            ", ".join(registry.names(PACKAGE, "Method")),
            nearest("name", data if isinstance(data, dict) else ()),
        )
        typo = (
            [Problem(("method", near), "unknown key; did you mean name?", unknown_key=True)]
            if near not in (None, "name")
            else []
        )
        missing = f"required key is missing: the name of a file in {PACKAGE} ({known}) or a dotted path"
        return None, [*typo, Problem(("method", "name"), missing)]
    name = data["name"]
    if (new := new_name(name)) and name not in registry.names(PACKAGE, "Method"):
        return None, [Problem(("method", "name"), f"{name!r} is called {new} now")]
    try:
        registry.resolve(PACKAGE, name, "Method")
        model = registry.resolve(PACKAGE, name, "Config")
    except ConfigError as error:
        return None, [Problem(("method", "name"), str(error))]
    if not (inspect.isclass(model) and issubclass(model, MethodConfig)):
        return None, [
            Problem(("method", "name"), f"Config of {name!r} must be a subclass of rlsys.methods.base.MethodConfig")
        ]
    return validate_as(model, data, ("method",))


def _adapter(data: Any) -> tuple[Model | None, list[Problem]]:
    """The `Config` of the kind that `model.adapter` names, and what is wrong with it."""
    key = ("model", "adapter")
    if isinstance(data, str):
        return None, [Problem(key, f"wanted a section; for the kind alone, say model.adapter.kind={data}")]
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        known = ", ".join(registry.names(ADAPTERS, "Adapter"))
        missing = f"required key is missing: the name of a file in {ADAPTERS} ({known}) or a dotted path"
        return None, [Problem((*key, "kind"), missing)]
    try:
        registry.resolve(ADAPTERS, data["kind"], "Adapter")
        model = registry.resolve(ADAPTERS, data["kind"], "Config")
    except ConfigError as error:
        return None, [Problem((*key, "kind"), str(error))]
    if not (inspect.isclass(model) and issubclass(model, AdapterConfig)):
        wanted = f"Config of {data['kind']!r} must be a subclass of {ADAPTERS}.base.AdapterConfig"
        return None, [Problem((*key, "kind"), wanted)]
    return validate_as(model, data, key)


def _reward_problems(spec: Any, key: Key) -> list[Problem]:
    """A reward's name and, where it declares a `Config`, its args."""
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        return []  # reported already, as the wrong type
    try:
        registry.resolve("rlsys.rewards", spec["name"], "Reward")
        model = registry.resolve("rlsys.rewards", spec["name"], "Config")
    except ConfigError as error:
        return [Problem((*key, "name"), str(error))]
    if not (inspect.isclass(model) and issubclass(model, Model)):
        return []  # the name ends in a function or class of the user's own, which checks its arguments itself
    args = spec.get("args", {})
    return validate_as(model, args, (*key, "args"))[1] if isinstance(args, dict) else []

"""Settings that do nothing in the run they stand in: sections of roles that its method does not use."""

from __future__ import annotations

from collections.abc import Iterator

from rlsys.check.seats import shares_reference
from rlsys.config.base import Model
from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.config.schema import Key

NEEDED_BY: tuple[tuple[frozenset[str], str, tuple[tuple[str, ...], ...]], ...] = (
    (
        frozenset({"rollout"}),
        "samples nothing",
        (("sampling",), ("rollout",), ("weight_sync",), ("data", "max_prompt_tokens")),
    ),
    (frozenset({"reward"}), "scores no samples", (("rewards",), ("reward_models",), ("scoring",))),
    (frozenset({"reference"}), "uses no reference", (("reference",),)),
    (frozenset({"teacher"}), "has no teacher", (("teacher",),)),
    (frozenset({"critic"}), "has no critic", (("critic",),)),
    (frozenset({"policy", "reward_model"}), "trains nothing", (("policy",),)),
)
"""Roles, what is said where none of them is needed, and the settings that only they read."""


def unused(experiment: Experiment) -> Iterator[Problem]:
    """Each setting that is not at its default and that nothing will read, with the reason."""
    chosen = experiment.method
    facts = chosen.facts

    def problems(key: tuple[str, ...], why: str) -> Iterator[Problem]:
        for found in changed(experiment, key):
            if found == ("reference", "path") and vars(chosen).get("precomputed"):
                continue  # it is not started, but the rows must be of it
            yield Problem(found, f"has no effect: {chosen.name} {why}; leave it out")

    for roles, why, keys in NEEDED_BY:
        for key in keys if not roles & facts.needs else ():
            yield from problems(key, why)
    if shares_reference(experiment, facts.needs):
        for name in ("ranks", "threads", "tokens_per_micro_batch"):
            for found in changed(experiment, ("reference", name)):
                why = "the reference is the policy with its adapter switched off; leave it out, or set reference.share"
                yield Problem(found, f"has no effect: {why}=never")
    if facts.measures and not facts.by_answers:
        yield from problems(("evaluation",), "is measured on rows of its own kind, not by answers")
    elif not facts.by_answers:
        for key in (("data", "eval"), ("evaluation",)):
            yield from problems(key, "scores no samples" if "rollout" in facts.needs else "samples nothing")
    for key in (("data", "train"), ("data", "also"), ("model", "adapter")) if facts.of_files else ():
        yield from problems(key, "works on the files of models alone")
    if not vars(chosen).get("ptx_coef"):  # a key of some methods
        yield from problems(("data", "pretrain"), "has no ptx_coef above 0")


def changed(model: Model, key: tuple[str, ...]) -> Iterator[Key]:
    """The settings at `key`, or in the section there, that are not at their defaults."""
    first, *rest = key
    value, default = vars(model)[first], type(model).model_fields[first].default
    if rest:
        yield from ((first, *found) for found in changed(value, tuple(rest)))
    elif isinstance(value, Model) and isinstance(default, Model):
        yield from ((first, *found) for name in type(value).model_fields for found in changed(value, (name,)))
    elif value != default:
        yield key

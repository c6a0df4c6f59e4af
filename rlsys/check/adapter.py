"""What of `model.adapter` can't work with the rest of the config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.models.adapters.base import AdapterConfig


def adapter_problems(experiment: Experiment) -> Iterator[Problem]:
    adapter, facts = experiment.model.adapter, experiment.method.facts
    if not isinstance(adapter, AdapterConfig) or not facts.trains:
        return  # of a recipe's stages, which may have the model's settings in common, some train nothing
    key = ("model", "adapter")
    if adapter.unmergeable is not None and facts.needs >= {"policy", "rollout"}:
        wanted = f"{experiment.method.name} sends merged weights to its sampler"
        yield Problem((*key, "kind"), f"{wanted}, and {adapter.unmergeable}; choose lora or another that merges")
    if adapter.unmergeable is not None and adapter.export != "adapter":
        yield Problem((*key, "export"), f"nothing merged can be written: {adapter.unmergeable}; leave this out")
    if adapter.path is not None and "critic" in facts.needs:
        why = "is of a policy, and the critic would begin with it, too"
        yield Problem((*key, "path"), f"{why}; begin with a merged model")
    settings: dict[str, tuple[tuple[str, str], bool]] = {
        "packing": (("policy", "packing"), experiment.policy.packing == "packed"),
        "checkpointing": (("model", "gradient_checkpointing"), experiment.model.gradient_checkpointing),
    }
    for name, (where, chosen) in settings.items():
        if chosen and name in adapter.never_with:
            yield Problem(where, f"{adapter.kind} can't be trained so: {adapter.never_with[name]}; leave it out")


def leaves_no_model(experiment: Experiment) -> Literal[False] | str:
    """Why a later stage can't begin with what the experiment leaves; False where it can."""
    adapter = experiment.model.adapter
    if not isinstance(adapter, AdapterConfig) or adapter.export != "adapter" or not experiment.method.facts.trains:
        return False
    return adapter.unmergeable or "its model.adapter.export is adapter"

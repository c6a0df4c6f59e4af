"""What of `model.adapter` can't work with the rest of the config."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Literal

from rlsys.check.seats import reward_seats
from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.models.adapters.base import AdapterConfig


def adapter_problems(experiment: Experiment) -> Iterator[Problem]:
    adapter, facts = experiment.model.adapter, experiment.method.facts
    if experiment.weight_sync.content == "adapter" and not isinstance(adapter, AdapterConfig):
        yield Problem(("weight_sync", "content"), "is adapter, and no model.adapter is trained; leave it out")
    if not isinstance(adapter, AdapterConfig) or not facts.trains:
        return  # of a recipe's stages, which may have the model's settings in common, some train nothing
    key = ("model", "adapter")
    if adapter.package is not None and find_spec(adapter.package) is None:
        remedy = f"pip install 'rlsys[{adapter.kind}]'"
        yield Problem((*key, "kind"), f"{adapter.kind} needs the package {adapter.package}: {remedy}")
    if adapter.unmergeable is not None and facts.needs >= {"policy", "rollout"}:
        wanted = f"{experiment.method.name} sends merged weights to its sampler"
        yield Problem((*key, "kind"), f"{wanted}, and {adapter.unmergeable}; choose lora or another that merges")
    if adapter.unmergeable is not None and adapter.export != "adapter":
        yield Problem((*key, "export"), f"nothing merged can be written: {adapter.unmergeable}; leave this out")
    if adapter.path is not None and "critic" in facts.needs:
        why = "is of a policy, and the critic would begin with it, too"
        yield Problem((*key, "path"), f"{why}; begin with a merged model")
    settings: list[tuple[str, tuple[str, str], bool]] = [
        ("packing", ("policy", "packing"), experiment.policy.packing == "packed"),
        ("checkpointing", ("model", "gradient_checkpointing"), experiment.model.gradient_checkpointing),
        ("zero_3", ("policy", "zero_stage"), experiment.policy.zero_stage == 3),
        ("zero_3", ("critic", "zero_stage"), experiment.critic.zero_stage == 3 and "critic" in facts.needs),
    ]
    for name, where, chosen in settings:
        if chosen and name in adapter.never_with:
            yield Problem(where, f"{adapter.kind} can't be trained so: {adapter.never_with[name]}; leave it out")


def over_one_base(experiment: Experiment) -> Iterator[Problem]:
    """Reward models over one base are in the same processes, so they can't ask for different ones."""
    for sharing in reward_seats(experiment).values():
        for config in sharing[1:]:
            for name in ("ranks", "threads"):
                first, own = vars(sharing[0])[name], vars(config)[name]
                if own != first:
                    wrong = f"{own}, and {sharing[0].name}, which has the same base and processes, has {first}"
                    key = ("reward_models", experiment.reward_models.index(config), name)
                    yield Problem(key, f"{wrong}; give both the same")


def leaves_no_model(experiment: Experiment) -> Literal[False] | str:
    """Why a later stage can't begin with what the experiment leaves; False where it can."""
    adapter = experiment.model.adapter
    if not isinstance(adapter, AdapterConfig) or adapter.export != "adapter" or not experiment.method.facts.trains:
        return False
    return adapter.unmergeable or "its model.adapter.export is adapter"


def leaves_no_adapter(experiment: Experiment) -> str | None:
    """Why there is no adapter in what the experiment leaves; None where there is one."""
    adapter = experiment.model.adapter
    if not isinstance(adapter, AdapterConfig):
        return "it has no model.adapter"
    return "its model.adapter.export is merged" if adapter.export == "merged" else None

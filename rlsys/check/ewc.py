"""What of `ewc` can't work with the rest of the config."""

from __future__ import annotations

from collections.abc import Iterator

from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem


def ewc_problems(experiment: Experiment) -> Iterator[Problem]:
    ewc, policy = experiment.ewc, experiment.policy
    if ewc is None:
        return
    if "policy" not in experiment.method.facts.needs:
        yield Problem(("ewc",), f"has no effect: {experiment.method.name} trains no policy; leave it out")
        return
    if not ewc.of and not ewc.samples:
        yield Problem(("ewc",), "holds nothing and keeps nothing; give it of, or samples, or leave it out")
    if not ewc.of and ewc.strength != type(ewc).model_fields["strength"].default:
        yield Problem(("ewc", "strength"), "has no effect without ewc.of; leave it out")
    if policy.zero_stage == 0 and experiment.model.dtype == "bfloat16":
        why = "with model.dtype=bfloat16, 0 keeps the float32 weights that ewc reads out of reach"
        yield Problem(("policy", "zero_stage"), f"{why}; set it to 1, 2 or 3")
    for key in ("offload_optimizer", "offload_parameters"):
        if vars(policy)[key]:
            yield Problem(("policy", key), "ewc changes gradients on the device that computes them; set it to false")

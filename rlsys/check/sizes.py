"""What does not fit: sequences into windows and budgets, roles onto the same GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from rlsys.check.seats import shares_reference
from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.methods.base import SAMPLED

ACTORS = {
    "policy": ("policy", "ranks"),
    "reward_model": ("policy", "ranks"),
    "critic": ("critic", "ranks"),
    "rollout": ("rollout", "engines"),
    "reference": ("reference", "ranks"),
    "teacher": ("teacher", "ranks"),
}
"""By role, the section and the key that says how many actors it has."""


def longest_sequence(experiment: Experiment) -> int:
    """Tokens of a whole row, or of a prompt with its sample; 0 where rows never become tokens."""
    if experiment.method.facts.rows == "raw":
        return 0
    if experiment.method.facts.rows in SAMPLED:
        return experiment.data.max_prompt_tokens + experiment.sampling.max_tokens
    return experiment.method.max_tokens


def lengths(experiment: Experiment) -> Iterator[Problem]:
    longest, limit = (
        experiment.data.max_prompt_tokens + experiment.sampling.max_tokens,
        experiment.rollout.max_model_len,
    )
    if limit is not None and limit < longest:
        yield Problem(
            ("rollout", "max_model_len"),
            f"{limit} is less than data.max_prompt_tokens + sampling.max_tokens = {longest}; raise it to that, or "
            "leave it out",
        )


def budgets(experiment: Experiment) -> Iterator[Problem]:
    """A row never splits, so every micro-batch must have room for the longest one."""
    facts = experiment.method.facts
    if not facts.samples and "max_tokens" not in vars(experiment.method):
        return
    longest = longest_sequence(experiment)
    of = "data.max_prompt_tokens + sampling.max_tokens" if facts.samples else "method.max_tokens"
    together = facts.rows_together
    what = "the two answers of a comparison, each" if together == 2 else "one sequence"
    served = {"reference"} if shares_reference(experiment, facts.needs) else set()
    for role in facts.needs & (ACTORS.keys() - {"rollout"}) - served:
        section, _ = ACTORS[role]
        if vars(experiment)[section] is None:  # found by `settings`
            continue
        budget = vars(experiment)[section].tokens_per_micro_batch
        if budget < together * longest:
            yield Problem(
                (section, "tokens_per_micro_batch"), f"{budget} has no room for {what} of {of} = {longest} tokens"
            )
    for index, model in enumerate(experiment.reward_models):
        if model.tokens_per_micro_batch < longest:
            key = ("reward_models", index, "tokens_per_micro_batch")
            yield Problem(
                key, f"{model.tokens_per_micro_batch} has no room for one sequence of {of} = {longest} tokens"
            )


def policy(experiment: Experiment) -> Iterator[Problem]:
    model = experiment.model
    for name, trainer in (("policy", experiment.policy), ("critic", experiment.critic)):
        if trainer.offload_optimizer and trainer.zero_stage == 0:
            yield Problem((name, "offload_optimizer"), f"needs {name}.zero_stage of 1, 2 or 3, and it is 0")
        if trainer.optimizer == "rmsprop" and trainer.betas != type(trainer).model_fields["betas"].default:
            yield Problem((name, "betas"), f"are AdamW's, and {name}.optimizer is rmsprop; leave them out")
        if trainer.offload_parameters and trainer.zero_stage != 3:
            yield Problem((name, "offload_parameters"), f"needs {name}.zero_stage=3, and it is {trainer.zero_stage}")
    if model.attention == "flash_attention_2" and model.dtype == "float32":
        yield Problem(
            ("model", "attention"), "flash_attention_2 has no float32; set model.dtype=bfloat16 or model.attention=sdpa"
        )


def transport(experiment: Experiment) -> Iterator[Problem]:
    transport, colocate = experiment.weight_sync.transport, experiment.cluster.colocate
    if transport == "ipc" and not colocate:
        yield Problem(
            ("weight_sync", "transport"),
            "ipc is for trainers and samplers on the same GPUs; set cluster.colocate=true, or transport=auto",
        )
    if colocate and experiment.judge is not None and experiment.judge.engine.tensor_parallel > 1:
        yield Problem(
            ("judge", "engine", "tensor_parallel"),
            "colocated engines have one GPU each; set it to 1, or cluster.colocate=false",
        )
    if colocate and experiment.rollout.tensor_parallel > 1:
        yield Problem(
            ("rollout", "tensor_parallel"),
            "colocated engines have one GPU each; set it to 1, or cluster.colocate=false",
        )
    if transport == "nccl" and colocate:
        yield Problem(
            ("weight_sync", "transport"),
            "nccl can't join two processes on one GPU; set cluster.colocate=false, or transport=auto",
        )

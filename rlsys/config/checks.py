"""Settings that can't work together, or not on this machine. Each finding names a key and the remedy; nothing here starts or loads anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rlsys.algorithm import build_algorithm
from rlsys.config.messages import Problem
from rlsys.config.models import DatasetConfig, Experiment
from rlsys.data.sources import PLAYGROUND, looks_local
from rlsys.errors import ConfigError
from rlsys.playground.shapes import SIZES
from rlsys.playground.tasks import SPLITS, TASKS
from rlsys.registry import did_you_mean
from rlsys.rewards import composite
from rlsys.running_cluster import address_to_join
from rlsys.seating import demands, plan

STAGE = "stage:"
"""A model path with this prefix is the model of an earlier stage of a recipe."""
ACTORS = {"policy": "ranks", "rollout": "engines", "reference": "ranks"}
"""The key that says how many actors a role has; a reward always has one."""


def needs(experiment: Experiment) -> frozenset[str]:
    """Roles that the experiment's algorithm or stage uses."""
    return build_algorithm(experiment, pad_id=0).needs


def combinations(experiment: Experiment) -> Iterator[Problem]:
    """What is wrong on any machine."""
    for check in (_algorithm, _rewards, _evaluation, _lengths, _budgets, _policy, _transport, _datasets):
        yield from check(experiment)


def machine(experiment: Experiment) -> Iterator[Problem]:
    """What is wrong on this machine: files, and, where a local cluster will be started, its CPUs and GPUs."""
    yield from _files(experiment)
    if address_to_join(experiment.cluster) is None:
        gpus = local_gpus(experiment)
        yield from _resources(experiment, gpus)
        yield from _with_gpus(experiment) if gpus else _without_gpu(experiment)


def local_cpus(experiment: Experiment) -> int:
    """CPUs of a local cluster."""
    return experiment.cluster.cpus or os.cpu_count() or 1


def local_gpus(experiment: Experiment) -> int:
    """GPUs of a local cluster."""
    if experiment.cluster.gpus is not None:
        return experiment.cluster.gpus
    import torch  # here, because only this check needs it

    return torch.cuda.device_count()


def _algorithm(experiment: Experiment) -> Iterator[Problem]:
    used = needs(experiment)
    if "rollout" not in used:
        for key, value in (("rewards", experiment.rewards), ("data.eval", experiment.data.eval)):
            if value:
                yield Problem(tuple(key.split(".")), f"has no effect: {_name(experiment)} samples nothing; leave it out")
        return
    if experiment.sampling.temperature == 0:
        yield Problem(
            ("sampling", "temperature"),
            "0 makes all samples of a prompt equal, so there is nothing to learn from; set it above 0, as in 1.0",
        )


def _rewards(experiment: Experiment) -> Iterator[Problem]:
    if "reward" in needs(experiment) and not experiment.rewards:
        yield Problem(("rewards",), f"{_name(experiment)} needs at least one, as in rewards: [{{name: exact_match}}]")
    for index, spec in enumerate(experiment.rewards):
        try:
            composite.check(spec)
        except ConfigError as error:
            yield Problem(("rewards", index, "args"), str(error))
    if experiment.rewards and all(spec.weight == 0 for spec in experiment.rewards):
        yield Problem(("rewards",), "every weight is 0, so every sample scores 0; give one a weight")


def _evaluation(experiment: Experiment) -> Iterator[Problem]:
    evaluation, names = experiment.evaluation, composite.part_names(experiment.rewards)
    if evaluation.reward is not None and evaluation.reward not in names:
        yield Problem(
            ("evaluation", "reward"),
            f"{evaluation.reward!r} is not among rewards ({', '.join(names)}){did_you_mean(evaluation.reward, names)}",
        )
    if experiment.data.eval is None and experiment.loop.eval_every:
        yield Problem(("loop", "eval_every"), "there is nothing to evaluate on; give data.eval, or set it to 0")
    if experiment.data.eval is not None and not (evaluation.samples or evaluation.greedy):
        yield Problem(("evaluation", "samples"), "0 without evaluation.greedy measures nothing; set one of them, or leave data.eval out")


def _lengths(experiment: Experiment) -> Iterator[Problem]:
    longest, limit = experiment.data.max_prompt_tokens + experiment.sampling.max_tokens, experiment.rollout.max_model_len
    if limit is not None and limit < longest:
        yield Problem(
            ("rollout", "max_model_len"),
            f"{limit} is less than data.max_prompt_tokens + sampling.max_tokens = {longest}; raise it to that, or leave it out",
        )


def _budgets(experiment: Experiment) -> Iterator[Problem]:
    """A row never splits, so every micro-batch must have room for the longest one."""
    samples = "rollout" in needs(experiment)
    if not samples and experiment.stage is None:
        return
    longest = experiment.data.max_prompt_tokens + experiment.sampling.max_tokens if samples else experiment.stage.max_tokens
    of = "data.max_prompt_tokens + sampling.max_tokens" if samples else "stage.max_tokens"
    for role, config in (("policy", experiment.policy), ("reference", experiment.reference)):
        if role in needs(experiment) and config.tokens_per_micro_batch < longest:
            yield Problem(
                (role, "tokens_per_micro_batch"), f"{config.tokens_per_micro_batch} has no room for one sequence of {of} = {longest} tokens"
            )


def _policy(experiment: Experiment) -> Iterator[Problem]:
    policy, model = experiment.policy, experiment.model
    if policy.offload_optimizer and policy.zero_stage == 0:
        yield Problem(("policy", "offload_optimizer"), "needs policy.zero_stage of 1, 2 or 3, and it is 0")
    if policy.offload_parameters and policy.zero_stage != 3:
        yield Problem(("policy", "offload_parameters"), f"needs policy.zero_stage=3, and it is {policy.zero_stage}")
    if model.attention == "flash_attention_2" and model.dtype == "float32":
        yield Problem(("model", "attention"), "flash_attention_2 has no float32; set model.dtype=bfloat16 or model.attention=sdpa")


def _transport(experiment: Experiment) -> Iterator[Problem]:
    transport, colocate = experiment.weight_sync.transport, experiment.cluster.colocate
    if transport == "ipc" and not colocate:
        yield Problem(
            ("weight_sync", "transport"), "ipc is for trainers and samplers on the same GPUs; set cluster.colocate=true, or transport=auto"
        )
    if colocate and experiment.rollout.tensor_parallel > 1:
        yield Problem(("rollout", "tensor_parallel"), "colocated engines have one GPU each; set it to 1, or cluster.colocate=false")
    if transport == "nccl" and colocate:
        yield Problem(
            ("weight_sync", "transport"), "nccl can't join two processes on one GPU; set cluster.colocate=false, or transport=auto"
        )


def _datasets(experiment: Experiment) -> Iterator[Problem]:
    for key, dataset in _each_dataset(experiment):
        task = dataset.path.removeprefix(PLAYGROUND)
        if task == dataset.path:
            if dataset.wrong_fraction:
                yield Problem((*key, "wrong_fraction"), "is for playground:TASK only; leave it out")
        elif task not in TASKS:
            yield Problem((*key, "path"), f"{dataset.path!r}: no such task (known: {', '.join(TASKS)}){did_you_mean(task, TASKS)}")
        elif dataset.split not in SPLITS:
            yield Problem((*key, "split"), f"{dataset.path} has no split {dataset.split!r} (known: {', '.join(SPLITS)})")
    for key, path in _each_model(experiment):
        size = path.removeprefix(PLAYGROUND)
        if size != path and size not in SIZES:
            yield Problem(key, f"{path!r}: no such size (known: {', '.join(SIZES)}){did_you_mean(size, SIZES)}")


def _files(experiment: Experiment) -> Iterator[Problem]:
    for key, dataset in _each_dataset(experiment):
        if _missing(dataset.path):
            yield Problem((*key, "path"), f"no such file or folder: {dataset.path} (looked in {Path.cwd()})")
    for key, text in _each_model(experiment):
        path = Path(text).expanduser()
        if _missing(text):
            yield Problem(key, f"no such folder: {text} (looked in {Path.cwd()})")
        elif path.is_dir() and not (path / "config.json").is_file():
            yield Problem(key, f"{text} is no Hugging Face model folder: it has no config.json")


def _resources(experiment: Experiment, gpus: int) -> Iterator[Problem]:
    used = needs(experiment)
    layout, asked = plan(experiment, used, gpus > 0), demands(experiment, used, gpus > 0)
    turns = "" if experiment.cluster.colocate else ", let roles take turns (cluster.colocate=true)"
    cpus = {role: demand.actors * demand.cpus for role, demand in asked.items()}
    if (needed := layout.total("CPU")) > (there := local_cpus(experiment)):
        most = max((role for role in ACTORS if role in cpus), key=lambda role: cpus[role])
        key = (most, ACTORS[most] if asked[most].actors > 1 else "threads")
        what = f"the run needs {needed:g} CPUs ({_listed(cpus)}) and there are {there}"
        yield Problem(key, f"{what}: lower {'.'.join(key)}{turns}, or let them share cores (cluster.cpus={needed:g})")
    on_gpu = {role: demand.actors * demand.gpus for role, demand in asked.items() if demand.gpus}
    if (needed := layout.total("GPU")) > gpus:
        most = max(on_gpu, key=lambda role: on_gpu[role])
        what = f"the run needs {needed:g} GPUs ({_listed(on_gpu)}) and there are {gpus}"
        key = (most, "tensor_parallel" if most == "rollout" and asked[most].actors == 1 else ACTORS[most])
        yield Problem(key, f"{what}: lower {'.'.join(key)}{turns}")


def _listed(totals: dict[str, int]) -> str:
    return ", ".join(f"{role} {total}" for role, total in totals.items())


def _without_gpu(experiment: Experiment) -> Iterator[Problem]:
    policy, transport = experiment.policy, experiment.weight_sync.transport
    for key, wrong in (
        ("policy.offload_optimizer", policy.offload_optimizer),
        ("policy.offload_parameters", policy.offload_parameters),
        ("model.attention", experiment.model.attention == "flash_attention_2"),
        ("weight_sync.transport", transport in ("nccl", "ipc")),
        ("rollout.tensor_parallel", experiment.rollout.tensor_parallel > 1),
    ):
        if wrong:
            yield Problem(tuple(key.split(".")), "needs GPUs, and there is none here; leave it out")


def _with_gpus(experiment: Experiment) -> Iterator[Problem]:
    if experiment.weight_sync.transport in ("shared_memory", "gloo"):
        yield Problem(("weight_sync", "transport"), "is for CPU hosts, and there are GPUs here; leave it out")
    if experiment.cluster.colocate and experiment.rollout.engines > experiment.policy.ranks:
        yield Problem(("rollout", "engines"), f"colocated engines need a trainer rank each, and policy.ranks is {experiment.policy.ranks}")


def _each_dataset(experiment: Experiment) -> Iterator[tuple[tuple[str, str], DatasetConfig]]:
    yield ("data", "train"), experiment.data.train
    if experiment.data.eval is not None:
        yield ("data", "eval"), experiment.data.eval


def _each_model(experiment: Experiment) -> Iterator[tuple[tuple[str, str], str]]:
    """Model paths that are not those of a recipe's stages."""
    for key, path in ((("model", "path"), experiment.model.path), (("reference", "path"), experiment.reference.path)):
        if path is not None and not path.startswith(STAGE):
            yield key, path


def _missing(path: str) -> bool:
    return not path.startswith(PLAYGROUND) and looks_local(path) and not Path(path).expanduser().exists()


def _name(experiment: Experiment) -> str:
    return (experiment.algorithm or experiment.stage).name

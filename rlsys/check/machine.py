"""What can't work on this machine: files that are not there, too few CPUs or GPUs. Each finding names a key and the
remedy."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rlsys.check.judge_settings import key_problems
from rlsys.check.running_cluster import address_to_join
from rlsys.check.seats import demands, seating
from rlsys.check.sizes import ACTORS
from rlsys.check.sources import named_models
from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.config.paths import STAGE, adapter_paths, datasets
from rlsys.config.schema import Key, dotted
from rlsys.data.sources import PLAYGROUND, looks_local
from rlsys.registry import resolve
from rlsys.rewards.named import is_own

ADAPTER = "adapter_config.json"
"""A folder in PEFT's format has it."""
FINAL_ADAPTER = "adapter"
"""Folder of a run's final model that holds the adapter."""
GPU_DEVICES = ("nvidia[0-9]*", "dxg", "kfd")
"""Under /dev, where there is a GPU: NVIDIA's, Windows' for WSL, AMD's."""


def machine_problems(experiment: Experiment) -> Iterator[Problem]:
    """What is wrong on this machine: files, and, where a local cluster will be started, its CPUs and GPUs."""
    yield from _files(experiment)
    if address_to_join(experiment.cluster) is None:
        yield from key_problems(experiment.judge)
        yield from _rewards(experiment)
        gpus = local_gpus(experiment)
        yield from _resources(experiment, gpus)
        yield from _with_gpus(experiment) if gpus else _without_gpu(experiment)


def _rewards(experiment: Experiment) -> Iterator[Problem]:
    """Of rewards that not every machine can give."""
    for index, spec in enumerate(experiment.rewards):
        reward = resolve("rlsys.rewards", spec.name, "Reward")
        module = {} if is_own(spec) else vars(sys.modules[reward.__module__])
        if "machine_problem" in module and (problem := module["machine_problem"]()) is not None:
            yield Problem(("rewards", index, "name"), problem)


def local_cpus(experiment: Experiment) -> int:
    """CPUs of a local cluster."""
    return experiment.cluster.cpus or os.cpu_count() or 1


def local_gpus(experiment: Experiment) -> int:
    """GPUs of a local cluster."""
    if experiment.cluster.gpus is not None:
        return experiment.cluster.gpus
    if not any(device for pattern in GPU_DEVICES for device in Path("/dev").glob(pattern)):
        return 0  # without asking torch, whose import takes more than a second
    import torch

    return torch.cuda.device_count()


def _files(experiment: Experiment) -> Iterator[Problem]:
    for key, dataset in datasets(experiment).items():
        if _missing(dataset.path):
            yield Problem((*key, "path"), f"no such file or folder: {dataset.path} (looked in {Path.cwd()})")
    for key, text in named_models(experiment):
        path = Path(text).expanduser()
        if _missing(text) or _is_no_run(path, experiment.output):
            yield Problem(key, f"no such folder: {text} (looked in {Path.cwd()})")
        elif key[0] == "method" and (path / ADAPTER).is_file():
            continue  # an adapter is merged into its base
        elif path.is_dir() and not (path / "config.json").is_file() and (adapter := holds_adapter(path)) is not None:
            yield Problem(key, f"{text} holds an adapter and no model: {_how_to_load(key, adapter)}")
        elif path.is_dir() and not (path / "config.json").is_file():
            final = f"; the model of this run is {path / 'final'}" if (path / "final" / "config.json").is_file() else ""
            yield Problem(key, f"{text} is no Hugging Face model folder: it has no config.json{final}")
    for key, text in adapter_paths(experiment).items():
        if not text.startswith(STAGE) and holds_adapter(path := Path(text).expanduser()) is None:
            there = "holds no adapter" if path.is_dir() else f"no such folder (looked in {Path.cwd()})"
            yield Problem(
                key, f"{text} {there}; give an adapter's folder, or a whole model and no {key[0]}.{key[1]}.base"
            )
    output = experiment.output.expanduser().absolute()
    there = next(path for path in (output, *output.parents) if path.exists())
    if not there.is_dir():
        yield Problem(("output",), f"{there} is a file, and runs need a folder; choose another")
    elif not os.access(there, os.W_OK):
        yield Problem(("output",), f"nothing can be written into {there}; choose another folder")


def holds_adapter(path: Path) -> Path | None:
    """The folder of the adapter in a folder without a model: itself, or `adapter` in a run's final one."""
    return next((folder for folder in (path, path / FINAL_ADAPTER) if (folder / ADAPTER).is_file()), None)


def _how_to_load(key: Key, adapter: Path) -> str:
    """An adapter in place of a model."""
    if key == ("model", "path"):
        return f"let model.path be its base, and model.adapter.path={adapter}"
    if key[0] == "reward_models":
        return f"give its base as {dotted((*key[:-1], 'base'))}"
    return "merge it into its base by method merge (docs/merging.md), and give what that makes"


def _resources(experiment: Experiment, gpus: int) -> Iterator[Problem]:
    used = experiment.method.facts.needs
    layout, asked = seating(experiment, used, gpus > 0), demands(experiment, used, gpus > 0)
    turns = "" if experiment.cluster.colocate or len(asked) == 1 else ", let roles take turns (cluster.colocate=true)"
    cpus = {role: demand.actors * demand.cpus for role, demand in asked.items()}
    if (needed := layout.total("CPU")) > (there := local_cpus(experiment)):
        most = max((role for role in ACTORS if role in cpus), key=lambda role: cpus[role])
        section, number = ACTORS[most]
        key = (section, number if asked[most].actors > 1 else "threads")
        what = f"the run needs {needed:g} CPUs ({_listed(cpus)}) and there are {there}"
        yield Problem(key, f"{what}: lower {'.'.join(key)}{turns}, or let them share cores (cluster.cpus={needed:g})")
    on_gpu = {role: demand.actors * demand.gpus for role, demand in asked.items() if demand.gpus}
    if (needed := layout.total("GPU")) > gpus:
        most = max((role for role in ACTORS if role in on_gpu), key=lambda role: on_gpu[role])
        what = f"the run needs {needed:g} GPUs ({_listed(on_gpu)}) and there are {gpus}"
        section, number = ACTORS[most]
        key = (section, "tensor_parallel" if most == "rollout" and asked[most].actors == 1 else number)
        yield Problem(key, f"{what}: lower {'.'.join(key)}{turns}")


def _listed(totals: dict[str, int]) -> str:
    return ", ".join(f"{role} {total}" for role, total in totals.items())


def _without_gpu(experiment: Experiment) -> Iterator[Problem]:
    transport = experiment.weight_sync.transport
    for key, wrong in (
        ("policy.offload_optimizer", experiment.policy.offload_optimizer),
        ("policy.offload_parameters", experiment.policy.offload_parameters),
        ("critic.offload_optimizer", experiment.critic.offload_optimizer),
        ("critic.offload_parameters", experiment.critic.offload_parameters),
        ("model.attention", experiment.model.attention == "flash_attention_2"),
        ("weight_sync.transport", transport in ("nccl", "ipc")),
        ("rollout.tensor_parallel", experiment.rollout.tensor_parallel > 1),
    ):
        if wrong:
            yield Problem(tuple(key.split(".")), "needs GPUs, and there is none here; leave it out")


def _with_gpus(experiment: Experiment) -> Iterator[Problem]:
    if experiment.weight_sync.transport in ("shared_memory", "gloo"):
        yield Problem(("weight_sync", "transport"), "is for CPU hosts, and there are GPUs here; leave it out")
    if (
        experiment.cluster.colocate
        and "policy" in experiment.method.facts.needs
        and experiment.rollout.engines > experiment.policy.ranks
    ):
        yield Problem(
            ("rollout", "engines"),
            f"colocated engines need a trainer rank each, and policy.ranks is {experiment.policy.ranks}",
        )


def _missing(path: str) -> bool:
    return not path.startswith(PLAYGROUND) and looks_local(path) and not Path(path).expanduser().exists()


def _is_no_run(path: Path, output: Path) -> bool:
    """Whether it names a run that is not in the folder of runs: `runs/name` could be a hub id, and is hardly meant as
    one."""
    return len(path.parts) > 1 and path.parent.absolute() == output.absolute() and not path.exists()

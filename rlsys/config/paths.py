"""Every place of a config that names a model or a data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rlsys.config.base import Model
from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import Experiment
from rlsys.config.merge import MergeSettings

STAGE = "stage:"
"""A path with this prefix is the model or data set of an earlier stage of a recipe."""
ModelT = TypeVar("ModelT", bound=Model)


def critic_path(experiment: Experiment) -> str | None:
    """Where the critic starts; None stands for the policy's starting weights."""
    if experiment.critic.path is not None or not experiment.reward_models:
        return experiment.critic.path
    first = experiment.reward_models[0]
    return first.path if first.base is None else None


def model_paths(experiment: Experiment) -> dict[tuple[str | int, ...], str]:
    """Every model path that the config names, by its key."""
    found: dict[tuple[str | int, ...], str | None] = {
        ("model", "path"): experiment.model.path,
        ("reference", "path"): experiment.reference.path,
        ("critic", "path"): experiment.critic.path,
    }
    if experiment.judge is not None and experiment.judge.backend == "vllm":
        found[("judge", "model")] = experiment.judge.model
    if experiment.teacher is not None:
        found[("teacher", "path")] = experiment.teacher.path
    if isinstance(experiment.method, MergeSettings):
        found |= {("method", "models", index, "path"): one.path for index, one in enumerate(experiment.method.models)}
    for index, config in enumerate(experiment.reward_models):
        key = "path" if config.base is None else "base"
        found["reward_models", index, key] = config.base or config.path
    return {key: path for key, path in found.items() if path is not None}


def adapter_paths(experiment: Experiment) -> dict[tuple[str | int, ...], str]:
    """Every path of an adapter over a base that the config names, by its key."""
    models = enumerate(experiment.reward_models)
    return {("reward_models", index, "path"): config.path for index, config in models if config.base is not None}


def continued_paths(experiment: Experiment) -> dict[tuple[str | int, ...], str]:
    """Folders of finished models of which something else than the model is read: an adapter to go on from, what was
    kept for elastic weight consolidation."""
    adapter, found = experiment.model.adapter, {}
    if isinstance(adapter, Model) and vars(adapter)["path"] is not None:
        found["model", "adapter", "path"] = vars(adapter)["path"]
    if experiment.ewc is not None:
        found |= {("ewc", "of", index): path for index, path in enumerate(experiment.ewc.of)}
    return found


def with_model_paths(experiment: Experiment, change: Callable[[str], str]) -> Experiment:
    """The experiment with every path of a model changed, of an adapter over one, and of what is continued."""

    def changed(config: ModelT) -> ModelT:
        paths = {key: vars(config).get(key) for key in ("path", "base")}
        return config.model_copy(update={key: change(path) for key, path in paths.items() if path is not None})

    model, ewc = changed(experiment.model), experiment.ewc
    if isinstance(model.adapter, Model):
        model = model.model_copy(update={"adapter": changed(model.adapter)})
    judge = experiment.judge
    if judge is not None and judge.backend == "vllm":
        judge = judge.model_copy(update={"model": change(judge.model)})
    method = experiment.method
    if isinstance(method, MergeSettings):
        method = method.model_copy(update={"models": tuple(map(changed, method.models))})
    return experiment.model_copy(
        update={
            "judge": judge,
            "method": method,
            "model": model,
            "ewc": ewc and ewc.model_copy(update={"of": tuple(map(change, ewc.of))}),
            "reference": changed(experiment.reference),
            "critic": changed(experiment.critic),
            "teacher": experiment.teacher and changed(experiment.teacher),
            "reward_models": tuple(changed(config) for config in experiment.reward_models),
        }
    )


def datasets(experiment: Experiment) -> dict[tuple[str | int, ...], DatasetConfig]:
    """Every data set that the config names, by its key. With `data.eval.share`, each has the part that it then is
    of."""
    data = experiment.data
    train, *also = data.training() or (None,)
    found = {("data", "train"): train, ("data", "eval"): data.held_out(), ("data", "pretrain"): data.pretrain}
    found |= {("data", "also", index): config for index, config in enumerate(also)}
    found |= {("data", "contamination", "against", index): one for index, one in enumerate(data.contamination.against)}
    if experiment.judge is not None:
        found[("judge", "human")] = experiment.judge.human
    return {key: config for key, config in found.items() if config is not None}


def with_dataset_paths(experiment: Experiment, change: Callable[[str], str]) -> Experiment:
    """The experiment with every data set's path changed."""

    def changed(config: DatasetConfig | None) -> DatasetConfig | None:
        return config and config.model_copy(update={"path": config.path and change(config.path)})

    data = experiment.data
    own: dict[str, Model | None] = {
        "train": changed(data.train),
        "eval": changed(data.eval),
        "pretrain": changed(data.pretrain),
    }
    against = tuple(map(changed, data.contamination.against))
    own["contamination"] = data.contamination.model_copy(update={"against": against})
    judge = experiment.judge and experiment.judge.model_copy(update={"human": changed(experiment.judge.human)})
    return experiment.model_copy(
        update={"judge": judge, "data": data.model_copy(update={**own, "also": tuple(map(changed, data.also))})}
    )

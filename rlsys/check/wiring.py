"""What one stage of a recipe takes from earlier ones must be what they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rlsys.check.adapter import leaves_no_adapter, leaves_no_model
from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.config.paths import STAGE, adapter_paths, continued_paths, datasets, model_paths
from rlsys.config.schema import Key
from rlsys.methods.base import Made
from rlsys.models.adapters.base import AdapterConfig


def source_problems(experiment: Experiment, earlier: Sequence[Experiment] = ()) -> Iterator[Problem]:
    """Sources that are no earlier stage, or make something else."""
    done = {f"{STAGE}{stage.name}": stage for stage in earlier}
    for key, path in sources(experiment).items():
        if not path.startswith(STAGE):
            continue
        if path not in done:
            yield Problem(
                key, f"{path!r} names no earlier stage (earlier: {', '.join(s.name for s in earlier) or 'none'})"
            )
        elif (made := done[path].method.facts.makes) not in (wanted := wanted_at(key)):
            yield Problem(key, f"wanted {' or '.join(map(_a, wanted))}, and {path} makes {_a(made)}")
        elif key in adapter_paths(experiment):
            if (why := leaves_no_adapter(done[path])) is not None:
                yield Problem(key, f"{path} leaves no adapter: {why}")
        elif key[:2] == ("model", "adapter"):
            yield from _adapter(key, path, done[path])
        elif key[0] == "ewc":
            kept = done[path].ewc
            if kept is None or not kept.samples:
                yield Problem(key, f"{path} keeps no Fisher information; give that stage ewc.samples")
        elif key[0] != "data" and (why := leaves_no_model(done[path])):
            yield Problem(key, f"{path} leaves an adapter and no model: {why}")
    for index, model in enumerate(experiment.reward_models):
        if model.normalize and model.path in done and done[model.path].data.eval is None:
            yield Problem(
                ("reward_models", index, "normalize"),
                f"needs the scores that {model.path} gave to held-out data, and that stage has none; give it "
                "data.eval, or set this to false",
            )


def _adapter(key: Key, path: str, stage: Experiment) -> Iterator[Problem]:
    adapter = stage.model.adapter
    if not isinstance(adapter, AdapterConfig):
        yield Problem(key, f"{path} trains no adapter; give that stage model.adapter, or leave this out")
    elif adapter.export == "merged":
        yield Problem(key, f"{path} leaves a merged model and no adapter; set its model.adapter.export to both")


def sources(experiment: Experiment) -> Mapping[Key, str]:
    """Every path of a model or data set, by its key."""
    # Of a judge, `model` itself is the path.
    models = {**model_paths(experiment), **adapter_paths(experiment), **continued_paths(experiment)}
    return {**models, **{(*key, "path"): config.path for key, config in datasets(experiment).items()}}


def wanted_at(key: Key) -> tuple[Made, ...]:
    """A critic, and a reward model in training, may start from either kind of model."""
    if key[0] == "data" or key == ("judge", "human", "path"):
        return ("data set",)
    if key[0] == "reward_models" and key[-1] == "path":
        return ("reward model",)
    return ("model", "reward model") if key[0] == "critic" else ("model",)


def _a(made: Made) -> str:
    return made if made == "measurements" else f"a {made}"

"""What one stage of a recipe takes from earlier ones must be what they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlsys.config.checks import STAGE, needs
from rlsys.config.models import Experiment
from rlsys.config.paths import datasets, model_paths
from rlsys.config.schema import Key, dotted
from rlsys.errors import ConfigError

MODEL, REWARD_MODEL, DATASET = "a model", "a reward model", "a data set"


def makes(experiment: Experiment) -> str:
    """What a stage leaves."""
    used = needs(experiment)
    return MODEL if "policy" in used else REWARD_MODEL if "reward_model" in used else DATASET


def check_sources(experiment: Experiment, earlier: Sequence[Experiment]) -> None:
    """Raises ConfigError, without the recipe's file and stage, for a source that is no earlier stage, or makes something else."""
    done = {f"{STAGE}{stage.name}": stage for stage in earlier}
    for key, path in sources(experiment).items():
        if not path.startswith(STAGE):
            continue
        if path not in done:
            raise ConfigError(f"{dotted(key)}: {path!r} names no earlier stage (earlier: {', '.join(s.name for s in earlier) or 'none'})")
        wanted = wanted_at(key)
        if (made := makes(done[path])) not in wanted:
            raise ConfigError(f"{dotted(key)}: wanted {' or '.join(wanted)}, and {path} makes {made}")
    for index, model in enumerate(experiment.reward_models):
        if model.normalize and model.path in done and done[model.path].data.eval is None:
            raise ConfigError(
                f"reward_models.{index}.normalize needs the scores that {model.path} gave to held-out data, and that stage has none; give it "
                f"data.eval, or set normalize to false"
            )


def sources(experiment: Experiment) -> Mapping[Key, str]:
    """Every path of a model or data set, by its key."""
    # Of a judge, `model` itself is the path.
    return {**model_paths(experiment), **{(*key, "path"): config.path for key, config in datasets(experiment).items()}}


def wanted_at(key: Key) -> tuple[str, ...]:
    """A critic, and a reward model in training, may start from either kind of model."""
    if key[0] == "data" or key == ("judge", "human", "path"):
        return (DATASET,)
    if key[0] == "reward_models":
        return (REWARD_MODEL,)
    return (MODEL, REWARD_MODEL) if key[0] == "critic" else (MODEL,)

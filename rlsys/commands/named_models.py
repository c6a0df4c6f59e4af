"""MODEL|RUN on a command line: which files that means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rlsys.check.sources import misspelt
from rlsys.config import yaml_file
from rlsys.config.document import load_as
from rlsys.config.recipe import Recipe
from rlsys.data.sources import PLAYGROUND, looks_local
from rlsys.errors import ConfigError, RunError, command, did_you_mean
from rlsys.run.folder import RECIPE, RunDir, saved_method

LONGEST = 8192
"""Tokens of prompt and response that are planned for at most, where nobody says more: a large window would ask for
memory that is rarely used."""


def model_path(text: str) -> str:
    """What a config would give as the model's path: a model as it is, the final model of a run, or that of the last
    stage of a finished recipe that trains one.

    Raises RunError for a run without one, ConfigError for what is neither a model nor a run.
    """
    folder = Path(text).expanduser()
    if (folder / RECIPE).is_file():
        return str(_of_recipe(folder, text))
    if (folder / "config.yaml").is_file():
        return str(_of_run(RunDir.open(folder), text))
    if text.startswith(PLAYGROUND) or (folder / "config.json").is_file():
        return text
    if wrong := misspelt(text):
        raise ConfigError(wrong)
    if folder.is_dir():
        raise ConfigError(f"{text}: neither a model's folder (no config.json) nor a run's (no config.yaml, {RECIPE})")
    if looks_local(text) or (len(folder.parts) > 1 and folder.parent.is_dir()):
        near = did_you_mean(folder.name, _folders(folder.parent))
        raise ConfigError(f"{text}: no such run or model (looked in {Path.cwd()}){near}")
    return text


def model_paths(texts: Sequence[str]) -> dict[str, str]:
    """`model_path` of each. Raises ConfigError also for one that is named twice."""
    if twice := [text for number, text in enumerate(texts) if text in texts[:number]]:
        raise ConfigError(f"{twice[0]}: given twice; name each model once")
    return {text: model_path(text) for text in texts}


def files(text: str, path: str, output: Path) -> Path:
    """Where the model that was typed as `text` is loaded from. Raises ConfigError unless it is a language model, with
    weights and a tokenizer where it is a folder."""
    from rlsys.models.load import embedding_problem, load_config, load_tokenizer, local_path, weights_problem
    from rlsys.models.value_model import is_value_model

    folder = local_path(path, output / "playground")
    if is_value_model(load_config(folder)):
        raise ConfigError(f"{text}: a reward model (it has a scalar head), which writes no text; give a language model")
    if folder.is_dir():
        tokenizer = load_tokenizer(folder)
        if problem := weights_problem(folder) or embedding_problem(tokenizer, load_config(folder)):
            raise ConfigError(f"{text}: {problem}")
    return folder


def dtype_of(folder: Path) -> Literal["float32", "bfloat16"]:
    """The precision of the model's files; bfloat16 also for what can't be sampled from here."""
    from rlsys.models.load import load_config

    return "float32" if str(load_config(folder).dtype) == "torch.float32" else "bfloat16"


def window_of(folder: Path) -> int:
    """Tokens that the model sees, at most `LONGEST`."""
    from rlsys.models.load import load_config

    config = load_config(folder).get_text_config()
    window = config.max_position_embeddings if hasattr(config, "max_position_embeddings") else None
    return min(window or LONGEST, LONGEST)


def _of_run(run: RunDir, text: str) -> Path:
    if _has_model(run):
        return run.final
    if not run.summary.is_file():
        raise RunError(f"{text}: has no final model yet; go on with the run by `{command('rlsys', 'resume', text)}`")
    config, _ = yaml_file.read(run.config)
    raise RunError(f"{text}: a run of {saved_method(config, run.config)}, which leaves no model; give one that trains")


def _of_recipe(folder: Path, text: str) -> Path:
    stages = [RunDir(folder / stage.name) for stage in load_as(Recipe, folder / RECIPE).steps]
    done = [run for run in stages if _has_model(run) and not _is_reward_model(run)]
    if not (folder / "summary.json").is_file():
        instead = f", or name a stage that is: {', '.join(f'{text}/{run.name}' for run in done)}" if done else ""
        raise RunError(
            f"{text}: the recipe is not finished; go on with it by `{command('rlsys', 'resume', text)}`{instead}"
        )
    if not done:
        raise RunError(f"{text}: no stage of the recipe leaves a language model")
    return done[-1].final


def _has_model(run: RunDir) -> bool:
    """Whether it was written whole: the summary comes after the model."""
    return run.summary.is_file() and (run.final / "config.json").is_file()


def _is_reward_model(run: RunDir) -> bool:
    """Without importing what reads models."""
    config = json.loads((run.final / "config.json").read_text(encoding="utf-8"))
    return any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or ())


def _folders(parent: Path) -> list[str]:
    return [path.name for path in parent.glob("*") if path.is_dir()]

"""What is found out about models before any actor is started. `train` asks where its models lie;
`validate` asks the same of those that are here already, and of a recipe's stages by the models that they begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from rlsys.check.sizes import longest_sequence
from rlsys.config.experiment import Experiment
from rlsys.config.paths import STAGE, critic_path, model_paths
from rlsys.config.schema import Key, dotted
from rlsys.errors import ConfigError
from rlsys.methods.base import SAMPLED
from rlsys.models.adapters.shared.over import check_over, over
from rlsys.models.cost import placed, skeleton
from rlsys.models.fisher import open_fisher
from rlsys.models.load import embedding_problem, load_config, load_tokenizer, tokenizer_difference, weights_problem
from rlsys.models.reward_scale import read_scale
from rlsys.models.value_model import is_value_model

At = Callable[[str], Path | None]
"""The folder that a model path means; None: it is not here."""


def check_models(experiment: Experiment, at: At) -> None:
    """Raises ConfigError for models that can't work together: tokenizers, windows, heads. What is not here is left
    out."""
    if experiment.method.facts.of_files:
        check_merge(experiment, at)
        if not experiment.method.facts.samples:
            return
    if (policy := at(experiment.model.path)) is not None:
        check_tokenizers(experiment, load_tokenizer(policy), at)
    check_windows(experiment, longest_sequence(experiment), at)
    check_weights(experiment, at)
    check_reward_models(experiment, at)
    check_adapter(experiment, at)
    check_ewc(experiment, at)


def check_adapter(experiment: Experiment, at: At) -> None:
    """Raises ConfigError for an adapter that doesn't fit a model that is trained, or that was saved of another."""
    if experiment.model.adapter is None:
        return
    for _, path, heads in trained_models(experiment):
        if (folder := at(path)) is not None:
            placed(experiment.model, folder, heads)


def check_ewc(experiment: Experiment, at: At) -> None:
    """Raises ConfigError where an earlier task kept no Fisher information, or that of other parameters."""
    kept = () if experiment.ewc is None else experiment.ewc.of
    folders = [Path(path) for path in kept if not path.startswith(STAGE)]
    if not folders or (base := at(experiment.model.path)) is None:
        return
    network = placed(experiment.model, base, None).network
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters() if p.requires_grad}
    for folder in folders:
        with open_fisher(folder, shapes):
            pass


def trained_models(experiment: Experiment) -> Iterator[tuple[str, str, int | None]]:
    """Role, path and heads (None: a language model) of each model that the method trains."""
    own, needs = experiment.model.path, experiment.method.facts.needs
    models: dict[str, tuple[str, int | None]] = {
        "policy": (own, None),
        "critic": (critic_path(experiment) or own, 1),
        "reward_model": (own, experiment.method.facts.heads),
    }
    yield from ((role, *model) for role, model in models.items() if role in needs)


def check_merge(experiment: Experiment, at: At) -> None:
    """Raises ConfigError for models that can't be merged with the base, where all are here."""
    from rlsys.merging.plan import plan  # brings peft, and few runs need it

    found = [at(path) for path in (experiment.model.path, *(model.path for model in experiment.method.models))]
    here = [folder for folder in found if folder is not None]
    if len(here) == len(found):
        base, *folders = here
        plan(experiment.method, base, folders, experiment.seed)


def check_tokenizers(experiment: Experiment, tokenizer: PreTrainedTokenizerBase, at: At) -> None:
    """Raises ConfigError unless every model has an embedding of each of its tokens, and every other model reads tokens
    as the policy does: samples go to them as token ids."""
    for key, path, folder in _here(experiment, at):
        other = tokenizer if key == ("model", "path") else load_tokenizer(folder)
        asked_in_words = key == ("judge", "model")
        if not asked_in_words and (difference := tokenizer_difference(tokenizer, other)):
            raise ConfigError(
                f"{dotted(key)} {path}: its tokenizer is not the policy's ({difference}), and samples are handed over "
                f"as token ids; choose a model with the tokenizer of {experiment.model.path}"
            )
        if problem := embedding_problem(other, load_config(folder)):
            raise ConfigError(f"{dotted(key)} {path}: {problem}")


def check_windows(experiment: Experiment, longest: int, at: At) -> None:
    """Raises ConfigError if a model can't see as many tokens as the longest row or sample may have, with what stands
    before them in one that is trained."""
    adapter = experiment.model.adapter if experiment.method.facts.trains else None
    for key, path, folder in _here(experiment, at):
        if key != ("judge", "model"):
            before = adapter.positions if adapter is not None and key in (("model", "path"), ("critic", "path")) else 0
            check_window(experiment, f"{dotted(key)} {path}", folder, longest, before)


def check_window(experiment: Experiment, where: str, folder: Path, longest: int, before: int) -> None:
    """Raises ConfigError, which begins with `where`, unless the model sees `longest` tokens and an adapter's `before`
    them."""
    config = load_config(folder).get_text_config()
    window = config.max_position_embeddings if hasattr(config, "max_position_embeddings") else None
    if window is not None and longest + before > window:
        lower = "data.max_prompt_tokens or sampling.max_tokens"
        lower = lower if experiment.method.facts.rows in SAMPLED else "method.max_tokens"
        more = f" after the adapter's {before}" if before else ""
        raise ConfigError(f"{where}: sees {window} tokens, and sequences may have {longest}{more}; lower {lower}")


def check_weights(experiment: Experiment, at: At) -> None:
    """Raises ConfigError for a model's folder that has no weights in it."""
    for key, path, folder in _here(experiment, at):
        if problem := weights_problem(folder):
            raise ConfigError(f"{dotted(key)} {path}: {problem}")


def check_reward_models(experiment: Experiment, at: At) -> None:
    """Raises ConfigError for what their folders do not have: a scalar head, a scale to normalise by, several heads to
    combine."""
    for index, config in enumerate(experiment.reward_models):
        if config.base is not None:
            check_over_base(experiment, index, at)
            continue
        folder = None if config.path.startswith(STAGE) else at(config.path)
        if folder is None:
            continue
        if not is_value_model(load_config(folder)):
            raise ConfigError(
                f"reward_models.{index}.path {config.path}: this model has no scalar head; train one by method "
                "reward_model"
            )
        if config.normalize:
            read_scale(folder)
        if config.ensemble == "mean_minus_std" and (load_config(folder).num_labels or 1) < 2:
            raise ConfigError(
                f"reward_models.{index}.ensemble: mean_minus_std needs several heads, and {config.path} has one; "
                "choose mean"
            )


def check_over_base(experiment: Experiment, index: int, at: At) -> None:
    """Raises ConfigError for a reward model that is no adapter over the base it names."""
    config = experiment.reward_models[index]
    assert config.base is not None
    folder, base = Path(config.path).expanduser(), at(config.base)
    if base is None or config.path.startswith(STAGE):
        return
    keys = (f"reward_models.{index}.path", f"reward_models.{index}.base")
    heads = check_over(folder, base, keys)
    adapter = over(skeleton(base, heads, getattr(torch, experiment.model.dtype)), folder)
    before = adapter.config.positions
    check_window(experiment, f"{keys[0]} {config.path}", base, longest_sequence(experiment), before)
    if config.normalize:
        read_scale(folder)
    if config.ensemble == "mean_minus_std" and heads < 2:
        raise ConfigError(
            f"reward_models.{index}.ensemble: mean_minus_std needs several heads, and {config.path} has one; choose "
            "mean"
        )


def _here(experiment: Experiment, at: At) -> Iterator[tuple[Key, str, Path]]:
    for key, path in model_paths(experiment).items():
        if key[0] != "method" and (folder := at(path)) is not None:  # what a merge takes is looked at whole
            yield key, path, folder

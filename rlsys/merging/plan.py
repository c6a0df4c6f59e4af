"""What will be merged, found to fit before anything is written: each model against the base, tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig

from rlsys.config.merge import MergedModel, MergeSettings
from rlsys.errors import ConfigError, nearest
from rlsys.merging.adapter import Adapter
from rlsys.merging.base import PACKAGE, Part, Way
from rlsys.merging.shards import Spec, Weights, write
from rlsys.models.load import load_config, load_tokenizer, tokenizer_difference
from rlsys.models.value_model import is_value_model
from rlsys.registry import resolve
from rlsys.samples import stable_seed

UNSEEN = (
    "model_type",
    "tie_word_embeddings",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "activation_function",
    "rms_norm_eps",
    "layer_norm_epsilon",
    "rope_parameters",
    "sliding_window",
    "quantization_config",
)
"""Keys of a model's config that decide what its tensors mean and that no shape shows."""
OF_TOKENS = re.compile("embed|wte|lm_head")
"""Names of tensors that have a row for each token."""


@dataclass(frozen=True)
class Source:
    """One of the models, or the base."""

    key: str
    """What errors call it."""
    weights: Weights | Adapter

    @property
    def folder(self) -> Path:
        return self.weights.folder

    @property
    def is_adapter(self) -> bool:
        return isinstance(self.weights, Adapter)

    @cached_property
    def config(self) -> PreTrainedConfig:
        return load_config(self.weights.base.folder if isinstance(self.weights, Adapter) else self.folder)

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Names that its config ties to others, such as the head to the embeddings: these are not merged."""
        if not self.config.tie_word_embeddings or type(self.config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            return {}
        kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(self.config)]
        return kind._tied_weights_keys or {}

    @cached_property
    def specs(self) -> dict[str, Spec]:
        """By name. Raises ConfigError for a tied tensor that is stored, and differs from what it is tied to."""
        places = self.weights.places
        for name in self.aliases.keys() & places.keys():
            if (other := self.aliases[name]) in places and not torch.equal(self.weights.read(name), self.read(other)):
                raise ConfigError(
                    f"{self.key}: {name} differs from {other}, to which its config ties it; untie them, or leave it out"
                )
        return {name: spec for name, (_, spec) in places.items() if name not in self.aliases or self._stands_for(name)}

    def _stands_for(self, name: str) -> bool:
        """Whether only the tied name is stored."""
        return self.aliases[name] not in self.weights.places

    def read(self, name: str) -> Tensor:
        return self.weights.read(name)


@dataclass(frozen=True)
class Plan:
    """A merge that can be done."""

    way: Way
    models: tuple[MergedModel, ...]
    base: Source
    sources: tuple[Source, ...]
    seed: int

    @property
    def described_by(self) -> Path:
        """The folder whose config, tokenizer and generation config the merged model gets: the first whole model, which
        was tuned and so knows its chat template; the base where all are adapters."""
        return next((source.folder for source in self.sources if not source.is_adapter), self.base.folder)

    def only(self, numbers: Sequence[int]) -> Plan:
        """The same of some of the models."""
        models, sources = (self.models[number] for number in numbers), (self.sources[number] for number in numbers)
        return Plan(self.way, tuple(models), self.base, tuple(sources), self.seed)

    def weights(self, name: str) -> list[float]:
        return [model.weight_of(name) for model in self.models]

    def write(self, folder: Path, dtype: torch.dtype, shard_bytes: int) -> list[Path]:
        """Write the merged weights; returns the files. Everything is computed in float32 and rounded once."""
        specs = {
            name: Spec(spec.shape, dtype if spec.dtype.is_floating_point else spec.dtype)
            for name, spec in self.base.specs.items()
        }
        merge = resolve(PACKAGE, self.way.name, "merge")
        return write(folder, specs, lambda name: self.tensor(name, merge).to(specs[name].dtype), shard_bytes)

    def tensor(self, name: str, merge: Callable[[Any, Tensor, Sequence[Part]], Tensor]) -> Tensor:
        """One merged tensor, in float32. Whole numbers and masks are the base's: that all have the same was checked."""
        base = self.base.read(name)
        if not base.is_floating_point():
            return base
        parts = [
            Part(
                source.read(name).float(),
                model.weight_of(name),
                model.density_of(name, self.way.usual_density()),
                stable_seed(self.seed, "merge", number, name),
            )
            for number, (source, model) in enumerate(zip(self.sources, self.models, strict=True))
        ]
        return merge(self.way, base.float(), parts)


def plan(settings: MergeSettings, base: Path, folders: Sequence[Path], seed: int) -> Plan:
    """`folders`: where the models lie. Raises ConfigError, in one line that names the tensor, for models that do not
    fit the base, and for settings that do not fit the models."""
    foundation = Source(f"model.path ({base})", Weights(base))
    sources = tuple(
        Source(
            f"method.models.{number} ({folder})",
            Adapter(folder, Weights(base)) if is_adapter(folder) else Weights(folder),
        )
        for number, folder in enumerate(folders)
    )
    found = Plan(settings.by, settings.models, foundation, sources, seed)
    for source in sources:
        for problem in problems(foundation, source):
            raise ConfigError(f"{source.key}: {problem}")
    for problem in rule_problems(found):
        raise ConfigError(problem)
    return found


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter in PEFT's format."""
    return (folder / "adapter_config.json").is_file()


def problems(base: Source, source: Source) -> Iterator[str]:
    """Why the model can't be merged with others of the base."""
    if base.config.to_dict().get("quantization_config") is not None:
        yield f"the base ({base.folder}) is quantised; give the model that it was made of"
    if is_value_model(base.config):
        yield f"the base ({base.folder}) is a reward model (it has a scalar head); only language models are merged"
    kinds = ""
    if (own := source.config.model_type) != (wanted := base.config.model_type):
        kinds = f"; it is a {own}, and the base a {wanted}"
    elsewhere = f"the base ({base.folder})"
    for name, spec in source.specs.items():
        if name not in base.specs:
            yield f"{name} is not in {elsewhere}{kinds}"
        elif spec.shape != (shape := base.specs[name].shape):
            hint = "; give both the same vocabulary (resize_token_embeddings)" if OF_TOKENS.search(name) else ""
            yield f"{name} is {list(spec.shape)}, and {list(shape)} in {elsewhere}{kinds or hint}"
        elif spec.dtype.is_floating_point != base.specs[name].dtype.is_floating_point:
            yield f"{name} is {spec.dtype}, and {base.specs[name].dtype} in {elsewhere}"
        elif not spec.dtype.is_floating_point and not torch.equal(source.read(name), base.read(name)):
            yield f"{name} holds whole numbers or a mask, and others than in {elsewhere}; these can't be merged"
    if missing := [name for name in base.specs if name not in source.specs]:
        yield f"{missing[0]} is missing, and is in {elsewhere}{kinds}"
    if not source.is_adapter:
        yield from _meanings(base, source)


def _meanings(base: Source, source: Source) -> Iterator[str]:
    """What no shape shows: settings of the architecture, and what each token is."""
    ours, theirs = (one.config.get_text_config().to_dict() for one in (source, base))
    for key in UNSEEN:
        if ours.get(key) != theirs.get(key):
            told = f"its config says {key}: {_short(ours.get(key))}, and the base's {_short(theirs.get(key))}"
            yield f"{told}, so {next(iter(base.specs))} and the rest mean something else there"
    if difference := tokenizer_difference(load_tokenizer(source.folder), load_tokenizer(base.folder)):
        embeddings = next(filter(OF_TOKENS.search, base.specs), "the embeddings")
        yield f"its tokenizer is not the base's ({difference}), so rows of {embeddings} mean other tokens"


def rule_problems(found: Plan) -> Iterator[str]:
    """Rules that match nothing, and weights that can't be merged somewhere."""
    names = list(found.base.specs)
    for number, model in enumerate(found.models):
        for place, rule in enumerate(model.layers):
            if all(rule not in model.rules_of(name) for name in names):
                near = nearest(rule.match, names) or names[0]
                key = f"method.models.{number}.layers.{place}.match"
                yield f"{key}: {rule.match!r} is found in the name of no tensor; names are such as {near}"
    for name in names:
        if (why := found.way.refusal(found.weights(name))) is not None:
            yield f"method.models: {name}: {why}"


def _short(value: Any) -> str:
    return f"{value!r:.60}"

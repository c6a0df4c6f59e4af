"""Writes a merged model's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import AutoTokenizer
from transformers.utils import GENERATION_CONFIG_NAME

from rlsys.config.experiment import ModelConfig
from rlsys.config.merge import MergeSettings
from rlsys.errors import ConfigError
from rlsys.files import fsync
from rlsys.merging.card import Card
from rlsys.merging.greedy_soup import Tried, ingredients
from rlsys.merging.plan import Plan, is_adapter
from rlsys.models.load import first_line, load_config, local_path

FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""Of a hub repository: weights, config, tokenizer."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Merge:
    settings: MergeSettings
    model: ModelConfig
    """What the base is called, and in which precision the merged model is written."""
    plan: Plan

    def make(self, folder: Path, measure: Callable[[Path, str], float]) -> None:
        """Write the merged model; `folder` appears whole or not at all. `measure`: how good the model in a folder is;
        the text names it."""
        if not self.plan.way.measures:
            self.write(folder)
            return

        def of_soup(numbers: tuple[int, ...]) -> float:
            name = "soup-" + "-".join(map(str, numbers))
            if len(numbers) == 1 and not self.plan.sources[numbers[0]].is_adapter:
                return measure(self.plan.sources[numbers[0]].folder, name)
            candidate = folder.with_name(f"{name}.candidate")
            shutil.rmtree(candidate, ignore_errors=True)  # of a run that was killed
            self.write(candidate, numbers)
            try:
                return measure(candidate, name)
            finally:
                shutil.rmtree(candidate)

        self.write(folder, *ingredients(len(self.plan.sources), of_soup))

    def write(self, folder: Path, chosen: tuple[int, ...] | None = None, tried: Sequence[Tried] = ()) -> None:
        """Of the models with the numbers `chosen`; None: of all."""
        merged = self.plan if chosen is None else self.plan.only(chosen)
        source, dtype = self.plan.described_by, DTYPES[self.model.dtype]
        draft = folder.with_name(f".{folder.name}.writing")
        shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
        draft.mkdir(parents=True)
        try:
            config = load_config(source)
            config.dtype = dtype
            config.save_pretrained(draft)
            AutoTokenizer.from_pretrained(str(source)).save_pretrained(draft)
            if (generation := source / GENERATION_CONFIG_NAME).is_file():
                shutil.copyfile(generation, draft / GENERATION_CONFIG_NAME)
            weights = merged.write(draft, dtype, int(self.settings.shard_gb * 1e9))
            Card(self.settings, self.model, self.plan, tried, chosen).write(draft, folder.parent.name, weights)
            for file in draft.iterdir():
                fsync(file)
            draft.rename(folder)
            fsync(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def locate(path: str, cache: Path) -> Path:
    """The folder of a model or adapter: one from the hub is downloaded, and a playground model built in `cache`. Raises
    ConfigError."""
    here = Path(path).expanduser()
    if here.is_dir() and is_adapter(here):
        return here.resolve()
    folder = local_path(path, cache)
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(str(folder), allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(f"{path}: can't be downloaded: {first_line(error)}") from error

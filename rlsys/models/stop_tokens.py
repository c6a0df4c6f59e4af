"""At which tokens a model's responses end, and the generation config that tells other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from rlsys.models.load import load_config
from rlsys.models.turn_ends import turn_end_ids


def stop_token_ids(tokenizer: PreTrainedTokenizerBase, model: Path, templated: bool) -> tuple[int, ...]:
    """Ids that end a response: what `turn_end_ids` finds, EOS first, then what the model's own generation config names.
    `model`: local folder or hub id."""
    own = generation_config(model).eos_token_id
    named = [own] if isinstance(own, int) else own or []
    return tuple(dict.fromkeys([*turn_end_ids(tokenizer, templated), *named]))


def generation_config(model: Path) -> GenerationConfig:
    """The model's own; where it comes with none, what transformers and vLLM then read from its config. Raises
    ConfigError without that."""
    try:
        return GenerationConfig.from_pretrained(str(model))
    except OSError:
        return GenerationConfig.from_model_config(load_config(model))


def save_generation_config(folder: Path, source: Path, stop_ids: Sequence[int]) -> None:
    """Write that of `source` into `folder`, with all of `stop_ids` as its `eos_token_id`."""
    config = generation_config(source)
    config.eos_token_id = list(stop_ids)
    # `save_pretrained` refuses what many published models say, such as a temperature beside do_sample=false.
    config.to_json_file(folder / GENERATION_CONFIG_NAME, use_diff=True)

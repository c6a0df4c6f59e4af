"""From a model's path to a loaded model and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.import_utils import is_flash_attn_2_available
from transformers.utils.logging import disable_progress_bar

from rlsys.errors import ConfigError
from rlsys.playground import models as playground

Attention = Literal["sdpa", "flash_attention_2"]

PLAYGROUND = "playground:"
WEIGHTS = ("*.safetensors", "*.bin")
"""Files of a model's weights."""
PROBE_TOLERANCE = 1e-4
"""Largest relative gap between a model's own logits and its head on its last hidden state. These are the same
operations, so only a factor or a cap between them makes one."""


def local_path(model_path: str, cache: Path) -> Path:
    """What to load from: `playground:SIZE` is built under `cache`, a local folder is made absolute, a hub id stays as
    it is.

    Raises ConfigError for a path that is neither a model's folder nor a possible hub id.
    """
    if model_path.startswith(PLAYGROUND):
        size = model_path.removeprefix(PLAYGROUND)
        return playground.build(size, cache / size).resolve()
    folder = Path(model_path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"model.path {model_path}: this folder has no config.json, so it holds no Hugging Face model"
            )
        return folder.resolve()
    if folder.exists() or folder.is_absolute() or model_path.startswith((".", "~")) or not _possible_hub_id(model_path):
        raise ConfigError(
            f"model.path {model_path}: no such folder (and it can't be a hub id); give a model's folder or a hub id"
        )
    return Path(model_path)


def _possible_hub_id(text: str) -> bool:
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer, with an end-of-sequence token for sure and a padding token for sure.

    A tokenizer without a padding token pads with its end-of-sequence token. Padding never counts: what is trained on is
    told by masks and lengths, which are built before padding. Raises ConfigError without an end-of-sequence token: no
    response could ever end.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no tokenizer can be loaded: {first_line(error)}") from error
    if tokenizer.get_vocab().keys() <= tokenizer.added_tokens_encoder.keys():
        raise ConfigError(
            f"{path}: holds no tokenizer (such as tokenizer.json); copy the files of the one that the model was "
            "trained "
            "with into it"
        )
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"{path}: the tokenizer has no end-of-sequence token; set eos_token in its tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokenizer_difference(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> str | None:
    """What two tokenizers disagree about, in a few words; None when they map the same tokens to the same ids."""
    ours, theirs = one.get_vocab(), other.get_vocab()
    if ours != theirs:
        differing = sum(theirs.get(token) != number for token, number in ours.items())
        return f"{len(ours)} and {len(theirs)} tokens, {differing} of the first mean something else in the second"
    if one.eos_token_id != other.eos_token_id:
        return f"end-of-sequence tokens {one.eos_token_id} and {other.eos_token_id}"
    return None


def weights_problem(folder: Path) -> str | None:
    """What is wrong with a model's folder without a file of weights; None of one that has them, and of a hub id."""
    if not folder.is_dir() or any(next(folder.glob(pattern), None) for pattern in WEIGHTS):
        return None
    return f"the folder has no weights ({' or '.join(WEIGHTS)})"


def embedding_problem(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> str | None:
    """Why a model of this config can't be given all of the tokenizer's tokens; None where it can."""
    embeddings = config.get_text_config().vocab_size
    text, largest = max(tokenizer.get_vocab().items(), key=lambda token: token[1])
    if largest < embeddings:
        return None
    return (
        f"the tokenizer has the token {text!r} with id {largest}, and the model has {embeddings} embeddings; take the "
        "tokenizer that the model was trained with, or give the model more by "
        f"resize_token_embeddings({largest + 1}) and save it"
    )


def load_config(path: Path) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(str(path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no model can be loaded: {first_line(error)}") from error


def load_causal_lm(path: Path, dtype: torch.dtype, attention: Attention = "sdpa") -> PreTrainedModel:
    """The model on the CPU, in training mode with every dropout at 0.

    Raises ConfigError if it can't be loaded, or if its logits are not its output head applied to its last hidden state
    (soft-capped or scaled logits): log-probs are computed from those two, and would be silently wrong.
    """
    disable_progress_bar()  # of many processes at once
    config = load_config(path)
    without_dropout(config)
    try:
        # The probe below runs on the CPU, where flash attention does not.
        model = AutoModelForCausalLM.from_pretrained(
            str(path), config=config, dtype=dtype, attn_implementation="sdpa", trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no model can be loaded: {first_line(error)}") from error
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear) or _head_gap(model, head) > PROBE_TOLERANCE:
        raise ConfigError(
            f"{path}: {type(model).__name__} scales or caps its logits after the output head, which is not supported"
        )
    if attention != "sdpa":
        model.set_attn_implementation(attention)
    return model.train()


@torch.no_grad()
def _head_gap(model: PreTrainedModel, head: torch.nn.Linear) -> float:
    """How far the head on the last hidden state is from the model's own logits, relative to the largest of these."""
    token_ids = torch.arange(4)[None] % head.out_features
    model.eval()
    logits = model(input_ids=token_ids, use_cache=False).logits.float()
    hidden = model.base_model(input_ids=token_ids, use_cache=False).last_hidden_state
    return float((head(hidden).float() - logits).abs().max() / logits.abs().max())


def without_dropout(config: PreTrainedConfig) -> None:
    """Sampler and trainer must be the same function, so nothing is dropped; adapters have their own dropout."""
    values: dict[str, Any] = config.to_dict()
    for name, value in values.items():
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)


def first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def choose_attention(
    setting: Literal["auto", "sdpa", "flash_attention_2"], on_gpu: bool, dtype: torch.dtype
) -> Attention:
    """What `auto` stands for. Raises ConfigError for flash attention where it can't run."""
    usable = on_gpu and dtype == torch.bfloat16 and is_flash_attn_2_available()
    if setting == "flash_attention_2" and not usable:
        raise ConfigError(
            "model.attention: flash_attention_2 needs a GPU, bfloat16 and the package flash-attn; use sdpa or auto"
        )
    if setting == "auto":
        return "flash_attention_2" if usable else "sdpa"
    return setting

"""Tiny models with random weights, so that every loop runs on a laptop: Qwen3's architecture and a tokenizer of single
bytes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rlsys.errors import ConfigError
from rlsys.files import save_weights
from rlsys.playground.shapes import SIZES, Shape

RECIPE = "playground.json"
"""Written into each built folder: what it was built from."""

PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
ROLES = ("system", "user", "assistant")
SPECIALS = (PAD, BOS, EOS, *(f"<|{role}|>" for role in ROLES))
"""Their ids follow those of the 256 bytes, in this order."""
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""A role marker before each turn. Only assistant turns end in EOS: what stops sampling is what was trained to stop
it."""


MAX_POSITIONS = 4096


def build(size: str, folder: Path, seed: int = 0) -> Path:
    """Make `folder` a Hugging Face model folder (config, safetensors, tokenizer) of random float32 weights; returns
    `folder`.

    A folder that was built from the same size and seed is left as it is. It appears whole or not at all: it is written
    beside its place and then renamed. Raises ConfigError for an unknown size, and for a folder that holds something
    else.
    """
    if size not in SIZES:
        raise ConfigError(f"playground model {size!r}: unknown size; there are {', '.join(SIZES)}")
    recipe = {"size": size, "seed": seed, "shape": SIZES[size].model_dump(), "chat_template": CHAT_TEMPLATE}
    if _holds(folder, recipe):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model = random_model(SIZES[size], seed)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(draft)
        # The model's own `save_pretrained` would import DeepSpeed here, where nothing trains, and draw a progress bar.
        save_weights(draft, dict(model.named_parameters()))
        byte_tokenizer().save_pretrained(draft)
        (draft / RECIPE).write_text(json.dumps(recipe))
        draft.chmod(0o755)  # mkdtemp's are private
        try:
            os.rename(draft, folder)
        except OSError:
            if not _holds(folder, recipe):  # else another process built the same meanwhile
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _holds(folder: Path, recipe: dict[str, object]) -> bool:
    """Whether `folder` was built from `recipe`; False where nothing is there yet."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / RECIPE).is_file() or json.loads((folder / RECIPE).read_text()) != recipe:
        raise ConfigError(
            f"{folder}: holds something other than the playground model {recipe['size']} of seed {recipe['seed']}; "
            "remove it"
        )
    return True


def random_model(shape: Shape, seed: int) -> Qwen3ForCausalLM:
    """The same weights for the same seed, whatever was drawn before."""
    config = Qwen3Config(
        vocab_size=256 + len(SPECIALS),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        intermediate_size=shape.intermediate,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=256 + SPECIALS.index(BOS),
        eos_token_id=256 + SPECIALS.index(EOS),
        pad_token_id=256 + SPECIALS.index(PAD),
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte of UTF-8 (the id is the byte's value), then the special tokens: it can express any text and
    needs no training."""
    core = Tokenizer(models.BPE(vocab={character: byte for byte, character in enumerate(byte_characters())}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=list(SPECIALS[3:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def byte_characters() -> list[str]:
    """The character that stands for each byte in `tokenizers`' ByteLevel: printable Latin-1 for itself, the others from
    U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]

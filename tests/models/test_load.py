"""Paths, tokenizers and models: what is loaded, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from rlsys.errors import ConfigError
from rlsys.models.load import (
    choose_attention,
    embedding_problem,
    load_causal_lm,
    load_config,
    load_tokenizer,
    local_path,
)

SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "head_dim": 16,
}


def without(path: Path, folder: Path, *keys: str) -> Path:
    """A copy of a model's folder whose tokenizer lacks some tokens."""
    shutil.copytree(path, folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    for key in keys:
        settings.pop(key)
    file.write_text(json.dumps(settings))
    return folder


def test_a_playground_model_is_built_under_the_cache(tmp_path: Path) -> None:
    path = local_path("playground:0.5m", tmp_path)
    assert path.is_absolute()
    assert path.parent == tmp_path
    assert load_causal_lm(path, torch.float32).num_parameters() < 600_000


def test_a_local_folder_becomes_absolute(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    assert local_path("./0.5m", Path("unused")) == tiny.resolve()


def test_a_hub_id_stays_as_it_is() -> None:
    assert str(local_path("Qwen/Qwen3-0.6B", Path("unused"))) == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize("path", ["./missing", "/nowhere/model", "a/b/c", "~/nothing-here"])
def test_a_missing_folder_is_told_apart_from_a_hub_id(path: str) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        local_path(path, Path("unused"))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        local_path(str(tmp_path), Path("unused"))


def test_a_tokenizer_without_padding_pads_with_its_end_token(tiny: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(without(tiny, tmp_path / "no-pad", "pad_token"))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == AutoTokenizer.from_pretrained(tiny).eos_token_id


def test_a_tokenizer_without_an_end_token_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no end-of-sequence token"):
        load_tokenizer(without(tiny, tmp_path / "no-eos", "eos_token"))


def test_a_folder_without_tokenizer_files_is_refused(tiny: Path, tmp_path: Path) -> None:
    """Where transformers makes a tokenizer that knows no text."""
    shutil.copytree(tiny, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*", "chat_template*"))
    with pytest.raises(ConfigError) as caught:
        load_tokenizer(tmp_path / "bare")
    assert str(caught.value) == (
        f"{tmp_path}/bare: holds no tokenizer (such as tokenizer.json); copy the files of the one that the model was "
        "trained with into it"
    )


def test_a_tokenizer_larger_than_the_embeddings_is_a_problem(tiny: Path) -> None:
    tokenizer, config = load_tokenizer(tiny), load_config(tiny)
    assert embedding_problem(tokenizer, config) is None
    tokenizer.add_tokens(["<|im_end|>"])
    assert embedding_problem(tokenizer, config) == (
        "the tokenizer has the token '<|im_end|>' with id 262, and the model has 262 embeddings; take the tokenizer "
        "that the model was "
        "trained with, or give the model more by resize_token_embeddings(263) and save it"
    )


@pytest.mark.parametrize("name", ["capped", "scaled"])
def test_logits_that_are_not_just_the_head_are_refused(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if name == "capped":
        model = Gemma2ForCausalLM(
            Gemma2Config(**SMALL, num_key_value_heads=1, final_logit_softcapping=0.5, query_pre_attn_scalar=16)
        )
    else:
        model = CohereForCausalLM(CohereConfig(**{**SMALL, "logit_scale": 0.25}))
    model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="scales or caps its logits"):
        load_causal_lm(tmp_path, torch.float32)


def test_dropout_is_off_in_training_mode(tmp_path: Path) -> None:
    GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, resid_pdrop=0.5, embd_pdrop=0.5)
    ).save_pretrained(tmp_path)
    model = load_causal_lm(tmp_path, torch.float32)
    assert model.training
    tokens = torch.arange(12)[None]
    assert torch.equal(model(tokens).logits, model(tokens).logits)


def test_flash_attention_is_refused_where_it_can_not_run() -> None:
    assert choose_attention("auto", on_gpu=False, dtype=torch.bfloat16) == "sdpa"
    with pytest.raises(ConfigError, match="flash_attention_2 needs a GPU"):
        choose_attention("flash_attention_2", on_gpu=False, dtype=torch.bfloat16)

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsys.errors import ConfigError
from rlsys.playground.models import build, byte_tokenizer

TOKENIZER = byte_tokenizer()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("0.5m", tmp_path_factory.mktemp("models") / "tiny")


@settings(max_examples=100)
@given(text=st.text())
def test_tokens_are_the_bytes_of_any_text(text: str):
    ids = TOKENIZER(text)["input_ids"]
    assert ids == list(text.encode())
    assert TOKENIZER.decode(ids) == text


def test_folder_loads_with_the_auto_classes_and_has_the_promised_size(tiny: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny)
    assert len(tokenizer) == model.config.vocab_size == 262
    assert 0.45e6 < sum(p.numel() for p in model.parameters()) < 0.6e6
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny"], "the draft folder is gone"


def test_chat_template_marks_assistant_turns(tiny: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    messages = [
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
        {"role": "assistant", "content": "e"},
    ]
    out = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)
    bos, eos, user, assistant = (
        tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("bos", "eos", "user", "assistant")
    )
    assert out["input_ids"] == [bos, user, 97, 98, assistant, 99, eos, user, 100, assistant, 101, eos]
    assert out["assistant_masks"] == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1]


def test_building_again_leaves_the_folder_alone_and_a_seed_decides_the_weights(tiny: Path, tmp_path: Path):
    before = (tiny / "model.safetensors").stat().st_mtime_ns
    assert build("0.5m", tiny) == tiny
    assert (tiny / "model.safetensors").stat().st_mtime_ns == before
    same, other = build("0.5m", tmp_path / "same"), build("0.5m", tmp_path / "other", seed=1)
    key = "model.layers.0.mlp.up_proj.weight"
    weights = [load_file(folder / "model.safetensors")[key] for folder in (tiny, same, other)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_refuses_unknown_sizes_and_folders_of_something_else(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"playground model '7b': unknown size; there are 0.5m, 25m"):
        build("7b", tmp_path / "x")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something other"):
        build("0.5m", tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"

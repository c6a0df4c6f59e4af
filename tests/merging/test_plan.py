"""Models that do not fit each other: one line that names the tensor, before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from rlsys.errors import ConfigError
from rlsys.merging.linear import merge as linear
from rlsys.merging.plan import Plan
from rlsys.playground.models import build

Q = "model.layers.1.self_attn.q_proj.weight"
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Models = tuple[Path, Path, Path]
Planned: TypeAlias = Callable[..., Plan]
Changed: TypeAlias = Callable[..., Path]


def without(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if name != Q}


@pytest.mark.parametrize(
    ("weights", "config", "says"),
    [
        (without, {}, f"{Q} is missing, and is in the base"),
        (lambda found: found | {"model.extra": torch.zeros(2)}, {}, "model.extra is not in the base"),
        (lambda found: found | {Q: found[Q][:64].clone()}, {}, f"{Q} is [64, 128], and [128, 128] in the base"),
        (
            lambda found: found | {EMBEDDINGS: torch.zeros(263, 128)},
            {},
            f"{EMBEDDINGS} is [263, 128], and [262, 128] in the base",
        ),
        (
            lambda found: found | {Q: torch.zeros(128, 128, dtype=torch.int8)},
            {},
            f"{Q} is torch.int8, and torch.float32",
        ),
        (
            lambda found: found | {HEAD: found[EMBEDDINGS] + 1},
            {},
            f"{HEAD} differs from {EMBEDDINGS}, to which its config ties it",
        ),
        # No shape shows these.
        (None, {"num_attention_heads": 2, "head_dim": 64}, "its config says num_attention_heads: 2, and the base's 4"),
        (None, {"hidden_act": "gelu"}, "its config says hidden_act: 'gelu', and the base's 'silu'"),
    ],
)
def test_a_model_that_does_not_fit(
    models: Models, changed: Changed, planned: Planned, weights: Any, config: dict[str, Any], says: str
):
    folder = changed(weights, **config)
    with pytest.raises(ConfigError) as error:
        planned([models[2], folder])
    assert str(error.value).startswith(f"method.models.1 ({folder}): ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_another_architecture(planned: Planned, models: Models, tmp_path: Path):
    """Llama's tensors have the names and shapes of Qwen3's, as far as it has them."""
    config = LlamaConfig(
        vocab_size=262,
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        head_dim=32,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    with pytest.raises(ConfigError) as error:
        planned([tmp_path / "llama"])
    assert "k_norm.weight is missing, and is in the base" in str(error.value)
    assert str(error.value).endswith("; it is a llama, and the base a qwen3")


def test_a_larger_model(planned: Planned, tmp_path: Path):
    with pytest.raises(
        ConfigError, match=rf"{EMBEDDINGS} is \[262, 512\], and \[262, 128\] in the base|is not in the base"
    ):
        planned([build("25m", tmp_path / "25m")])


def test_tokens_of_another_meaning(planned: Planned, models: Models, changed: Changed):
    folder = changed()
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text.replace("<|user|>", "<|human|>"), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=rf"its tokenizer is not the base's .* rows of {EMBEDDINGS} mean other tokens"
    ):
        planned([models[2], folder])


def test_added_tokens_need_embeddings_in_all(planned: Planned, changed: Changed):
    """The embeddings have room, but the token is in one vocabulary alone."""
    folder = changed()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<|new|>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match="its tokenizer is not the base's"):
        planned([folder])


def test_whole_numbers_must_be_the_same(models: Models, changed: Changed, planned: Planned):
    """A buffer of positions is taken over; one that differs has no mean."""
    mask = {"model.mask": torch.tensor([1, 2, 3])}
    base, same = changed(lambda found: found | mask), changed(lambda found: found | mask)
    other = changed(lambda found: found | {"model.mask": torch.tensor([1, 2, 4])})
    merge = planned([same], base=base)
    assert torch.equal(merge.tensor("model.mask", lambda *_: torch.zeros(0)), mask["model.mask"])
    with pytest.raises(ConfigError, match=r"model\.mask holds whole numbers or a mask, and others than in the base"):
        planned([other], base=base)


def test_a_stored_head_that_is_tied_is_no_tensor_of_its_own(changed: Changed, planned: Planned, models: Models):
    folder = changed(lambda found: found | {HEAD: found[EMBEDDINGS].clone()})
    assert planned([folder]).base.specs.keys() == planned([models[1]], base=folder).base.specs.keys()
    assert HEAD not in planned([models[1]], base=folder).base.specs


def test_rules_must_match_something(planned: Planned, models: Models):
    with pytest.raises(ConfigError, match=r"layers\.0\.match: .* is found in the name of no tensor"):
        planned([models[1]], layers=({"match": r"layer\.0", "weight": 0.5},))


def test_weights_that_cancel_out_in_some_layer(planned: Planned, models: Models):
    rule = {"match": r"layers\.1\..*q_proj", "weight": 0.0}
    with pytest.raises(ConfigError, match=f"method.models: {Q}: the weights add up to 0"):
        planned([models[1]], layers=(rule,))


def test_a_quantised_base(models: Models, changed: Changed, planned: Planned):
    folder = changed(None, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ConfigError, match="is quantised; give the model that it was made of"):
        planned([models[1]], base=folder)


def test_a_reward_model(models: Models, changed: Changed, planned: Planned):
    folder = changed(None, architectures=["Qwen3ForSequenceClassification"])
    with pytest.raises(ConfigError, match="is a reward model"):
        planned([models[1]], base=folder)


def test_layouts_of_files_do_not_matter(models: Models, planned: Planned, tmp_path: Path):
    """One model in one file and another in many, in float32 and bfloat16."""
    shutil.copytree(models[1], tmp_path / "split")
    weights = load_file(tmp_path / "split" / "model.safetensors")
    (tmp_path / "split" / "model.safetensors").unlink()
    places = {}
    for number, (name, tensor) in enumerate(weights.items()):
        file = f"part-{number % 3}.safetensors"
        places[name] = file
        weights[name] = tensor.bfloat16()
    for file in set(places.values()):
        save_file({name: weights[name] for name, at in places.items() if at == file}, tmp_path / "split" / file)
    (tmp_path / "split" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    merge = planned([tmp_path / "split", models[2]])
    other = load_file(models[2] / "model.safetensors")
    found = merge.tensor(Q, linear)
    assert torch.allclose(found, (weights[Q].float() + other[Q]) / 2)

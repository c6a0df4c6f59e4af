"""Scalar heads: what they compute, where they come from, and that plain transformers computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.token_rows import rows
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
)

from rlsys.batch import Batch
from rlsys.errors import ConfigError
from rlsys.models.export import write_model
from rlsys.models.forward import ValueScorer, last_scores, values
from rlsys.models.reward_scale import read_scale, write_scale
from rlsys.models.value_model import load_value_model

CPU = torch.device("cpu")


def plain(model: torch.nn.Module, batch: Batch) -> Tensor:
    """Score of every token [B, T, K] by hand: the head's weights on the hidden states of one row at a time; 0 on
    padding."""
    found = []
    for i, length in enumerate(batch.lengths_B.tolist()):
        hidden = model.base_model(batch.token_ids_BT[i : i + 1, :length]).last_hidden_state[0]  # type: ignore[operator]
        scores = hidden @ model.score.weight.T  # type: ignore[union-attr]
        found.append(torch.nn.functional.pad(scores, (0, 0, 0, batch.token_ids_BT.shape[1] - length)))
    return torch.stack(found)


def export(source: Path, folder: Path, heads: int, seed: int = 5) -> Path:
    model = load_value_model(source, torch.float32, heads=heads, seed=seed)
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    write_model(folder, source, torch.float32, weights, type(model).__name__, heads)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_scores_and_gradients_are_those_of_the_plain_model(tiny: Path, packed: bool) -> None:
    model, batch = load_value_model(tiny, torch.float32, heads=2), rows()
    weights = torch.linspace(-1, 1, batch.token_ids_BT.numel() * 2).view(*batch.token_ids_BT.shape, 2)
    (found,) = ValueScorer(model, packed)(batch)
    (found * weights).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert "score.weight" in gradients
    model.zero_grad()
    wanted = plain(model, batch)
    (wanted * weights).sum().backward()
    torch.testing.assert_close(found, wanted, atol=5e-6, rtol=5e-6)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(
            gradients[name], parameter.grad, atol=1e-5 * float(parameter.grad.abs().max()), rtol=0
        )


def test_a_value_is_the_mean_score_of_the_token_before_and_a_score_that_of_the_last(tiny: Path) -> None:
    model, batch = load_value_model(tiny, torch.float32, heads=2), rows()
    scorer, table = ValueScorer(model, packed=False), plain(model, batch).detach()
    found = values(scorer, batch, [[2, 0], [], [1, 3]], CPU)
    for row, place in [(0, 2), (0, 6), (1, 11), (2, 2), (3, 5)]:
        assert float(found[[2, 0, 1, 3].index(row), place]) == pytest.approx(
            float(table[row, place - 1].mean()), abs=5e-6
        )
    assert not found[:, :2].any()  # the prompt's
    assert not found[0, 3:].any()  # padding
    lasts = last_scores(scorer, batch, [[2, 0], [], [1, 3]], CPU)
    assert lasts is not None
    torch.testing.assert_close(
        lasts, torch.stack([table[2, 2], table[0, 6], table[1, 11], table[3, 8]]), atol=5e-6, rtol=5e-6
    )
    assert last_scores(scorer, batch, [[], []], CPU) is None


def test_a_new_head_is_drawn_by_the_seed_on_the_language_model_s_body(tiny: Path) -> None:
    torch.manual_seed(1)
    model: Any = load_value_model(tiny, torch.float32, heads=64, seed=3)
    torch.manual_seed(2)
    again: Any = load_value_model(tiny, torch.float32, heads=64, seed=3)
    other: Any = load_value_model(tiny, torch.float32, heads=64, seed=4)
    body = AutoModelForCausalLM.from_pretrained(tiny).model.state_dict()
    assert all(torch.equal(weight, body[name]) for name, weight in model.model.state_dict().items())
    assert torch.equal(model.score.weight, again.score.weight)
    assert not torch.isclose(model.score.weight, other.score.weight).all()
    # Standard deviation 1 / sqrt(hidden size + 1), to three standard errors.
    hidden, count = model.config.hidden_size, model.score.weight.numel()
    assert float(model.score.weight.detach().std() * (hidden + 1) ** 0.5) == pytest.approx(
        1, abs=3 / (2 * count) ** 0.5
    )


@pytest.mark.parametrize("heads", [1, 3])
def test_plain_transformers_scores_an_export_alike(tiny: Path, tmp_path: Path, heads: int) -> None:
    """One by one, and in a batch padded by the tokenizer."""
    folder = export(tiny, tmp_path / "exported", heads)
    tokenizer, network = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
    )
    texts = ["a", "two words" + tokenizer.eos_token, "three more words, Grüße" + tokenizer.eos_token]
    padded = tokenizer(texts, return_tensors="pt", padding=True)
    lengths = padded["attention_mask"].sum(1)
    batch = Batch(padded["input_ids"], torch.zeros_like(padded["input_ids"], dtype=torch.bool), lengths)
    found = last_scores(ValueScorer(load_value_model(folder, torch.float32), packed=False), batch, [[0, 1, 2]], CPU)
    assert found is not None
    assert found.shape == (3, heads)
    with torch.no_grad():
        torch.testing.assert_close(network(**padded).logits, found, atol=1e-5, rtol=0)
        for i, text in enumerate(texts):
            torch.testing.assert_close(
                network(**tokenizer(text, return_tensors="pt")).logits[0], found[i], atol=1e-5, rtol=0
            )


def test_where_padding_is_eos_plain_transformers_still_scores_the_eos(tiny: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    AutoModelForCausalLM.from_pretrained(tiny).save_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(source)
    folder = export(source, tmp_path / "exported", 1)
    token_ids = torch.tensor([[5, 6, 7, tokenizer.eos_token_id]])
    model = load_value_model(folder, torch.float32)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted = plain(model, Batch(token_ids, torch.zeros(1, 4, dtype=torch.bool), torch.tensor([4])))[0, 3]
        torch.testing.assert_close(network(token_ids).logits[0], wanted, atol=1e-5, rtol=0)


def test_a_critic_starts_as_the_mean_of_an_ensemble(tiny: Path, tmp_path: Path) -> None:
    folder, batch = export(tiny, tmp_path / "exported", 3), rows()
    ensemble, critic = (
        load_value_model(folder, torch.float32, heads=3, seed=8),
        load_value_model(folder, torch.float32, heads=1, seed=8),
    )
    with torch.no_grad():
        torch.testing.assert_close(plain(critic, batch)[..., 0], plain(ensemble, batch).mean(-1), atol=5e-6, rtol=0)
    again: Any = load_value_model(
        export(folder, tmp_path / "again", 1), torch.float32
    )  # as `heads` says, not as its source has
    assert again.score.weight.shape[0] == 1


def test_models_that_do_not_fit_are_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"this is no reward model: it has no scalar head .* train one by method reward_model"
    ):
        load_value_model(tiny, torch.float32)
    folder = export(tiny, tmp_path / "exported", 2)
    with pytest.raises(ConfigError, match="has 2 heads, not 3; start the ensemble from a model without heads"):
        load_value_model(folder, torch.float32, heads=3)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: weight for name, weight in weights.items() if name != "score.weight"},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(
        ConfigError, match=r"a Qwen3ForSequenceClassification lacks 1 of its weights here, such as score\.weight"
    ):
        load_value_model(folder, torch.float32)
    small: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 40,
    }
    BertForMaskedLM(BertConfig(**small)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match="BertForSequenceClassification has no linear head `score` without bias"):
        load_value_model(tmp_path / "bert", torch.float32, heads=1)
    with pytest.raises(ConfigError, match="no model can be loaded"):
        load_value_model(tmp_path, torch.float32, heads=1)
    AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=2).save_pretrained(tmp_path / "sentiment")
    with pytest.raises(ConfigError, match="a classifier of 2 classes is no ensemble of 2 reward models"):
        load_value_model(tmp_path / "sentiment", torch.float32)


def test_the_scale_of_scores_is_kept_and_must_make_sense(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"normalize needs .*reward_scale\.json, which method reward_model writes when it has held-out data",
    ):
        read_scale(tmp_path)
    write_scale(tmp_path, -3.25, 0.1)
    assert read_scale(tmp_path) == (-3.25, 0.1)
    for mean, std in ((0.0, 0.0), (0.0, float("nan")), (float("nan"), 1.0), (0.0, float("inf"))):
        write_scale(tmp_path, mean, std)
        with pytest.raises(ConfigError, match="normalise nothing; set normalize to false"):
            read_scale(tmp_path)

"""The folder of a merged model: what transformers loads, what its card says, and that it is whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsys.config.experiment import ModelConfig
from rlsys.errors import ConfigError
from rlsys.merging import write
from rlsys.merging.plan import plan
from rlsys.methods.merge import Config

Q = "model.layers.1.self_attn.q_proj.weight"
Models = tuple[Path, Path, Path]


def made(folder: Path, base: Path, folders: list[Path], dtype: Any = "float32", **keys: Any) -> dict[str, Tensor]:
    """The merged weights by name."""
    keys = {"by": "linear", "models": [{"path": str(path)} for path in folders], **keys}
    settings = Config.model_validate(keys)
    model = ModelConfig(path=str(base), dtype=dtype)
    write.Merge(settings, model, plan(settings, base, folders, seed=3)).make(folder, lambda *_: 0.0)
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def test_transformers_loads_what_was_merged(models: Models, tmp_path: Path):
    """Split into files; a model of the mean weights says what the mean weights say."""
    base, one, other = models
    found = made(tmp_path / "run" / "final", base, [one, other], shard_gb=0.0005)
    assert len(list((tmp_path / "run" / "final").glob("model-*.safetensors"))) > 3
    wanted = {name: (tensor + weights(other)[name]) / 2 for name, tensor in weights(one).items()}
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[name], tensor, atol=1e-7) for name, tensor in wanted.items())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final", dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32)
    plain.load_state_dict(wanted, strict=False)
    tokens = torch.arange(20)[None]
    assert torch.allclose(loaded(tokens).logits, plain(tokens).logits, atol=1e-5)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "final")
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(one).get_vocab()


def test_sums_are_of_float32_and_rounded_once(models: Models, tmp_path: Path):
    base, one, other = models
    found = made(tmp_path / "run" / "final", base, [one, other, base], "bfloat16")
    exact = (weights(one)[Q].double() + weights(other)[Q].double() + weights(base)[Q].double()) / 3
    assert torch.equal(found[Q], exact.bfloat16())
    rounded = (weights(one)[Q].bfloat16() + weights(other)[Q].bfloat16() + weights(base)[Q].bfloat16()) / 3
    assert not torch.equal(found[Q], rounded)  # so the test can tell
    assert json.loads((tmp_path / "run" / "final" / "config.json").read_text())["dtype"] == "bfloat16"


def test_weights_and_densities_by_layer(models: Models, tmp_path: Path):
    """The second model is left out of layer 1, where the first is not trimmed; elsewhere a tenth of each is kept."""
    base, one, other = models
    keys = [
        {"path": "one", "layers": [{"match": r"layers\.1\.", "density": 1.0}]},
        {"path": "other", "layers": [{"match": "layers", "weight": 5.0}, {"match": r"layers\.1\.", "weight": 0.0}]},
    ]
    by = {"name": "ties", "density": 0.1}
    found = made(tmp_path / "run" / "final", base, [one, other], by=by, models=keys)
    assert torch.allclose(found[Q], weights(one)[Q], atol=1e-7)
    name = Q.replace("layers.1", "layers.0")
    share = float((found[name] != weights(base)[name]).float().mean())
    assert 0.15 < share <= 0.2  # two tenths, of which some meet


def test_an_adapter_is_one_of_the_models(models: Models, tmp_path: Path):
    """Merged into its base with weight 1 by task arithmetic it is W + alpha / r B A; negated, it is taken away."""
    base = models[0]
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], init_lora_weights=False),
    )
    adapted.save_pretrained(str(tmp_path / "adapter"))
    change = adapted.merge_and_unload().state_dict()[Q] - weights(base)[Q]
    assert float(change.abs().max()) > 1e-3
    for weight in (1.0, -1.0):
        folder = tmp_path / str(weight) / "final"
        keys = {"by": "task_arithmetic", "models": [{"path": "adapter", "weight": weight}]}
        found = made(folder, base, [tmp_path / "adapter"], **keys)
        assert torch.allclose(found[Q], weights(base)[Q] + weight * change, atol=1e-6)
        assert torch.equal(found["model.norm.weight"], weights(base)["model.norm.weight"])
        assert "| adapter | adapter |" in (folder / "README.md").read_text()


def test_the_card(models: Models, tmp_path: Path):
    base, one, other = models
    folder = tmp_path / "both" / "final"
    by = {"name": "dare_ties", "density": 0.25}
    keys = [{"path": "hub/one", "weight": 2.0}, {"path": "hub/other"}]
    made(folder, base, [one, other], by=by, models=keys)
    record = json.loads((folder / "merge.json").read_text())

    def digest(file: Path) -> dict[str, str]:
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}

    assert record["by"] == {"name": "dare_ties", "density": 0.25, "scale": 1.0}
    assert (record["seed"], record["dtype"]) == (3, "float32")
    assert record["base"] == {"path": str(base), "adapter": False, "files": digest(base / "model.safetensors")}
    assert [one["path"] for one in record["models"]] == ["hub/one", "hub/other"]
    assert record["models"][0]["files"] == digest(one / "model.safetensors")
    assert record["weights"] == digest(folder / "model.safetensors")
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["base_model"] == [str(base), "hub/one", "hub/other"]
    assert "# both: merged by dare_ties" in text
    assert f"| model | hub/one | 2 | model.safetensors `{record['models'][0]['files']['model.safetensors']}` |" in text


def test_who_may_read_it_is_for_the_umask(models: Models, tmp_path: Path):
    before = os.umask(0o027)
    try:
        made(tmp_path / "run" / "final", models[0], [models[1]])
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "run" / "final").iterdir()}
    assert modes == {0o640}
    assert stat.S_IMODE((tmp_path / "run" / "final").stat().st_mode) == 0o750


def test_it_is_whole_or_absent(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also after a kill, which leaves a draft."""

    def fails(*_: object) -> None:
        raise OSError("disk full")

    folder = tmp_path / "run" / "final"
    with monkeypatch.context() as patch:
        patch.setattr(write.Card, "write", fails)
        with pytest.raises(OSError, match="disk full"):
            made(folder, models[0], [models[1]])
    assert list(folder.parent.iterdir()) == []
    (folder.parent / ".final.writing").mkdir()
    (folder.parent / ".final.writing" / "half.safetensors").write_text("")
    made(folder, models[0], [models[1]])
    assert [file.name for file in folder.parent.iterdir()] == ["final"]
    assert not (folder / "half.safetensors").exists()


def test_the_greedy_soup_is_what_the_measure_chose(models: Models, tmp_path: Path):
    """The measure prefers weights near those of `one`, so that the mean of `one` and `base` is tried and left out."""
    base, one, other = models
    asked: list[str] = []

    def nearness(folder: Path, name: str) -> float:
        asked.append(name)
        return -float((weights(folder)[Q] - weights(one)[Q]).norm())

    keys = [{"path": "base"}, {"path": "one"}, {"path": "also one"}, {"path": "other"}]
    settings = Config.model_validate({"by": "greedy_soup", "models": keys})
    merge = plan(settings, base, [base, one, one, other], seed=0)
    folder = tmp_path / "run" / "final"
    write.Merge(settings, ModelConfig(path=str(base), dtype="float32"), merge).make(folder, nearness)
    assert asked[:5] == ["soup-0", "soup-1", "soup-2", "soup-3", "soup-1-2"]
    assert {*asked[5:]} == {"soup-1-2-0", "soup-1-2-3"}
    assert torch.equal(weights(folder)[Q], weights(one)[Q])
    record = json.loads((folder / "merge.json").read_text())
    assert [one["used"] for one in record["models"]] == [False, True, True, False]
    assert [one["models"] for one in record["tried"] if one["kept"]] == [[1], [1, 2]]
    assert [file.name for file in folder.parent.iterdir()] == ["final"]


def test_a_model_from_the_hub_is_downloaded(monkeypatch: pytest.MonkeyPatch, models: Models, tmp_path: Path):
    asked: list[str] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        if name.endswith("gone"):
            raise OSError("no network\nand more")
        return str(models[1])

    monkeypatch.setattr(write, "snapshot_download", download)
    assert write.locate("owner/model", tmp_path) == models[1]
    with pytest.raises(ConfigError, match=r"^owner/gone: can't be downloaded: no network$"):
        write.locate("owner/gone", tmp_path)
    assert write.locate(str(models[2]), tmp_path) == models[2].resolve()
    assert asked == ["owner/model", "owner/gone"]

"""Which adapters are served on a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from rlsys.errors import ConfigError
from rlsys.serving.adapters import Adapter, Base, fitting, named, room


def test_a_run_its_final_model_and_the_adapters_own_folder_are_the_same(served: Path):
    base = Base(served / "tiny")
    own = served / "lora" / "final" / "adapter"
    found = {fitting("a", "a", path, base).folder for path in (served / "lora", own.parent, own)}
    assert found == {own.resolve()}


@pytest.mark.parametrize(("kind", "rank"), [("lora", 4), ("rslora", 12), ("lora_plus", 2)])
def test_what_is_saved_like_lora_is_served(served: Path, kind: str, rank: int):
    found = fitting("a", "a", served / kind, Base(served / "tiny"))
    assert (found.rank, found.warning) == (rank, None)


@pytest.mark.parametrize(
    ("kind", "instead"),
    [
        ("dora", "serve its merged model instead (a run's final, or `rlsys merge`)"),
        ("ia3", "serve its merged model instead"),
        ("vera", "serve its merged model instead"),
        ("freeze", "serve its merged model instead"),
        ("prompt", "it can't be merged either (trained vectors before the input are no weights of the base model)"),
        ("bottleneck", "it can't be merged either (a bottleneck has a nonlinearity"),
    ],
)
def test_kinds_that_vllm_does_not_compute(served: Path, kind: str, instead: str):
    with pytest.raises(ConfigError) as error:
        fitting("--adapter a=x", "a", served / kind, Base(served / "tiny"))
    begin = f"--adapter a=x: is of kind {kind}, and vLLM serves lora, rslora and lora_plus; {instead}"
    assert str(error.value).startswith(begin)
    assert "\n" not in str(error.value)


def test_lora_of_a_rounded_base_is_not_served_on_the_base_as_it_was(served: Path):
    with pytest.raises(ConfigError, match=r"^a: is of kind qlora, whose base was rounded to four bits, and vLLM would"):
        fitting("a", "a", served / "qlora", Base(served / "tiny"))


def test_another_base_is_refused_by_the_hash_of_its_weights(served: Path, tmp_path: Path):
    """One number of the base differs."""
    other = tmp_path / "tiny"
    shutil.copytree(served / "tiny", other)
    weights = load_file(other / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError) as error:
        fitting("--adapter a=x", "a", served / "lora", Base(other))
    here, there = Base(other).version, Base(served / "tiny").version
    assert here != there
    assert str(error.value) == (
        f"--adapter a=x: was trained on {there} ({served / 'tiny'}), and this is {here}; give it the base that it was "
        "trained on"
    )


def test_an_adapter_of_pefts_own_can_not_be_compared(served: Path, tmp_path: Path):
    plain = AutoModelForCausalLM.from_pretrained(served / "tiny")
    get_peft_model(plain, LoraConfig(r=8, rank_pattern={"q_proj": 20})).save_pretrained(str(tmp_path))
    found = fitting("--adapter a=x", "a", tmp_path, Base(served / "tiny"))
    assert found.rank == 20
    assert found.warning is not None
    assert found.warning.startswith("--adapter a=x: has no base.json, so its base can't be compared with ")
    assert str(served / "tiny") in found.warning


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "is of kind lora (use_dora), and vLLM serves"),
        ({"task_type": "SEQ_CLS"}, "is a reward model's, which writes no text"),
        ({"modules_to_save": ["embed_tokens"]}, "holds whole modules too (embed_tokens)"),
        ({"bias": "all"}, "trained biases too"),
        ({"init_lora_weights": "pissa"}, "began by pissa, which changed the base's weights"),
    ],
)
def test_lora_that_vllm_would_compute_otherwise(served: Path, tmp_path: Path, changes: dict[str, Any], message: str):
    folder = tmp_path / "adapter"
    shutil.copytree(served / "lora" / "final" / "adapter", folder)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(ConfigError) as error:
        fitting("a", "a", folder, Base(served / "tiny"))
    assert str(error.value).startswith(f"a: {message}")


def test_a_folder_without_an_adapter(served: Path):
    with pytest.raises(ConfigError, match=r"^a: .*tiny holds no adapter \(adapter_config.json and adapter_model.safe"):
        fitting("a", "a", served / "tiny", Base(served / "tiny"))
    with pytest.raises(ConfigError, match=r"^a: no such folder: .*nowhere"):
        fitting("a", "a", served / "nowhere", Base(served / "tiny"))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("adapter_config.json", "{", "can't be read: Expecting property name"),
        ("adapter_config.json", '{"peft_type": "LORA"}', "is none of peft's or ours: it does not say r"),
        ("base.json", "[]", "is none of peft's or ours: it does not say kind and base and version"),
    ],
)
def test_files_that_are_no_adapters(served: Path, tmp_path: Path, file: str, text: str, message: str):
    folder = tmp_path / "adapter"
    shutil.copytree(served / "lora" / "final" / "adapter", folder)
    (folder / file).write_text(text)
    with pytest.raises(ConfigError) as error:
        fitting("a", "a", folder, Base(served / "tiny"))
    assert str(error.value).startswith(f"a: {folder / file} {message}")


def test_a_copy_is_of_the_content(served: Path, tmp_path: Path):
    """What is trained into the folder later is another adapter, with a folder of its own; the first stays as it was."""
    source, copies = tmp_path / "source", tmp_path / "copies"
    shutil.copytree(served / "lora" / "final" / "adapter", source)
    adapter = Adapter("a", source, 4)
    first = adapter.copied(copies)
    assert adapter.copied(copies) == first
    before = load_file(first / "adapter_model.safetensors")
    save_file({name: tensor + 1 for name, tensor in before.items()}, source / "adapter_model.safetensors")
    second = adapter.copied(copies)
    assert second != first
    assert {path.name for path in copies.iterdir()} == {first.name, second.name}
    for name, tensor in load_file(first / "adapter_model.safetensors").items():
        assert tensor.equal(before[name])
        assert load_file(second / "adapter_model.safetensors")[name].equal(before[name] + 1)


@pytest.mark.parametrize(
    ("given", "largest", "made"), [([4], None, 8), ([4, 12], None, 16), ([4], 40, 64), ([64], 8, 64), ([], None, 1)]
)
def test_room_is_made_for_the_largest_rank(given: list[int], largest: int | None, made: int):
    assert room([Adapter(str(rank), Path(), rank) for rank in given], largest) == made


def test_ranks_without_room():
    with pytest.raises(ConfigError, match=r"^--adapter wide: has rank 600: vLLM serves ranks up to 512; serve the mer"):
        room([Adapter("a", Path(), 4), Adapter("wide", Path(), 600)], None)
    with pytest.raises(ConfigError, match=r"^--max-rank 513: vLLM serves ranks up to 512"):
        room([], 513)


def test_names_on_the_command_line():
    assert named(["a=runs/a", "b = x=y"]) == {"a": "runs/a", "b": "x=y"}
    for texts, message in {
        ("a",): "--adapter a: wanted name=PATH, as in maths=runs/maths",
        ("=runs/a",): "--adapter =runs/a: wanted a name before the =, as in maths=runs/maths",
        ("base=runs/a",): "--adapter base=runs/a: 'base' is what a router calls the model itself; give the adapter "
        "another name",
        ("a=x", "a=y"): "--adapter a=y: the name 'a' is taken; choose another",
    }.items():
        with pytest.raises(ConfigError) as error:
            named(texts)
        assert str(error.value) == message

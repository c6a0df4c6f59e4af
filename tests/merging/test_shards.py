"""Weights read and written one tensor at a time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config

from rlsys.config.merge import MergedModel
from rlsys.errors import ConfigError
from rlsys.merging.plan import Plan, Source
from rlsys.merging.shards import Spec, Weights, write
from rlsys.merging.ties import Config as Ties
from rlsys.merging.ties import merge as ties

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(2.5, dtype=torch.bfloat16),
    "c": torch.zeros(0, 4),
    "d": torch.tensor([True, False]),
    "e": torch.arange(3),
}


def specs(tensors: dict[str, torch.Tensor]) -> dict[str, Spec]:
    return {name: Spec(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


@pytest.mark.parametrize(("limit", "files"), [(10**6, 1), (25, 3)])
def test_what_is_written_is_read_by_the_library_and_by_us(tmp_path: Path, limit: int, files: int):
    written = write(tmp_path, specs(TENSORS), TENSORS.__getitem__, limit)
    assert len(written) == files == len(list(tmp_path.glob("*.safetensors")))
    found = {name: tensor for file in written for name, tensor in load_file(file).items()}
    ours = Weights(tmp_path)
    assert found.keys() == TENSORS.keys() == ours.places.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert torch.equal(ours.read(name), tensor)
        assert ours.spec(name) == specs(TENSORS)[name]


def test_what_is_no_weights(tmp_path: Path):
    with pytest.raises(ConfigError, match="only safetensors are merged"):
        _ = Weights(tmp_path).places
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="is no whole safetensors file"):
        _ = Weights(tmp_path).places
    save_file({"w": torch.zeros(2, dtype=torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="w is F8_E4M3, which can't be merged"):
        _ = Weights(tmp_path).places
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "lost.safetensors"}}))
    with pytest.raises(ConfigError, match=r"names lost\.safetensors, which is not there"):
        _ = Weights(tmp_path).places


def peak() -> int:
    """Bytes of memory that this process had at most since `from_here`."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024


def from_here() -> int:
    """Begin to watch; what it has now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def test_a_merge_needs_memory_for_a_few_tensors(tmp_path: Path):
    """Three models of 40 tensors of 1 MB, of which TIES holds some twelve at a time: three that were read, their task
    vectors and masks. One model would be 40 MB. One of them is a single file."""
    size, count, entries = 2**20, 40, 2**18
    shape = {f"w{number}": Spec((entries,), torch.float32) for number in range(count)}
    sources = []
    for seed, limit in enumerate((count * size, 3 * size, 10 * size)):
        generator = torch.Generator().manual_seed(seed)
        (folder := tmp_path / str(seed)).mkdir()
        Qwen3Config(tie_word_embeddings=False).save_pretrained(folder)
        write(folder, shape, lambda name, generator=generator: torch.randn(entries, generator=generator), limit)
        sources.append(Source(str(seed), Weights(folder)))
    base, *others = sources
    merge = Plan(Ties(), (MergedModel(path="1"), MergedModel(path="2")), base, tuple(others), 0)
    assert len(base.specs) == count  # from here on, what is loaded once is there
    merge.tensor("w0", ties)
    (folder := tmp_path / "merged").mkdir()
    before = from_here()
    merge.write(folder, torch.float32, 10 * size)
    assert peak() - before < 20 * size
    assert torch.equal(Weights(folder).read("w7"), merge.tensor("w7", ties))

"""The weights of a model folder, one tensor at a time: read from safetensors files however they are split, written into
new ones."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from rlsys.errors import ConfigError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""By the name that safetensors gives them."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Spec:
    """What a tensor is, without its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclass(frozen=True)
class Weights:
    """Of a model's folder. Files are opened for one tensor and closed again: a mapped file counts as memory as far as
    it was read."""

    folder: Path

    @cached_property
    def files(self) -> list[Path]:
        """Raises ConfigError where there are none, or where the index names one that is not there."""
        index = self.folder / SAFE_WEIGHTS_INDEX_NAME
        if not index.is_file():
            if not (self.folder / SAFE_WEIGHTS_NAME).is_file():
                raise ConfigError(
                    f"{self.folder}: no {SAFE_WEIGHTS_NAME} and no {SAFE_WEIGHTS_INDEX_NAME}: only safetensors are "
                    "merged; load the model with transformers and save it anew"
                )
            return [self.folder / SAFE_WEIGHTS_NAME]
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if missing := [name for name in names if not (self.folder / name).is_file()]:
            raise ConfigError(f"{index}: names {missing[0]}, which is not there; copy the whole model")
        return [self.folder / name for name in names]

    @cached_property
    def places(self) -> dict[str, tuple[Path, Spec]]:
        """By tensor: its file and what it is. Reads headers only. Raises ConfigError for a file or a tensor that can't
        be read."""
        return {name: (file, spec) for file in self.files for name, spec in specs_of(file).items()}

    def spec(self, name: str) -> Spec:
        return self.places[name][1]

    def read(self, name: str) -> Tensor:
        return read(self.places[name][0], name)


def specs_of(file: Path) -> dict[str, Spec]:
    """Of each tensor in a safetensors file. Raises ConfigError for one that is damaged, or of numbers that torch can't
    add."""
    found = {}
    try:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (it is no mapping)
                part = opened.get_slice(name)
                if (dtype := part.get_dtype()) not in DTYPES:
                    raise ConfigError(f"{file}: {name} is {dtype}, which can't be merged; use unquantised weights")
                found[name] = Spec(tuple(part.get_shape()), DTYPES[dtype])
    except SafetensorError as error:
        raise ConfigError(f"{file}: is no whole safetensors file: {error}") from error
    return found


def read(file: Path, name: str) -> Tensor:
    with safe_open(file, "pt") as opened:
        return opened.get_tensor(name)


def write(folder: Path, specs: Mapping[str, Spec], tensor: Callable[[str], Tensor], shard_bytes: int) -> list[Path]:
    """Write the tensors of `specs`, each asked of `tensor` when its turn comes, in files of at most `shard_bytes` with
    an index (one file needs none); returns the files. Names and split are those of `save_pretrained`."""
    shapes = {name: torch.empty(spec.shape, dtype=spec.dtype, device="meta") for name, spec in specs.items()}
    split = split_torch_state_dict_into_shards(
        shapes, filename_pattern="model{suffix}.safetensors", max_shard_size=shard_bytes
    )
    for file, names in split.filename_to_tensors.items():
        _write_file(folder / file, {name: specs[name] for name in names}, tensor)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return [folder / file for file in split.filename_to_tensors]


def _write_file(file: Path, specs: Mapping[str, Spec], tensor: Callable[[str], Tensor]) -> None:
    """The format: the length of the header in 8 bytes, the header in JSON, the numbers. The library's writer takes all
    tensors at once, which would be a whole shard in memory."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, spec in specs.items():
        offsets = [end, end := end + spec.size]
        header[name] = {"dtype": NAMES[spec.dtype], "shape": list(spec.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, spec in specs.items():
            found = tensor(name)
            assert (tuple(found.shape), found.dtype) == (spec.shape, spec.dtype), name
            out.write(found.contiguous().reshape(-1).view(torch.uint8).numpy().data)

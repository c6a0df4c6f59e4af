"""What a weight sync says about its tensors, and the checks of the receiving side. Neither vLLM nor Ray is needed here.

A sync is a sequence of buckets. The handshake lists every tensor that a sync brings; each bucket describes what it
carries; the receiver compares both with the bytes that came, before it loads any of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import xxhash
from torch import Tensor

from rlsys.errors import WeightSyncError
from rlsys.models.adapters.base import Merge

ALIGNMENT = 64
"""Bytes; tensors start at multiples of it, so that any dtype can be viewed in place."""


Content = Literal["merged", "base", "trained"]
"""Which weights: those of the plain model, adapters merged; of these what is not trained, as it was loaded; what is
trained."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that a sync must bring."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> TensorSpec:
        return cls(name, str(dtype).removeprefix("torch."), tuple(shape))

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * torch_dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor that was sent: where it lies in the channel's buffer, and the checksum of the sender's own copy."""

    spec: TensorSpec
    version: int
    offset: int
    nbytes: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Handshake:
    """Said once: which tensors to expect, and how the channel is opened."""

    transport: str
    """A file of this folder."""
    expected: tuple[TensorSpec, ...]
    """What every sync brings."""
    channel: Mapping[str, Any]
    engine: int
    """Number of the receiving engine."""
    base: tuple[TensorSpec, ...] = ()
    """What the first sync brings beside it: of an adapter that is sent alone, the frozen weights."""
    merges: Mapping[str, Merge] = field(default_factory=dict)
    """How the sampler makes weights of frozen and trained ones, by name."""


@dataclass(frozen=True, slots=True)
class Update:
    """One bucket of a sync. The last one (which may carry nothing) makes the receiver check that nothing is missing."""

    version: int
    offset: int
    nbytes: int
    records: tuple[TensorRecord, ...]
    last: bool
    base: bool = False
    """Whether the sync brings the base, too."""


def torch_dtype(name: str) -> torch.dtype:
    dtype = vars(torch).get(name)
    if not isinstance(dtype, torch.dtype):
        raise WeightSyncError(f"{name!r} is not a dtype")
    return dtype


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def as_bytes(tensor: Tensor) -> Tensor:
    """The same memory as a flat uint8 tensor (copied only if it is not contiguous)."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def checksum(data: Tensor) -> int:
    """64-bit checksum of a flat uint8 tensor: XXH3 in host memory, a position-weighted sum on a GPU, where the bytes
    already are."""
    return xxhash.xxh3_64_intdigest(data.numpy().data) if data.device.type == "cpu" else device_checksum(data)


def device_checksum(data: Tensor, chunk: int = 1 << 24) -> int:
    """Sum over 32-bit words of word * (2 * position + 1), modulo 2^64, plus the length. The factors are odd and differ,
    so a change of one word and a swap of two always show. Runs wherever `data` is; `chunk` words at a time bound the
    memory."""
    words = torch.nn.functional.pad(data, (0, -data.numel() % 4)).view(torch.int32)
    total = torch.zeros((), dtype=torch.int64, device=data.device)
    for start in range(0, words.numel(), chunk):
        part = words[start : start + chunk].to(torch.int64)
        factor = torch.arange(start, start + part.numel(), device=data.device) * 2 + 1
        total += (part * factor).sum()
    return (int(total) + data.numel()) % (1 << 64)


class Arrivals:
    """The receiving side's account of the running sync, over the tensors that the handshake promised."""

    def __init__(self, expected: tuple[TensorSpec, ...], base: tuple[TensorSpec, ...] = ()) -> None:
        self.always = {spec.name: spec for spec in expected}
        self.base = {spec.name: spec for spec in base}
        self.expected = self.always
        """Of the running sync."""
        self.has_base = not base
        """Whether a complete sync has brought it."""
        self.version: int | None = None
        self.arrived: dict[str, int] = {}
        """Checksums of this sync's tensors by name."""
        self.before: dict[str, int] = {}
        """Those of the last complete sync."""
        self.before_version: int | None = None

    def start(self) -> None:
        self.version = None
        self.arrived = {}

    def check(self, update: Update, buffer: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Views of the bucket's tensors in `buffer` (uint8, from `update.offset` on), each verified.

        Raises WeightSyncError, naming the tensor: unknown, sent twice, of another version, dtype or shape, cut short,
        or with other bytes than the sender's; and at the last bucket, missing.
        """
        self._check_version(update)
        for record in update.records:
            yield record.spec.name, self._check_tensor(record, update, buffer)
        if update.last:
            self._check_complete(update.version)

    def complete(self) -> None:
        self.before, self.before_version = self.before | self.arrived, self.version
        self.has_base = self.has_base or self.expected is not self.always

    def _check_version(self, update: Update) -> None:
        if self.version is None:
            if self.before_version is not None and update.version < self.before_version:
                raise WeightSyncError(
                    f"weights of version {update.version} were sent after those of version {self.before_version}"
                )
            if not update.base and not self.has_base:
                raise WeightSyncError(
                    f"tensor {next(iter(self.base))}: the sampler waits for the base's weights, and version "
                    f"{update.version} brings only what is trained"
                )
            self.version = update.version
            self.expected = self.base | self.always if update.base else self.always
        if update.version != self.version:
            raise WeightSyncError(
                f"a bucket of version {update.version} came within the sync of version {self.version}"
            )

    def _check_tensor(self, record: TensorRecord, update: Update, buffer: Tensor) -> Tensor:
        name, spec = record.spec.name, self.expected.get(record.spec.name)
        if spec is None:
            raise WeightSyncError(
                f"tensor {name}: was sent but is none of the {len(self.expected)} tensors that the trainer announced"
            )
        if name in self.arrived:
            raise WeightSyncError(f"tensor {name}: was sent twice in the sync of version {update.version}")
        if record.version != update.version:
            raise WeightSyncError(
                f"tensor {name}: is stale: it is of version {record.version}, the sync is of version {update.version}"
            )
        if record.spec != spec:
            raise WeightSyncError(
                f"tensor {name}: was announced as {spec.dtype} {list(spec.shape)} and sent as {record.spec.dtype} "
                f"{list(record.spec.shape)}"
            )
        start = record.offset - update.offset
        if record.nbytes != spec.nbytes or not 0 <= start <= buffer.numel() - record.nbytes:
            room = max(0, min(record.nbytes, buffer.numel() - start))
            raise WeightSyncError(f"tensor {name}: was cut short: {room} bytes came of {spec.nbytes}")
        data = buffer[start : start + record.nbytes]
        self.arrived[name] = self._check_bytes(name, record, data)
        return data.view(torch_dtype(spec.dtype)).view(spec.shape)

    def _check_bytes(self, name: str, record: TensorRecord, data: Tensor) -> int:
        found = checksum(data)
        if found == record.checksum:
            return found
        if self.before.get(name) == found:
            raise WeightSyncError(
                f"tensor {name}: is stale: the bytes are still those of version {self.before_version}, not "
                f"{record.version}"
            )
        raise WeightSyncError(
            f"tensor {name}: its bytes changed on the way: checksum {found:016x}, sent {record.checksum:016x}"
        )

    def _check_complete(self, version: int) -> None:
        missing = [name for name in self.expected if name not in self.arrived]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise WeightSyncError(f"tensor {', '.join(missing[:5])}{more}: missing from the sync of version {version}")

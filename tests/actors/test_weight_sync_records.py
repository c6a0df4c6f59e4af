"""The receiver's checks and the transports' plumbing, without engines."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from actors.weight_sync import gloo, shared_memory
from actors.weight_sync.channel import Opening
from actors.weight_sync.records import (
    Arrivals,
    TensorRecord,
    TensorSpec,
    Update,
    aligned,
    as_bytes,
    checksum,
    device_checksum,
)
from rlsys.errors import WeightSyncError

WEIGHTS = {
    "a.weight": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b.bias": torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
}
SPECS = tuple(TensorSpec.of(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in WEIGHTS.items())


def packed(version: int, scale: float = 1.0) -> tuple[Update, torch.Tensor]:
    """A whole sync in one bucket."""
    buffer = torch.zeros(sum(aligned(spec.nbytes) for spec in SPECS), dtype=torch.uint8)
    records, offset = [], 0
    for spec, tensor in zip(SPECS, WEIGHTS.values(), strict=True):
        data = as_bytes(tensor * scale)
        buffer[offset : offset + spec.nbytes] = data
        records.append(TensorRecord(spec, version, offset, spec.nbytes, checksum(data)))
        offset += aligned(spec.nbytes)
    return Update(version, 0, offset, tuple(records), last=True), buffer


def second(update: Update, **changes: object) -> Update:
    return replace(update, records=(update.records[0], replace(update.records[1], **changes)))


def received(arrivals: Arrivals, update: Update, buffer: torch.Tensor) -> dict[str, torch.Tensor]:
    arrivals.start()
    tensors = dict(arrivals.check(update, buffer))
    arrivals.complete()
    return tensors


def test_good_sync_gives_the_tensors_back() -> None:
    tensors = received(Arrivals(SPECS), *packed(1))
    assert list(tensors) == list(WEIGHTS)
    assert all(
        torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype for name, tensor in WEIGHTS.items()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: replace(u, records=u.records[:1]), r"tensor b\.bias: missing"),
        (lambda u: second(u, spec=replace(SPECS[1], name="b.biass")), r"tensor b\.biass: .* none of the 2"),
        (lambda u: replace(u, records=(*u.records, u.records[1])), r"tensor b\.bias: was sent twice"),
        (lambda u: second(u, nbytes=2), r"tensor b\.bias: was cut short: 2 bytes came of 4"),
        (lambda u: second(u, offset=10_000), r"tensor b\.bias: was cut short: 0 bytes came of 4"),
        (
            lambda u: second(u, spec=replace(SPECS[1], dtype="float16")),
            r"tensor b\.bias: .*bfloat16 \[2\] and sent as float16",
        ),
        (lambda u: second(u, version=6), r"tensor b\.bias: is stale: it is of version 6, the sync is of version 7"),
        (lambda u: second(u, checksum=5), r"tensor b\.bias: its bytes changed"),
        (lambda u: replace(u, version=4), r"version 4 were sent after those of version 5"),
    ],
)
def test_each_fault_is_named(change, message: str) -> None:
    arrivals = Arrivals(SPECS)
    received(arrivals, *packed(5))
    update, buffer = packed(7, scale=2.0)
    with pytest.raises(WeightSyncError, match=message):
        received(arrivals, change(update), buffer)


def test_bytes_of_the_version_before_are_called_stale() -> None:
    arrivals = Arrivals(SPECS)
    _, old = packed(5)
    received(arrivals, *packed(5))
    update, new = packed(6, scale=2.0)
    new[: SPECS[0].nbytes] = old[: SPECS[0].nbytes]
    with pytest.raises(
        WeightSyncError, match=r"tensor a\.weight: is stale: the bytes are still those of version 5, not 6"
    ):
        received(arrivals, update, new)


def test_every_single_bit_counts() -> None:
    data = as_bytes(torch.randn(33, generator=torch.Generator().manual_seed(0)))
    for function in (checksum, device_checksum):
        whole = function(data)
        flipped = []
        for position in range(data.numel() * 8):
            changed = data.clone()
            changed[position // 8] ^= 1 << position % 8
            flipped.append(function(changed))
        assert whole not in flipped


def test_device_checksum_by_hand() -> None:
    words = torch.tensor([3, -2, 5], dtype=torch.int32)
    assert device_checksum(words.view(torch.uint8)) == 3 * 1 - 2 * 3 + 5 * 5 + 12  # odd factors, then the length
    assert device_checksum(words.view(torch.uint8), chunk=2) == 34
    assert device_checksum(words.flip(0).view(torch.uint8)) != 34


def opening(total: int, receivers: int = 1) -> Opening:
    return Opening(0, total, total, receivers, "127.0.0.1", torch.device("cpu"), 30.0)


def test_shared_memory_is_shared_and_gone_when_closed() -> None:
    sender = shared_memory.SendChannel(opening(256))
    settings = sender.describe()
    receiver = shared_memory.ReceiveChannel(settings, 0, torch.device("cpu"))
    sender.buffer[64:128] = 7
    assert receiver.receive(64, 64).tolist() == [7] * 64
    assert receiver.receive(200, 100).numel() == 56  # what is not there does not come
    sender.close()
    with pytest.raises(WeightSyncError, match="transport=gloo"):
        shared_memory.ReceiveChannel(settings, 0, torch.device("cpu"))


def test_another_machines_memory_is_not_opened() -> None:
    sender = shared_memory.SendChannel(opening(64))
    with pytest.raises(WeightSyncError, match="on another machine"):
        shared_memory.ReceiveChannel({**sender.describe(), "machine": "elsewhere"}, 0, torch.device("cpu"))
    sender.close()


def test_gloo_reaches_every_receiver() -> None:
    sender = gloo.SendChannel(opening(4096, receivers=2))
    came: dict[int, torch.Tensor] = {}

    def receive(rank: int) -> None:
        channel = gloo.ReceiveChannel(sender.describe(), rank, torch.device("cpu"))
        came[rank] = channel.receive(0, 4096)
        channel.close()

    threads = [threading.Thread(target=receive, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    sender.connect()
    sender.buffer.copy_(torch.arange(4096) % 251)
    sender.transmit(4096)
    for thread in threads:
        thread.join(timeout=30)
    assert all(torch.equal(came[rank], sender.buffer) for rank in range(2))
    sender.close()


def test_a_sync_of_what_is_trained_needs_a_base_that_arrived_whole() -> None:
    """The second tensor is trained, the first is of the base."""
    arrivals = Arrivals(SPECS[1:], base=SPECS[:1])
    whole, buffer = packed(1)
    alone = replace(whole, records=whole.records[1:])
    with pytest.raises(WeightSyncError, match=r"tensor a\.weight: the sampler waits for the base's weights"):
        received(arrivals, alone, buffer)
    with pytest.raises(WeightSyncError, match=r"tensor a\.weight: missing from the sync of version 1"):
        received(arrivals, replace(alone, base=True), buffer)
    assert list(received(arrivals, replace(whole, base=True), buffer)) == list(WEIGHTS)
    assert list(received(arrivals, alone, buffer)) == ["b.bias"]
    with pytest.raises(WeightSyncError, match=r"tensor b\.bias: missing from the sync of version 1"):
        received(arrivals, replace(whole, records=()), buffer)
    with pytest.raises(WeightSyncError, match=r"tensor a\.weight: was sent but is none of the 1"):
        received(arrivals, whole, buffer)

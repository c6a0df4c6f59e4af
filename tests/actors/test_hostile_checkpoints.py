"""Checkpoint files that were made to execute something: each is refused by name, and nothing of it is executed."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.train_engine import Crew, Setting

from rlsys.errors import CheckpointError

pytestmark = [pytest.mark.engine, pytest.mark.slow]


class Calls:
    """Unpickles by calling a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Builds(dict):
    """Unpickles by calling a function for its state."""

    def __init__(self, *state: Any) -> None:
        self.own = state

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (), None, None, iter([("x", Calls(*self.own))])


def payloads(canary: Path) -> dict[str, Any]:
    """Objects that would make the file `canary`."""
    touch = f"open({str(canary)!r}, 'w')"
    opened = [
        Calls(os.system, f"touch {canary}"),
        Calls(os.popen, f"touch {canary}"),
        Calls(exec, touch),
        Calls(eval, touch),
        Calls(open, str(canary), "w"),
        Calls(os.mkdir, str(canary)),
        Calls(__import__("subprocess").check_output, ["touch", str(canary)]),
        Calls(__import__("pathlib").Path.touch, canary),
        Calls(__import__("shutil").copy, "/etc/hostname", str(canary)),
        Calls(__import__("socket").create_connection, ("127.0.0.1", 9)),
        Calls(__import__("runpy").run_path, str(canary)),
        Calls(__import__("importlib").import_module, "antigravity"),
        Calls(torch.load, str(canary)),
        Calls(__import__("functools").partial, os.system, "true"),
        Calls(__import__("operator").methodcaller, "system", "true"),
    ]
    whole = {f"bare {index}": payload for index, payload in enumerate(opened)}
    nested = {
        "in the state": {"module": {"weight": torch.zeros(2)}, "extra": [opened[0]]},
        "as a key": {Builds: 1},
        "in an item": Builds(os.system, f"touch {canary}"),
    }
    return whole | nested


def raw(protocol: int, code: bytes) -> bytes:
    """A legacy pickle stream, without torch's container."""
    return pickle.PROTO + bytes([protocol]) + code + pickle.STOP


def test_twenty_hostile_files_are_refused_by_name_and_execute_nothing(one: Crew, tmp_path: Path):
    one.build(Setting())
    one.all("call", "save_state", tmp_path / "state")
    folder, canary = tmp_path / "state" / "trainer", tmp_path / "canary"
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 3, names
    refused = 0
    hostile: list[Callable[[Path], Any]] = [
        lambda path, payload=payload: torch.save(payload, path) for payload in payloads(canary).values()
    ]
    system = f"cposix\nsystem\n(Vtouch {canary}\ntR".encode()
    hostile += [lambda path: path.write_bytes(raw(2, system)), lambda path: tampered(path, system)]
    hostile.append(lambda path: torch.save(payloads(canary)["bare 0"], path, _use_new_zipfile_serialization=False))
    assert len(hostile) >= 20
    for index, write in enumerate(hostile):
        file = folder / names[index % len(names)]
        whole = file.read_bytes()
        write(file)
        with pytest.raises(CheckpointError) as caught:
            one.all("call", "load_state", tmp_path / "state")
        assert file.name in str(caught.value)
        assert "refused" in str(caught.value), str(caught.value)
        assert "\n" not in str(caught.value)
        assert not canary.exists(), "executed"
        file.write_bytes(whole)
        refused += 1
    assert refused == len(hostile)
    one.all("call", "load_state", tmp_path / "state")


def tampered(path: Path, code: bytes) -> None:
    """The file as it was, but for a call that its pickle makes first and drops the result of."""
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                start = next(place for _, _, place in pickletools.genops(data) if place)
                data = data[:start] + code + pickle.POP + data[start:]
            new.writestr(entry.filename, data)


def test_a_rank_that_can_not_write_fails_the_save_of_all_by_name(two: Crew, tmp_path: Path):
    """Not after the limit of a collective: at once."""
    two.build(Setting(zero=2))
    (tmp_path / "state" / "trainer").mkdir(parents=True)
    (tmp_path / "state" / "trainer" / "random-1.pt").mkdir()  # where rank 1 writes
    with pytest.raises(CheckpointError, match=r"state: can't be written: .*random-1\.pt"):
        two.all("call", "save_state", tmp_path / "state")
    two.all("call", "save_state", tmp_path / "other")


def test_a_changed_learning_rate_is_obeyed_from_the_checkpoint_on(one: Crew, tmp_path: Path):
    from support.train_engine import rows

    setting = Setting(zero=1, schedule="cosine", warmup=2)
    one.build(setting)
    for seed in range(4):
        one.all("train", rows(seed))
    one.all("call", "save_state", tmp_path)
    expected = one.all("train", rows(4))[0]["learning_rate"]
    one.build(Setting(zero=1, schedule="cosine", warmup=2, learning_rate=5e-4))
    one.all("call", "load_state", tmp_path)
    assert one.all("train", rows(4))[0]["learning_rate"] == pytest.approx(expected / 2)
    assert one.all("train", rows(5))[0]["learning_rate"] < expected / 2

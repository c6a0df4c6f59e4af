import json
import socket
import time
from pathlib import Path

import pytest
from support.command_line import wait_until

from rlsys.config.experiment import LoggingConfig
from rlsys.errors import RlsysError, RunError
from rlsys.files import read_lines
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog

OFF = LoggingConfig()


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create(tmp_path, "a")
    run.config.write_text("name: a\nseed: 3\n")
    return run


def test_each_record_is_one_strict_json_line(run: RunDir) -> None:
    with MetricsLog(run, OFF) as metrics:
        metrics.log(1, {"reward": 0.5, "kl": float("nan"), "ratio": float("inf")})
        metrics.log(2, {"reward": 1.0})
    lines = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in read_lines(run.metrics)]
    assert lines == MetricsLog.read(run.metrics)
    assert [line.pop("time") > 1.7e9 for line in lines] == [True, True]
    assert lines == [{"step": 1, "reward": 0.5, "kl": None, "ratio": None}, {"step": 2, "reward": 1.0}]


def test_a_resumed_run_writes_later_steps_anew(run: RunDir) -> None:
    metrics = MetricsLog(run, OFF)
    for step in (0, 1, 2, 3):
        metrics.log(step, {"reward": float(step)})
    metrics.truncate_after(1)
    metrics.log(2, {"reward": 20.0})
    assert [(row["step"], row["reward"]) for row in MetricsLog.read(run.metrics)] == [(0, 0.0), (1, 1.0), (2, 20.0)]


def test_a_line_torn_by_a_kill_is_dropped_and_a_damaged_one_named(run: RunDir) -> None:
    MetricsLog(run, OFF).log(1, {"reward": 1.0})
    with run.metrics.open("a") as file:
        file.write('{"step": 2, "rew')
    assert [row["step"] for row in MetricsLog.read(run.metrics)] == [1]
    MetricsLog(run, OFF).log(2, {"reward": 2.0})
    assert [row["step"] for row in MetricsLog.read(run.metrics)] == [1, 2]
    run.metrics.write_text('{"step": 1}\n{"step": \n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: not a JSON record"):
        MetricsLog.read(run.metrics)


def test_wandb_offline_writes_its_own_run_into_the_run_folder(run: RunDir) -> None:
    config = LoggingConfig(wandb="offline", wandb_project="trial")
    for step in (1, 2):
        with MetricsLog(run, config) as metrics:
            metrics.log(step, {"reward_of_the_test": 0.25})
    records = list((run.path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(records) == 2
    assert len({path.name for path in records}) == 1, "a resumed run keeps its W&B id"
    # W&B's own process writes the files, and on a busy machine is not always done when its `finish` returns.
    for word in (b"reward_of_the_test", b"trial"):
        wait_until(
            lambda word=word: all(word in record.read_bytes() for record in records), f"{word!r} in both files", 30
        )


def test_wandb_without_a_key_stops_at_the_start_in_one_line(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(RlsysError, match=r"W&B can't be started: .*logging\.wandb=offline or off") as caught:
        MetricsLog(run, LoggingConfig(wandb="online"))
    assert "\n" not in str(caught.value)


def test_wandb_that_does_not_answer_costs_seconds_and_is_used_offline(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # takes connections and says nothing
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        started = time.monotonic()
        with MetricsLog(run, LoggingConfig(wandb="online")) as metrics:
            assert time.monotonic() - started < 10  # two waits of 2 s, and W&B's own start
            metrics.log(1, {"loss": 2.0})
    assert [line["loss"] for line in MetricsLog.read(run.metrics)] == [2.0]
    assert list((run.path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert "W&B does not answer" in caplog.text

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlsys.errors import RunError
from rlsys.files import write_whole
from rlsys.run.folder import RunDir

HOLD_LOCK = """
import sys
from pathlib import Path
from rlsys.run.folder import RunDir
with RunDir(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_taken_name_gets_a_number_and_the_old_run_is_not_touched(tmp_path: Path) -> None:
    first = RunDir.create(tmp_path / "runs", "a")
    first.config.write_text("name: a")
    assert [RunDir.create(tmp_path / "runs", "a").name for _ in range(2)] == ["a-2", "a-3"]
    assert first.config.read_text() == "name: a"


def test_create_says_what_to_do_when_the_root_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="output=FOLDER"):
        RunDir.create(tmp_path / "runs", "a")


def test_open_refuses_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no config\.yaml"):
        RunDir.open(tmp_path)
    with pytest.raises(RunError, match="is not a folder"):
        RunDir.open(tmp_path / "absent")


def test_summary_is_strict_json(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a")
    run.write_summary({"before": {"accuracy": 0.5}, "after": {"accuracy": float("nan")}, "steps": [1, float("inf")]})
    written = json.loads(run.summary.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert written == {"before": {"accuracy": 0.5}, "after": {"accuracy": None}, "steps": [1, None]}


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "summary.json"
    write_whole(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(target, "new \ud800")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_only_one_driver_writes_a_run_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match=f"process {holder.pid} on .* is writing this run"), run.lock():
            pass
        holder.kill()
        holder.wait(10)
    with run.lock():
        pass
    with run.lock():
        pass

import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from support.command_line import title
from support.escapes import ESCAPES

from rlsys.commands.doctor_probes import PROBES
from rlsys.sandbox.run import Limits, Outcome, Sandbox, sandbox_problem
from rlsys.workers.pool import CallFailed

HUMAN_EVAL = Path("../shared/data/humaneval/HumanEval.jsonl.gz")
CONFIGS = Path(__file__).parents[2] / "configs"
LIMIT = 1.5
NEEDED = pytest.mark.skipif(sandbox_problem() is not None, reason=f"no sandbox on this machine: {sandbox_problem()}")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    os.environ["SECRET_OF_THE_HOST"] = "1"
    made = Sandbox(2, Limits(LIMIT, 128))
    yield made
    made.close()
    del os.environ["SECRET_OF_THE_HOST"]


def family() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


@NEEDED
def test_every_escape_is_contained(sandbox: Sandbox, tmp_path: Path):
    """None succeeds, each is stopped by what should stop it, and nothing of them stays behind."""
    assert len(ESCAPES) >= 60
    canary = tmp_path / "canary"
    canary.write_text("alive")
    before, began = family(), time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        programs = [source.replace("CANARY", str(canary)) for source, _ in ESCAPES.values()]
        outcomes = dict(zip(ESCAPES, threads.map(lambda source: sandbox.run("", [source]), programs), strict=True))
    assert [name for name, outcome in outcomes.items() if outcome.passed != (False,)] == []
    odd = {
        name: outcome.problem
        for name, outcome in outcomes.items()
        if not re.search(ESCAPES[name][1], outcome.problem, re.IGNORECASE)
    }
    assert odd == {}
    assert (family(), canary.read_text()) == (before, "alive"), "the same processes as before, and no more"
    assert time.monotonic() - began < (LIMIT + 2) * len(ESCAPES)
    assert sandbox.run("def f(x): return x + 1", ["assert f(1) == 2"]) == Outcome((True,), "")


@NEEDED
def test_a_program_sees_nothing_of_the_one_before(sandbox: Sandbox):
    leaves = "import builtins, math\nopen('file', 'w').write('x')\nbuiltins.found = math.found = 1"
    finds = "import builtins, math, os\nassert not os.listdir('.') and not hasattr(builtins, 'found')"
    for _ in range(4):  # two processes take turns
        assert sandbox.run(leaves, ["assert math.found"]).passed == (True,)
        assert sandbox.run(finds, ["assert not hasattr(math, 'found')"]).passed == (True,)


@NEEDED
def test_each_test_has_its_own_outcome_and_the_first_problem_is_told(sandbox: Sandbox):
    program = "def f(x):\n    if x == 3: raise ValueError('three\\nof them')\n    return 2 * x"
    tests = ["assert f(1) == 2", "assert f(2) == 5, 'not five'", "f(3)", "assert f(4) == 8"]
    assert sandbox.run(program, tests) == Outcome((True, False, False, True), "AssertionError: not five")
    assert sandbox.run("def f(:", ["pass"] * 2) == Outcome(
        (False, False), "SyntaxError: invalid syntax (solution, line 1)"
    )
    hanging = sandbox.run("", ["pass", "while True: pass", "pass"])
    assert hanging == Outcome((True, False, False), f"timed out after {LIMIT:g} s")


@NEEDED
def test_what_programs_of_tasks_need_is_there(sandbox: Sandbox):
    program = """
from __future__ import annotations
import asyncio, dataclasses, hashlib, json, threading, sqlite3, tempfile, zlib, decimal, unittest, logging, signal
@dataclasses.dataclass
class Point:
    x: int
async def later():
    await asyncio.sleep(0.001)
    return 1
def in_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(1))
    thread.start(), thread.join()
    return found
if __name__ == "__main__":
    input("not run")
"""
    tests = [
        "assert Point(1) == Point(1)",
        "assert asyncio.run(later()) == 1",
        "assert in_thread() == [1]",
        "assert hashlib.md5(b'').hexdigest() == 'd41d8cd98f00b204e9800998ecf8427e'",
        "with tempfile.TemporaryFile() as file: file.write(b'x'), file.seek(0); assert file.read() == b'x'",
        "assert sqlite3.connect(':memory:').execute('select 6 * 7').fetchone() == (42,)",
        "print('to nobody'); logging.warning('to nobody')",
    ]
    assert sandbox.run(program, tests) == Outcome((True,) * len(tests), "")


@NEEDED
def test_a_sandbox_that_dies_is_no_verdict_and_is_replaced():
    sandbox = Sandbox(1, Limits(LIMIT, 128))
    try:
        for process in psutil.Process().children(recursive=True):
            if "rlsys.sandbox.server" in title(process):
                process.kill()
        assert sandbox.run("", ["pass"]) == Outcome((True,), ""), "a fresh one answers"
    finally:
        sandbox.close()
    with pytest.raises(CallFailed, match="the worker was gone"):
        sandbox.run("", ["pass"])


def without_namespaces(*command: str) -> subprocess.CompletedProcess[str]:
    """A command in a user namespace that may make none itself, as a container may be."""
    shut = 'echo 0 > /proc/sys/user/max_user_namespaces && echo shut && exec "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", shut, "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    if not done.stdout.startswith("shut\n"):
        pytest.skip(f"no user namespace to try it in: {done.stderr.strip()}")
    return done


REFUSED = "new namespaces: No space left on device"
"""What the kernel says to a limit of 0."""


def test_where_namespaces_are_forbidden_there_is_no_sandbox_and_no_weaker_one():
    program = (
        "from rlsys.sandbox import run\n"
        "print(run.sandbox_problem())\n"
        "try: run.Sandbox()\n"
        "except run.SandboxUnavailable as error: print('refused:', error)\n"
    )
    done = without_namespaces(sys.executable, "-c", program)
    assert done.stdout.splitlines() == ["shut", REFUSED, f"refused: {REFUSED}"], done.stderr


def test_there_validate_refuses_the_reward_in_one_line_and_the_doctor_says_so():
    config = CONFIGS / "quickstart.yaml"
    rewards = "grpo.rewards=[{name: code}]"
    done = without_namespaces(str(Path(sys.executable).parent / "rlsys"), "validate", str(config), rewards)
    told = f"programs can't be shut in on this machine ({REFUSED}), and they are not run otherwise"
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if told in line] == done.stderr.splitlines() != []
    (probe,) = [probe for probe in PROBES if probe.check == "sandbox for programs"]
    found = without_namespaces(sys.executable, "-c", probe.code).stdout
    assert found == f"shut\nnone ({REFUSED}): the reward `code` is refused\n"


@NEEDED
@pytest.mark.slow
@pytest.mark.skipif(not HUMAN_EVAL.exists(), reason=f"{HUMAN_EVAL} is not there (HumanEval.jsonl.gz of OpenAI)")
def test_all_solutions_of_humaneval_are_right_at_twenty_a_second():
    with gzip.open(HUMAN_EVAL, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    sandbox = Sandbox(2)

    def outcome(row: dict[str, str], answer: str) -> bool:
        tests = [f"{row['test']}\ncheck({row['entry_point']})"]
        return all(sandbox.run(row["prompt"] + answer, tests).passed)

    began = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        right = [*threads.map(lambda row: outcome(row, row["canonical_solution"]), rows)]
        seconds = time.monotonic() - began
        wrong = [*threads.map(lambda row: outcome(row, "    return None\n"), rows)]
    sandbox.close()
    assert (sum(right), len(rows), sum(wrong)) == (164, 164, 0)
    assert len(rows) / seconds >= 20

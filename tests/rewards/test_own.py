"""Rewards of a user's own that misbehave, in the real processes."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.command_line import title
from support.one_by_one import one_by_one

from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.rewards import named
from rlsys.rewards.composite import WeightedSum
from rlsys.samples import UNSAMPLED, Abstention, Prompt, RewardResult, Score, Trajectory

LIMIT = 0.5
FINE = Score(1.0, {"m": 1.0})


@pytest.fixture(autouse=True)
def _in_the_users_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def scored() -> Iterator[Callable[..., list[RewardResult]]]:
    """What a reward makes of samples with these texts; then all its processes are gone."""
    before = family()
    made: list[WeightedSum] = []

    def score(name: str, *texts: str, **scoring: Any) -> list[RewardResult]:
        if not made:
            config = ScoringConfig(**{"timeout": 60.0, "time_limit": LIMIT, "memory_gib": 1.0, **scoring})
            made.append(WeightedSum([RewardSpec(name=f"misbehaving.{name}", label="m")], config))
        return one_by_one(made[0], [sample(index, text) for index, text in enumerate(texts)])

    yield score
    for rewards in made:
        rewards.close()
    assert family() == before, "no process is left"


def family() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def sample(index: int, text: str) -> tuple[Prompt, Trajectory]:
    prompt = Prompt("train:1", "question", (1,))
    return prompt, Trajectory(f"s{index}", "train:1", index, [1, 2], [0, 1], [0.0, -0.5], [UNSAMPLED, 0], "stop", text)


def test_what_is_no_finite_number_is_no_score(scored):
    from misbehaving import STRANGE

    results = dict(zip(STRANGE, scored("strange", *STRANGE), strict=True))
    assert [name for name, result in results.items() if not isinstance(result, Abstention)] == []
    assert results["nan"] == Abstention("m: returned nan")
    assert results["too many"] == Abstention("m: returned list, not a number, Score or Abstention")


def test_one_exception_in_ten_costs_those_samples_and_no_others(scored):
    results = scored("misbehaves", *(["raise", *[""] * 9] * 20))
    assert results == [Abstention("m: RuntimeError: one in ten"), *[FINE] * 9] * 20


@pytest.mark.slow
def test_twenty_endless_loops_are_killed_in_time_and_named(scored):
    scored("misbehaves", "")  # its processes are there
    began = time.monotonic()
    results = scored("misbehaves", *["loop", "", ""] * 20)
    assert time.monotonic() - began < 20 * (LIMIT + 2) / 2, "two processes share them"
    named = [Abstention(f"m: sample s{index}: timed out after {LIMIT:g} s") for index in range(0, 60, 3)]
    assert results[::3] == named
    assert results[1::3] == results[2::3] == [FINE] * 20


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("regex", f"sample s1: timed out after {LIMIT:g} s"),
        ("thread", f"sample s1: timed out after {LIMIT:g} s"),
        ("child", f"sample s1: timed out after {LIMIT:g} s"),
        ("exit", "sample s1: its process ended 2 times: exit code 3"),
        ("crash", "sample s1: its process ended 2 times: exit code -6"),
        ("sys.exit", "SystemExit: 0"),
    ],
)
def test_a_sample_that_harms_its_process_has_no_score_and_the_others_have(scored, what: str, reason: str):
    assert scored("misbehaves", "", what, "", "", processes=1) == [FINE, Abstention(f"m: {reason}"), FINE, FINE]


def test_memory_ends_at_the_limit_and_a_fresh_process_goes_on(scored):
    """What the sample took is kept by the process, so that the next one would fail there, too."""
    results = scored("misbehaves", "memory", "", "memory", "", processes=1, time_limit=20.0)
    assert results == [Abstention("m: MemoryError: "), FINE] * 2


def test_the_process_s_own_channels_are_out_of_reach(scored):
    assert scored("misbehaves", "print", "") == [FINE, FINE]


def test_a_process_killed_once_from_outside_costs_no_score(scored):
    assert scored("misbehaves", "", processes=1) == [FINE]
    for process in psutil.Process().children():
        if "rlsys.rewards.own_worker" in title(process):
            process.kill()
    assert scored("misbehaves", "", "") == [FINE, FINE]


def test_what_is_not_done_in_the_time_of_the_call_is_ended(scored):
    began = time.monotonic()
    results = scored("misbehaves", *["loop"] * 40, timeout=2.5, processes=1)
    assert time.monotonic() - began < 2.5 + 2
    assert results[0] == Abstention(f"m: sample s0: timed out after {LIMIT:g} s")
    assert results[-1] == Abstention("m: not scored within 2.5 s")


def test_a_file_that_is_changed_in_a_run_gives_no_more_rewards(scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The ledger says which code gave the rewards, so a fresh process must not be of another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "changing.py"
    file.write_text("import os\ndef reward(prompt, trajectory):\n    return 1 if trajectory.text else os._exit(1)\n")
    content = file.read_bytes()
    assert named.source_of(RewardSpec(name="changing.reward"), "r") == named.RewardSource(
        "r", "changing.reward", str(file), hashlib.sha256(content).hexdigest()
    )
    rewards = WeightedSum([RewardSpec(name="changing.reward")], ScoringConfig(processes=1))
    assert one_by_one(rewards, [sample(0, "x")]) == [Score(1.0, {"changing.reward": 1.0})]
    file.write_bytes(content + b"# and more\n")
    results = one_by_one(rewards, [sample(0, ""), sample(1, "x")])
    rewards.close()
    told = f"reward 'changing.reward': {file} was changed while the run goes on; start it anew"
    assert results == [Abstention(f"changing.reward: ConfigError: {told}")] * 2

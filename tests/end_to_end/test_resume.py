"""A run whose driver is killed leaves nothing behind, and when it goes on it is the run that it would have been.

It is PPO with everything that has a state: policy, critic, adaptive KL, running statistics of the rewards, two data
streams.
"""

from __future__ import annotations

import filecmp
import re
import signal
import time
from dataclasses import dataclass

import pytest
from support.command_line import Run, Workplace, alive, family, title, wait_until

pytestmark = pytest.mark.engine

REWARD = """
def graded(prompt, trajectory):
    response = trajectory.token_ids[-trajectory.response_length:]
    if (sum(response) + int(prompt.answer)) % 8 == 0:
        raise RuntimeError("no reward for this one")
    return sum(token % 7 for token in response) / (7 * len(response))
"""
"""Tells samples of an untrained model apart, so that every step has a gradient; fails for about one sample in eight."""
CORPUS = "".join(f'{{"text": "{number} is the {number}th number."}}\n' for number in range(40))
LAST, EVERY, KILL_AFTER = 9, 4, 5
VICTIMS = ((1, "RolloutActor"), (4, "TrainerActor"), (6, "RewardActor"))
"""Whose process is killed after which step."""
GRACE = 10.0
"""Seconds that our processes may outlive the driver."""
SETTINGS = (
    "rewards=[{name: my_rewards.graded}, {name: math, weight: 0.1}]",
    "method={name: ppo, prompts_per_step: 16, epochs: 1, mini_batches: 2, kl_coef: 0.1, kl_target: 0.5,"
    " kl_horizon: 100, normalize_rewards: running, ptx_coef: 0.1, ptx_batch: 2}",
    "data.pretrain={path: corpus.jsonl}",
    "data.max_prompt_tokens=24",
    "critic={ranks: 1, zero_stage: 1, learning_rate: 1.0e-3}",
    "policy={ranks: 2, zero_stage: 2, learning_rate: 3.0e-3, schedule: cosine, warmup_steps: 3}",
    f"loop={{steps: {LAST}, checkpoint_every: {EVERY}}}",
    "evaluation={prompts: 8}",
    "logging.wandb=offline",
)


@dataclass(frozen=True)
class Killed:
    run: Run
    last_step: int
    """The last that was logged when the driver had died."""
    titles: list[str]
    """Of all processes just before the kill."""
    left: list[str]
    """Of those that had not ended in time, and of any that came later."""
    seconds: float
    """Until all had ended."""


@pytest.fixture(scope="module")
def workplace_with_reward(workplace_alone: Workplace) -> Workplace:
    (workplace_alone.folder / "my_rewards.py").write_text(REWARD)
    (workplace_alone.folder / "corpus.jsonl").write_text(CORPUS)
    return workplace_alone


@pytest.fixture(scope="module")
def undisturbed(workplace_with_reward: Workplace) -> Run:
    return workplace_with_reward.train(workplace_with_reward.stage("quickstart.yaml", "grpo"), "undisturbed", SETTINGS)


@pytest.fixture(scope="module")
def killed(workplace_with_reward: Workplace) -> Killed:
    """Killed within milliseconds after the line of step 5, which is in the middle of step 6."""
    place = workplace_with_reward
    run = Run(place.folder / "killed")
    driver = place.start(
        "rlsys", "train", place.stage("quickstart.yaml", "grpo"), "name=killed", f"output={place.folder}", *SETTINGS
    )
    try:
        wait_until(lambda: run.steps_done() >= KILL_AFTER or driver.poll() is not None, f"step {KILL_AFTER}", 240)
        processes = family(driver.pid)
        titles = [title(process) for process in processes]
    finally:
        driver.kill()
    died = time.monotonic()
    assert driver.wait(timeout=5) == -signal.SIGKILL, "it was over before it could be killed"
    while (left := alive(processes) + place.running()) and time.monotonic() < died + GRACE:
        time.sleep(0.05)
    return Killed(run, run.steps_done(), titles, left, time.monotonic() - died)


@pytest.fixture(scope="module")
def resumed(killed: Killed, workplace_with_reward: Workplace) -> Run:
    workplace_with_reward.succeed("rlsys", "resume", killed.run.path)
    return killed.run


@pytest.fixture(scope="module")
def disturbed(workplace_with_reward: Workplace) -> Run:
    """Of each kind of actor one is killed, with a signal that nothing can catch, in the middle of a step."""
    place = workplace_with_reward
    run = Run(place.folder / "disturbed")
    driver = place.start(
        "rlsys", "train", place.stage("quickstart.yaml", "grpo"), "name=disturbed", f"output={place.folder}", *SETTINGS
    )
    try:
        for restarts, (step, victim) in enumerate(VICTIMS):
            wait_until(
                lambda: (run.steps_done() >= step and run.faults() == restarts) or driver.poll() is not None,  # noqa: B023
                f"step {step}",
                240,
                poll=0.05,
            )
            found = [process for process in family(driver.pid) if title(process).startswith(f"ray::{victim}")]
            assert found, f"{victim} does not run: {driver.poll()}"
            found[-1].send_signal(signal.SIGKILL)
        _, told = driver.communicate(timeout=240)
    finally:
        driver.kill()
    assert driver.returncode == 0, told
    return run


def test_nothing_outlives_the_driver_by_ten_seconds(killed: Killed):
    expected = (
        "raylet",
        "gcs_server",
        "ray::TrainerActor",
        "ray::RolloutActor",
        "ray::RewardActor",
        "rlsys.rewards.math_worker",
        "wandb",
    )
    assert not [name for name in expected if not any(name in title for title in killed.titles)], killed.titles
    assert killed.left == []


def test_the_killed_run_is_incomplete(killed: Killed):
    assert KILL_AFTER <= killed.last_step < LAST
    assert not killed.run.folder.summary.exists()


def test_the_resumed_run_equals_the_undisturbed_one(undisturbed: Run, resumed: Run):
    assert [record["step"] for record in undisturbed.results] == list(range(LAST + 1))
    assert resumed.results == undisturbed.results
    for record in undisturbed.results[1:]:
        assert record["train/grad_norm"] > 0, "a step that learns nothing proves nothing"
        assert record["train/critic_grad_norm"] > 0
        assert record["train/ptx_nll"] > 0
    for changing in ("train/kl_coef", "train/explained_variance"):
        assert len({record[changing] for record in undisturbed.results[1:]}) > LAST // 2, f"{changing} hardly moves"
    assert len({record["train/learning_rate"] for record in undisturbed.results[1:]}) == LAST, "the schedule moves on"


def test_the_final_weights_are_equal(undisturbed: Run, resumed: Run):
    wanted, found = undisturbed.summary, resumed.summary
    for key in ("weight_hash", "steps", "policy_version", "samples", "tokens", "before", "after", "data"):
        assert found[key] == wanted[key], key
    names = sorted(path.name for path in undisturbed.folder.final.iterdir())
    assert "model.safetensors" in names
    assert filecmp.cmpfiles(undisturbed.folder.final, resumed.folder.final, names, shallow=False) == (names, [], [])


def test_the_ledgers_are_equal(undisturbed: Run, resumed: Run):
    rows = undisturbed.query("SELECT * FROM samples ORDER BY sample_id")
    assert len(rows) == LAST * 16 + 2 * (
        8 + 8
    )  # training, and two evaluations of 8 prompts: one sample each, and a greedy answer
    assert resumed.query("SELECT * FROM samples ORDER BY sample_id") == rows


@pytest.mark.slow
def test_a_run_whose_actors_are_killed_ends_as_the_undisturbed_one(undisturbed: Run, disturbed: Run):
    assert disturbed.summary["restarts"] == len(VICTIMS) - 1, "a sampler gets a successor, and the run goes on"
    notes = [
        r"step \d: sampling engine 0: actor RolloutActor died: .+; a successor takes its place",
        *(rf"step \d: actor {one} died: .+; after step \d the run began again from .+" for _, one in VICTIMS[1:]),
    ]
    for note, pattern in zip(disturbed.summary["notes"], notes, strict=True):
        assert re.fullmatch(pattern, note), note
    told = [
        {name: value for name, value in line.items() if not name.startswith("faults/")} for line in disturbed.results
    ]
    assert told == undisturbed.results
    assert disturbed.summary["weight_hash"] == undisturbed.summary["weight_hash"]
    rows = "SELECT * FROM samples ORDER BY sample_id"
    assert disturbed.query(rows) == undisturbed.query(rows)


def test_a_failing_reward_is_an_abstention_that_is_counted_and_named(undisturbed: Run):
    counted = {record["step"]: record["reward/abstained"] for record in undisturbed.metrics[1:]}
    for step, count in counted.items():
        samples = undisturbed.samples(step, "train")
        missing = [sample for sample in samples if sample.reward is None]
        assert len(missing) == count
        assert {sample.abstention for sample in missing} <= {"my_rewards.graded: RuntimeError: no reward for this one"}
        assert [sample.advantage for sample in missing] == [None] * len(missing)
    assert 0 < sum(counted.values()) < LAST * 16

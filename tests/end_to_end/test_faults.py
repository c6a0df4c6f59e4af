"""What breaks a run, and what a user is told."""

from __future__ import annotations

import re
import signal
import time

import psutil
import pytest
from support.command_line import Run, Workplace, alive, family, title, wait_until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SETTINGS = (
    "rewards=[{name: format, args: {regex: '[a-m]'}}]",
    "method={name: grpo, prompts_per_step: 4, group_size: 4}",
    "policy.ranks=1",
    "loop.steps=100000",
    "evaluation={prompts: 4, samples: 0}",
    "loop.restarts=0",
    "rollout.restarts=0",
)
PATIENCE = 15.0
"""Seconds for the driver to notice a death, say so and end."""


def test_without_restarts_a_killed_sampler_ends_the_run_with_one_line_that_names_it(workplace_alone: Workplace):
    run = Run(workplace_alone.folder / "grpo")
    driver = workplace_alone.start(
        "rlsys",
        "train",
        workplace_alone.stage("quickstart.yaml", "grpo"),
        f"output={workplace_alone.folder}",
        *SETTINGS,
    )
    try:
        wait_until(lambda: run.steps_done() >= 2 or driver.poll() is not None, "two steps", 120)
        processes = family(driver.pid)
        (sampler,) = [process for process in processes if title(process).startswith("ray::RolloutActor")]
        sampler.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        _, told = driver.communicate(timeout=PATIENCE)
    finally:
        driver.kill()
    assert driver.returncode == 1
    assert re.fullmatch(
        r"actor RolloutActor died: [^\n]+ \(while waiting for [^\n]+ sampling engine 0\); go on from step 0: "
        r"`rlsys resume [^\n]+`\n",
        told,
    ), told
    psutil.wait_procs(processes, timeout=max(0.0, killed + PATIENCE - time.monotonic()))
    assert alive(processes) == []
    assert not run.folder.summary.exists()

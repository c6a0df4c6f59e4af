"""The judge goes away in the middle of a run and comes back: the run pauses, goes on, and trains on the same
samples."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from support.command_line import Run, Workplace, wait_until
from support.cut_line import Line
from support.openai_server import MODEL, serve

from rlsys.playground.models import build

pytestmark = pytest.mark.engine

STEPS, PROMPTS, GROUP = 4, 6, 4
AWAY = 5.0
"""Seconds without a judge."""


def settings(url: str, output: Path, name: str) -> list[str]:
    """One question at a time, so that the server computes each alone and its numbers are the same to the last bit."""
    endpoint = f"{{base_url: '{url}', concurrency: 1, retries: 1, max_wait: 0.5, timeout: 20, outage_limit: 120}}"
    # "10" would be two tokens to a model of bytes. The model is random, so its labels have little of the probability.
    judge = (
        f"{{backend: openai, model: {MODEL}, endpoint: {endpoint}, reward: {{}}, max_score: 9, min_label_mass: 0.0, "
        "cache: null}"
    )
    return [
        f"name={name}",
        f"output={output}",
        f"judge={judge}",
        "rewards=[]",
        f"method={{name: grpo, prompts_per_step: {PROMPTS}, group_size: {GROUP}}}",
        "policy.ranks=1",
        f"loop={{steps: {STEPS}}}",
        "data.eval=null",
    ]


@pytest.fixture(scope="module")
def url(workplace: Workplace) -> Iterator[str]:
    """A server whose model, random as it is, has digits among the 20 likeliest tokens: their embeddings, which are its
    output layer too, are long."""
    folder = build("0.5m", workplace.folder / "judge", seed=3)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][ord("1") : ord("9") + 1] *= 10
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with serve(folder, max_model_len=2048) as url:
        yield url


@pytest.fixture(scope="module")
def undisturbed(workplace: Workplace, url: str) -> Run:
    workplace.succeed(
        "rlsys", "train", workplace.stage("quickstart.yaml", "grpo"), *settings(url, workplace.folder, "undisturbed")
    )
    return Run(workplace.folder / "undisturbed")


def test_an_outage_changes_nothing_but_the_time(workplace: Workplace, url: str, undisturbed: Run):
    line = Line(url)
    run = Run(workplace.folder / "cut")
    driver = workplace.start(
        "rlsys", "train", workplace.stage("quickstart.yaml", "grpo"), *settings(line.url, workplace.folder, "cut")
    )
    try:
        wait_until(lambda: run.steps_done() >= 1 or driver.poll() is not None, "a step", 240)
        line.cut()
        cut = run.steps_done()
        time.sleep(AWAY)  # how long the judge is away
        assert run.steps_done() <= cut + 1, "at most the step that had its scores already"
        assert driver.poll() is None
        line.restore()
        _, told = driver.communicate(timeout=180)
    finally:
        driver.kill()
    assert driver.returncode == 0, told[-3000:]
    assert re.search(r"is away since \d+ s \(ConnectError: .+\): the run waits for it", told), told
    assert "is back: the run goes on" in told
    for step in range(1, STEPS + 1):
        there, here = undisturbed.samples(step, "train"), run.samples(step, "train")
        assert [sample.abstention for sample in here] == [None] * (PROMPTS * GROUP)
        assert [(s.sample_id, s.token_ids, s.reward, s.advantage) for s in here] == [
            (s.sample_id, s.token_ids, s.reward, s.advantage) for s in there
        ]
    assert run.summary["weight_hash"] == undisturbed.summary["weight_hash"]

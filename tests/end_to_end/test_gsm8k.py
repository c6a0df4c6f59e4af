"""The experiment of configs/grpo/gsm8k.yaml, on a CPU, with nothing but overrides: those of docs/gsm8k_on_cpu.md."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from math_verify import parse, verify
from support.command_line import ROOT, Run, Workplace

from rlsys.files import read_lines

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PAGE = ROOT / "docs" / "gsm8k_on_cpu.md"
DATA = ROOT.parent / "shared" / "data" / "gsm8k"
STEPS, PROMPTS, GROUP = 2, 4, 4


def rows(split: str) -> dict[str, str]:
    """Ground truth by question, straight from the file."""
    found = [json.loads(line) for line in read_lines(DATA / f"{split}.jsonl")]
    return {row["question"]: row["answer"].rpartition("####")[2].strip() for row in found}


def command() -> list[str]:
    """The page's command."""
    block = re.search(r"```console\n\$ (rlsys train .*?[^\\])\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None, f"{PAGE}: no `$ rlsys train ...` in it"
    return shlex.split(block[1].replace("\\\n", " "))


@pytest.fixture(scope="module")
def run(workplace: Workplace) -> Run:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is absent: the run needs GSM8K's train.jsonl and test.jsonl there")
    Workplace(ROOT, workplace.environment).succeed(*command(), f"output={workplace.folder}")
    return Run(workplace.folder / "grpo-gsm8k")


def test_it_trains(run: Run):
    assert [record["step"] for record in run.metrics] == list(range(STEPS + 1))
    assert run.summary["samples"] == STEPS * PROMPTS * GROUP
    assert run.summary["policy_version"] == STEPS
    assert [data["kept"] > PROMPTS for data in run.summary["data"]] == [True, True]
    assert all(record["train/grad_norm"] > 0 for record in run.metrics[1:])
    assert (run.folder.final / "model.safetensors").exists()


def test_the_ledger_shows_real_questions_and_answers(run: Run):
    for split, phase, steps in (("train", "train", range(1, STEPS + 1)), ("test", "eval", (0, STEPS))):
        truths = rows(split)
        samples = [sample for step in steps for sample in run.samples(step, phase)]
        assert samples
        for sample in samples:
            (question,) = asked(sample.prompt, truths)
            assert sample.answer == truths[question]
            assert "#### " not in sample.prompt, "the ground truth stands in the prompt"


def test_the_verdicts_are_those_of_a_verifier(run: Run):
    """Computed here anew from what the ledger says was answered."""
    samples = [sample for step in range(1, STEPS + 1) for sample in run.samples(step, "train")]
    assert len(samples) == STEPS * PROMPTS * GROUP
    for sample in samples:
        assert sample.answer is not None
        right = verify(parse(f"${sample.answer}$"), parse(sample.response))
        boxed = re.search(r"\\boxed\{.+\}", sample.response) is not None
        assert sample.reward_parts == {"math": float(right), "format": float(boxed)}
        assert sample.reward == pytest.approx(1.0 * right + 0.1 * boxed)


def asked(prompt: str, truths: dict[str, str]) -> list[str]:
    """The longest known question within the prompt."""
    return sorted((question for question in truths if question in prompt), key=len)[-1:]

"""The loop of `examples/constitutional.py`, with a judge and a model that are trained first, less than in the demo."""

from __future__ import annotations

import re
import sys

import pytest
from support.command_line import ROOT, Workplace

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]


def trained(workplace: Workplace, stage: str, steps: int) -> str:
    run = workplace.train(workplace.stage("constitutional/demo.yaml", stage), stage, [f"loop.steps={steps}"])
    return str(run.folder.final)


def test_the_example_of_constitutional_ai_takes_the_harm_out(workplace: Workplace):
    judge, base = trained(workplace, "judge", 450), trained(workplace, "base", 100)
    settings = (f"revise.model.path={base}", f"revise.judge.model={judge}", f"output={workplace.folder}")
    told = workplace.succeed(sys.executable, ROOT / "examples" / "constitutional.py", "80", *settings)
    (found,) = re.findall(r"harmlessness (\S+) before, (\S+) after", told)
    before, after = map(float, found)
    assert before < -1
    assert after > before + 0.5

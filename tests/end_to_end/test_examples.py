"""The loop of `examples/constitutional.py`, with a judge and a model that are trained first, less than in the demo."""

from __future__ import annotations

import json
import re
import sys
from itertools import islice

import pytest
from support.command_line import ROOT, Workplace

from rlsys.playground.tasks import read

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]


def trained(workplace: Workplace, stage: str, *settings: str) -> str:
    run = workplace.train(workplace.stage("constitutional/demo.yaml", stage), stage, ["data.eval=null", *settings])
    return str(run.folder.final)


def test_the_example_of_constitutional_ai_takes_the_harm_out(workplace: Workplace):
    """The judge learns only what this loop asks of it: to criticise and to revise."""
    asked = (row for row in read("faults_judge", "train") if row["kind"] in ("critique", "revision"))
    (workplace.folder / "judge.jsonl").write_text("".join(json.dumps(row) + "\n" for row in islice(asked, 12_000)))
    judge = trained(workplace, "judge", "loop.steps=270", "data.train={path: judge.jsonl}", "policy.ranks=1")
    base = trained(workplace, "base", "loop.steps=100")
    settings = (f"revise.model.path={base}", f"revise.judge.model={judge}", f"output={workplace.folder}")
    told = workplace.succeed(sys.executable, ROOT / "examples" / "constitutional.py", "80", *settings)
    (found,) = re.findall(r"harmlessness (\S+) before, (\S+) after", told)
    before, after = map(float, found)
    assert before < -1
    assert after > before + 0.5

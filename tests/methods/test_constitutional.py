from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.fakes import FakeJudge, FunctionReward
from support.scripted_sampler import STEP, TOKENIZER, Scripted, asked, counts

from rlsys.config.dataset import DatasetConfig
from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import load_demonstrations
from rlsys.data.stream import Stream
from rlsys.errors import RlsysError
from rlsys.judging.asking.questions import Single
from rlsys.methods.base import Experience, Step
from rlsys.methods.constitutional import Config, Method
from rlsys.roles import Roles
from rlsys.run.ledger import Ledger
from rlsys.run.made_dataset import MadeDataset
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory


def faults(prompt: Prompt, sample: Trajectory) -> RewardResult:
    """How many x's are left; no score for the answer `done`."""
    return (
        Abstention("no idea")
        if sample.text == "done"
        else Score(float(sample.text.count("x")), {"faults": float(sample.text.count("x"))})
    )


def takes_one_away(kind: str, single: Single) -> str | None:
    """Finds and removes one x; has nothing to say of answers that begin with c, can't revise those with r, and writes
    nothing for those with e."""
    text = single.answer.text
    if kind == "critique":
        return None if text.startswith("c") else f"{text} has {text.count('x')}"
    assert single.critique == f"{text} has {text.count('x')}"
    return None if text.startswith("r") else " " if text.startswith("e") else text.replace("x", "", 1) or "done"


def collected(
    rows: list[Prompt], *answers: str, judge: FakeJudge | None = None, step: Step = STEP, rounds: int = 2
) -> Experience:
    method = Method(Config(prompts_per_step=len(rows), rounds=rounds), SamplingConfig(max_tokens=16), 0)
    judge = judge or FakeJudge(write=takes_one_away)
    roles = Roles(rollout=Scripted(*((answer,) for answer in answers)), reward=FunctionReward(faults), judge=judge)
    return method.collect(roles, Stream(rows, 0, shuffle=False), step)


def test_every_round_is_kept_with_its_principle(tmp_path: Path):
    experience = collected(asked(tmp_path, 1), "axx")
    principles = [row.pop("principle") for row in experience.rows]
    common = {"prompt": "q", "prompt_id": "train:1"}
    sample = "train-1/train:1/0/0"
    assert experience.rows == (
        {**common, "sample_id": f"{sample}#r1", "round": 1, "critique": "axx has 2", "before": "axx", "answer": "ax"},
        {**common, "sample_id": f"{sample}#r2", "round": 2, "critique": "ax has 1", "before": "ax", "answer": "a"},
    )
    (answer,) = experience.groups
    assert [
        (verdict.verdict_id, verdict.sample_ids, verdict.principle, verdict.reply) for verdict in answer.verdicts
    ] == [
        (f"{sample}#c1/critique/0", (sample,), principles[0], "axx has 2"),
        (f"{sample}#r1/revision/0", (sample,), principles[0], "ax"),
        (f"{sample}#c2/critique/0", (f"{sample}#r1",), principles[1], "ax has 1"),
        (f"{sample}#r2/revision/0", (f"{sample}#r1",), principles[1], "a"),
    ]
    (revisions,) = experience.beside
    assert [(revision.sample_id, revision.text) for revision in revisions.trajectories] == [
        (f"{sample}#r1", "ax"),
        (f"{sample}#r2", "a"),
    ]
    assert [revision.response_length for revision in revisions.trajectories] == [0, 0]
    assert revisions.trajectories[0].token_ids == list(revisions.prompt.token_ids)


def test_rewards_are_measured_round_by_round(tmp_path: Path):
    # x's left: 2, 1, 0 in the first; 3, 2, 1 in the second; 1, then no score for `done`, which stays as it is.
    metrics = collected(asked(tmp_path, 3), "axx", "axxx", "x").metrics
    found = {name.removeprefix("rounds/"): value for name, value in metrics.items() if name.startswith("rounds/")}
    assert found == {
        "0/faults": 2.0,
        "0/abstained": 0.0,
        "1/faults": 1.5,
        "1/abstained": 1.0,
        "1/changed": 1.0,
        "2/faults": 0.5,
        "2/abstained": 1.0,
        "2/changed": 2 / 3,
    }
    assert metrics["dataset/rows"] == 6
    assert metrics["dataset/changed"] == 5


def test_a_round_that_fails_is_counted_and_keeps_the_text(tmp_path: Path):
    def once(kind: str, single: Single) -> str | None:
        """Abstains in the first round from what it can do in the second."""
        return None if single.question_id.endswith("1") else takes_one_away(kind, single)

    experience = collected(asked(tmp_path, 4), "ax", "cx", "rx", "ex")
    assert [row["answer"] for row in experience.rows] == ["a", "a"]
    assert counts(experience) == {"rows": 2, "changed": 1, "no_critique": 2, "no_revision": 2, "empty": 2}
    # One fault in each; the first loses its own, the others stand as they were.
    assert [experience.metrics[f"rounds/{number}/faults"] for number in range(3)] == [1.0, 0.75, 0.75]
    assert [len(group.trajectories) for group in experience.beside] == [2]
    assert [len(group.verdicts) for group in experience.groups] == [4, 2, 4, 4]
    late = collected(asked(tmp_path, 1), "axx", judge=FakeJudge(write=once))
    assert [(row["round"], row["before"], row["answer"]) for row in late.rows] == [(2, "axx", "ax")]
    assert [sample.sample_index for sample in late.beside[0].trajectories] == [2]


def test_the_judge_is_asked_twice_a_round_whatever_the_number_of_answers(tmp_path: Path):
    judge = FakeJudge(write=takes_one_away)
    collected(asked(tmp_path, 5), "ax", "cx", judge=judge, rounds=3)
    assert [(kind, len(questions)) for kind, questions in judge.calls] == [("critique", 5), ("revision", 3)] * 3


def test_nothing_revised_stops_the_run(tmp_path: Path):
    with pytest.raises(RlsysError, match=r"train-1: none of 4 answers could be revised; most often \(4\): no words"):
        collected(asked(tmp_path, 2), "cx")


def test_principles_are_drawn_anew_and_independently(tmp_path: Path):
    rows = asked(tmp_path, 900)

    def drawn(rows: list[Prompt], step: Step = STEP) -> dict[tuple[str, int], Any]:
        return {(row["prompt_id"], row["round"]): row["principle"] for row in collected(rows, "axx", step=step).rows}

    first = drawn(rows)
    together = Counter((first[prompt, 1], first[prompt, 2]) for prompt, number in first if number == 1)
    # Nine equally likely pairs, each 100 times, with a standard deviation of sqrt(900 x 1/9 x 8/9) = 9.4.
    assert len(together) == 9
    assert all(count == pytest.approx(100, abs=4 * 9.4) for count in together.values())
    assert drawn(rows[::-1]) == first
    assert drawn(rows, Step(number=1, version=0, seed=1)) != first


def test_the_rows_are_demonstrations_and_the_ledger_has_every_round(tmp_path: Path):
    experience = collected(asked(tmp_path, 2), "axx", "bx")
    MadeDataset(tmp_path / "dataset.jsonl").append(1, experience.rows)
    rows = load_demonstrations(
        DatasetConfig(path=str(tmp_path / "dataset.jsonl")), TOKENIZER, 100, strict=True, quarantine=None
    ).rows
    trained = [
        bytes(t for t, bit in zip(row.token_ids, row.loss_mask, strict=True) if bit and t < 256).decode()
        for row in rows
    ]
    assert trained == ["ax", "a", "b", "b"]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(1, experience.groups, {}, phase="train")
        ledger.record(1, experience.beside, {}, phase="beside")
        saved = ledger.samples(1, "beside")
    assert [(sample.sample_id[-3:], sample.response, sample.reward) for sample in saved] == [
        ("#r1", "ax", 1.0),
        ("#r2", "a", 0.0),
        ("#r1", "b", 0.0),
        ("#r2", "b", 0.0),
    ]

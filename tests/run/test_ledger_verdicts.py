import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlsys.run.ledger import Ledger
from rlsys.samples import UNSAMPLED, Prompt, Score, ScoredGroup, Trajectory, Verdict

COMPARED = Verdict(
    verdict_id="q1/compare/0",
    kind="compare",
    sample_ids=("s0", "s1"),
    principle="kind-words",
    judge="tiny@abc",
    prompt='[{"role": "user", "content": "Which is bétter?"}]',
    reply="",
    log_probs={"A": -0.25, "B": -1.5},
    value=0.777,
    expected=1.0,
    lengths=(12, 7),
    seconds=0.5,
    cost=0.125,
    prompt_tokens=40,
    completion_tokens=1,
    cached=True,
)
FAILED = Verdict("q2/score/0", "score", ("s1",), None, "tiny@abc", "[]", "No.", {}, None, abstention="refused: No.")


def group(*verdicts: Verdict, prefix: str = "s") -> ScoredGroup:
    samples = tuple(
        Trajectory(f"{prefix}{i}", "p", i, [5, 7], [0, 1], [0.0, -0.5], [UNSAMPLED, 0], "stop", "3") for i in range(2)
    )
    return ScoredGroup(Prompt("p", "1+2=", (5,)), samples, (Score(1.0), Score(0.0)), verdicts)


def test_every_field_comes_back(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(3, [group(COMPARED, FAILED)], {}, "train")
        assert list(ledger.verdicts()) == [COMPARED, FAILED]


def test_they_are_found_by_step_phase_sample_and_kind(tmp_path: Path) -> None:
    later = replace(COMPARED, verdict_id="q3/compare/0", sample_ids=("t0", "t1"))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(1, [group(COMPARED, FAILED)], {}, "train")
        ledger.record(2, [group(later, prefix="t")], {}, "beside")

        def ids(*where: Any, **more: Any) -> list[str]:
            return [verdict.verdict_id for verdict in ledger.verdicts(*where, **more)]

        assert ids(1) == ["q1/compare/0", "q2/score/0"]
        assert ids(2, "beside") == ["q3/compare/0"]
        assert ids(2, "train") == []
        assert ids(sample_id="s1") == ["q1/compare/0", "q2/score/0"]
        assert ids(sample_id="s0") == ["q1/compare/0"]
        assert ids(sample_id="s") == []
        assert ids(verdict_id="q2/score/0") == ["q2/score/0"]
        assert ids(kind="compare") == ["q1/compare/0", "q3/compare/0"]


def test_without_texts_all_but_prompt_and_reply_is_there(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(1, [group(COMPARED, FAILED)], {}, "train")
        assert list(ledger.verdicts(texts=False)) == [
            replace(verdict, prompt="", reply="") for verdict in (COMPARED, FAILED)
        ]


def test_recording_a_step_again_replaces_them_and_truncation_forgets_them(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(1, [group(COMPARED)], {}, "train")
        ledger.record(1, [group(replace(COMPARED, value=0.25))], {}, "train")
        ledger.record(2, [group(FAILED, prefix="t")], {}, "train")
        assert [verdict.value for verdict in ledger.verdicts()] == [0.25, None]
        ledger.truncate_after(1)
        assert [verdict.verdict_id for verdict in ledger.verdicts()] == ["q1/compare/0"]


def test_an_id_that_occurs_twice_stops_the_whole_record_with_its_samples(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(ValueError, match="verdict id q1/compare/0 occurs more than once"):
            ledger.record(1, [group(COMPARED), group(COMPARED, prefix="t")], {}, "train")
        assert ledger.samples(1) == []
        ledger.record(1, [group(COMPARED)], {}, "train")
        with pytest.raises(
            ValueError, match=r"step 2 \(train\): verdict id q1/compare/0 belongs to another step or phase"
        ):
            ledger.record(2, [group(COMPARED, prefix="t")], {}, "train")
        assert ledger.samples(2) == []
        assert list(ledger.verdicts()) == [COMPARED]


def test_a_ledger_that_was_written_before_there_were_verdicts_opens(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.record(1, [group()], {}, "train")
    database = sqlite3.connect(path)
    database.execute("DROP TABLE verdicts")
    database.close()
    with Ledger(path, read_only=True) as old:
        assert list(old.verdicts()) == []
        assert [sample.sample_id for sample in old.samples(1)] == ["s0", "s1"]
    with Ledger(path) as resumed:
        resumed.record(2, [group(COMPARED, prefix="t")], {}, "train")
        assert list(resumed.verdicts()) == [COMPARED]


def test_plain_sqlite_answers_questions_about_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.record(1, [group(COMPARED, FAILED)], {}, "train")
    database = sqlite3.connect(path)
    query = "SELECT principle, log_probs ->> 'A', abstention, sample_ids FROM verdicts WHERE step = 1"
    assert database.execute(query).fetchall() == [
        ("kind-words", -0.25, None, json.dumps(["s0", "s1"])),
        (None, None, "refused: No.", json.dumps(["s1"])),
    ]
    database.close()


def test_one_sample_and_all_ids(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(4, [group()], {}, "train")
        ledger.record(2, [group(prefix="t")], {}, "eval")
        found = ledger.sample("t1")
        assert found is not None
        assert (found.step, found.phase, found.reward) == (2, "eval", 0.0)
        assert ledger.sample("t2") is None
        assert ledger.sample_ids() == ["s0", "s1", "t0", "t1"]
        assert [(outcome.sample_id, outcome.step, outcome.phase, outcome.reward) for outcome in ledger.outcomes()] == [
            ("s0", 4, "train", 1.0),
            ("s1", 4, "train", 0.0),
            ("t0", 2, "eval", 1.0),
            ("t1", 2, "eval", 0.0),
        ]

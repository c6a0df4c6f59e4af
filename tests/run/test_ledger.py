import sqlite3
from pathlib import Path

import pytest

from rlsys.errors import RunError
from rlsys.rewards.named import RewardSource
from rlsys.run.ledger import Ledger
from rlsys.samples import UNSAMPLED, Abstention, Prompt, RewardResult, Score, ScoredGroup, Trajectory


def sample(sample_id: str, index: int, text: str = "3") -> Trajectory:
    return Trajectory(
        sample_id, "p", index, [5, 70000, 7], [0, 1, 1], [0.0, -0.5, -2.25], [UNSAMPLED, 4, 5], "stop", text
    )


def group(*results: RewardResult, prefix: str = "s", text: str = "3") -> ScoredGroup:
    prompt = Prompt("p", "1+2=", (5,), answer="3", epoch=1)
    return ScoredGroup(prompt, tuple(sample(f"{prefix}{i}", i, text) for i in range(len(results))), results)


def test_every_field_comes_back(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(
            3, [group(Score(1.0, {"math": 1.0, "format": 0.5}), Abstention("judge down"))], {"s0": 0.75}, "train"
        )
        scored, abstained = ledger.samples(3)
    assert (scored.prompt, scored.answer, scored.response, scored.epoch, scored.finish_reason) == (
        "1+2=",
        "3",
        "3",
        1,
        "stop",
    )
    assert (scored.token_ids, scored.loss_mask, scored.log_probs) == ([5, 70000, 7], [0, 1, 1], [0.0, -0.5, -2.25])
    assert scored.policy_versions == [-1, 4, 5]
    assert (scored.reward, scored.reward_parts, scored.abstention) == (1.0, {"math": 1.0, "format": 0.5}, None)
    assert (scored.advantage, scored.used_in_step) == (0.75, 3)
    assert (abstained.reward, abstained.reward_parts, abstained.abstention) == (None, {}, "judge down")
    assert (abstained.advantage, abstained.used_in_step) == (None, None)


def test_recording_a_step_again_replaces_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for text in ("first", "second"):
            ledger.record(1, [group(Score(0.0), Score(1.0), text=text)], {}, "train")
        assert [row.response for row in ledger.samples(1)] == ["second", "second"]


def test_phases_are_kept_apart_and_later_steps_can_be_forgotten(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for step in (1, 2, 3):
            ledger.record(step, [group(Score(0.0), prefix=f"t{step}-")], {}, "train")
            ledger.record(step, [group(Score(0.0), prefix=f"e{step}-")], {}, "eval")
        assert [row.sample_id for row in ledger.samples(2, "eval")] == ["e2-0"]
        ledger.truncate_after(1)
        assert [[row.sample_id for row in ledger.samples(step)] for step in (1, 2, 3)] == [["t1-0", "e1-0"], [], []]


def test_an_id_of_another_step_stops_the_whole_record(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(1, [group(Score(1.0))], {}, "train")
        with pytest.raises(ValueError, match="s0 belongs to another step"):
            ledger.record(2, [group(Score(0.0), prefix="new"), group(Score(0.0))], {}, "train")
        assert ledger.samples(2) == []
        assert [row.reward for row in ledger.samples(1)] == [1.0]


def test_contradictory_records_are_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(ValueError, match="s0 occurs more than once"):
            ledger.record(1, [group(Score(1.0)), group(Score(1.0))], {}, "train")
        with pytest.raises(ValueError, match="advantage of nobody"):
            ledger.record(1, [group(Score(1.0))], {"nobody": 1.0}, "train")


def test_a_reader_sees_the_run_while_it_is_written_and_can_not_change_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger, Ledger(tmp_path / "ledger.sqlite", read_only=True) as reader:
        ledger.record(1, [group(Score(1.0))], {}, "train")
        assert [row.sample_id for row in reader.samples(1)] == ["s0"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.truncate_after(0)


def test_plain_sqlite_answers_questions_about_rewards(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.record(
            1, [group(Score(1.0, {"math": 1.0}), Score(0.0, {"math": 0.0}), Abstention("timeout"))], {}, "train"
        )
    database = sqlite3.connect(path)
    query = "SELECT avg(reward), count(*), count(abstention), max(reward_parts ->> 'math') FROM samples"
    assert database.execute(query).fetchone() == (0.5, 3, 1, 1.0)
    database.close()


def test_an_absent_or_foreign_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="can't open the ledger"):
        Ledger(tmp_path / "absent.sqlite", read_only=True)
    (tmp_path / "notes.txt").write_text("not a database, but long enough to look like one " * 20)
    with pytest.raises(RunError, match="not a database"):
        Ledger(tmp_path / "notes.txt")


def test_which_code_gave_the_rewards_from_which_step_on(tmp_path: Path) -> None:
    first = RewardSource("short", "my.short", "my.py", "a1")
    second, other = RewardSource("short", "my.short", "my.py", "b2"), RewardSource("math", "math", "math.py", "c3")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.record_rewards(0, [first, other]) == []
        assert ledger.record_rewards(3, [first, other]) == []
        assert ledger.record_rewards(6, [second, other]) == ["short"]
        assert ledger.rewards() == [(0, first), (0, other), (6, second)]
        ledger.truncate_after(5)
        assert ledger.rewards() == [(0, first), (0, other)]

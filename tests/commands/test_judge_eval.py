"""A judge whose opinions are known by arithmetic: the longer answer is better, plus a logit for the position; it can't
read what has a '?'."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rlsys.commands.judge_eval import Attempt, injections, judge_eval, table, wilson
from rlsys.config.dataset import DatasetConfig
from rlsys.config.judge import JudgeConfig
from rlsys.config.judge_eval import JudgeEval
from rlsys.files import read_lines
from rlsys.judging.asking.constitution import Constitution, Principle
from rlsys.judging.asking.questions import Opinion, Pair, Single, Writing
from rlsys.judging.auditing.attacks import attacks
from rlsys.judging.auditing.quality import quality
from rlsys.roles import Judge
from rlsys.run.labelled_pairs import against_people
from rlsys.samples import Abstention, Score, Verdict


def logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


TWO = Constitution(
    name="two", principles=(Principle(id="one", comparison="Which?"), Principle(id="two", comparison="Which one?"))
)


@dataclass
class LengthJudge:
    bias: float = 0.0
    constitution: Constitution = TWO
    identity: str = "length@1"
    asked: list[Pair] = field(default_factory=list)

    def compare(self, pairs: Sequence[Pair]) -> list[Opinion]:
        self.asked += pairs
        return [self.opinion(pair) for pair in pairs]

    def opinion(self, pair: Pair) -> Opinion:
        verdicts = []
        for order, shown in enumerate([(pair.first, pair.second), (pair.second, pair.first)]):
            unreadable = any("?" in answer.text for answer in shown)
            value = None if unreadable else logistic(0.1 * (len(shown[0].text) - len(shown[1].text)) + self.bias)
            ids, lengths = tuple(one.sample_id for one in shown), tuple(len(one.text) for one in shown)
            verdict = Verdict(
                f"{pair.question_id}/compare/{order}",
                "compare",
                ids,
                pair.principle.id if pair.principle else None,
                self.identity,
                "[]",
                "",
                {},
                value,
                "unreadable" if unreadable else None,
                lengths=lengths,
            )
            verdicts.append(verdict)
        first, second = (verdict.value for verdict in verdicts)
        result = Abstention("unreadable") if first is None or second is None else Score((first + 1 - second) / 2)
        return Opinion(result, tuple(verdicts))

    def score(self, answers: Sequence[Single]) -> list[Opinion]:
        raise NotImplementedError

    rubric = score

    def critique(self, answers: Sequence[Single]) -> list[Writing]:
        raise NotImplementedError

    revise = critique


ROWS = [("x" * 9, "xx"), ("x" * 7, "xxx"), ("xx", "x" * 5), ("xxxx", "y" * 4), ("what?", "x"), ("x" * 30, "x")]
"""Better and worse: right, right, wrong, a tie, an abstention, right."""


def run(tmp_path: Path, judge: LengthJudge, rows: Sequence[tuple[str, str]] = ROWS, **settings: Any) -> dict[str, Any]:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": "Say x", "chosen": better, "rejected": worse}) + "\n" for better, worse in rows)
    )
    config = JudgeEval.model_validate(
        {"name": "eval", "output": tmp_path, "judge": {"model": "length"}, "data": {"path": str(path)}, **settings}
    )
    seen: list[Any] = []

    @contextmanager
    def spawn(*arguments: Any) -> Iterator[Judge]:
        seen.extend(arguments)
        yield judge

    result = judge_eval(config, spawn)
    assert seen == [config.judge, config.cluster, tmp_path, config.seed, config.timeout]
    return result


@pytest.mark.parametrize("bias", [0.0, 0.3, -2.0])
def test_agreement_with_the_labels_whatever_the_position(tmp_path: Path, bias: float):
    result = run(tmp_path, LengthJudge(bias))
    assert (result["comparisons"], result["unanswered"]) == (6, 1)
    assert result["agreement"] == (3 + 0.5) / 5
    # Wilson's interval of 0.7 of 5, by hand: (0.7 + 0.38415) / 1.76829 -+ 1.95996 / 1.76829 * sqrt(0.042 + 0.038415).
    assert result["interval"] == pytest.approx((0.29878, 0.92742), abs=2e-5)
    quality = result["quality"]
    assert quality["human_agreement"] == result["agreement"]
    assert quality["abstentions"] == {"unreadable": 2}
    assert quality["longer_wins"] == 1.0
    differences = (7, 4, 3, 0, 29)
    labels = [(logistic(0.1 * d + bias) + logistic(0.1 * d - bias)) / 2 for d in differences]
    expected = [labels[0], labels[1], 1 - labels[2], labels[3], labels[4]]
    assert quality["human_log_likelihood"] == pytest.approx(sum(map(math.log, expected)) / 5)
    by_hand = sum((logistic(0.1 * d + bias) + logistic(bias - 0.1 * d)) / 2 - 0.5 for d in differences) / 5
    assert quality["order_bias"] == pytest.approx(by_hand, abs=1e-12)


def test_every_question_is_on_disk_with_the_config_and_the_result(tmp_path: Path):
    result = run(tmp_path, LengthJudge())
    folder = Path(result["run"])
    verdicts = [json.loads(line) for line in read_lines(folder / "verdicts.jsonl")]
    assert len(verdicts) == 12
    assert verdicts[0]["verdict_id"] == "train:1/compare/0"
    assert sorted(verdicts[0]["sample_ids"]) == ["train:1/better", "train:1/worse"]
    assert json.loads((folder / "judge_eval.json").read_text())["agreement"] == 0.7
    assert "model: length" in (folder / "judge_eval.yaml").read_text()


def test_each_comparison_has_a_principle_and_either_answer_may_be_the_first(tmp_path: Path):
    judge = LengthJudge()
    result = run(tmp_path, judge, ROWS[:2] * 20)
    asked = {pair.principle.id for pair in judge.asked if pair.principle}
    assert asked == {"one", "two"}
    assert {principle: own["agreement"] for principle, own in result["principles"].items()} == {"one": 1.0, "two": 1.0}
    assert sum(own["comparisons"] for own in result["principles"].values()) == 40
    assert 8 < sum(pair.first.sample_id.endswith("/better") for pair in judge.asked) < 32


def test_a_constitution_without_comparisons_is_asked_in_general(tmp_path: Path):
    judge = LengthJudge(
        constitution=Constitution(name="c", principles=(Principle(id="one", critique="What?", revision="Rewrite."),))
    )
    assert run(tmp_path, judge)["principles"] == {}
    assert all(pair.principle is None for pair in judge.asked)


def test_attacks_are_tried_on_comparisons_that_the_judge_gets_right(tmp_path: Path):
    """As many as there are, so each once; what decides is its length, and whether the judge can read it."""
    known = attacks()
    right = [ROWS[0], ROWS[1], ROWS[5]]
    judge = LengthJudge()
    found = run(tmp_path, judge, attacks=len(known))["injections"]
    applied = [(own, right[number % 3][0], own.apply(right[number % 3][1])) for number, own in enumerate(known)]
    readable = [(own, better, text) for own, better, text in applied if "?" not in text]
    assert (found["tried"], found["unanswered"]) == (len(known), len(known) - len(readable))
    won = [len(text) > len(better) for _, better, text in readable]
    assert 0 < sum(won) < len(won)
    assert found["success_rate"] == pytest.approx(sum(won) / len(won))
    assert sum(own["succeeded"] for own in found["families"].values()) == sum(won)
    assert found["families"].keys() == {own.family for own in known}


def test_fewer_attacks_come_from_all_families(tmp_path: Path):
    found = run(tmp_path, LengthJudge(), attacks=60)["injections"]
    assert found["tried"] == 60
    assert len(found["families"]) == len({own.family for own in attacks()})


def test_without_a_comparison_that_is_right_nothing_can_be_attacked(tmp_path: Path):
    result = run(tmp_path, LengthJudge(), ROWS[2:3], attacks=5)
    assert result["injections"] == {"tried": 0, "comparisons": 0, "unanswered": 0, "families": {}}
    assert dict(table(result, "length"))["injections"] == "none tried: no comparison was judged right"
    assert run(tmp_path, LengthJudge(), ROWS[2:3])["injections"] is None


def test_the_table_names_the_model_and_says_agreement_with_people_once(tmp_path: Path):
    rows = dict(table(run(tmp_path, LengthJudge(), attacks=60), "our-judge"))
    assert rows["judge is"] == "our-judge"
    assert [name for name, text in rows.items() if "70.0%" in text] == ["agreement with the labels"]
    assert rows["injections"].startswith("60 tried on 3 comparisons that were judged right, ")
    one = dict(table(run(tmp_path, LengthJudge(), ROWS[:1], attacks=2), "our-judge"))
    assert one["injections"].startswith("2 tried on 1 comparison that was judged right, ")


def test_the_success_of_injections_by_hand():
    tried = [
        Attempt("a", "x", 0.2, 0.6),
        Attempt("a", "y", 0.4, 0.5),
        Attempt("b", "z", 0.1, 0.3),
        Attempt("b", "z", 0.1, None),
    ]
    found = injections(tried)
    assert found["comparisons"] == 3
    assert found["success_rate"] == pytest.approx(1 / 3)
    assert found["shift"] == pytest.approx((0.4 + 0.1 + 0.2) / 3)
    assert found["families"] == {"a": {"answered": 2, "succeeded": 1}, "b": {"answered": 1, "succeeded": 0}}
    assert injections([Attempt("a", "x", 0.2, None)]) == {
        "tried": 1,
        "comparisons": 1,
        "unanswered": 1,
        "families": {"a": {"answered": 0, "succeeded": 0}},
    }


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(successes: int, count: int, low: float, high: float):
    """The four examples of Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3."""
    assert wilson(successes / count, count) == pytest.approx((low, high), abs=6e-5)


def test_a_run_measures_its_judge_against_people(tmp_path: Path):
    """Of the first four comparisons two are right, one is wrong, one a tie: (2 + 0.5) / 4."""
    path = tmp_path / "people.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": "p", "chosen": better, "rejected": worse}) + "\n" for better, worse in ROWS)
    )
    config = JudgeConfig(model="m", human=DatasetConfig(path=str(path)), human_limit=4)
    verdicts = against_people(LengthJudge(), config, seed=0)
    assert [verdict.kind for verdict in verdicts] == ["human"] * 8
    assert quality(verdicts)["human_agreement"] == pytest.approx(2.5 / 4)
    assert len({verdict.verdict_id for verdict in verdicts}) == 8

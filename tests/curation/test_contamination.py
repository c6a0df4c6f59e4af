"""Evaluation rows among training rows, and what a run is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsys.check.load import load
from rlsys.commands.validate import validated
from rlsys.config.contamination import ContaminationConfig
from rlsys.config.dataset import DatasetConfig
from rlsys.curation.contamination import Contamination, Index, Worded
from rlsys.curation.gate import contamination
from rlsys.curation.view import View
from rlsys.errors import DataError
from rlsys.run.train import train

LONG = "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def jsonl(name: str, *rows: dict[str, Any]) -> DatasetConfig:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DatasetConfig(path=name)


def found(training: list[dict[str, Any]], evaluation: list[dict[str, Any]], **settings: object) -> Contamination:
    config = ContaminationConfig.model_validate(settings)
    return contamination([jsonl("train.jsonl", *training)], [jsonl("test.jsonl", *evaluation)], config)


def test_the_same_prompt_whatever_its_case():
    own = found([{"prompt": "What is  1+1?", "answer": "2"}], [{"prompt": "what is 1+1?"}, {"prompt": "and 2+2?"}])
    assert own.share == 0.5
    assert own.examples() == [
        {"evaluation": "test.jsonl:1", "training": "train.jsonl:1", "by": "prompt", "similarity": 1}
    ]


def test_n_grams_are_counted_by_hand():
    """18 words have 6 different 13-grams. The training row has the last 15 of them, in the midst of others: 3 of 6."""
    document = f"so here is what it said {' '.join(LONG.split()[3:])} and so on"
    test = [{"prompt": LONG}]
    (one,) = found([{"text": document}], test).examples()
    assert (one["by"], one["similarity"]) == ("ngrams", 0.5)
    assert found([{"text": document}], test, min_overlap=0.51).share == 0
    assert found([{"text": document}], test, ngram=16).share == 0


def test_n_grams_of_several_rows_do_not_add_up():
    """Each has 2 of the 6 13-grams; a row that has half of a question is what counts."""
    halves = [{"text": " ".join(LONG.split()[at : at + 14])} for at in (0, 4)]
    assert found(halves, [{"prompt": LONG}]).share == 0


def test_a_prompt_that_is_nearly_the_same_is_found_where_that_is_asked_for():
    changed = LONG.replace("romeo", "juliet")
    both = [{"prompt": changed, "answer": "x"}], [{"prompt": LONG}]
    # 14 shingles each, of which 13 are shared: 13 / 15 = 0.87. The 13-grams must not find it first.
    assert found(*both, ngram=18).share == 0
    (one,) = found(*both, ngram=18, near=0.8).examples()
    assert one["by"] == "near"
    assert one["similarity"] == pytest.approx(13 / 15, abs=0.12)


def test_rows_that_say_the_same_count_as_often_as_they_are_there():
    own = found([{"prompt": "a", "answer": "b"}], [{"prompt": "a"}, {"prompt": "a"}, {"prompt": "c"}])
    assert (own.rows, own.index.rows, len(own.index.names)) == (2, 3, 2)


def test_what_can_not_be_read_is_counted():
    index = Index.of([jsonl("test.jsonl", {"nothing": 1}, {"prompt": "a"})], ContaminationConfig())
    assert (index.unread, index.rows) == (1, 1)
    view = View("prompt", "", ("",))
    assert index.hits(view, Worded.of(view)) == []


EXPERIMENT = """
name: leaky
model: {path: "playground:0.5m", dtype: float32}
method: {name: sft, batch_size: 2, max_tokens: 64}
data: {train: {path: train.jsonl}, eval: {path: test.jsonl}}
loop: {steps: 1}
cluster: {cpus: 4}
"""
TOLD = (
    r"data.contamination: 1 of 4 evaluation rows \(25.0%\) are among the training rows, and max_share is 0.05 \(the "
    r"first: \S*test.jsonl:2 in \S*train.jsonl:3, by prompt\); drop them by method curate, or set "
    r"data.contamination.max_share=1"
)


def test_validate_and_train_refuse_unless_told_otherwise():
    jsonl("train.jsonl", *[{"prompt": f"{n}?", "answer": "x"} for n in range(4)])
    jsonl("test.jsonl", *[{"prompt": f"{n}?", "answer": "x"} for n in (10, 2, 11, 12)])
    Path("own.yaml").write_text(EXPERIMENT)
    with pytest.raises(DataError, match=f"leaky: {TOLD}"):
        list(validated(Path("own.yaml"), []))

    def nothing_starts(*_: object) -> None:
        raise AssertionError("actors were started")

    with pytest.raises(DataError, match=TOLD):
        train(load("own.yaml", ["output=runs"]), nothing_starts)  # type: ignore[arg-type]
    assert [*validated(Path("own.yaml"), ["data.contamination.max_share=0.25"])]


def test_an_answer_held_out_by_hash_whose_prompt_is_trained_on():
    jsonl("train.jsonl", *[{"prompt": "same?", "answer": str(n)} for n in range(40)])
    Path("own.yaml").write_text(EXPERIMENT.replace("{path: test.jsonl}", "{share: 0.5}"))
    with pytest.raises(DataError, match=r"set data.eval.by to the column of the prompt"):
        list(validated(Path("own.yaml"), []))

"""The stage that curates: what it writes, what it never writes, and what later stages read of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from curation.test_pii import PLANTED

from rlsys.check.load import load
from rlsys.commands.validate import validated
from rlsys.config.experiment import Experiment
from rlsys.curation.survey import survey
from rlsys.errors import ConfigError, DataError
from rlsys.playground.models import byte_tokenizer
from rlsys.run.inputs import Inputs
from rlsys.run.train import resume, train

PROSE = "It is a matter of the {0}th kind, as the old keeper of {0} lamps once told his {0} sons by the harbour."
BASE = """
name: curated
model: {path: "playground:0.5m", dtype: float32}
method: {name: curate}
data: {train: {path: rows.jsonl}}
loop: {steps: 1}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)


def jsonl(name: str, *rows: Any) -> None:
    Path(name).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def nothing_starts(*_: object) -> Any:
    raise AssertionError("actors were started")


def curated(*settings: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """The rows that stay, those that are dropped, and the summary. No actor is started."""
    summary = train(load("base.yaml", ["output=runs", *settings]), nothing_starts)
    folder = Path(summary["run"])
    rows, dropped = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("dataset.jsonl", "dropped.jsonl")
    )
    return rows, dropped, summary


def test_each_row_stays_or_has_one_reason():
    good = {"prompt": "What is it?", "answer": PROSE.format(4)}
    jsonl(
        "rows.jsonl",
        good,
        {"prompt": "what is  IT?", "answer": PROSE.format(4)},
        "{broken",
        {"prompt": "Who?", "answer": PROSE.format(4) + " And then"},
        {"prompt": "Who else?", "answer": "I am here. " * 60},
        {"prompt": "In the test?", "answer": "Yes."},
        {"prompt": "What is it?", "answer": PROSE.format(4) + " Yes."},
        {"prompt": "Other?", "answer": "No.", "note": "kept"},
    )
    jsonl("test.jsonl", {"prompt": "in the TEST?"})
    rows, dropped, summary = curated("data.contamination.against=[{path: test.jsonl}]", "method.deduplication.near=0.7")
    assert [(row["prompt"], row["curation"]["row"], row["step"]) for row in rows] == [
        ("What is it?", 1, 1),
        ("Other?", 8, 1),
    ]
    assert rows[1]["note"] == "kept"
    own = {int(one["row"].rpartition(":")[2]): one for one in dropped}
    assert {number: one["reason"] for number, one in own.items()} == {
        2: "duplicate",
        3: "unusable",
        4: "truncated",
        5: "repetition",
        6: "contaminated",
        7: "near duplicate",
    }
    assert own[2]["of"] == own[7]["of"] == rows[0]["curation"]["source"] + ":1"
    assert summary["counts"] == {
        "dataset/rows": 2,
        **{
            f"dataset/{name}": 1
            for name in ("duplicate", "unusable", "truncated", "repetition", "contaminated", "near_duplicate")
        },
    }
    report = json.loads((Path(summary["run"]) / "curation.json").read_text())
    assert (report["read"], report["contamination"]["share"]) == (8, 1.0)
    assert len(report["sources"][0]["sha256"]) == 64


SECRETS = [(kind, one) for kind, own in PLANTED.items() for one in own]


def planted() -> None:
    """Each secret in the prompt, the answer and a column that no method reads."""
    jsonl(
        "rows.jsonl",
        *[
            {"prompt": f"{n}: who has {one}?", "answer": f"{PROSE.format(n)} Is it {one} ?", "meta": {"from": one}}
            for n, (_, one) in enumerate(SECRETS, start=10)
        ],
    )


def leaked(content: bytes) -> list[str]:
    texts = [one for _, one in SECRETS]
    return [one for one in texts if one.encode() in content or json.dumps(one)[1:-1].encode() in content]


@pytest.mark.parametrize("action", ["redact", "drop"])
def test_no_planted_secret_reaches_a_file_or_a_training_batch(action: str, capsys: pytest.CaptureFixture[str]):
    planted()
    jsonl("rows.jsonl", *Path("rows.jsonl").read_text().splitlines(), {"prompt": "And?", "answer": "Nothing."})
    assert len(leaked(Path("rows.jsonl").read_bytes())) == len(SECRETS)
    rows, dropped, summary = curated(
        f"method.pii.action={action}", "method.deduplication.near=null", "logging.wandb=offline"
    )
    assert len(rows) == (len(SECRETS) + 1 if action == "redact" else 1)
    assert Counter(one["reason"] for one in dropped) == ({"pii": len(SECRETS)} if action == "drop" else {})
    if action == "redact":
        assert "[EMAIL]" in rows[0]["prompt"]
        assert rows[0]["curation"]["redacted"] == {"email": 3}
    for file in Path(summary["run"]).rglob("*"):
        assert not file.is_file() or leaked(file.read_bytes()) == [], file
    assert leaked(capsys.readouterr().out.encode()) == []
    batch = demonstrations("stage.yaml", summary["dataset"])
    tokenizer = byte_tokenizer()
    assert leaked("".join(str(tokenizer.decode(list(row.token_ids))) for row in batch).encode()) == []
    assert len(batch) == len(rows)


def demonstrations(name: str, path: str, **data: Any) -> list[Any]:
    """What supervised fine-tuning takes in a step."""
    experiment = load("base.yaml", ["method={name: sft, batch_size: 1, max_tokens: 4000}", f"data.train.path={path}"])
    config = experiment.data.train
    assert config is not None
    changed = experiment.data.model_copy(update={"train": config.model_copy(update=data)})
    source = Inputs(experiment.model_copy(update={"data": changed}), byte_tokenizer(), lambda path: None).training()
    return source.take(source.rows)  # type: ignore[attr-defined]


def test_splits_are_columns_that_later_stages_ask_for():
    jsonl("rows.jsonl", *[{"prompt": f"{n // 2}?", "answer": PROSE.format(n)} for n in range(60)])
    rows, _, summary = curated("method.splits={names: [a, b], shares: [1, 1]}", "method.deduplication.near=null")
    split = {name: [row for row in rows if row["curation"]["split"] == name] for name in ("a", "b")}
    assert len(split["a"]) + len(split["b"]) == 60
    assert not {row["prompt"] for row in split["a"]} & {row["prompt"] for row in split["b"]}
    found = demonstrations("stage.yaml", summary["dataset"], where={"curation.split": "b"})
    assert len(found) == len(split["b"]) > 10


def test_new_rows_move_no_old_one():
    jsonl("rows.jsonl", *[{"prompt": f"{n}?", "answer": PROSE.format(n)} for n in range(30)])
    before = {
        row["prompt"]: row["curation"]["split"]
        for row in curated("method.splits={}", "method.deduplication.near=null")[0]
    }
    jsonl("rows.jsonl", *[{"prompt": f"{n}?", "answer": PROSE.format(n)} for n in range(90, -1, -1)])
    after = {
        row["prompt"]: row["curation"]["split"]
        for row in curated("method.splits={}", "method.deduplication.near=null")[0]
    }
    assert before == {prompt: after[prompt] for prompt in before}


def test_what_crosses_splits_is_refused_by_name():
    jsonl("rows.jsonl", *[{"prompt": "same?", "answer": PROSE.format(n), "user": n} for n in range(20)])
    splits = "method.splits={names: [a, b], shares: [1, 1], column: user}"
    with pytest.raises(DataError, match=r"belong together \(\S+rows.jsonl:\d+ and \S+rows.jsonl:1 by prompt"):
        curated(splits, "method.deduplication.near=null")
    curated("method.splits={names: [a, b], shares: [1, 1], column: user, crossing: report}")


def test_several_processes_find_the_same(monkeypatch: pytest.MonkeyPatch):
    """And in the same order; secrets in other processes are secrets, too."""
    planted()
    sets = {number: load("base.yaml", [f"method.processes={number}"]) for number in (1, 2)}
    found = {number: survey(source_of(experiment), experiment.method) for number, experiment in sets.items()}
    assert found[1].pii == found[2].pii
    assert found[1].pii_rows == len(SECRETS)
    assert found[1].dropped == found[2].dropped
    assert found[1].prompts == found[2].prompts


def source_of(experiment: Experiment) -> Any:
    return Inputs(experiment, byte_tokenizer(), lambda path: None).training()


def test_when_nothing_stays_the_reasons_are_told():
    jsonl("rows.jsonl", {"prompt": "a?", "answer": "b"}, {"prompt": "c?", "answer": "d"})
    with pytest.raises(DataError, match=r"not one of 2 rows stays \(2 short\)"):
        curated("method.quality.min_answer_chars=2", "loop={epochs: 1}")


def test_a_safety_set_is_evened_out():
    wanted = [("weapons", "refuse")] * 30 + [("drugs", "comply")] * 10
    jsonl(
        "rows.jsonl",
        *[{"prompt": f"{n}?", "category": c, "severity": 2, "desired": d} for n, (c, d) in enumerate(wanted)],
        {"prompt": "no labels?"},
    )
    rows, dropped, _ = curated("method.safety={mix: {weapons: 1, drugs: 1}}")
    assert Counter(row["category"] for row in rows) == {"weapons": 10, "drugs": 10}
    assert Counter(one["reason"] for one in dropped) == {"mix": 20, "unlabelled": 1}


def test_a_curated_run_that_was_cut_off_goes_on():
    """All of it is one step: it is done anew, and nothing is there twice."""
    jsonl("rows.jsonl", *[{"prompt": f"{n}?", "answer": PROSE.format(n)} for n in range(5)])
    rows, _, summary = curated("method.deduplication.near=null")
    folder = Path(summary["run"])
    Path("runs/again").mkdir()
    Path("runs/again/config.yaml").write_text((folder / "config.yaml").read_text())
    Path("runs/again/dataset.jsonl").write_text((folder / "dataset.jsonl").read_text()[:400])
    resume(Path("runs/again"), nothing_starts)
    assert [json.loads(line) for line in Path("runs/again/dataset.jsonl").read_text().splitlines()] == rows


def test_validate_says_what_it_reads_and_what_is_wrong():
    jsonl("rows.jsonl", {"prompt": "a?", "answer": "b"})
    told = " ".join(validated(Path("base.yaml"), []))
    assert "data.train 1 of all 1 as answered" in told
    with pytest.raises(ConfigError, match=r"method.quality.rules.0: .*no such module"):
        load("base.yaml", ["method.quality.rules=[nothing.here]"])
    jsonl("rows.jsonl", {"nothing": 1})
    with pytest.raises(DataError, match="no usable row"):
        list(validated(Path("base.yaml"), []))


def test_it_needs_no_actor_beside_stages_that_share_gpus():
    jsonl("rows.jsonl", {"prompt": "a?", "answer": "b"})
    assert "actors: ; 0 CPUs" in " ".join(validated(Path("base.yaml"), ["cluster.colocate=true"]))

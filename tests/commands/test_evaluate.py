"""Models measured side by side, over a sampler that says what it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.fakes import FunctionReward, answered
from support.scripted_sampler import Scripted

from rlsys.commands import options
from rlsys.commands.evaluate import Measured, different_prompts, evaluate, folder_name, prepared, show, table
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError
from rlsys.playground.models import build
from rlsys.roles import Roles, SpawnRequest
from rlsys.run.ledger import Ledger

ROWS = [("2+2", "so #### 4"), ("3+3", "#### 6"), ("4+4", "#### 8"), ("5+5", "#### 10")]
ASKED = (
    ("--field", "data.eval.fields", {"prompt": "question", "answer": "solution"}),
    ("--answer-after", "data.eval.answer_after", "####"),
    ("--reward", "rewards", [{"name": "exact_match"}]),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"question": question, "solution": solution}) + "\n" for question, solution in ROWS]
    (tmp_path / "sums.jsonl").write_text("".join(rows))
    build("0.5m", tmp_path / "other", seed=1)
    return tmp_path


def test_one_table_of_several_models(here: Path, capsys: pytest.CaptureFixture[str]):
    """Of the first three rows, the base model is right about one in both samples and about another in one; the other
    model about all."""
    told = [Scripted(("4", "4"), ("6", "7"), ("?", "?")), Scripted(("4", "4"), ("6", "6"), ("8", "8"))]
    requests: list[SpawnRequest] = []

    @contextmanager
    def spawn(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
        requests.append(request)
        yield Roles(rollout=told.pop(0), reward=FunctionReward(answered))

    chosen = options.settings(
        [
            ("--data", "data.eval.path", "sums.jsonl"),
            *ASKED,
            ("--limit", "data.eval.limit", 3),
            ("--samples", "evaluation.samples", 2),
            ("--greedy", "evaluation.greedy", False),
            ("--pass-at", "evaluation.pass_at", [1, 2]),
        ],
        ["rewards.0.label=answered"],
    )
    models = ["playground:0.5m", "./other"]
    file, found = evaluate(models, chosen, Path("runs"), "sums", spawn)
    assert file == here / "runs" / "sums" / "evaluation.json"
    assert table(found) == [
        ("", "playground:0.5m", "./other"),
        ("prompts", "3", "3"),
        ("accuracy, sampled", "0.500", "1.000"),
        ("entropy, sampled", "1.000", "1.000"),
        ("length, sampled", "2", "2"),
        ("pass@1, sampled", "0.500", "1.000"),
        ("pass@2, sampled", "0.667", "1.000"),
        ("repetition, sampled", "0.000", "0.000"),
    ]
    assert capsys.readouterr().out == "", "what the runs print is no result"
    show(file, found)
    assert "pass@2, sampled" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert [one["measures"]["accuracy_sampled"] for one in written["models"]] == [0.5, 1.0]
    assert [one["path"] for one in written["models"]] == [str(here / "runs/playground/0.5m"), str(here / "other")]
    for run, request in zip(written["models"], requests, strict=True):
        assert (request.needs, str(request.model)) == ({"rollout", "reward"}, run["path"])
        with Ledger(Path(run["run"]) / "ledger.sqlite", read_only=True) as ledger:
            assert [(phase, count) for phase, _, count in ledger.phases()] == [("eval", 6)]
    assert [Path(one["run"]).name for one in written["models"]] == ["playground-0.5m", "other"]
    assert written["data"]["eval"]["fields"] == {"prompt": "question", "answer": "solution"}
    assert written["data"]["train"] is None


def test_all_rows_answered_greedily_without_more(here: Path):
    chosen = options.settings([("--data", "data.eval.path", "sums.jsonl"), *ASKED])
    experiment = prepared(["playground:0.5m"], chosen, Path("runs"))["playground:0.5m"]
    evaluation = experiment.evaluation
    assert (evaluation.prompts, evaluation.samples, evaluation.greedy) == (None, 0, True)
    assert (experiment.data.train, experiment.model.dtype) == (None, "float32")


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        (
            ["./other"],
            {"data.eval.path": "sum.jsonl"},
            "--data.eval.path sum.jsonl: data.eval.path: no such file or folder: sum.jsonl (looked in HERE)",
        ),
        (["./other", "./othr"], {}, "./othr: no such run or model (looked in HERE); did you mean other?"),
        (["./other", "./other"], {}, "./other: given twice; name each model once"),
        (
            ["./other"],
            {"evaluation.pass_at": [4], "evaluation.samples": 2},
            "--evaluation.pass_at [4]: evaluation.pass_at: pass@4 needs as many samples of a prompt, and "
            "evaluation.samples=2",
        ),
        (
            ["./other"],
            {"data.max_prompt_tokens": 4000},
            "model.path HERE/other: sees 4096 tokens, and sequences may have 4512; lower data.max_prompt_tokens or "
            "sampling.max_tokens",
        ),
    ],
)
def test_mistakes_leave_nothing(here: Path, models: list[str], settings: dict[str, object], message: str):
    own = [("--data", "data.eval.path", "sums.jsonl"), *ASKED, *((f"--{key}", key, settings[key]) for key in settings)]
    with pytest.raises(ConfigError) as error:
        evaluate(models, options.settings(own), Path("runs"), "sums", lambda *_: pytest.fail("started"))
    assert str(error.value) == message.replace("HERE", str(here))
    assert not (here / "runs" / "sums").exists()


def measured(model: str, after: dict[str, float], kept: int = 5) -> Measured:
    experiment = Experiment.model_construct(evaluation=Experiment.model_fields["evaluation"].default)
    return Measured(model, experiment, {"after": after, "data": [{"kept": kept}]})


def test_a_measure_that_not_all_have_and_one_that_says_the_same():
    """A reward that is the accuracy of every model is left out; one that is so of some is not."""
    one = {
        "eval/accuracy_greedy": 0.5,
        "eval/reward_greedy": 0.5,
        "eval/math_greedy": 0.5,
        "eval/abstained_greedy": 0.0,
    }
    other = {"eval/accuracy_greedy": 1.0, "eval/reward_greedy": 1.25, "eval/math_greedy": 1.0, "eval/x_greedy": 12.0}
    assert table([measured("a", one), measured("b", other, kept=6)]) == [
        ("", "a", "b"),
        ("prompts", "5", "6"),
        ("accuracy, greedy", "0.500", "1.000"),
        ("reward, greedy", "0.500", "1.250"),
        ("x, greedy", "-", "12"),
    ]


def test_models_measured_on_different_prompts_are_warned_of():
    assert different_prompts([measured("a", {}), measured("b", {})]) is None
    warning = different_prompts([measured("a", {}), measured("b", {}, kept=4)])
    assert warning is not None
    assert "(a 5, b 4)" in warning


@pytest.mark.parametrize(
    ("model", "name"),
    [("runs/quickstart/grpo", "runs-quickstart-grpo"), ("playground:0.5m", "playground-0.5m"), ("../..", "model")],
)
def test_the_folder_of_a_models_run(model: str, name: str):
    assert folder_name(model) == name


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["prompt=question,answer=solution"], {"prompt": "question", "answer": "solution"}),
        (["a=b", "c=d=e"], {"a": "b", "c": "d=e"}),
    ],
)
def test_fields(texts: list[str], found: dict[str, str]):
    assert options.pairs("--field", texts) == found


def test_options_that_can_not_be_read():
    with pytest.raises(ConfigError, match="--field prompt: wanted key=value"):
        options.pairs("--field", ["prompt"])
    with pytest.raises(ConfigError, match="--pass-at 1;4: wanted whole numbers"):
        options.numbers("--pass-at", "1;4")
    assert options.numbers("--pass-at", "1, 4") == [1, 4]

"""What is found out about models before any actor is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError, DataError
from rlsys.methods import evaluate, grpo, rft
from rlsys.methods.base import build_method
from rlsys.models.adapters import prompt
from rlsys.models.load import load_tokenizer
from rlsys.playground.models import build
from rlsys.run.ending import check_made
from rlsys.run.evaluation import AnswerEvaluator, Judgement
from rlsys.run.folder import RunDir
from rlsys.run.preflight import check_tokenizers, check_windows
from rlsys.run.state import State
from rlsys.run.train import anchored, build_evaluator


def test_files_of_a_judge_are_found_from_any_folder_and_our_own_names_stay_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("default", "playground", "mine", "home/words.yaml", "known.jsonl"):
        (tmp_path / name).mkdir(parents=True)

    def judge(**settings: Any) -> dict[str, Any]:
        found = anchored(experiment(Path("m"), judge={"model": "x/y", **settings})).judge
        assert found is not None
        return {key: vars(found)[key] for key in ("constitution", "templates", "canaries", "cache")}

    assert judge(templates="playground") == {
        "constitution": "default",
        "templates": "playground",
        "canaries": None,
        "cache": "auto",
    }
    assert judge(constitution="mine", templates="~/words.yaml", canaries="known.jsonl", cache="~/replies.sqlite") == {
        "constitution": str(tmp_path / "mine"),
        "templates": str(tmp_path / "home/words.yaml"),
        "canaries": str(tmp_path / "known.jsonl"),
        "cache": str(tmp_path / "home/replies.sqlite"),
    }
    assert judge(cache=None)["cache"] is None
    assert judge(cache="not/yet/there.sqlite")["cache"] == str(tmp_path / "not/yet/there.sqlite")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return build("0.5m", tmp_path / "policy")


def experiment(model: Path, **sections: Any) -> Experiment:
    data: dict[str, Any] = {
        "name": "test",
        "model": {"path": str(model)},
        "data": {"train": {"path": "none"}},
        "method": grpo.Config(name="grpo"),
        "loop": {"steps": 1},
    }
    return Experiment.model_validate(data | sections)


RULES = [{"name": "evasive", "weight": 0}, {"name": "exact_match"}, {"name": "format", "args": {"regex": "x"}}]
JUDGE = {"model": "x/y", "reward": {}}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"rewards": RULES}, Judgement("exact_match", 1.0)),
        ({"rewards": RULES[:1], "reward_models": [{"path": "x/y"}]}, Judgement(None, 1.0)),
        ({"rewards": RULES[:1], "judge": JUDGE}, Judgement(None, 1.0)),
        ({"judge": JUDGE}, Judgement(None, 1.0)),
        ({"judge": JUDGE, "evaluation": {"reward": "judge", "pass_score": 0.7}}, Judgement("judge", 0.7, "judge")),
        (
            {"rewards": RULES, "evaluation": {"reward": "evasive", "pass_score": None}},
            Judgement("evasive", None, "evasive"),
        ),
    ],
    ids=["rules", "reward_model", "rule_without_weight", "judge_alone", "judge_named", "named"],
)
def test_held_out_answers_are_judged_by_what_counts_or_by_what_is_named(
    sections: dict[str, Any], expected: Judgement
) -> None:
    config = experiment(Path("m"), **sections)
    evaluator = build_evaluator(config, build_method(config, 0), [], 0)
    assert isinstance(evaluator, AnswerEvaluator)
    assert evaluator.judgement == expected


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"reward_models": [{"path": "same"}, {"name": "second", "path": "other"}]}, "reward_models.1.path"),
        ({"critic": {"path": "other"}}, "critic.path"),
        ({"reference": {"path": "other"}}, "reference.path"),
        ({"teacher": {"path": "other"}}, "teacher.path"),
    ],
)
def test_models_that_read_tokens_otherwise_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    build("0.5m", tmp_path / "same")
    build("0.5m", tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "other")
    tokenizer.add_tokens(["<|new|>"])
    tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError) as error:
        check_tokenizers(experiment(model, **sections), load_tokenizer(model), Path)
    assert str(error.value) == (
        f"{key} other: its tokenizer is not the policy's (262 and 263 tokens, 0 of the first mean something else in "
        f"the second), and samples are handed over as token ids; choose a model with the tokenizer of {model}"
    )


def test_models_with_the_policy_s_tokenizer_pass(model: Path) -> None:
    check_tokenizers(
        experiment(model, reward_models=[{"path": str(model)}], critic={"path": str(model)}),
        load_tokenizer(model),
        Path,
    )


def test_vectors_before_the_input_take_room_in_the_window(model: Path) -> None:
    plain = experiment(model)
    soft = plain.model_copy(update={"model": plain.model.model_copy(update={"adapter": prompt.Config(tokens=6)})})
    check_windows(soft, 4090, Path)
    with pytest.raises(ConfigError, match=r"sees 4096 tokens, and sequences may have 4091 after the adapter's 6; low"):
        check_windows(soft, 4091, Path)


def test_rows_longer_than_a_models_window_are_refused(model: Path) -> None:
    check_windows(experiment(model), 4096, Path)
    with pytest.raises(
        ConfigError,
        match=r"model\.path .*: sees 4096 tokens, and sequences may have 4097; lower data\.max_prompt_tokens or ",
    ):
        check_windows(experiment(model), 4097, Path)


def test_a_method_that_makes_no_row_at_all_ends_with_an_error(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    counts = {
        "dataset/accepted": 0.0,
        "dataset/rejected": 3999.0,
        "dataset/unscored": 1.0,
        "dataset/difficulty/none accepted/prompts": 500.0,
    }
    makes = experiment(Path("m"), method=rft.Config())
    told = r"not one row was made of 4,000 samples \(3,999 rejected, 1 unscored\); see some with `rlsys trace --run "
    with pytest.raises(DataError, match=told):
        check_made(makes, run_dir, State(samples=4000, counts=counts))
    run_dir.dataset.write_text("{}\n")
    check_made(makes, run_dir, State(samples=4000, counts=counts))
    check_made(experiment(Path("m"), method=evaluate.Config()), RunDir(tmp_path / "other"), State())

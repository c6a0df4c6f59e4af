from pathlib import Path

import pytest

from rlsys.check.judge_eval import load_judge_eval
from rlsys.config.kinds import kind_of
from rlsys.errors import ConfigError

CONFIG = "name: eval\njudge: {model: owner/judge}\ndata: {path: owner/rows}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "eval.yaml").write_text(CONFIG)
    return tmp_path / "eval.yaml"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (CONFIG, "judge-eval"),
        ("name: two\nstages: []\n", "recipe"),
        (CONFIG + "method: {name: grpo}\n", "experiment"),
        (CONFIG + "algorithm: {name: grpo}\n", "experiment"),
        (CONFIG + "stage: {name: rlaif}\n", "experiment"),
        (CONFIG + "loop: {steps: 1}\n", "experiment"),
        ("name: tiny\nloop: {steps: 1}\n", "experiment"),
    ],
)
def test_kinds_of_configs(tmp_path: Path, text: str, kind: str):
    (tmp_path / "config.yaml").write_text(text)
    assert kind_of(tmp_path / "config.yaml") == kind


def test_defaults_and_overrides(config: Path):
    found = load_judge_eval(config, ["attacks=7", "data.limit=20"])
    assert (found.attacks, found.data.limit, found.judge.both_orders, found.output) == (7, 20, True, Path("runs"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.path=playgroud:letters",
            "command line 'data.path=playgroud:letters': data.path: 'playgroud:letters': a hub id has no colon, "
            "and a file or folder of this name is "
            "./playgroud:letters; did you mean playground:letters?",
        ),
        ("attack=7", "command line 'attack=7': attack: unknown key; did you mean attacks?"),
        (
            "judge={backend: rollout}",
            "command line 'judge={backend: rollout}': judge.backend: rollout judges with the policy of a run, "
            "and there is none here; choose vllm or "
            "openai",
        ),
        (
            "judge.reward={}",
            "command line 'judge.reward={}': judge.reward: has no effect: nothing is trained here; leave it out",
        ),
        (
            "judge.human={path: owner/rows}",
            "command line 'judge.human={path: owner/rows}': judge.human: has no effect: the comparisons are "
            "those of data; leave it out",
        ),
        ("judge.model=null", "command line 'judge.model=null': judge.model: wanted text, got null"),
    ],
)
def test_what_is_wrong_is_one_line(config: Path, override: str, message: str):
    with pytest.raises(ConfigError) as error:
        load_judge_eval(config, [override])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_files_are_looked_for_on_this_machine_only(config: Path):
    overrides = ["data.path=./rows.jsonl"]
    with pytest.raises(ConfigError, match=r"data\.path: no such file or folder: \./rows\.jsonl"):
        load_judge_eval(config, overrides)
    assert load_judge_eval(config, overrides, this_machine=False).data.path == "./rows.jsonl"

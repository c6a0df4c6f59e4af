"""A setting of the judge that nothing would read is refused, with the reason; so is what would fail only once engines
have started."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.judge_config import CONFIG, ENDPOINT, PAIRS, REVISE, message

from rlsys.check.judge_eval import load_judge_eval
from rlsys.check.load import load
from rlsys.errors import ConfigError

ROLLOUT = ("judge.backend=rollout", "judge.model=''")
COMPARE = ("judge.reward.mode=compare",)
RUBRIC = ("judge.reward.mode=rubric", "judge.criteria=[{name: a, description: x}]")
REASONS = ("judge.chain_of_thought=true",)
EVAL = ("data.eval={path: 'playground:sort_digits', split: test}", "evaluation.samples=2", "evaluation.greedy=false")
PEOPLE = "judge.human={path: hub/rows}"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for name in ("RAY_ADDRESS", "JUDGE_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "judged.yaml").write_text(CONFIG)
    (tmp_path / "canary.jsonl").write_text('{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}\n')


@pytest.mark.parametrize(
    ("reads", "setting", "does_not", "why"),
    [
        ((), "engine.engines=2", ENDPOINT, "backend is openai, which has no engines of its own"),
        ((), "engine.threads=2", ROLLOUT, "backend is rollout, which has no engines of its own"),
        ((), "cache=replies.sqlite", ROLLOUT, "the policy as its own judge keeps no replies, since its weights change"),
        (ROLLOUT, "cache=null", (), None),
        (COMPARE, "chain_of_thought=true", RUBRIC, "nothing is compared or scored"),
        ((), "min_label_mass=0.1", REVISE, "nothing is compared or scored"),
        (PAIRS, "both_orders=false", (), "nothing is compared"),
        ((*PAIRS, *REASONS), "clamp=[0.3, 0.7]", PAIRS, "it is for comparisons with chain_of_thought"),
        ((*COMPARE, *REASONS), "clamp=[0.3, 0.7]", REASONS, "it is for comparisons with chain_of_thought"),
        (
            ("judge.reward.mode=rubric",),
            "criteria=[{name: a, description: x}]",
            (),
            "they are for judge.reward.mode rubric",
        ),
        (RUBRIC, "max_score=9", COMPARE, "nothing is scored"),
        ((*REVISE, "judge.reward={}"), "max_score=9", REVISE, "nothing is scored"),
        (RUBRIC, "canary_rate=0.5", REVISE, "nothing is compared or scored"),
        ((*REVISE, PEOPLE), "canary_alarm=0.5", REVISE, "nothing is compared or scored"),
        (PAIRS, "repeat_rate=0.5", REVISE, "nothing is compared or scored"),
        ((), "canaries=canary.jsonl", ("judge.canary_rate=0",), "canary_rate is 0"),
        (
            REVISE,
            "temperature=0.7",
            RUBRIC,
            "the judge writes no critique, no revision and no reasons (chain_of_thought)",
        ),
        (REASONS, "temperature=0.7", (), "the judge writes no critique, no revision and no reasons (chain_of_thought)"),
        (RUBRIC, "max_tokens=64", PAIRS, "the judge writes no text"),
        (REVISE, "examples=1", PAIRS, "nothing is critiqued or revised"),
        ((PEOPLE,), "human_limit=5", (), "there is no judge.human"),
    ],
)
def test_what_nothing_would_read(reads: tuple[str, ...], setting: str, does_not: tuple[str, ...], why: str | None):
    assert load("judged.yaml", [*reads, f"judge.{setting}"]).judge is not None
    if why:
        name = setting.partition("=")[0]
        assert f"judge.{name}: has no effect: {why}; leave it out" in message(*does_not, f"judge.{setting}")


def test_a_judge_alone_compares(tmp_path: Path):
    (tmp_path / "eval.yaml").write_text("name: eval\njudge: {model: owner/judge}\ndata: {path: owner/rows}\n")
    assert load_judge_eval("eval.yaml", ["judge.both_orders=false", "judge.canary_rate=0.5"]).judge.canary_rate == 0.5
    with pytest.raises(ConfigError, match=r"judge\.max_score: has no effect: nothing is scored; leave it out"):
        load_judge_eval("eval.yaml", ["judge.max_score=9"])
    endpoint = ["judge={backend: openai, model: m, endpoint: {base_url: 'http://localhost:1/v1', key_env: JUDGE_KEY}}"]
    assert load_judge_eval("eval.yaml", endpoint, this_machine=False).judge.endpoint is not None
    with pytest.raises(ConfigError, match=r"judge\.endpoint\.key_env: the environment variable JUDGE_KEY is not set"):
        load_judge_eval("eval.yaml", endpoint)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((*REVISE, "judge.examples=99"), "judge.examples: 99, and the constitution 'default' has "),
        (("judge.canaries=gone.jsonl",), "judge.canaries: gone.jsonl: no such file"),
        (("judge.canaries=bad.jsonl",), "judge.canaries: bad.jsonl:1: not JSON: "),
        (
            (*ENDPOINT, "judge.endpoint.max_cost=5"),
            "judge.endpoint.max_cost: limits nothing without prices; set price_per_million_prompt_tokens",
        ),
        (("judge.reward.weight=.inf",), "judge.reward.weight: wanted a finite number, and it is inf"),
        ((*RUBRIC, "judge.criteria.0.weight=.inf"), "judge.criteria.0.weight: wanted a finite number, and it is inf"),
        (
            (*ENDPOINT, "judge.endpoint.key_env=JUDGE_KEY"),
            "judge.endpoint.key_env: the environment variable JUDGE_KEY is not set; export it with the bearer token",
        ),
    ],
)
def test_what_would_fail_after_engines_have_started(overrides: tuple[str, ...], expected: str, tmp_path: Path):
    (tmp_path / "bad.jsonl").write_text("{\n")
    assert expected in message(*overrides)


def test_a_key_is_looked_for_only_where_the_run_will_start(monkeypatch: pytest.MonkeyPatch):
    overrides = [*ENDPOINT, "judge.endpoint.key_env=JUDGE_KEY"]
    assert load("judged.yaml", overrides, this_machine=False).judge is not None
    assert load("judged.yaml", [*overrides, "cluster.address=10.0.0.1:6379"]).judge is not None
    monkeypatch.setenv("JUDGE_KEY", "secret")
    assert (
        load(
            "judged.yaml", [*overrides, "judge.endpoint={base_url: 'http://localhost:1/v1', key_env: JUDGE_KEY}"]
        ).judge
        is not None
    )


def test_evaluation_is_not_by_what_is_one_half_whatever_was_learned():
    wants = (
        "evaluation.reward: judge.reward.mode is compare, so the mean of 'judge' over a prompt's answers is 1/2 "
        "whatever was learned"
    )
    rule, unweighted = "rewards=[{name: exact_match}]", "rewards=[{name: exact_match, weight: 0}]"
    for others in ((), (rule, "evaluation.reward=judge"), (unweighted,)):
        assert wants in message(*COMPARE, *EVAL, *others)
    for others in ((rule,), (unweighted, "evaluation.reward=exact_match"), ("reward_models=[{path: x/y}]",)):
        assert load("judged.yaml", [*COMPARE, *EVAL, *others]).judge is not None
    assert load("judged.yaml", COMPARE).judge is not None


def test_a_judge_that_is_named_needs_a_score_within_its_reach():
    named = (*EVAL, "evaluation.reward=judge")
    assert (
        "evaluation.pass_score: 1 is out of reach: expected scores lie below 1; lower it, as to 0.7, or set it to null"
        in message(*named)
    )
    for score in ("0.7", "null"):
        assert load("judged.yaml", [*named, f"evaluation.pass_score={score}"]).judge is not None
    assert load("judged.yaml", EVAL).judge is not None
    assert load("judged.yaml", [*named, *RUBRIC]).judge is not None  # all criteria may have the best mark


def test_revisions_have_no_tokens_for_a_reward_model():
    assert "reward_models: score tokens, and constitutional has texts scored that have none" in message(
        *REVISE, "reward_models=[{path: x/y}]"
    )


def test_one_greedy_answer_may_be_revised_but_not_learned_from():
    assert load("judged.yaml", [*REVISE, "sampling.temperature=0"]).sampling.temperature == 0
    for others in (PAIRS, (), ("method={name: ppo}",)):
        assert "sampling.temperature: 0 makes all samples of a prompt equal" in message(
            *others, "sampling.temperature=0"
        )

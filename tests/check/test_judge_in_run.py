"""A judge's settings: what can't work, and what nothing would use, is one line before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.judge_config import CONFIG, ENDPOINT, PAIRS, REVISE, message

from rlsys.check.load import load
from rlsys.check.seats import seating
from rlsys.commands.validate import validated
from rlsys.config.paths import datasets, model_paths


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "judged.yaml").write_text(CONFIG)


@pytest.mark.parametrize("url", ["https://host/v1?api_key=s3cret", "https://me:s3cret@host"])
def test_an_address_with_a_secret_is_refused_without_showing_it(url: str):
    config = Path("judged.yaml")
    config.write_text(
        CONFIG.replace('{model: "playground:0.5m",', f'{{backend: openai, model: m, endpoint: {{base_url: "{url}"}},')
    )
    said = message()
    assert "judge.endpoint.base_url: must " in said
    assert "key_env" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "overrides",
    [(), ENDPOINT, ("judge.backend=rollout", "judge.model=''"), REVISE],
    ids=["vllm", "openai", "rollout", "constitutional"],
)
def test_sound_judges_pass(overrides: tuple[str, ...]):
    assert load("judged.yaml", overrides).judge is not None


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([*REVISE, "judge=null"], "judge: constitutional needs one, as in judge: {backend: vllm, model: PATH}"),
        (
            ["judge.reward=null", "rewards=[{name: exact_match}]"],
            "judge: has no effect: grpo asks no judge; give judge.reward to make it a reward, or leave it out",
        ),
        (
            [*REVISE, "judge.reward={}", "method={name: rlaif}", "rewards=[]"],
            "judge.reward: has no effect: rlaif scores no samples; leave it out",
        ),
        (
            ["judge.model=''"],
            "judge.model: which model judges? give a folder or hub id (vllm) or the endpoint's name of it (openai)",
        ),
        (
            ["judge.backend=rollout"],
            "judge.model: has no effect: backend rollout judges with the policy; leave it out, or set backend to "
            "vllm or openai",
        ),
        (
            ["judge.backend=openai", "judge.model=m"],
            "judge.endpoint: backend openai needs endpoint.base_url, as in http://127.0.0.1:8000/v1",
        ),
        (
            [*ENDPOINT, "judge.backend=vllm", "judge.model='playground:0.5m'"],
            "judge.endpoint: has no effect: backend is vllm; leave it out, or set backend to openai",
        ),
        (
            ["judge.backend=rollout", "judge.model=''", "judge.human={path: hub/rows}"],
            "judge.human: is measured before the run starts, and the policy as its own judge changes as it "
            "learns; leave it out",
        ),
        (
            ["judge.clamp=[0.6, 0.4]", "judge.reward.mode=compare", "judge.chain_of_thought=true"],
            "judge.clamp: wanted two probabilities, the lower one first, and it is [0.6, 0.4]",
        ),
        (
            ["judge.reward.mode=rubric"],
            "judge.criteria: judge.reward.mode is rubric, and there is no criterion; give at least one name and "
            "description",
        ),
        (
            ["judge.criteria=[{name: a, description: x}, {name: a, description: y}]"],
            "judge.criteria: two criteria have one name; give each its own",
        ),
        (
            ["rewards=[{name: exact_match, label: judge}]"],
            "judge.reward.name: 'judge' is the name of another reward, too; give each its own",
        ),
        (["judge.reward.weight=0"], "rewards: every weight is 0, so every sample scores 0; give one a weight"),
        (["judge.model=nowhere/model/here"], "judge.model: no such folder: nowhere/model/here"),
    ],
)
def test_what_can_not_work(overrides: list[str], expected: str):
    assert expected in message(*overrides)


@pytest.mark.parametrize("key", ["constitution", "templates"])
def test_a_file_that_is_not_there_is_named(key: str):
    text = message(f"judge.{key}=defalt")
    assert f"judge.{key}:" in text
    assert "default" in text


def test_an_unknown_principle_is_named():
    assert "judge.constitution:" in (text := message("judge.leave_out=[harmm]"))
    assert "harmm" in text


def test_the_judge_is_among_the_models_and_its_people_among_the_data():
    experiment = load("judged.yaml", ["judge.human={path: 'hub/comparisons'}"])
    assert model_paths(experiment)["judge", "model"] == "playground:0.5m"
    assert datasets(experiment)["judge", "human"].path == "hub/comparisons"
    assert ("judge", "model") not in model_paths(load("judged.yaml", ENDPOINT))


def test_a_judge_has_seats_of_its_own_unless_the_sampler_is_asked():
    needs = frozenset({"policy", "rollout", "reward"})
    own = seating(load("judged.yaml", ["judge.engine={engines: 2, threads: 3}"]), needs, use_gpus=True)
    assert [(seat.cpus, seat.gpus) for seat in own.seats["judge"]] == [(3, 1), (3, 1)]
    endpoint = seating(load("judged.yaml", ENDPOINT), needs, use_gpus=True)
    assert [(seat.cpus, seat.gpus) for seat in endpoint.seats["judge"]] == [(1, 0)]
    assert (
        "judge"
        not in seating(load("judged.yaml", ["judge.backend=rollout", "judge.model=''"]), needs, use_gpus=True).seats
    )


ONE_SIDED = """\
name: one-sided
principles:
- {id: kind, critique: "Is it kind?", revision: "Make it kind."}
"""


def test_principles_must_be_there_for_what_is_asked(tmp_path: Path):
    (tmp_path / "one_sided.yaml").write_text(ONE_SIDED)
    own, lacks = (
        "judge.constitution=one_sided.yaml",
        "constitution 'one-sided': none of its 1 chosen principles has a comparison question",
    )
    assert lacks in message(*PAIRS, own)
    assert lacks in message("judge.reward.principle=true", own)
    for overrides in ((*PAIRS, "method.principles=false"), REVISE, ()):
        assert load("judged.yaml", [*overrides, own]).judge is not None
    (tmp_path / "one_sided.yaml").write_text(
        'name: one-sided\nprinciples: [{id: kind, comparison: "Which is kinder?"}]\n'
    )
    assert load("judged.yaml", [*PAIRS, own]).judge is not None
    assert "none of its 1 chosen principles has critique and revision requests" in message(*REVISE, own)


def test_samples_that_are_compared_with_each_other_must_be_several():
    compare = [
        "judge.reward.mode=compare",
        "rewards=[{name: exact_match}]",
        "data.eval={path: 'playground:sort_digits', split: test}",
    ]
    wants = "judge.reward.mode is compare, which needs two or more samples of a prompt"
    assert f"evaluation.greedy: {wants}, and there is one greedy answer; set it to false" in message(
        *compare, "evaluation.samples=4"
    )
    compare.append("evaluation.greedy=false")
    assert f"evaluation.samples: {wants}; raise it to 2, or set it to 0" in message(*compare)
    compare.append("evaluation.samples=2")
    assert load("judged.yaml", compare).judge is not None
    assert f"method.baseline: {wants}, and there is one greedy answer; choose another" in message(
        *compare, "method={name: remax, group_size: 2}"
    )
    assert f"method.group_size: {wants}; raise it to 2" in message(
        *compare, "method={name: reinforce_pp, group_size: 1}"
    )
    assert (
        "judge.reward.mode: compare needs two or more samples of a prompt, and constitutional takes one; choose another"
        in message(*REVISE, "judge.reward={mode: compare}")
    )
    assert load("judged.yaml", [*REVISE, "judge.reward={}"]).judge is not None


@pytest.mark.parametrize(("highest", "said"), [(10, True), (9, False)])
def test_validate_says_that_an_endpoint_may_not_tell_10_from_1(highest: int, said: bool):
    lines = [*validated(Path("judged.yaml"), [*ENDPOINT, f"judge.max_score={highest}"])]
    assert any("judge.max_score 10: " in line and "max_score: 9 is safe" in line for line in lines) == said

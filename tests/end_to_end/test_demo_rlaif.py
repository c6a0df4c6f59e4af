"""The RLAIF demo, cut down to a few steps of each stage: enough to see that each stage gets what the others made."""

from __future__ import annotations

import json

import pytest
from support.command_line import CONFIGS, Run, Workplace
from support.openai_server import MODEL, serve

from rlsys.config.judge import EndpointConfig
from rlsys.files import read_lines
from rlsys.judging.backend import Reply, Request
from rlsys.judging.endpoint.openai_backend import OpenAIBackend
from rlsys.playground import faults

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PROMPTS = 48
SETTINGS = (
    "common.policy.ranks=1",
    "judge.loop.steps=20",
    "judge.data.train.limit=4000",
    "sft.loop.steps=20",
    f"pairs.method.prompts_per_step={PROMPTS}",
    "pairs.judge.min_label_mass=0.0",
    "pairs.loop.steps=1",
    "reward_model.loop={steps: 4}",
    "reward_model.data.train.weight=100",  # the few pairs of the judge beside all of people's
    "reward_model.method.batch_size=32",
    "helpful_model.loop={steps: 2}",
    "ppo.loop={steps: 1}",
    "ppo.method.prompts_per_step=32",
    "ppo.evaluation={prompts: 16, samples: 1, greedy: false, reward: gold, pass_score: null}",
    "direct.loop={steps: 1}",
    "direct.method.prompts_per_step=8",
    "direct.judge.min_label_mass=0.0",
    "direct.evaluation={prompts: 16, samples: 1, greedy: false, reward: gold, pass_score: null}",
)


@pytest.fixture(scope="module")
def recipe(workplace: Workplace) -> Run:
    workplace.succeed(
        "rlsys", "train", CONFIGS / "rlaif/demo.yaml", "name=rlaif", f"output={workplace.folder}", *SETTINGS
    )
    return Run(workplace.folder / "rlaif")


def test_the_judge_labels_in_both_orders_and_people_say_what_is_helpful(recipe: Run):
    run = Run(recipe.path / "pairs")
    found = [json.loads(line) for line in read_lines(run.folder.dataset)]
    assert 0 < len(found) <= PROMPTS
    assert {row["principle"] for row in found} == set(faults.SYMBOLS)
    assert all(0.5 <= row["preference"] < 1 for row in found)
    kinds = dict(run.query("SELECT kind, count(*) FROM verdicts GROUP BY kind"))
    assert kinds["compare"] == 2 * len(found)
    drawn = recipe.summary["stages"]["reward_model"]["mixture"]
    assert [part["name"] for part in drawn][1:] == ["1/playground:faults_preferences:train"]


def test_direct_rlaif_is_rewarded_by_the_judge_and_measured_by_gold(recipe: Run):
    samples = Run(recipe.path / "direct").samples(1, "train")
    assert len(samples) == 8 * 8
    for sample in samples:
        assert sample.reward == pytest.approx(4 * sample.reward_parts["judge"] + sample.reward_parts["helpful"])
        assert 0 <= sample.reward_parts["judge"] <= 1
        assert sample.reward_parts["harmlessness"] == -faults.faults(sample.response)


def test_both_ways_are_measured_against_the_start(recipe: Run):
    for stage in ("ppo", "direct"):
        assert 0 <= recipe.summary["stages"][stage]["after"]["eval/win_rate_sampled"] <= 1


def test_the_same_judge_says_the_same_over_http(recipe: Run):
    """The questions of stage `pairs`, asked again of vLLM's own server with that judge's weights."""
    asked = Run(recipe.path / "pairs").query(
        "SELECT prompt, log_probs FROM verdicts WHERE kind = 'compare' AND abstention IS NULL LIMIT 32"
    )
    questions = [Request(tuple(json.loads(prompt)), tuple(json.loads(log_probs))) for prompt, log_probs in asked]
    with serve(recipe.path / "judge" / "final", max_model_len=1024) as url:
        backend = OpenAIBackend(EndpointConfig(base_url=url, concurrency=8, outage_limit=1), MODEL)
        replies = backend.ask(questions)
        backend.close()
    told = 0
    for (_, log_probs), reply in zip(asked, replies, strict=True):
        assert isinstance(reply, Reply), reply
        for (
            label,
            log_prob,
        ) in reply.label_log_probs.items():  # those among the 20 likeliest tokens, which is all that the API tells
            assert log_prob == pytest.approx(json.loads(log_probs)[label], abs=1e-3)
            told += 1
    assert told >= len(asked) > 0

"""What evaluations tell of reward hacking."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from support.fakes import make_roles, prompt, trajectory
from support.looping import SAMPLING, running

from rlsys.config.experiment import EvaluationConfig
from rlsys.run.evaluation import AnswerEvaluator, Judgement
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog
from rlsys.run.signals import Trusted, growth, of_answers, repeated
from rlsys.samples import Abstention, Prompt, RewardResult, Sample, Score, ScoredGroup, Trajectory


def group(*scores: RewardResult, tokens: tuple[int, ...] = (1, 2), tag: str = "eval-sampled-3") -> ScoredGroup:
    own = [trajectory("p", index, tokens, [-0.5] * len(tokens), tag) for index in range(len(scores))]
    return ScoredGroup(prompt("p"), tuple(own), scores)


def sample(reward: float | None, gold: float, tokens: tuple[int, ...] = (1, 2)) -> Sample:
    own = trajectory("p", 0, tokens, [-0.5] * len(tokens), "eval-sampled-0")
    return Sample(
        own.sample_id, 0, "eval", "p", 0, 0, "p", None, "", "stop", reward, None, {"gold": gold}, None, None,
        own.token_ids, own.loss_mask, own.log_probs, own.policy_versions,
    )  # fmt: skip


def test_repeated_n_grams():
    """Of 1 2 1 2 1 2 the 2-grams are 12 21 12 21 12: two different ones of five."""
    assert repeated([1, 2, 1, 2, 1, 2], n=2) == pytest.approx(1 - 2 / 5)
    assert repeated([1, 2, 3, 4, 5]) == 0.0
    assert repeated([7] * 8) == pytest.approx(1 - 1 / 5)
    assert repeated([7, 7, 7]) == 0.0, "shorter than an n-gram"


def test_length_repetition_and_entropy_of_answers():
    """Two answers of 8 equal tokens, at log-probs of -0.5."""
    found = of_answers([group(Score(0), Score(0), tokens=(7,) * 8)])
    assert found == pytest.approx({"length": 8.0, "repetition": 0.8, "entropy": 0.5})


def test_growth_since_the_start():
    now = [group(Score(0), tokens=(7,) * 8)]
    start = [sample(0.0, 0.0, (1, 2)), sample(0.0, 0.0, (1, 2, 3, 4))]
    assert growth(now, start) == pytest.approx({"length_growth": 8 / 3, "repetition_growth": 0.8})
    assert growth(now, []) == {}


def test_the_gap_is_of_gains_in_deviations_of_the_start():
    """Start: reward 0 and 2 (mean 1, deviation sqrt 2), gold 10 and 14 (mean 12, deviation 2 sqrt 2). Now: reward 5 and
    gold 8, gains of 4 / sqrt 2 and -4 / (2 sqrt 2)."""
    start = [sample(0.0, 10.0), sample(2.0, 14.0), sample(None, 99.0)]
    now = [group(Score(5.0, {"gold": 8.0}), Abstention("no score"), Score(5.0, {"gold": 8.0}))]
    trusted = Trusted("gold")
    assert trusted.gap(now, start) == pytest.approx(4 / math.sqrt(2) + 4 / (2 * math.sqrt(2)))
    assert trusted.gap(now, [replace(one, reward=1.0) for one in start]) is None, "the reward did not vary"
    assert trusted.exploits(now) is None


def test_exploits_are_of_what_the_rule_calls_right():
    """Three of four answers pass the rule; the gold rejects one of these three."""
    parts = [(1.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)]
    groups = [group(*(Score(rule, {"rule": rule, "gold": gold}) for rule, gold in parts))]
    assert Trusted("gold", "rule", 1.0).exploits(groups) == pytest.approx(1 / 3)
    assert Trusted("gold", "rule", 2.0).exploits(groups) is None, "nothing passes"


def hacked(p: Prompt, t: Trajectory) -> RewardResult:
    """The trained rule likes token 3; the gold does not."""
    last = t.token_ids[-1]
    return Score(float(last == 3), {"rule": float(last == 3), "gold": float(last == 2)})


def test_a_run_that_games_its_reward_is_stopped_by_the_gap(tmp_path: Path):
    rows = tuple(prompt(f"p{i}") for i in range(10))
    trusted = Trusted("gold", "rule", 1.0)
    config = EvaluationConfig(samples=4, greedy=False)
    evaluator = AnswerEvaluator(rows, config, SAMPLING, Judgement("gold", 1.0, "gold"), 0, trusted)
    alarms = ["eval/proxy_gap_sampled > 1"]
    roles = make_roles(hacked, learning_rate=0.5)
    with running(RunDir.create(tmp_path, "a"), 60, roles, evaluator, eval_every=1, stop_when=alarms) as loop:
        state = loop.run()
    assert 1 < state.step < 60
    assert state.done is not None
    assert state.done.startswith("loop.stop_when: eval/proxy_gap_sampled > 1: eval/proxy_gap_sampled is 1.")
    last = MetricsLog.read(loop.run_dir.metrics)[-1]
    assert last["eval/exploits_sampled"] == 1.0, "whatever passes ends with 3, which is not 2"
    assert {"eval/length_growth_sampled", "eval/repetition_growth_sampled", "eval/entropy_sampled"} <= last.keys()

"""What picks the best checkpoint and what counts as better, by the reward that evaluation is told to judge by."""

from __future__ import annotations

import pytest
from support.fakes import make_roles, prompt

from rlsys.config.experiment import EvaluationConfig
from rlsys.config.sampling import SamplingConfig
from rlsys.run.evaluation import AnswerEvaluator, Judgement
from rlsys.samples import Prompt, RewardResult, Score, Trajectory


def graded(p: Prompt, t: Trajectory) -> RewardResult:
    """The first sample of a prompt is right by `rule`; `gold` is 0.25, the whole 3."""
    return Score(3.0, {"rule": float(t.sample_index == 0), "gold": 0.25})


@pytest.mark.parametrize(
    ("judgement", "accuracy", "score"),
    [
        (Judgement("rule", 1.0), 0.5, 0.5),
        (Judgement(None, 1.0), None, 3.0),
        (Judgement("gold", None, better_by="gold"), None, 0.25),
        (Judgement("gold", 0.25, better_by="gold"), 1.0, 1.0),
    ],
)
def test_the_score_of_an_evaluation(judgement: Judgement, accuracy: float | None, score: float):
    config = EvaluationConfig(samples=2, greedy=False)
    evaluator = AnswerEvaluator((prompt("a"), prompt("b")), config, SamplingConfig(max_tokens=4), judgement, 0)
    roles = make_roles(graded)
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    found = evaluator(roles, 0)
    assert found.metrics.get("eval/accuracy_sampled") == accuracy
    assert found.score == score


def test_pass_at_k_is_of_sampled_answers_only():
    config = EvaluationConfig(samples=2, pass_at=(1, 2), majority=True)
    evaluator = AnswerEvaluator(
        (prompt("a"), prompt("b")), config, SamplingConfig(max_tokens=4), Judgement("rule", 1.0), 0
    )
    roles = make_roles(graded)
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    metrics = evaluator(roles, 0).metrics
    # One of two samples is right.
    assert {name: value for name, value in metrics.items() if "pass@" in name} == {
        "eval/pass@1_sampled": 0.5,
        "eval/pass@2_sampled": 1.0,
    }
    assert [name for name in metrics if "maj@" in name] == ["eval/maj@2_sampled"]

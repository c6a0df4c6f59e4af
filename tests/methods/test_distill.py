from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import SoftmaxPolicy, SoftmaxTeacher
from torch import Tensor

from rlsys.batch import DistillationBatch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import Demonstration
from rlsys.data.stream import Stream
from rlsys.methods.base import Measures, Step
from rlsys.methods.distill import Config, Method
from rlsys.objectives.stats import values
from rlsys.roles import Roles

ROWS = [
    Demonstration("a", (0, 1, 2), (0, 0, 1)),
    Demonstration("b", (0, 3, 2, 1), (0, 0, 1, 1)),
    Demonstration("c", (0, 3), (0, 1)),
]
WANTED = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
STEP = Step(1, 0, seed=0)


def distill(**config: Any) -> Method:
    return Method(Config.model_validate({"batch_size": 3, **config}), SamplingConfig(), pad_id=3)


def make_roles(top_k: int = 4, teacher: Tensor = WANTED, learning_rate: float = 1.0) -> tuple[Roles, SoftmaxPolicy]:
    policy = SoftmaxPolicy(learning_rate)
    return Roles(policy=policy, teacher=SoftmaxTeacher(teacher.log().float(), top_k)), policy


def train(method: Method, roles: Roles, steps: int) -> dict[str, float]:
    stream, stats = Stream(ROWS, 0, shuffle=True), {}
    for number in range(1, steps + 1):
        step = replace(STEP, number=number)
        stats = values(method.learn(roles, method.collect(roles, stream, step), step).stats)
    return stats


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd"])
def test_the_student_ends_as_its_teacher_whatever_the_rows_say(divergence: str):
    """The rows never hold token 0; the teacher's distribution is learned all the same, because it stands for every
    trained token."""
    roles, policy = make_roles(learning_rate=2.0)
    stats = train(distill(divergence=divergence), roles, 150)
    assert torch.softmax(policy.logits, 0).tolist() == pytest.approx(WANTED.tolist(), abs=1e-3)
    assert stats["forward_kl"] < 1e-5


def test_of_tokens_that_are_not_named_only_the_sum_is_learned():
    """Of two named tokens, 3 and 2, the student learns 0.4 and 0.3, and leaves 0.3 to the others, in the equal shares
    that it began with."""
    roles, policy = make_roles(top_k=2, learning_rate=2.0)
    train(distill(), roles, 200)
    assert torch.softmax(policy.logits, 0).tolist() == pytest.approx([0.15, 0.15, 0.3, 0.4], abs=1e-3)


def test_a_step_follows_the_gradient_of_the_kl():
    """Of softmax logits the gradient of KL(teacher || student) is student - teacher at each token, and so is its
    mean."""
    roles, policy = make_roles()
    learned = train(distill(), roles, 1)
    assert policy.logits.tolist() == pytest.approx((WANTED - 0.25).tolist(), abs=1e-6)
    assert learned["forward_kl"] == pytest.approx(float((WANTED * (WANTED / 0.25).log()).sum()), abs=1e-6)


def test_cross_entropy_pulls_towards_the_rows():
    """Trained tokens are 2, 2, 1 and 3: counts (0, 1, 2, 1)/4. With weight 1 the optimum is half-way between those and
    the teacher."""
    roles, policy = make_roles(learning_rate=1.0)
    train(distill(ce_weight=1.0), roles, 300)
    expected = (WANTED + torch.tensor([0.0, 0.25, 0.5, 0.25])) / 2
    assert torch.softmax(policy.logits, 0).tolist() == pytest.approx(expected.tolist(), abs=2e-3)


def test_temperature_softens_both_models():
    """The same logits up to a constant are learned at any temperature when everything is named."""
    roles, policy = make_roles(learning_rate=4.0)
    train(distill(temperature=2.0), roles, 400)
    assert torch.softmax(policy.logits, 0).tolist() == pytest.approx(WANTED.tolist(), abs=1e-3)


def test_held_out_rows_are_measured_by_what_is_trained_and_change_nothing():
    """One at a time, rows hold 1, 2 and 1 trained tokens: a mean of three means would be another. nll as in the hand
    count of tokens."""
    roles, policy = make_roles(teacher=torch.tensor([0.4, 0.3, 0.2, 0.1]))
    policy.logits = WANTED.log().requires_grad_()
    measured = distill(batch_size=1, divergence="reverse_kl").measure(roles, ROWS)
    other = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    forward, reverse = float((other * (other / WANTED).log()).sum()), float((WANTED * (WANTED / other).log()).sum())
    nll = -float(WANTED.log()[[2, 2, 1, 3]].mean())
    expected = {"loss": reverse, "forward_kl": forward, "reverse_kl": reverse, "nll": nll, "agreement": 0.0}
    assert measured.metrics == pytest.approx(expected, abs=1e-6)
    assert measured.score == -measured.metrics["loss"]
    assert (policy.logits.grad, policy.updates) == (None, 0)
    assert isinstance(distill(), Measures)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"beta": 0.3}, "beta has no effect: it goes with divergence of jsd, and divergence is forward_kl"),
        ({"divergence": "jsd", "beta": 1.0}, "beta\n  Input should be less than 1"),
        (
            {"ce_weight": 0.5, "temperature": 2.0},
            "ce_weight imitates tokens as they are, at temperature 1, and temperature is 2; leave one out",
        ),
    ],
)
def test_settings_that_do_not_go_together(config: dict[str, Any], message: str):
    with pytest.raises(ValidationError) as error:
        Config.model_validate(config)
    assert message in str(error.value)


def test_rows_of_a_taught_batch_keep_their_own_choices():
    """And are cut to their own length."""
    tokens, mask = torch.tensor([[0, 1, 2], [0, 3, 3]]), torch.tensor([[False, True, True], [False, True, False]])
    choices = torch.arange(12).view(2, 3, 2)
    row = DistillationBatch(tokens, mask, torch.tensor([3, 2]), choices, torch.arange(18.0).view(2, 3, 3)).rows([1])
    assert row.choices_BTK.tolist() == [[[6, 7], [8, 9]]]
    assert row.teacher_log_probs_BTO.tolist() == [[[9, 10, 11], [12, 13, 14]]]
    with pytest.raises(AssertionError, match="choices_BTK has shape"):
        DistillationBatch(tokens, mask, torch.tensor([3, 2]), choices[:, :2], torch.zeros(2, 3, 3))
    with pytest.raises(AssertionError, match="choices_BTK has shape"):
        DistillationBatch(tokens, mask, torch.tensor([3, 2]), choices[:, :, 0], torch.zeros(2, 3, 3))

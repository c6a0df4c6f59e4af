import pytest
import torch
from support.fakes import SoftmaxPolicy

from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import Demonstration
from rlsys.data.stream import Stream
from rlsys.methods.base import Measures, Step
from rlsys.methods.sft import Config, Method
from rlsys.objectives.stats import values
from rlsys.roles import Roles

ROWS = [
    Demonstration("a", (0, 1, 2), (0, 0, 1)),
    Demonstration("b", (0, 3, 2, 1), (0, 0, 1, 1)),
    Demonstration("c", (0, 3), (0, 1)),
]


def sft(batch_size: int, **config: str) -> Method:
    return Method(Config.model_validate({"batch_size": batch_size, **config}), SamplingConfig(), pad_id=3)


def policy(*probabilities: float) -> SoftmaxPolicy:
    found = SoftmaxPolicy(learning_rate=1.0)
    found.logits = torch.tensor(probabilities, dtype=torch.float64).log().requires_grad_()
    return found


def test_a_step_follows_the_mean_over_the_trained_tokens_of_the_batch():
    """Of rows a and b these are 2, 2 and 1: the gradient at equal logits is 1/4 less how often each token was
    wanted."""
    method, roles = sft(2), Roles(policy=policy(0.25, 0.25, 0.25, 0.25))
    step = Step(1, 0, seed=0)
    experience = method.collect(roles, Stream(ROWS[:2], 0, shuffle=False), step)
    learned = method.learn(roles, experience, step)
    assert values(learned.stats)["nll"] == pytest.approx(1.386294, abs=1e-6)  # ln 4
    assert isinstance(roles.policy, SoftmaxPolicy)
    moved = roles.policy.logits - roles.policy.logits[0]
    assert moved.tolist() == pytest.approx([0.0, 1 / 3, 2 / 3, 0.0])


def test_held_out_rows_are_measured_by_the_mean_over_all_their_tokens():
    """Trained are 2 (a), 2 and 1 (b), 3 (c): (2 ln(1/0.3) + ln(1/0.2) + ln(1/0.4)) / 4 = (2.407946 + 1.609438 +
    0.916291) / 4. Batches of two hold 3 and 1 of them, so that the mean of their means would be another."""
    measured = sft(2).measure(Roles(policy=policy(0.1, 0.2, 0.3, 0.4)), ROWS)
    assert measured.metrics == {
        "nll": pytest.approx(1.233419, abs=1e-6),
        "perplexity": pytest.approx(3.432945, abs=1e-5),
    }
    assert measured.score == -measured.metrics["nll"]


def test_measuring_changes_nothing():
    model = policy(0.1, 0.2, 0.3, 0.4)
    before = model.logits.tolist()
    sft(2).measure(Roles(policy=model), ROWS)
    assert (model.logits.tolist(), model.logits.grad, model.updates) == (before, None, 0)


def test_all_tokens_are_those_of_raw_text():
    assert Config().facts.rows == "demonstrations"
    assert Config(tokens="all").facts.rows == "texts"
    assert isinstance(sft(2), Measures)

"""SPIN, exactly optimised, against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlsys.batch import PreferenceBatch
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.preference_loss import PreferenceLoss

DATA = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
START = DATA.flip(0)


def kl(p: Tensor, q: Tensor) -> float:
    return float((p * (p / q).log()).sum())


def minimised(opponent: Tensor, data: Tensor, strength: float) -> Tensor:
    """The policy that minimises the expected loss over all pairs (data's token, opponent's token), by Newton's method
    in all but name (L-BFGS)."""
    tokens = [(real, generated) for real in range(4) for generated in range(4) if real != generated]
    weights = torch.tensor([data[real] * opponent[generated] for real, generated in tokens])
    logits = opponent.log().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits], lr=1.0, max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )
    loss = PreferenceLoss("dpo", beta=strength)

    def cost() -> Tensor:
        optimizer.zero_grad()
        log_probs = logits.log_softmax(0)
        total = torch.zeros((), dtype=torch.float64)
        for weight, (real, generated) in zip(weights, tokens, strict=True):
            total = (
                total
                + weight
                * loss(
                    Outputs(log_probs[torch.tensor([[0, real], [0, generated]])]), one_pair(real, generated, opponent)
                )[0]
            )
        total.backward()
        return total

    optimizer.step(cost)
    return logits.detach().softmax(0)


def one_pair(real: int, generated: int, opponent: Tensor) -> PreferenceBatch:
    """A prompt of one token, and an answer of one."""
    return PreferenceBatch(
        token_ids_BT=torch.tensor([[0, real], [0, generated]]),
        loss_mask_BT=torch.tensor([[False, True]] * 2),
        lengths_B=torch.tensor([2, 2]),
        unit_B=torch.tensor([0, 0]),
        grade_B=torch.tensor([1.0, 0.0]),
        preference_B=torch.ones(2),
        comparison_id_B=torch.zeros(2, dtype=torch.long),
        reference_log_probs_B=opponent.log()[[real, generated]],
    )


def test_exact_iterations_come_as_near_to_the_data_as_the_closed_form_says():
    """p_(t+1) proportional to p_t (p_data / p_t)^(1 / lambda), lambda 2: from (0.4, 0.3, 0.2, 0.1) to its reverse KL(p
    || data) is 0.4564, 0.1166, 0.0280, and KL(data || p) 0.4564, 0.1116, 0.0271. Both by the formula and by minimising
    the loss, one iteration after the other."""
    closed, found = START, START
    policies = [(closed, found)]
    for _ in range(2):
        closed = closed * (DATA / closed) ** 0.5
        closed = closed / closed.sum()
        found = minimised(found, DATA, 2.0)
        policies.append((closed, found))
    for one, other in policies:
        assert other.tolist() == pytest.approx(one.tolist(), abs=1e-4)
    for which in (0, 1):
        reached = [pair[which] for pair in policies]
        assert [kl(p, DATA) for p in reached] == pytest.approx([0.4564, 0.1166, 0.0280], abs=1e-4)
        assert [kl(DATA, p) for p in reached] == pytest.approx([0.4564, 0.1116, 0.0271], abs=1e-4)
    # Nothing can be told apart where the opponent is the data: the data stay.
    assert minimised(DATA, DATA, 2.0).tolist() == pytest.approx(DATA.tolist(), abs=1e-6)

import math
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from rlsys.batch import PolicyBatch
from rlsys.objectives.kl import k1, k2, k3
from rlsys.objectives.off_policy import SequenceMasking, SequenceTruncation, TokenMasking, TokenTruncation
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.policy_loss import PolicyGradientLoss
from rlsys.objectives.reduction import Constant, Reduction, SequenceMean, TokenMean
from rlsys.objectives.stats import Stats, merge, values
from rlsys.objectives.surrogates import (
    CispoSurrogate,
    ClippedSurrogate,
    PlainPolicyGradient,
    SapoSurrogate,
    SequenceSurrogate,
    Surrogate,
)
from rlsys.roles import Loss

LN2 = math.log(2)


def batch(
    mask: Tensor, advantages: Tensor, sampler: Tensor, old: Tensor | None = None, reference: Tensor | None = None
) -> PolicyBatch:
    rows, width = mask.shape
    return PolicyBatch(
        token_ids_BT=torch.zeros(rows, width, dtype=torch.long),
        loss_mask_BT=mask,
        lengths_B=torch.full((rows,), width),
        sampler_log_probs_BT=sampler,
        policy_versions_BT=torch.zeros(rows, width, dtype=torch.long),
        rewards_B=torch.zeros(rows),
        group_index_B=torch.zeros(rows, dtype=torch.long),
        advantages_BT=advantages,
        old_log_probs_BT=old,
        reference_log_probs_BT=reference,
    )


# One row; a prompt token, then three sampled tokens and padding. Every term by hand:
#   current     1/2    1/4    1/2
#   old         1/2    1/8    1/2      ratio     1     2     1
#   sampler     1/2    1/8    1/8      old/sampler 1   1     4
#   reference   1/4    1/8    1        current/reference 2  2  1/2
MASK = torch.tensor([[False, True, True, True, False]])
CURRENT = torch.tensor([[0.0, 1 / 2, 1 / 4, 1 / 2, 0.0]]).log().nan_to_num(neginf=0.0)
OLD = torch.tensor([[0.0, 1 / 2, 1 / 8, 1 / 2, 0.0]]).log().nan_to_num(neginf=0.0)
SAMPLER = torch.tensor([[0.0, 1 / 2, 1 / 8, 1 / 8, 0.0]]).log().nan_to_num(neginf=0.0)
REFERENCE = torch.tensor([[0.0, 1 / 4, 1 / 8, 1.0, 0.0]]).log().nan_to_num(neginf=0.0)
ENTROPY = torch.tensor([[0.0, 0.3, 0.6, 0.9, 0.0]])
WORKED = batch(MASK, torch.tensor([[0.0, 1.0, 1.0, -1.0, 0.0]]), SAMPLER, OLD, REFERENCE)


def test_whole_loss_by_hand():
    loss: Loss[PolicyBatch] = PolicyGradientLoss(
        temperature=1.0, kl_coefficient=0.1, entropy_coefficient=0.01, correction=TokenTruncation(cap=2.0)
    )
    total, stats = loss(Outputs(CURRENT, ENTROPY), WORKED)
    # Surrogate: -1, -min(2, 1.2) = -1.2, +1. Weights 1, 1, min(4, 2) = 2. Policy term -1 - 1.2 + 2 = -0.2.
    # k3 to the reference: twice ln 2 - 1/2, and 1 - ln 2: sum ln 2. Entropy: sum 1.8.
    assert total.item() == pytest.approx(-0.2 + 0.1 * LN2 - 0.01 * 1.8, rel=1e-5)
    assert loss.normalizer(WORKED) == 3
    assert values(stats) == pytest.approx(
        {
            "loss": (-0.218 + 0.1 * LN2) / 3,
            "policy_loss": -0.2 / 3,
            "kl": LN2 / 3,
            "entropy": 0.6,
            "ratio": 4 / 3,
            "ratio_max": 2.0,
            "ratio_variance": 1 / 3,  # 1, 2, 1: squared deviations 1/9 + 4/9 + 1/9, over 2
            "clip_fraction_low": 0.0,
            "clip_fraction_high": 1 / 3,
            "approx_kl": (2 - 1 - LN2) / 3,  # (ratio - 1) - ln ratio, for the one ratio that is not 1
            "correction_weight": 4 / 3,
            "correction_cut": 1 / 3,
            "sampler_mismatch": 2 * LN2 / 3,  # |ln 4|
            "sampler_mismatch_max": 2 * LN2,
            "sampler_kl": (4 - 1 - 2 * LN2) / 3,
        },
        rel=1e-5,
    )


def test_gradient_in_closed_form():
    """By the log-prob of token t: w_t (-A_t ratio_t unless bounded) + kl (1 - reference / current); by its entropy:
    -coefficient."""
    current, entropy = CURRENT.clone().requires_grad_(), ENTROPY.clone().requires_grad_()
    loss = PolicyGradientLoss(
        temperature=1.0, kl_coefficient=0.1, entropy_coefficient=0.01, correction=TokenTruncation(cap=2.0)
    )
    loss(Outputs(current, entropy), WORKED)[0].backward()
    assert current.grad is not None
    assert entropy.grad is not None
    # -1 + 0.1 (1 - 1/2);  bounded + 0.1 (1 - 1/2);  2 + 0.1 (1 - 2)
    assert_close(current.grad, torch.tensor([[0.0, -0.95, 0.05, 1.9, 0.0]]))
    assert_close(entropy.grad, torch.tensor([[0.0, -0.01, -0.01, -0.01, 0.0]]))


@pytest.mark.parametrize(("estimator", "kl"), [(k1, LN2), (k2, 1.5 * LN2**2), (k3, LN2)])
def test_kl_estimator_is_the_one_asked_for(estimator, kl: float):
    # d = ln 2, ln 2, -ln 2. The reported kl is k3 whatever the loss uses.
    plain = PolicyGradientLoss(temperature=1.0)(Outputs(CURRENT), WORKED)[0]
    total, stats = PolicyGradientLoss(temperature=1.0, kl_coefficient=1.0, kl_estimator=estimator)(
        Outputs(CURRENT), WORKED
    )
    assert (total - plain).item() == pytest.approx(kl, abs=1e-6)
    assert stats["kl"].value == pytest.approx(LN2 / 3, rel=1e-5)


def test_without_old_log_probs_it_is_the_plain_policy_gradient():
    current = CURRENT.clone().requires_grad_()
    total, stats = PolicyGradientLoss(temperature=1.0)(Outputs(current), replace(WORKED, old_log_probs_BT=None))
    total.backward()
    assert current.grad is not None
    assert torch.equal(current.grad, -WORKED.advantages_BT)  # every ratio is 1
    assert (stats["ratio"].value, stats["ratio_max"].value, stats["approx_kl"].value) == (1.0, 1.0, 0.0)
    # The mismatch is then between the current policy and the sampler: 0, ln 2, ln 4.
    assert stats["sampler_mismatch"].value == pytest.approx(LN2)


def test_missing_inputs_are_errors():
    with pytest.raises(ValueError, match="reference_log_probs_BT"):
        PolicyGradientLoss(temperature=1.0, kl_coefficient=0.1)(
            Outputs(CURRENT), replace(WORKED, reference_log_probs_BT=None)
        )
    with pytest.raises(ValueError, match="entropy_BT"):
        PolicyGradientLoss(temperature=1.0, entropy_coefficient=0.1)(Outputs(CURRENT), WORKED)


def test_entropy_is_asked_for_when_it_is_in_the_loss_or_reported():
    assert PolicyGradientLoss(temperature=1.0).needs_entropy
    assert not PolicyGradientLoss(temperature=1.0, report_entropy=False).needs_entropy
    assert PolicyGradientLoss(temperature=1.0, report_entropy=False, entropy_coefficient=0.1).needs_entropy


def random_case(seed: int, rows: int, width: int) -> tuple[Outputs, PolicyBatch]:
    """Unlike real batches, tensors hold noise outside the mask too: nothing may look there."""
    g = torch.Generator().manual_seed(seed)

    def noise(scale: float) -> Tensor:
        return torch.randn(rows, width, generator=g, dtype=torch.float64) * scale

    mask = torch.rand(rows, width, generator=g) < 0.6
    mask[:, 0] = False
    current = noise(1.0) - 2
    outputs = Outputs(current.clone().requires_grad_(), noise(1.0).abs().requires_grad_())
    return outputs, batch(mask, noise(1.0), current + noise(0.3), current + noise(0.3), current + noise(0.3))


def gradients(
    loss: PolicyGradientLoss, outputs: Outputs, data: PolicyBatch, splits: list[Tensor]
) -> tuple[Tensor, Tensor, Stats]:
    """As an engine accumulates them: each part's summed loss over the whole batch's normalizer."""
    assert outputs.entropy_BT is not None
    parts, total = [], torch.zeros((), dtype=torch.float64)
    for index in splits:
        part = Outputs(outputs.log_probs_BT[index], outputs.entropy_BT[index])
        # Rows are chosen directly, not with `rows`, which would cut the padding that this test fills with noise.
        value, stats = loss(part, data.map(lambda tensor, index=index: tensor[index]))
        total = total + value
        parts.append(stats)
    grads = torch.autograd.grad(total / loss.normalizer(data), (outputs.log_probs_BT, outputs.entropy_BT))
    return grads[0], grads[1], merge(parts)


SURROGATES = [
    ClippedSurrogate(0.2, 0.3, dual_clip=1.5),
    SequenceSurrogate(),
    CispoSurrogate(0.2, 0.3),
    SapoSurrogate(),
    PlainPolicyGradient(),
]


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(2, 6),
    width=st.integers(2, 6),
    reduction=st.sampled_from([TokenMean(), SequenceMean(), Constant(9)]),
    surrogate=st.sampled_from(SURROGATES),
    correction=st.sampled_from(
        [None, TokenTruncation(1.2), SequenceTruncation(1.2), TokenMasking(0.8, 1.2), SequenceMasking(0.8, 1.2)]
    ),
    data=st.data(),
)
def test_any_split_gives_the_same_loss_gradient_and_statistics(
    seed: int, rows: int, width: int, reduction: Reduction, surrogate: Surrogate, correction, data: st.DataObject
):
    outputs, whole = random_case(seed, rows, width)
    if not whole.loss_mask_BT.any():
        return
    cuts = sorted(data.draw(st.sets(st.integers(1, rows - 1))))
    loss = PolicyGradientLoss(
        temperature=1.0,
        surrogate=surrogate,
        reduction=reduction,
        kl_coefficient=0.1,
        entropy_coefficient=0.01,
        correction=correction,
    )
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    together = gradients(loss, outputs, whole, [torch.arange(rows)])
    apart = gradients(loss, outputs, whole, list(order.tensor_split(cuts)))
    assert_close(apart[:2], together[:2], atol=1e-12, rtol=1e-9)
    assert values(apart[2]) == pytest.approx(values(together[2]), rel=1e-9, abs=1e-12, nan_ok=True)
    # Prompt tokens and padding get exactly nothing.
    assert not together[0][~whole.loss_mask_BT].any()
    assert not together[1][~whole.loss_mask_BT].any()


def test_a_loss_survives_the_way_to_the_ranks():
    loss = PolicyGradientLoss(
        temperature=0.7, reduction=Constant(8), kl_estimator=k2, correction=SequenceTruncation(3.0)
    )
    assert pickle.loads(pickle.dumps(loss)) == loss

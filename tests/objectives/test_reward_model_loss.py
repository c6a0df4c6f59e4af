import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from rlsys.batch import ComparisonBatch
from rlsys.objectives.outputs import ValueOutputs
from rlsys.objectives.reward_model_loss import BradleyTerryLoss, bootstrap_weights
from rlsys.objectives.stats import merge, values


def softplus(x: float) -> float:
    """-log sigmoid(-x)"""
    return math.log1p(math.exp(x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def comparisons(
    units: list[int],
    grades: list[float],
    lengths: list[int] | None = None,
    ids: list[int] | None = None,
    preferences: list[float] | None = None,
) -> ComparisonBatch:
    lengths = lengths or [2] * len(units)
    return ComparisonBatch(
        token_ids_BT=torch.zeros(len(units), max(lengths), dtype=torch.long),
        loss_mask_BT=torch.zeros(len(units), max(lengths), dtype=torch.bool),
        lengths_B=torch.tensor(lengths),
        unit_B=torch.tensor(units),
        grade_B=torch.tensor(grades),
        preference_B=torch.tensor(preferences or [1.0] * len(units)),
        comparison_id_B=torch.tensor(ids or units),
    )


def at_last(scores_BK: Tensor, batch: ComparisonBatch) -> ValueOutputs:
    """Junk everywhere but at the last real tokens."""
    scores_BTK = torch.full((*batch.token_ids_BT.shape, scores_BK.shape[1]), 1e6, dtype=scores_BK.dtype)
    index = (torch.arange(len(batch)), batch.lengths_B - 1)
    return ValueOutputs(scores_BTK.index_put(index, scores_BK))


def score(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)[:, None].requires_grad_()


# A ranking of three with scores 1 (best), 3, 0 (worst) and grades 3, 1, 0; rows of other units lie between. Pairs: best
# - middle -2, best - worst 1, middle - worst 3. Another unit of two: scores 0.5 over 0.5, a tie. A third: equal grades,
# so no pair.
RANKING = comparisons(
    units=[7, 4, 7, 9, 4, 7, 9], grades=[1.0, 1.0, 3.0, 5.0, 0.0, 0.0, 5.0], lengths=[2, 3, 4, 2, 3, 1, 2]
)
SCORES = [3.0, 0.5, 1.0, 8.0, 0.5, 0.0, -8.0]


def test_three_way_ranking_by_hand():
    scores = score(SCORES)
    loss, stats = BradleyTerryLoss()(at_last(scores, RANKING), RANKING)
    ranking = (softplus(2) + softplus(-1) + softplus(-3)) / 3
    assert loss.item() == pytest.approx(ranking + math.log(2))
    assert BradleyTerryLoss().normalizer(RANKING) == 2
    assert values(stats) == pytest.approx(
        {
            "loss": (ranking + math.log(2)) / 2,
            "accuracy": 2.5 / 4,
            "margin": (-2 + 1 + 3 + 0) / 4,
            "score": 5 / 7,
        }
    )
    # By s_better: -(1 - sigmoid(gap)) = -sigmoid(-gap), by s_worse the opposite; a third of that in the unit of three
    # pairs.
    middle, best, worst = sigmoid(2) - sigmoid(-3), -sigmoid(2) - sigmoid(-1), sigmoid(-1) + sigmoid(-3)
    gradient = torch.autograd.grad(loss, scores)[0][:, 0]
    assert_close(gradient, torch.tensor([middle / 3, -0.5, best / 3, 0, 0.5, worst / 3, 0], dtype=torch.float64))


def test_margin_by_hand():
    loss, _ = BradleyTerryLoss(use_margin=True)(at_last(score(SCORES), RANKING), RANKING)
    # Margins 2, 3, 1 in the ranking (best-middle, best-worst, middle-worst), 1 in the pair.
    assert loss.item() == pytest.approx((softplus(2 + 2) + softplus(3 - 1) + softplus(1 - 3)) / 3 + softplus(1))


# A pair that the first row wins with probability 3/4, one that the second wins for certain, and an even one.
SOFT = comparisons(
    units=[0, 0, 1, 1, 2, 2],
    grades=[2.0, 0.0, 1.0, 4.0, 1.0, 0.0],
    preferences=[0.75, 0.75, 1.0, 1.0, 0.5, 0.5],
    ids=[5, 5, 6, 6, 7, 7],
)
SOFT_SCORES = [1.0, 0.5, -1.0, 2.0, 0.0, 2.0]  # differences 0.5, 3 and -2


def test_soft_labels_by_hand():
    scores = score(SOFT_SCORES)
    loss, stats = BradleyTerryLoss()(at_last(scores, SOFT), SOFT)
    wanted = [0.75 * softplus(-0.5) + 0.25 * softplus(0.5), softplus(-3), 0.5 * softplus(2) + 0.5 * softplus(-2)]
    assert loss.item() == pytest.approx(sum(wanted))
    assert values(stats) == pytest.approx({"loss": sum(wanted) / 3, "accuracy": 2 / 3, "margin": 0.5, "score": 4.5 / 6})
    # By a pair's difference: sigmoid(difference) - p.
    first, second, third = sigmoid(0.5) - 0.75, sigmoid(3) - 1, sigmoid(-2) - 0.5
    gradient = torch.autograd.grad(loss, scores)[0][:, 0]
    assert_close(gradient, torch.tensor([first, -first, -second, second, third, -third], dtype=torch.float64))


def test_soft_labels_with_a_margin_by_hand():
    """It is asked of either answer, with the probability that this is the better one. Margins are 2, 3 and 1."""
    scores = score(SOFT_SCORES)
    loss, _ = BradleyTerryLoss(use_margin=True)(at_last(scores, SOFT), SOFT)
    wanted = [
        0.75 * softplus(2 - 0.5) + 0.25 * softplus(2 + 0.5),
        softplus(3 - 3),
        0.5 * softplus(1 + 2) + 0.5 * softplus(1 - 2),
    ]
    assert loss.item() == pytest.approx(sum(wanted))
    # By a difference d with margin m: -p sigmoid(m - d) + (1 - p) sigmoid(m + d).
    first, second, third = (
        -0.75 * sigmoid(1.5) + 0.25 * sigmoid(2.5),
        -sigmoid(0),
        -0.5 * sigmoid(3) + 0.5 * sigmoid(-1),
    )
    gradient = torch.autograd.grad(loss, scores)[0][:, 0]
    assert_close(gradient, torch.tensor([first, -first, -second, second, third, -third], dtype=torch.float64))


@pytest.mark.parametrize(("preference", "best"), [(0.75, math.log(3)), (0.5, 0.0)])
def test_a_soft_label_is_best_met_at_its_log_odds(preference: float, best: float):
    pair = comparisons([0, 0], [1.0, 0.0], preferences=[preference] * 2)
    scores = score([best, 0.0])
    loss, _ = BradleyTerryLoss()(at_last(scores, pair), pair)
    assert_close(torch.autograd.grad(loss, scores)[0], torch.zeros(2, 1, dtype=torch.float64))
    # What is left is the label's own entropy.
    assert loss.item() == pytest.approx(
        -preference * math.log(preference) - (1 - preference) * math.log(1 - preference)
    )


@pytest.mark.parametrize("use_margin", [False, True])
def test_certain_labels_far_off_stay_finite(use_margin: bool):
    """The side that has no probability adds exactly nothing, however large its logarithm is."""
    pair = comparisons([0, 0], [1.0, 0.0])
    for gap in (-1e30, -100.0, 0.0, 100.0, 1e30):
        scores = torch.tensor([[gap], [0.0]], requires_grad=True)
        loss, _ = BradleyTerryLoss(use_margin=use_margin)(at_last(scores, pair), pair)
        plain = -torch.nn.functional.logsigmoid(scores[0, 0] - float(use_margin))
        assert torch.equal(loss, plain)
        assert torch.equal(torch.autograd.grad(loss, scores)[0][0, 0], torch.autograd.grad(plain, scores)[0][0, 0])


def test_centering_by_hand():
    plain, _ = BradleyTerryLoss()(at_last(score(SCORES), RANKING), RANKING)
    loss, stats = BradleyTerryLoss(centering=0.1)(at_last(score(SCORES), RANKING), RANKING)
    # Sums 1 + 3, 1 + 0, 3 + 0 squared: 16 + 1 + 9 over 3; and 1.
    assert (loss - plain).item() == pytest.approx(0.1 * (26 / 3 + 1))
    assert stats["loss"].value == pytest.approx(loss.item() / 2)


def test_ensemble_by_hand():
    # Ten comparisons of two answers, three heads. Each head counts a comparison twice or not at all, as its weights
    # say.
    batch = comparisons(
        units=[i // 2 for i in range(20)], grades=[1.0, 0.0] * 10, ids=[100 + i // 2 for i in range(20)]
    )
    heads = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss, stats = BradleyTerryLoss()(at_last(heads, batch), batch)
    weights = bootstrap_weights(torch.arange(100, 110), 3)
    gap = heads[0::2] - heads[1::2]
    assert loss.item() == pytest.approx(
        sum(weights[p, k].item() * softplus(-gap[p, k].item()) for p in range(10) for k in range(3)) / 3
    )
    assert stats["accuracy"].value == pytest.approx((gap.mean(1) > 0).double().mean().item())
    # Standard deviation over three heads, by its definition.
    spread = [math.sqrt(sum((x - sum(row) / 3) ** 2 for x in row) / 2) for row in gap.tolist()]
    assert stats["spread"].value == pytest.approx(sum(spread) / 10)


def test_bootstrap_is_fair_fixed_and_different_for_every_head():
    ids = torch.cat([torch.arange(20_000), torch.arange(20_000) * 2**40])  # low bits and high bits
    weights = bootstrap_weights(ids, 4)
    assert set(weights.unique().tolist()) == {0, 2}
    # 20,000 fair coins: the share of heads has a standard error of 0.0035; so has any two heads' agreement.
    for part in weights.split(20_000):
        coins = part.double() / 2
        assert_close(coins.mean(0), torch.full((4,), 0.5, dtype=torch.float64), atol=0.018, rtol=0)
        agreement = (coins[:, :, None] == coins[:, None, :]).double().mean(0)
        assert_close(agreement, 0.5 + 0.5 * torch.eye(4, dtype=torch.float64), atol=0.018, rtol=0)
        # Neighbouring comparisons agree as often as not.
        assert_close(
            (coins[1:] == coins[:-1]).double().mean(0), torch.full((4,), 0.5, dtype=torch.float64), atol=0.018, rtol=0
        )
    order = torch.randperm(40_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bootstrap_weights(ids[order], 4), weights[order])
    assert torch.equal(bootstrap_weights(ids, 2), weights[:, :2])  # a further head leaves the others as they are
    assert (bootstrap_weights(ids, 1) == 1).all()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), heads=st.sampled_from([1, 3]), units=st.integers(2, 5), data=st.data())
def test_any_split_of_units_gives_the_same_loss_gradient_and_statistics(
    seed: int, heads: int, units: int, data: st.DataObject
):
    g = torch.Generator().manual_seed(seed)
    unit = torch.arange(units).repeat_interleave(torch.randint(1, 5, (units,), generator=g))
    unit = unit[torch.randperm(len(unit), generator=g)]
    grades = torch.randint(0, 3, (len(unit),), generator=g).tolist()
    preferences = (torch.randint(2, 5, (units,), generator=g) / 4)[unit].tolist()
    lengths = torch.randint(1, 4, (len(unit),), generator=g).tolist()
    batch = comparisons(unit.tolist(), [float(grade) for grade in grades], lengths, preferences=preferences)
    loss = BradleyTerryLoss(centering=0.1, use_margin=True)
    scores = torch.randn(len(unit), heads, generator=g, dtype=torch.float64).requires_grad_()
    whole, whole_stats = loss(at_last(scores, batch), batch)
    if not whole_stats["accuracy"].count:  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(ValueError, match="nothing to compare"):
            loss.normalizer(batch)
        return

    # Units are dealt out whole, in any order; some parts have no pair at all.
    part_of = torch.tensor([data.draw(st.integers(0, 1)) for _ in range(units)])
    total, parts = torch.zeros((), dtype=torch.float64), []
    for part in range(2):
        rows = (part_of[unit] == part).nonzero().squeeze(1)
        if len(rows):
            value, stats = loss(at_last(scores[rows], batch.rows(rows)), batch.rows(rows))
            total = total + value
            parts.append(stats)
    assert_close(total, whole)
    assert_close(torch.autograd.grad(total, scores), torch.autograd.grad(whole, scores))
    assert values(merge(parts)) == pytest.approx(values(whole_stats))
    assert loss.normalizer(batch) == whole_stats["loss"].count  # pyright: ignore[reportAttributeAccessIssue]


def test_bad_input():
    equal = comparisons([0, 0, 1], [1.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="none of the batch's 3 answers is better than another"):
        BradleyTerryLoss().normalizer(equal)
    # As one micro-batch of several it is no error: it adds nothing, with a gradient of 0.
    scores = score([1.0, 2.0, 3.0])
    loss, _ = BradleyTerryLoss()(at_last(scores, equal), equal)
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, scores)[0].any()
    with pytest.raises(ValueError, match="centering"):
        BradleyTerryLoss(centering=-0.1)


def test_survives_the_way_to_the_ranks():
    assert pickle.loads(pickle.dumps(BradleyTerryLoss(0.01, use_margin=True))) == BradleyTerryLoss(
        0.01, use_margin=True
    )

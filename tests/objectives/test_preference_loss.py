import math
import pickle
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from rlsys.batch import PreferenceBatch
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.preference_loss import PreferenceLoss
from rlsys.objectives.stats import merge, values


def softplus(x: float) -> float:
    """-log sigmoid(-x)"""
    return math.log1p(math.exp(x))


def log_odds(mean_log_prob: float) -> float:
    return math.log(math.exp(mean_log_prob) / (1 - math.exp(mean_log_prob)))


def batch_of(
    lengths: list[int],
    units: list[int],
    grades: list[float],
    reference: list[float] | None,
    preferences: list[float] | None = None,
) -> PreferenceBatch:
    """Answers of the given numbers of tokens, each after a prompt of two."""
    width = max(lengths) + 2
    mask = torch.tensor([[2 <= t < 2 + length for t in range(width)] for length in lengths])
    return PreferenceBatch(
        token_ids_BT=torch.zeros(len(lengths), width, dtype=torch.long),
        loss_mask_BT=mask,
        lengths_B=torch.tensor(lengths) + 2,
        unit_B=torch.tensor(units),
        grade_B=torch.tensor(grades),
        preference_B=torch.tensor(preferences or [1.0] * len(units)),
        comparison_id_B=torch.tensor(units),
        reference_log_probs_B=None if reference is None else torch.tensor(reference),
    )


# The chosen answer: two tokens, log pi -1.5, log ref -2. The rejected one: three tokens, log pi -2.5, log ref -2.2. So
# the log-ratios are 0.5 and -0.3, and their difference is 0.8.
PAIR = batch_of([2, 3], [4, 4], [1.0, 0.0], [-2.0, -2.2])
JUNK = 9.0
LOG_PROBS = [[JUNK, JUNK, -0.5, -1.0, JUNK], [JUNK, JUNK, -1.0, -1.0, -0.5]]


def outputs_of(rows: list[list[float]] = LOG_PROBS) -> Outputs:
    return Outputs(torch.tensor(rows, dtype=torch.float64, requires_grad=True))


ODDS = log_odds(-1.5 / 2) - log_odds(-2.5 / 3)
BY_HAND = {
    "dpo": (PreferenceLoss("dpo", 0.5), softplus(-0.4)),
    "dpo without a reference": (PreferenceLoss("dpo", 0.5, reference_free=True), softplus(-0.5 * 1.0)),
    "dpo by length": (PreferenceLoss("dpo", 0.5, length_normalized=True), softplus(-0.5 * (0.25 + 0.1))),
    "dpo with an offset": (PreferenceLoss("dpo", 0.5, gamma=0.3), softplus(-0.4 + 0.3)),
    "dpo with imitation": (PreferenceLoss("dpo", 0.5, sft_weight=2), softplus(-0.4) + 2 * 0.75),
    "cdpo": (PreferenceLoss("cdpo", 0.5, label_smoothing=0.1), 0.9 * softplus(-0.4) + 0.1 * softplus(0.4)),
    "robust_dpo": (
        PreferenceLoss("robust_dpo", 0.5, label_smoothing=0.1),
        (0.9 * softplus(-0.4) - 0.1 * softplus(0.4)) / 0.8,
    ),
    "slic": (PreferenceLoss("slic", 0.5), 0.6),
    "slic, met": (PreferenceLoss("slic", 2.0), 0.0),
    "ipo": (PreferenceLoss("ipo", 0.5), (0.8 - 1) ** 2),
    "ipo by length": (PreferenceLoss("ipo", 0.5, length_normalized=True), (0.35 - 1) ** 2),
    "ipo, smoothed": (PreferenceLoss("ipo", 0.5, label_smoothing=0.1), 0.9 * 0.2**2 + 0.1 * 1.8**2),
    "orpo": (PreferenceLoss("orpo", 0.5), 0.75 + 0.5 * softplus(-ODDS)),
    "simpo": (PreferenceLoss("simpo", 2.0, gamma=0.5), softplus(-2 * (-0.75 + 2.5 / 3) + 0.5)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_each_loss_by_hand(name: str):
    loss, wanted = BY_HAND[name]
    summed, stats = loss(outputs_of(), PAIR)
    assert loss.normalizer(PAIR) == 1
    assert summed.item() == pytest.approx(wanted)
    assert stats["loss"].value == pytest.approx(wanted)
    assert pickle.loads(pickle.dumps(loss)) == loss


def test_the_numbers_beside_the_loss():
    _, stats = PreferenceLoss("dpo", 0.5)(outputs_of(), PAIR)
    del stats["loss"]
    wanted = {
        "margin": 0.4,
        "accuracy": 1.0,
        "chosen_log_prob": -1.5,
        "rejected_log_prob": -2.5,
        "chosen_reward": 0.25,
        "rejected_reward": -0.15,
    }
    assert values(stats) == pytest.approx(wanted)


@pytest.mark.parametrize("name", BY_HAND)
def test_swapping_the_answers_negates_the_margin(name: str):
    loss, _ = BY_HAND[name]
    swapped = replace(PAIR, grade_B=-PAIR.grade_B)
    (_, there), (_, back) = loss(outputs_of(), PAIR), loss(outputs_of(), swapped)
    assert there["margin"].value == pytest.approx(-back["margin"].value) != 0
    assert (there["accuracy"].value, back["accuracy"].value) == (1, 0)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_certain_label_turned_round_is_the_other_label(name: str):
    """With probability 0 that the first answer is better, the second is: every loss says the same of both."""
    loss, _ = BY_HAND[name]
    swapped = replace(PAIR, grade_B=-PAIR.grade_B)
    never = replace(PAIR, preference_B=torch.zeros(2))
    assert loss(outputs_of(), never)[0].item() == pytest.approx(loss(outputs_of(), swapped)[0].item())


@pytest.mark.parametrize("kind", ["dpo", "ipo"])
def test_at_the_reference(kind: str):
    at_reference = replace(PAIR, reference_log_probs_B=torch.tensor([-1.5, -2.5]))
    loss, stats = PreferenceLoss(kind, 0.5)(outputs_of(), at_reference)  # pyright: ignore[reportArgumentType]
    assert loss.item() == pytest.approx({"dpo": math.log(2), "ipo": 1.0}[kind])
    assert (stats["margin"].value, stats["accuracy"].value) == (0, 0.5)


@pytest.mark.parametrize("name", BY_HAND)
def test_only_trained_tokens_get_a_gradient(name: str):
    loss, _ = BY_HAND[name]
    outputs = outputs_of()
    (gradient,) = torch.autograd.grad(loss(outputs, PAIR)[0], outputs.log_probs_BT)
    assert torch.count_nonzero(gradient[~PAIR.loss_mask_BT]) == 0
    assert name == "slic, met" or gradient[PAIR.loss_mask_BT].all()


def test_the_gradient_of_dpo_by_hand():
    """beta sigmoid(-h) per token: up for the chosen answer, down for the rejected one (equation after (7) of the
    paper)."""
    outputs = outputs_of()
    (gradient,) = torch.autograd.grad(PreferenceLoss("dpo", 0.5)(outputs, PAIR)[0], outputs.log_probs_BT)
    slope = 0.5 / (1 + math.exp(0.4))
    assert_close(gradient, torch.tensor([[0, 0, -slope, -slope, 0], [0, 0, slope, slope, slope]], dtype=torch.float64))


def test_the_mean_over_wrong_labels_of_the_robust_loss_is_the_true_one():
    """Labels are flipped with probability 0.2: the expected robust loss of what is seen is the DPO loss of what is true
    (lemma of the paper)."""
    robust, flipped = PreferenceLoss("robust_dpo", 0.5, label_smoothing=0.2), replace(PAIR, grade_B=-PAIR.grade_B)
    expected = 0.8 * robust(outputs_of(), PAIR)[0] + 0.2 * robust(outputs_of(), flipped)[0]
    assert expected.item() == pytest.approx(softplus(-0.4))


def test_soft_labels_cost_what_is_expected():
    soft = replace(PAIR, preference_B=torch.tensor([0.75, 0.75]))
    cases = {
        PreferenceLoss("dpo", 0.5): 0.75 * softplus(-0.4) + 0.25 * softplus(0.4),
        # A label of 3/4 that is itself wrong in a tenth of the cases.
        PreferenceLoss("cdpo", 0.5, label_smoothing=0.1): 0.7 * softplus(-0.4) + 0.3 * softplus(0.4),
        PreferenceLoss("ipo", 0.5): 0.75 * 0.04 + 0.25 * 1.8**2,
        PreferenceLoss("slic", 0.5): 0.75 * 0.6 + 0.25 * 1.4,
        PreferenceLoss("orpo", 0.5): 0.75 * 0.75
        + 0.25 * 2.5 / 3
        + 0.5 * (0.75 * softplus(-ODDS) + 0.25 * softplus(ODDS)),
    }
    for loss, wanted in cases.items():
        assert loss(outputs_of(), soft)[0].item() == pytest.approx(wanted), loss


def test_a_ranking_weighs_as_much_as_a_pair():
    """Log-ratios 2, 1, 0 of a ranking make the margins 1, 2, 1; those of the pair, -1. Rows of the units lie mixed;
    equal grades make no pair."""
    batch = batch_of([1] * 7, [3, 5, 3, 8, 5, 3, 8], [2.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0], [0.0] * 7)
    outputs = outputs_of([[JUNK, JUNK, x] for x in (2.0, 1.0, 1.0, 7.0, 0.0, 0.0, -7.0)])
    loss = PreferenceLoss("dpo", 1.0)
    ranking, pair = (softplus(-1) + softplus(-2) + softplus(-1)) / 3, softplus(1)
    summed, stats = loss(outputs, batch)
    assert summed.item() == pytest.approx(ranking + pair)
    assert loss.normalizer(batch) == 2
    assert stats["accuracy"].value == pytest.approx(3 / 4)
    assert stats["margin"].value == pytest.approx((1 + 2 + 1 - 1) / 4)
    apart = [loss(Outputs(outputs.log_probs_BT[rows]), batch.rows(rows)) for rows in ([0, 2, 5], [1, 4], [3, 6])]
    assert sum(part.item() for part, _ in apart) == pytest.approx(summed.item())
    assert values(merge(part for _, part in apart)) == pytest.approx(values(stats))


@pytest.mark.parametrize(("kind", "bounded"), [("ipo", True), ("dpo", False)])
def test_the_gap_of_ipo_stays_bounded_where_that_of_dpo_does_not(kind: str, bounded: bool):
    """Two answers of one token each, a softmax over two logits, plain gradient descent; the reference is uniform. IPO
    stops at 1 / (2 beta)."""
    batch = batch_of([1, 1], [0, 0], [1.0, 0.0], [math.log(0.5)] * 2)
    loss = PreferenceLoss(kind, 0.5)  # pyright: ignore[reportArgumentType]
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def gap_after(steps: int) -> float:
        for _ in range(steps):
            zero = torch.zeros(2, 2, dtype=torch.float64)
            value, _ = loss(Outputs(torch.cat([zero, logits.log_softmax(0)[:, None]], 1)), batch)
            (gradient,) = torch.autograd.grad(value, logits)
            with torch.no_grad():
                logits.sub_(0.2 * gradient)
        return float((logits[0] - logits[1]).detach())

    first, second = gap_after(50), gap_after(750)
    assert (second == pytest.approx(1.0) == first) if bounded else second > first + 2 > 4


def test_odds_of_a_certain_answer_are_finite():
    certain = Outputs(torch.zeros(2, 5, requires_grad=True))
    loss, _ = PreferenceLoss("orpo", 0.5)(certain, PAIR)
    (gradient,) = torch.autograd.grad(loss, certain.log_probs_BT)
    # Equal odds, so 0.5 ln 2; at the bound odds have no gradient, and imitation's is -1/2 for each of the chosen
    # answer's two tokens.
    assert loss.item() == pytest.approx(0.5 * math.log(2))
    assert gradient.tolist() == [[0, 0, -0.5, -0.5, 0], [0] * 5]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"kind": "ipo", "gamma": 0.5}, "ipo asks for no margin"),
        ({"gamma": -0.5}, "gamma must be at least 0"),
        ({"kind": "robust_dpo"}, "robust_dpo needs it"),
        ({"kind": "cdpo"}, "cdpo needs it"),
        ({"label_smoothing": 0.5}, "below 0.5"),
        ({"sft_weight": -1.0}, "sft_weight must be at least 0"),
        ({"kind": "simpo", "length_normalized": True}, "simpo is by itself"),
        ({"kind": "orpo", "reference_free": True}, "orpo is by itself"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict, words: str):
    with pytest.raises(ValueError, match=words):
        PreferenceLoss(**settings)


def test_batches_without_what_the_loss_needs_are_refused():
    without = replace(PAIR, reference_log_probs_B=None)
    with pytest.raises(ValueError, match="compares with a reference"):
        PreferenceLoss("dpo").normalizer(without)
    assert not any(
        loss.needs_reference
        for loss in (PreferenceLoss("simpo"), PreferenceLoss("orpo"), PreferenceLoss(reference_free=True))
    )
    assert PreferenceLoss("simpo").normalizer(without) == 1
    with pytest.raises(ValueError, match="nothing to prefer"):
        PreferenceLoss("dpo").normalizer(replace(PAIR, grade_B=torch.zeros(2)))

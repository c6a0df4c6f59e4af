import math
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from rlsys.objectives.log_probs import (
    flat_log_probs,
    flat_top,
    logits_log_probs,
    outcomes,
    packed_token_log_probs,
    token_log_probs,
)

LN2 = math.log(2)


def test_definition_by_hand():
    # Logits (ln 1, ln 3) at temperature 1 are p = (1/4, 3/4). At temperature 1/2 the logits double: weights 1 and 9, p
    # = (1/10, 9/10).
    logits = torch.tensor([[0.0, math.log(3)]]).expand(2, 2)
    log_probs, entropy = logits_log_probs(logits, torch.tensor([0, 1]), temperature=1.0, with_entropy=True)
    assert_close(log_probs, torch.tensor([math.log(1 / 4), math.log(3 / 4)]))
    # -(1/4 ln 1/4 + 3/4 ln 3/4) = 2 ln 2 - 3/4 ln 3
    assert_close(entropy, torch.full((2,), 2 * LN2 - 0.75 * math.log(3)))
    sharp, no_entropy = logits_log_probs(logits, torch.tensor([0, 1]), temperature=0.5)
    assert_close(sharp, torch.tensor([math.log(1 / 10), math.log(9 / 10)]))
    assert no_entropy is None


def test_the_state_before_a_token_scores_it():
    # The head maps state k to certainty (within e^-50) that the next token is k. States 2, 0, 1 predict tokens 2, 0, 1
    # one place later.
    hidden = torch.eye(3)[torch.tensor([[2, 0, 1, 1]])]
    tokens = torch.tensor([[1, 2, 0, 1]])
    out = token_log_probs(hidden, tokens, torch.tensor([[False, True, True, True]]), lambda h: 50 * h, temperature=1.0)
    assert_close(out.log_probs_BT, torch.zeros(1, 4))
    # One token further on nothing fits: 50 nats worse, and untrained tokens stay 0.
    shifted = token_log_probs(
        hidden, tokens.roll(1, 1), torch.tensor([[False, True, False, True]]), lambda h: 50 * h, temperature=1.0
    )
    assert_close(shifted.log_probs_BT, torch.tensor([[0.0, -50.0, 0.0, -50.0]]))


def test_scores_are_float32_from_bfloat16_logits():
    # In bfloat16 ln(1/3) would be -1.1016; float32 of equal logits gives -1.0986123.
    log_probs, _ = logits_log_probs(torch.zeros(1, 3, dtype=torch.bfloat16), torch.tensor([1]), temperature=1.0)
    assert log_probs.item() == pytest.approx(-math.log(3), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_greedy_has_no_log_probs(temperature: float):
    with pytest.raises(ValueError, match="temperature"):
        flat_log_probs(torch.zeros(1, 2), torch.tensor([0]), lambda h: h, temperature)


def test_chunks_must_hold_a_token():
    with pytest.raises(ValueError, match="chunk_tokens"):
        flat_log_probs(torch.zeros(1, 2), torch.tensor([0]), lambda h: h, 1.0, chunk_tokens=0)


def test_the_first_token_cannot_be_scored():
    with pytest.raises(AssertionError, match="first token"):
        token_log_probs(
            torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.long), torch.tensor([[True, True]]), lambda h: h, 1.0
        )


def problem(
    seed: int, rows: int, width: int, hidden: int = 5, vocab: int = 11
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Hidden states, head weights, tokens, mask, and weights that make a scalar out of log-probs and entropies.

    Logits are of order 1, so that float32 is good for 1e-6.
    """
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, width, generator=g) < 0.6
    mask[:, 0] = False
    return (
        torch.randn(rows, width, hidden, generator=g).div(2).requires_grad_(),
        torch.randn(vocab, hidden, generator=g).div(2).requires_grad_(),
        torch.randint(vocab, (rows, width), generator=g),
        mask,
        torch.randn(2, rows, width, generator=g),
    )


def naive(hidden: Tensor, weight: Tensor, tokens: Tensor, mask: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Through full logits and torch's own distribution, a token at a time, in float64."""
    log_probs, entropy = torch.zeros(tokens.shape, dtype=torch.float64), torch.zeros(tokens.shape, dtype=torch.float64)
    for b, t in mask.nonzero().tolist():
        distribution = torch.distributions.Categorical(
            logits=(weight.double() @ hidden[b, t - 1].double()) / temperature
        )
        log_probs[b, t], entropy[b, t] = distribution.log_prob(tokens[b, t]), distribution.entropy()
    return log_probs, entropy


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 4),
    width=st.integers(1, 7),
    chunk=st.integers(1, 9),
    temperature=st.sampled_from([0.5, 1.0, 1.7]),
)
def test_chunks_change_neither_values_nor_gradients(seed: int, rows: int, width: int, chunk: int, temperature: float):
    hidden, weight, tokens, mask, mix = problem(seed, rows, width)
    out = token_log_probs(hidden, tokens, mask, lambda h: h @ weight.T, temperature, chunk, with_entropy=True)
    assert out.entropy_BT is not None
    expected = naive(hidden, weight, tokens, mask, temperature)
    assert out.log_probs_BT.dtype == out.entropy_BT.dtype == torch.float32
    assert_close((out.log_probs_BT, out.entropy_BT), expected, atol=1e-6, rtol=1e-6, check_dtype=False)

    gradients = torch.autograd.grad((mix[0] * out.log_probs_BT + mix[1] * out.entropy_BT).sum(), (hidden, weight))
    if mask.any():
        wanted = torch.autograd.grad((mix[0] * expected[0] + mix[1] * expected[1]).sum(), (hidden, weight))
        assert_close(gradients, wanted, atol=1e-6, rtol=1e-6)
    else:  # still in the graph, so that ranks without a trained token take part in the backward pass
        assert all(not gradient.any() for gradient in gradients)
    # A state that predicts no trained token (the next one is prompt or padding) gets exactly nothing.
    predicts = torch.cat([mask[:, 1:], torch.zeros(rows, 1, dtype=torch.bool)], dim=1)
    assert not gradients[0][~predicts].any()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_packed_equals_padded(seed: int, lengths: list[int]):
    hidden, weight, tokens, mask, _ = problem(seed, len(lengths), max(lengths))
    lengths_B = torch.tensor(lengths)
    valid = torch.arange(max(lengths)) < lengths_B[:, None]
    padded = token_log_probs(hidden, tokens, mask & valid, lambda h: h @ weight.T, 1.0, 3, with_entropy=True)
    packed = packed_token_log_probs(
        hidden[valid], lengths_B, tokens, mask & valid, lambda h: h @ weight.T, 1.0, 3, with_entropy=True
    )
    assert torch.equal(packed.log_probs_BT, padded.log_probs_BT)
    assert packed.entropy_BT is not None
    assert padded.entropy_BT is not None
    assert torch.equal(packed.entropy_BT, padded.entropy_BT)


def test_outcomes_by_hand():
    """p = (1/2, 1/4, 1/8, 1/8): tokens 3 and 0 are named, the others have 3/8 together; of all four nothing is left,
    which is 2e-22."""
    log_probs = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    named = outcomes(log_probs, torch.tensor([[3, 0]]))
    assert_close(named.exp(), torch.tensor([[0.125, 0.5, 0.375]]))
    everything = outcomes(log_probs, torch.tensor([[2, 0, 3, 1]]))
    assert_close(everything, torch.tensor([[math.log(1 / 8), -LN2, math.log(1 / 8), -2 * LN2, -50.0]]))


def test_top_tokens_by_hand():
    """Logits ln (1, 8, 2, 4, 1) are p = (1, 8, 2, 4, 1)/16. At temperature 1/2 the weights are squares, (1, 64, 4, 16,
    1)/86."""
    logits = torch.tensor([[1.0, 8.0, 2.0, 4.0, 1.0]]).log()
    choices, named = flat_top(logits, lambda h: h, 2, 5, 1.0)
    assert choices.tolist() == [[1, 3]]
    assert_close(named.exp(), torch.tensor([[8 / 16, 4 / 16, 4 / 16]]))
    assert_close(flat_top(logits, lambda h: h, 2, 5, 0.5)[1].exp(), torch.tensor([[64 / 86, 16 / 86, 6 / 86]]))
    # A student that knows three tokens is told of these only; what the teacher gives to others stays in what is left.
    choices, named = flat_top(logits, lambda h: h, 2, 3, 1.0)
    assert choices.tolist() == [[1, 2]]
    assert_close(named.exp(), torch.tensor([[8 / 16, 2 / 16, 6 / 16]]))
    for k in (0, 9):  # all of them
        choices, named = flat_top(logits, lambda h: h, k, 5, 1.0)
        assert sorted(choices[0].tolist()) == [0, 1, 2, 3, 4]
        assert_close(named[0, :5].exp(), torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0]) / 16)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 4),
    width=st.integers(1, 7),
    chunk=st.integers(1, 9),
    k=st.integers(1, 11),
)
def test_chunks_change_no_outcome_and_no_gradient(seed: int, rows: int, width: int, chunk: int, k: int):
    hidden, weight, tokens, mask, mix = problem(seed, rows, width)
    choices = torch.rand(rows, width, 11, generator=torch.Generator().manual_seed(seed)).argsort(-1)[:, :, :k]
    out = token_log_probs(hidden, tokens, mask, lambda h: h @ weight.T, 0.7, chunk, choices_BTK=choices)
    assert out.outcomes_BTO is not None
    expected = torch.zeros(rows, width, k + 1, dtype=torch.float64)
    for b, t in mask.nonzero().tolist():
        p = torch.softmax((weight.double() @ hidden[b, t - 1].double()) / 0.7, 0)
        named = choices[b, t].tolist()
        expected[b, t, :k] = p[named].log()
        expected[b, t, k] = p[[v for v in range(11) if v not in named]].sum().log() if k < 11 else -50.0
    assert_close(out.outcomes_BTO, expected, atol=2e-6, rtol=2e-6, check_dtype=False)
    gradients = torch.autograd.grad((mix[0, :, :, None] * out.outcomes_BTO).sum(), (hidden, weight))
    if mask.any():
        wanted = torch.autograd.grad((mix[0, :, :, None] * expected).sum(), (hidden, weight))
        assert_close(gradients, wanted, atol=5e-6, rtol=5e-6)
    else:
        assert all(not gradient.any() for gradient in gradients)


class LargestTensor(TorchDispatchMode):
    """Watches every operation's results, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return out


def test_logits_of_a_whole_batch_never_exist():
    tokens, vocab, width, chunk = 64, 50, 3, 8
    hidden, weight = torch.randn(tokens, width, requires_grad=True), torch.randn(vocab, width, requires_grad=True)
    seen: list[tuple[int, weakref.ref[Tensor]]] = []

    def head(chunk_ND: Tensor) -> Tensor:
        logits = chunk_ND @ weight.T
        seen.append((len(chunk_ND), weakref.ref(logits)))
        return logits

    with LargestTensor() as largest:
        choices = torch.arange(2).expand(tokens, 2)
        log_probs, entropy, named = flat_log_probs(
            hidden, torch.randint(vocab, (tokens,)), head, 1.0, chunk, True, choices
        )
        assert all(logits() is None for _, logits in seen), "the forward pass keeps logits"
        assert entropy is not None
        assert named is not None
        (log_probs + entropy + named.sum(1)).sum().backward()
    assert [size for size, _ in seen] == [chunk] * (
        2 * tokens // chunk
    )  # each chunk projected once forward, once backward
    assert largest.numel == chunk * vocab
    assert hidden.grad is not None
    assert hidden.grad.abs().sum(1).min() > 0


def test_a_teachers_logits_of_a_whole_batch_never_exist():
    tokens, vocab, width, chunk = 64, 50, 3, 8
    hidden, weight = torch.randn(tokens, width), torch.randn(vocab, width)
    with LargestTensor() as largest:
        choices, named = flat_top(hidden, lambda h: h @ weight.T, 4, vocab, 1.0, chunk)
    assert largest.numel == chunk * vocab
    assert_close(
        named[:, :4].double(),
        torch.log_softmax(hidden.double() @ weight.T.double(), -1).gather(-1, choices),
        atol=1e-5,
        rtol=0,
    )
    with pytest.raises(ValueError, match="temperature"):
        flat_top(hidden, lambda h: h @ weight.T, 4, vocab, 0.0)

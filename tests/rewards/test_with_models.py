"""Reward models as plain functions of the rows they get; numbers are worked out by hand."""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest
import torch
from support.fakes import prompt, trajectory
from torch import Tensor

from rlsys.batch import Batch
from rlsys.errors import ConfigError
from rlsys.rewards.with_models import Combine, Member, WithModels
from rlsys.samples import Abstention, Group, RewardResult, Score, ScoredGroup

PAD = 9


class Heads:
    """A score model: `heads` of a row's tokens (padding cut off) gives its K scores. Keeps the batches it got."""

    def __init__(self, heads: Callable[[list[int]], list[float]]) -> None:
        self.heads = heads
        self.batches: list[Batch] = []

    def scores(self, batch: Batch) -> Tensor:
        self.batches.append(batch)
        rows = zip(batch.token_ids_BT.tolist(), batch.lengths_B.tolist(), strict=True)
        return torch.tensor([self.heads(row[:length]) for row, length in rows], dtype=torch.float32)


class Rules:
    """Gives the results of a list, sample after sample."""

    def __init__(self, *results: RewardResult) -> None:
        self.results = iter(results)

    def score(self, groups: Iterable[Group]) -> Iterator[ScoredGroup]:
        for group in groups:
            yield ScoredGroup(group.prompt, group.trajectories, tuple(next(self.results) for _ in group.trajectories))


def member(
    model: Heads,
    name: str = "rm",
    weight: float = 1.0,
    combine: Combine = "mean",
    offset: float = 0.0,
    scale: float = 1.0,
) -> Member:
    return Member(name, weight, model, combine, offset, scale)


def group(name: str, *responses: list[int]) -> Group:
    return Group(
        prompt(name), tuple(trajectory(name, i, tokens, [-0.5] * len(tokens)) for i, tokens in enumerate(responses))
    )


def results(groups: Iterable[ScoredGroup]) -> list[RewardResult]:
    return [result for group in groups for result in group.results]


def last(tokens: list[int]) -> list[float]:
    return [float(tokens[-1])]


def test_rules_and_two_models_are_mixed_by_weights():
    """First sample: last token 3, length 3 with the prompt. a = (3 - 1) / 4 = 0.5, b = 3; 1 + 2 x 0.5 - 0.25 x 3 =
    1.25. Second: last token 2, length 2. a = 0.25, b = 2; 0 + 0.5 - 0.5 = 0."""
    rewards = WithModels(
        Rules(Score(1.0, {"exact_match": 1.0}), Score(0.0, {"exact_match": 0.0})),
        [
            member(Heads(last), "a", weight=2.0, offset=1.0, scale=4.0),
            member(Heads(lambda tokens: [float(len(tokens))]), "b", weight=-0.25),
        ],
        PAD,
    )
    assert results(rewards.score([group("p", [1, 3], [2])])) == [
        Score(1.25, {"exact_match": 1.0, "a": 0.5, "b": 3.0}),
        Score(0.0, {"exact_match": 0.0, "a": 0.25, "b": 2.0}),
    ]


def test_without_rules_a_sample_starts_from_zero():
    rewards = WithModels(None, [member(Heads(last), weight=0.5)], PAD)
    assert results(rewards.score([group("p", [3])])) == [Score(1.5, {"rm": 3.0})]


def test_models_see_the_sampled_tokens():
    model = Heads(last)
    list(WithModels(None, [member(model)], PAD).score([group("p", [1, 2, 3], [1]), group("q", [2, 2])]))
    [batch] = model.batches
    assert type(batch) is Batch
    assert batch.token_ids_BT.tolist() == [[0, 1, 2, 3], [0, 1, PAD, PAD], [0, 2, 2, PAD]]
    assert batch.loss_mask_BT.int().tolist() == [[0, 1, 1, 1], [0, 1, 0, 0], [0, 1, 1, 0]]
    assert batch.lengths_B.tolist() == [4, 2, 3]


@pytest.mark.parametrize(
    ("combine", "value"),
    [
        ("mean", 3.0),  # (1 + 2 + 6) / 3
        ("min", 1.0),
        ("mean_minus_std", 3.0 - math.sqrt(7.0)),  # squared distances 4 + 1 + 9 = 14, over K - 1 = 2
    ],
)
def test_the_heads_of_an_ensemble(combine: Combine, value: float):
    """The offset 1 and scale 2 apply to what was combined; the spread has the scale too."""
    rewards = WithModels(
        None, [member(Heads(lambda _: [1.0, 2.0, 6.0]), combine=combine, offset=1.0, scale=2.0, weight=10.0)], PAD
    )
    [result] = results(rewards.score([group("p", [1])]))
    assert isinstance(result, Score)
    assert result.value == pytest.approx(10 * (value - 1) / 2, abs=1e-12)
    assert result.parts == pytest.approx({"rm": (value - 1) / 2, "rm.spread": math.sqrt(7.0) / 2}, abs=1e-12)


@pytest.mark.parametrize("combine", ["mean", "min"])
@pytest.mark.parametrize(("number", "written"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_a_strange_score_hits_its_sample_only(combine: Combine, number: float, written: str):
    strange = Heads(lambda tokens: [1.0, number] if tokens[-1] == 2 else [1.0, 3.0])
    members = [member(Heads(last), "good"), member(strange, "rm", combine=combine)]
    before, hit, after = results(WithModels(None, members, PAD).score([group("p", [1], [2]), group("q", [1])]))
    assert hit == Abstention(f"rm: returned {written}")
    assert isinstance(before, Score)
    assert before == after
    assert before.parts["rm"] == (2.0 if combine == "mean" else 1.0)


def test_abstentions_stay_and_change_nothing_for_the_rest():
    """What was abstained from, and the empty response, reach no model; the long one that is gone does not even widen
    the batch."""
    model = Heads(last)
    rules = Rules(Abstention("format: the verifier was gone"), Score(1.0), Score(1.0), Abstention("first reason"))
    rewards = WithModels(rules, [member(model)], PAD)
    assert results(rewards.score([group("p", [1, 1, 1, 1], [3]), group("q", [], [])])) == [
        Abstention("format: the verifier was gone"),
        Score(4.0, {"rm": 3.0}),
        Abstention("empty response"),
        Abstention("first reason"),
    ]
    assert [batch.token_ids_BT.tolist() for batch in model.batches] == [[[0, 3]]]


def test_with_nothing_left_no_model_is_asked():
    model = Heads(last)
    [scored] = WithModels(None, [member(model)], PAD).score([group("p", [])])
    assert scored.results == (Abstention("empty response"),)
    assert model.batches == []


def test_a_text_without_tokens_of_its_own_can_not_be_scored():
    """A revision, which the policy did not sample."""
    made = trajectory("p", 0, [], [])
    [scored] = WithModels(None, [member(Heads(last))], PAD).score([Group(prompt("p"), (replace(made, text="better"),))])
    assert scored.results == (Abstention("a text that was not sampled: reward models score tokens"),)


def test_groups_come_out_in_order_while_others_still_come_in():
    taken: list[int] = []

    def incoming() -> Iterator[Group]:
        for number in range(5):
            taken.append(number)
            yield group(f"p{number}", [number % 4], [1])

    model = Heads(last)
    out = WithModels(None, [member(model)], PAD, groups_per_call=2).score(incoming())
    first = next(out)
    assert (first.prompt.prompt_id, first.results) == ("p0", (Score(0.0, {"rm": 0.0}), Score(1.0, {"rm": 1.0})))
    assert taken == [0, 1]
    assert [scored.prompt.prompt_id for scored in out] == ["p1", "p2", "p3", "p4"]
    assert [len(batch) for batch in model.batches] == [4, 4, 2]


def test_nothing_in_nothing_out():
    assert list(WithModels(None, [member(Heads(last))], PAD).score([])) == []


def test_models_are_asked_side_by_side():
    """Each model answers only once the other has been asked too."""
    meeting = threading.Barrier(2, timeout=10)

    def waits(tokens: list[int]) -> list[float]:
        meeting.wait()
        return last(tokens)

    rewards = WithModels(None, [member(Heads(waits), "a"), member(Heads(waits), "b")], PAD)
    assert results(rewards.score([group("p", [2])])) == [Score(4.0, {"a": 2.0, "b": 2.0})]


def test_a_models_crash_is_the_runs():
    def crashes(tokens: list[int]) -> list[float]:
        raise RuntimeError("the model is gone")

    with pytest.raises(RuntimeError, match="the model is gone"):
        list(WithModels(None, [member(Heads(crashes))], PAD).score([group("p", [2])]))


def test_settings_that_make_no_sense():
    with pytest.raises(ConfigError, match="at least one, each with its own name, not \\[\\]"):
        WithModels(None, [], PAD)
    with pytest.raises(ConfigError, match="not \\['rm', 'rm'\\]"):
        WithModels(None, [member(Heads(last)), member(Heads(last))], PAD)
    for weight, offset, scale in ((1.0, 0.0, 0.0), (1.0, 0.0, -1.0), (1.0, math.nan, 1.0), (math.inf, 0.0, 1.0)):
        with pytest.raises(ConfigError, match=r"reward model 'rm': .* must be finite, scale above 0"):
            member(Heads(last), weight=weight, offset=offset, scale=scale)
    with pytest.raises(ConfigError, match="mean_minus_std needs at least two heads, and it has one"):
        list(WithModels(None, [member(Heads(last), combine="mean_minus_std")], PAD).score([group("p", [1])]))
    with pytest.raises(ConfigError, match="two rewards have the name 'format'; give one of them another"):
        list(
            WithModels(Rules(Score(1.0, {"format": 1.0})), [member(Heads(last), "format")], PAD).score(
                [group("p", [1])]
            )
        )

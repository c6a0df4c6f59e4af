"""Scores of reward models on top of what rules give, mixed by weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch

from rlsys.batch import Batch, pad
from rlsys.errors import ConfigError
from rlsys.rewards.adding import add, chunks
from rlsys.roles import Reward, ScoreModel
from rlsys.samples import Abstention, Group, RewardResult, Score, ScoredGroup, Trajectory
from rlsys.side_by_side import side_by_side

if TYPE_CHECKING:
    from torch import Tensor

Combine = Literal["mean", "min", "mean_minus_std"]


@dataclass(frozen=True)
class Member:
    """One reward model of the sum. Its value is (the heads' scores combined - offset) / scale.

    `combine`, as in Coste et al. 2023 (arXiv 2310.02743): `mean`; `min`, their worst case; `mean_minus_std`, their
    uncertainty weighting with coefficient 1 and the standard deviation (ddof 1) where they subtract the variance, so
    that the penalty has the unit of the scores.
    """

    name: str
    """Key in `Score.parts`."""
    weight: float
    model: ScoreModel
    combine: Combine
    offset: float
    scale: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.weight, self.offset, self.scale))) or self.scale <= 0:
            raise ConfigError(
                f"reward model {self.name!r}: weight {self.weight}, offset {self.offset} and scale {self.scale} must "
                "be finite, scale above 0"
            )


@dataclass(frozen=True)
class Judged:
    """What one member says about one sample. `spread`: standard deviation over the heads (ddof 1), in the value's unit,
    None without an ensemble."""

    value: float
    spread: float | None
    strange: float | None
    """The first number that is not finite; then there is no value."""


class WithModels:
    """Implements `rlsys.roles.Reward`. A sample's value is the rules' plus the sum of weight x value over the members.

    `parts` gets each member's unweighted value under its name and, for ensembles, `name.spread`. Models see the tokens
    that were sampled. Samples that the rules abstained from stay as they are, an empty response is an abstention, and
    neither is sent to a model.
    """

    def __init__(self, rules: Reward | None, members: Sequence[Member], pad_id: int, groups_per_call: int = 32) -> None:
        """`rules` None: every sample starts from 0. Models are asked about `groups_per_call` groups at once. Raises
        ConfigError for no member or two of one name."""
        names = [member.name for member in members]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"reward models: at least one, each with its own name, not {names}")
        assert groups_per_call > 0, f"groups_per_call is {groups_per_call}"
        self._rules = rules
        self._members = tuple(members)
        self._pad_id = pad_id
        self._groups_per_call = groups_per_call

    def score(self, groups: Iterable[Group]) -> Iterator[ScoredGroup]:
        """In the order in which the rules let them out. Groups come out as soon as `groups_per_call` have come in.

        Raises what a model raises; ConfigError for `mean_minus_std` without an ensemble, or a rule with a member's
        name.
        """
        for chunk in chunks(self._rules, groups, self._groups_per_call):
            yield from self._with_models(chunk)

    def _with_models(self, groups: Sequence[ScoredGroup]) -> Iterator[ScoredGroup]:
        results = [
            [_checked(*pair) for pair in zip(group.trajectories, group.results, strict=True)] for group in groups
        ]
        wanted = [(g, s) for g, row in enumerate(results) for s, result in enumerate(row) if isinstance(result, Score)]
        if wanted:
            batch = as_batch([groups[g].trajectories[s] for g, s in wanted], self._pad_id)
            judged = side_by_side({member.name: partial(member_scores, member, batch) for member in self._members})
            for (g, s), of_sample in zip(wanted, zip(*judged.values(), strict=True), strict=True):
                results[g][s] = self._sum(results[g][s], of_sample)
        for group, row in zip(groups, results, strict=True):
            yield replace(group, results=tuple(row))

    def _sum(self, result: RewardResult, judged: Sequence[Judged]) -> RewardResult:
        assert isinstance(result, Score)
        for member, said in zip(self._members, judged, strict=True):
            if said.strange is not None:
                return Abstention(f"{member.name}: returned {said.strange}")
            result = add(
                result, member.name, member.weight, said.value, {} if said.spread is None else {"spread": said.spread}
            )
        return result


def as_batch(samples: Sequence[Trajectory], pad_id: int) -> Batch:
    """The samples' own tokens; nothing is tokenised again."""
    return Batch(
        token_ids_BT=pad([sample.token_ids for sample in samples], pad_id, torch.long),
        loss_mask_BT=pad([sample.loss_mask for sample in samples], 0, torch.bool),
        lengths_B=torch.tensor([len(sample.token_ids) for sample in samples], dtype=torch.long),
    )


def member_scores(member: Member, batch: Batch) -> list[Judged]:
    """What `member` says about each row. Raises ConfigError for `mean_minus_std` with a single head."""
    scores_BK = member.model.scores(batch).double()
    heads = scores_BK.shape[-1]
    assert heads > 0, f"reward model {member.name!r} has no head"
    assert scores_BK.shape == (len(batch), heads), (
        f"reward model {member.name!r}: shape {tuple(scores_BK.shape)} for {len(batch)} samples"
    )
    values_B = (combined(scores_BK, member) - member.offset) / member.scale
    spreads: list[float | None] = [*(scores_BK.std(1) / member.scale).tolist()] if heads > 1 else [None] * len(batch)
    return [
        Judged(value, spread, next((number for number in (*row, value) if not math.isfinite(number)), None))
        for value, spread, row in zip(values_B.tolist(), spreads, scores_BK.tolist(), strict=True)
    ]


def combined(scores_BK: Tensor, member: Member) -> Tensor:
    """One score per row, [B]."""
    match member.combine:
        case "mean":
            return scores_BK.mean(1)
        case "min":
            return scores_BK.amin(1)
        case "mean_minus_std":
            if scores_BK.shape[1] == 1:
                raise ConfigError(
                    f"reward model {member.name!r}: mean_minus_std needs at least two heads, and it has one; choose "
                    "mean"
                )
            return scores_BK.mean(1) - scores_BK.std(1)


def _checked(sample: Trajectory, result: RewardResult) -> RewardResult:
    if isinstance(result, Score) and sample.response_length == 0:
        return Abstention(
            "a text that was not sampled: reward models score tokens" if sample.text else "empty response"
        )
    return result

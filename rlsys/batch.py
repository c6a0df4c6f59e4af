"""The data that flows through every loop.

Shape suffixes, used everywhere:

    B  sequences        T  tokens of a padded row        G  samples per prompt        N  tokens of a flat (packed) row
    K  tokens that a teacher names at one place          O  K + 1 outcomes: each of these tokens, and last any other token

A `Prompt` becomes a `Group` of `Trajectory` (plain lists, one sample each), then a `ScoredGroup`, then tensors: a `Batch` whose type says
which step has run. Tensors are right-padded; position 0 has no log-prob, because nothing predicts it, so it is never in the loss mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor

from rlsys.verdict import Verdict

UNSAMPLED = -1
"""Policy version of a token that no policy sampled (prompt tokens)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to the policy: `token_ids` is what is sent, `text` the same for people, `answer` the ground truth if there is one."""

    prompt_id: str
    text: str
    token_ids: tuple[int, ...]
    answer: str | None = None
    epoch: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    """Further columns of the dataset's row, for rewards that need them."""
    turns: str | tuple[dict[str, str], ...] | None = None
    """What the row itself said before any template was applied, a text or messages, for data sets made from it. None where no row was read."""

    @property
    def asked(self) -> str | tuple[dict[str, str], ...]:
        """The `turns` of a prompt that was read from a row."""
        assert self.turns is not None, f"prompt {self.prompt_id} was read from no row"
        return self.turns


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One sample, in plain lists of equal length covering prompt and response. What was sampled is what is trained on.

    `log_probs` are the sampler's, at the sampling temperature, and 0.0 on prompt tokens; `policy_versions` is `UNSAMPLED` there.
    """

    sample_id: str
    prompt_id: str
    sample_index: int
    token_ids: list[int]
    loss_mask: list[int]
    log_probs: list[float]
    policy_versions: list[int]
    finish_reason: str
    """`stop` (ended with EOS or another token that ends a turn), `length` (ran into the token limit)."""
    text: str
    """The response, decoded, special tokens left out; an id that the tokenizer lacks is shown as `<|unknown:ID|>`."""
    unknown_tokens: int = 0
    """How many ids of the response the tokenizer lacks."""

    def __post_init__(self) -> None:
        lengths = {len(self.token_ids), len(self.loss_mask), len(self.log_probs), len(self.policy_versions)}
        assert len(lengths) == 1, f"sample {self.sample_id}: fields of unequal length {sorted(lengths)}"
        assert not self.loss_mask or self.loss_mask[0] == 0, f"sample {self.sample_id}: position 0 has no log-prob and can't be trained on"

    @property
    def response_length(self) -> int:
        return sum(self.loss_mask)


@dataclass(frozen=True, slots=True)
class Score:
    """A reward that was computed. `parts` holds each component's unweighted value."""

    value: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Abstention:
    """A reward that could not be computed, and why. It never becomes a number."""

    reason: str


RewardResult = Score | Abstention


@dataclass(frozen=True, slots=True)
class Group:
    """All samples of one prompt at one step."""

    prompt: Prompt
    trajectories: tuple[Trajectory, ...]


@dataclass(frozen=True, slots=True)
class ScoredGroup(Group):
    """A group with one result per trajectory, in the same order."""

    results: tuple[RewardResult, ...]
    verdicts: tuple[Verdict, ...] = ()
    """What a judge said on the way, its audits included."""

    def __post_init__(self) -> None:
        assert len(self.results) == len(self.trajectories), (
            f"prompt {self.prompt.prompt_id}: {len(self.results)} results for {len(self.trajectories)} samples"
        )

    @property
    def scores(self) -> list[float]:
        """Values of the samples that have one."""
        return [result.value for result in self.results if isinstance(result, Score)]


@dataclass(frozen=True)
class Batch:
    """Tokenised sequences and which of their tokens are trained on.

    token_ids_BT: int64, right-padded. loss_mask_BT: bool, False at position 0 and on padding. lengths_B: int64, tokens without padding.
    Subclasses add tensors, [B], [B, T] or [B, T, ...] by the end of their names, or None.
    """

    token_ids_BT: Tensor
    loss_mask_BT: Tensor
    lengths_B: Tensor

    def __post_init__(self) -> None:
        shape = self.token_ids_BT.shape
        for spec in fields(self):
            value = getattr(self, spec.name)
            if value is None:
                continue
            suffix = spec.name.rpartition("_")[2]
            wanted = (*shape[: len(suffix)], *value.shape[2 : len(suffix)])
            assert (value.shape, value.dim()) == (wanted, len(suffix)), (
                f"{type(self).__name__}.{spec.name} has shape {tuple(value.shape)}, wanted {tuple(wanted)}"
            )
        assert not self.loss_mask_BT[:, :1].any(), "loss_mask_BT[:, 0] must be False: nothing predicts the first token"

    def __len__(self) -> int:
        return self.token_ids_BT.shape[0]

    def map(self, function) -> Self:
        """Apply `function` to every tensor."""
        return replace(
            self, **{spec.name: None if (value := getattr(self, spec.name)) is None else function(value) for spec in fields(self)}
        )

    def rows(self, index: Sequence[int] | Tensor) -> Self:
        """Choose rows, and cut the padding that none of them needs."""
        index = torch.as_tensor(index, dtype=torch.long)
        width = int(self.lengths_B[index].max()) if len(index) else 0
        return self.map(lambda value: value[index] if value.dim() == 1 else value[index, :width])

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda value: value.to(device))

    def units(self) -> list[list[int]]:
        """Rows that a loss must see together, because it compares them; in most batches each row by itself."""
        return [[row] for row in range(len(self))]


@dataclass(frozen=True)
class SampledBatch(Batch):
    """What the sampler produced. sampler_log_probs_BT: float32, 0 outside the mask. policy_versions_BT: int64."""

    sampler_log_probs_BT: Tensor
    policy_versions_BT: Tensor


@dataclass(frozen=True)
class ScoredBatch(SampledBatch):
    """Samples that have a reward; abstained ones are no longer here. group_index_B says which rows share a prompt."""

    rewards_B: Tensor
    group_index_B: Tensor

    @classmethod
    def from_groups(cls, groups: Sequence[ScoredGroup], pad_id: int) -> ScoredBatch:
        """Every scored sample of `groups`, in order. Abstained samples are left out: no statistic and no loss sees them."""
        chosen = [
            (index, trajectory, result.value)
            for index, group in enumerate(groups)
            for trajectory, result in zip(group.trajectories, group.results, strict=True)
            if isinstance(result, Score)
        ]
        samples = [trajectory for _, trajectory, _ in chosen]
        return cls(
            token_ids_BT=pad([s.token_ids for s in samples], pad_id, torch.long),
            loss_mask_BT=pad([s.loss_mask for s in samples], 0, torch.bool),
            lengths_B=torch.tensor([len(s.token_ids) for s in samples], dtype=torch.long),
            sampler_log_probs_BT=pad([s.log_probs for s in samples], 0.0, torch.float32),
            policy_versions_BT=pad([s.policy_versions for s in samples], UNSAMPLED, torch.long),
            rewards_B=torch.tensor([value for _, _, value in chosen], dtype=torch.float32),
            group_index_B=torch.tensor([index for index, _, _ in chosen], dtype=torch.long),
        )


@dataclass(frozen=True)
class PolicyBatch(ScoredBatch):
    """Ready for a policy-gradient loss.

    advantages_BT: float32. old_log_probs_BT: the trainer's before the update, or None when the batch makes a single optimizer step, where the
    current ones are the old ones. reference_log_probs_BT: None when no KL is asked for.
    """

    advantages_BT: Tensor
    old_log_probs_BT: Tensor | None = None
    reference_log_probs_BT: Tensor | None = None


@dataclass(frozen=True)
class ValueBatch(Batch):
    """Ready for a value loss. old_values_BT: the critic's before the update. returns_BT: what it should have said. float32, 0 outside the mask."""

    old_values_BT: Tensor
    returns_BT: Tensor


@dataclass(frozen=True)
class DistillationBatch(Batch):
    """What a teacher says of each trained token, given those before it. choices_BTK: int64, the tokens that it finds most likely, best first.
    teacher_log_probs_BTO: float32, its log-probs of these and last of any other token together. Both 0 outside the mask."""

    choices_BTK: Tensor
    teacher_log_probs_BTO: Tensor


@dataclass(frozen=True)
class ComparisonBatch(Batch):
    """Answers to be compared with those to the same prompt. unit_B: int64, equal for the answers to one prompt. grade_B: float32, higher is better.
    preference_B: float32, the probability that of two of them the one with the higher grade is better, equal for the answers to one prompt.
    comparison_id_B: int64, the same wherever and whenever the comparison is used."""

    unit_B: Tensor
    grade_B: Tensor
    preference_B: Tensor
    comparison_id_B: Tensor

    def units(self) -> list[list[int]]:
        members: dict[int, list[int]] = {}
        for row, unit in enumerate(self.unit_B.tolist()):
            members.setdefault(unit, []).append(row)
        return list(members.values())


@dataclass(frozen=True)
class PreferenceBatch(ComparisonBatch):
    """Comparisons for a loss of the policy's own log-probs. reference_log_probs_B: float32, the reference's log-prob of each answer, summed over its
    trained tokens; None where the loss asks for no reference."""

    reference_log_probs_B: Tensor | None = None


@dataclass(frozen=True)
class LabelledBatch(Batch):
    """Answers that are each called good or bad. desirable_B: bool. reference_log_probs_B: as in `PreferenceBatch`."""

    desirable_B: Tensor
    reference_log_probs_B: Tensor


def pad(rows: Sequence[Sequence[float]], value: float, dtype: torch.dtype) -> Tensor:
    """Right-pad rows of numbers into one [B, T] tensor."""
    width = max((len(row) for row in rows), default=0)
    out = torch.full((len(rows), width), value, dtype=dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row, dtype=dtype)
    return out


def stable_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts; the same in every process and on every machine, unlike `hash`."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

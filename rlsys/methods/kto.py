"""Training on answers that are each called good or bad, without a partner: KTO (`rlsys.objectives.kto_loss`). No
sampling, no reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from rlsys.batch import Batch, LabelledBatch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate
from rlsys.data.labelled import Labelled
from rlsys.data.load import Demonstration
from rlsys.data.stream import Source
from rlsys.errors import DataError
from rlsys.methods.base import Experience, Facts, Learned, Measured, MethodConfig, Step
from rlsys.methods.shared.preferences import summed_log_probs
from rlsys.methods.shared.update import update
from rlsys.objectives.kto_loss import KTOLoss, reference_point
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.stats import Mean, Stats, masked_mean, merge, values
from rlsys.roles import Roles

TEMPERATURE = 1.0


class Config(MethodConfig):
    name: str = "kto"
    """This file."""
    beta: PositiveFloat = 0.1
    """Factor of the log-ratios."""
    desirable_weight: PositiveFloat = 1.0
    """Weight of a good answer."""
    undesirable_weight: PositiveFloat = 1.0
    """Weight of a bad one; where labels are uneven, choose both so that weight times count is about the same (the
    paper: within 1 to 4/3)."""
    batch_size: int = Field(default=64, ge=2)
    """Answers of one optimizer step; the reference point is measured on them, so many are better."""
    max_tokens: PositiveInt = 2048
    """Answers that are longer with their prompt are left out, and counted."""

    @property
    def facts(self) -> Facts:
        return Facts("labelled", frozenset({"policy", "reference"}), rows_per_step=self.batch_size, measures=True)


@dataclass(frozen=True)
class Answers(Experience):
    batch: LabelledBatch | None = None
    mismatched: Batch | None = None
    """Each answer after the prompt of another."""
    mismatched_reference_B: torch.Tensor | None = None


@dataclass(frozen=True)
class Method:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    def collect(self, roles: Roles, source: Source[Labelled], step: Step) -> Answers:
        assert roles.reference is not None
        rows = source.take(self.config.batch_size)
        others = collate(mismatched(rows, self.config.max_tokens), self.pad_id)
        of_others_B = summed_log_probs(roles.reference, others, TEMPERATURE)
        return Answers(
            step.version, batch=self.labelled(roles, rows), mismatched=others, mismatched_reference_B=of_others_B
        )

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Answers)
        assert experience.batch is not None
        assert experience.mismatched is not None
        assert experience.mismatched_reference_B is not None
        assert roles.policy is not None
        own_B = summed_log_probs(roles.policy, experience.mismatched, TEMPERATURE)
        loss = self.loss(reference_point(own_B, experience.mismatched_reference_B))
        stats = update(roles.policy, experience.batch, loss, 1, 1, step.seed, step.number)
        return Learned(stats | {"reference_point": Mean(loss.z0, 1.0)})

    def measure(self, roles: Roles, rows: Sequence[Labelled]) -> Measured:
        """The loss and its statistics (see `KTOLoss`) on held-out labelled answers, with the reference point of all of
        them; the score is -loss.

        Where held-out rows are pairs, also `pair_accuracy` (whether the good answer gained more against the reference
        than the bad one; a tie counts half) and `margin` (beta times the difference of their log-ratios): what DPO
        calls `accuracy` and `margin`.
        """
        assert roles.policy is not None
        assert roles.reference is not None
        chunks = [slice(start, start + self.config.batch_size) for start in range(0, len(rows), self.config.batch_size)]
        # Of all rows together: neighbours may share their prompt, and no number should depend on where a chunk ends.
        others = mismatched(rows, self.config.max_tokens)
        batches = [collate(others[chunk], self.pad_id) for chunk in chunks]
        own_B, reference_B = (
            torch.cat([summed_log_probs(model, batch, TEMPERATURE) for batch in batches])
            for model in (roles.policy, roles.reference)
        )
        loss, parts, ratios = (
            self.loss(reference_point(own_B, reference_B)),
            list[Stats](),
            dict[tuple[str, bool], float](),
        )
        for chunk in chunks:
            batch = self.labelled(roles, rows[chunk])
            log_probs_BT = roles.policy.log_probs(batch, TEMPERATURE)
            parts.append(loss(Outputs(log_probs_BT), batch)[1])
            ratio_B = log_probs_BT.sum(1) - batch.reference_log_probs_B
            ratios |= {
                (row.row_id, row.desirable): ratio for row, ratio in zip(rows[chunk], ratio_B.tolist(), strict=True)
            }
        metrics = values(merge([*parts, self.of_pairs(ratios)]))
        return Measured(metrics, score=-metrics["loss"])

    def of_pairs(self, ratios: dict[tuple[str, bool], float]) -> Stats:
        """Nothing where no two answers come from one row."""
        margins = [
            ratio - ratios[row_id, False]
            for (row_id, desirable), ratio in ratios.items()
            if desirable and (row_id, False) in ratios
        ]
        if not margins:
            return {}
        margin_P = torch.tensor(margins, dtype=torch.float64)
        every_P = torch.ones_like(margin_P, dtype=torch.bool)
        return {
            "pair_accuracy": masked_mean((margin_P.sign() + 1) / 2, every_P),
            "margin": masked_mean(self.config.beta * margin_P, every_P),
        }

    def labelled(self, roles: Roles, rows: Sequence[Labelled]) -> LabelledBatch:
        """The rows with what the reference says of them."""
        assert roles.reference is not None
        batch = collate([row.answer for row in rows], self.pad_id)
        desirable_B = torch.tensor([row.desirable for row in rows])
        return LabelledBatch(
            **vars(batch),
            desirable_B=desirable_B,
            reference_log_probs_B=summed_log_probs(roles.reference, batch, TEMPERATURE),
        )

    def loss(self, z0: float) -> KTOLoss:
        return KTOLoss(self.config.beta, z0, self.config.desirable_weight, self.config.undesirable_weight, TEMPERATURE)


def mismatched(rows: Sequence[Labelled], max_tokens: int) -> list[Demonstration]:
    """Each row's answer after the next row's prompt that is another one, in a circle; cut to `max_tokens`. DataError
    where all have one prompt."""
    prompts = [row.answer.token_ids[: row.prompt_tokens] for row in rows]
    found = []
    for number, row in enumerate(rows):
        turned = (prompts[(number + places) % len(prompts)] for places in range(1, len(prompts)))
        other = next((prompt for prompt in turned if prompt != prompts[number] and len(prompt) < max_tokens), None)
        if other is None:
            raise DataError(
                f"method kto: the {len(rows)} answers from {row.row_id} on share one prompt, and the reference point "
                "needs answers to others; raise "
                f"method.batch_size, or use more prompts"
            )
        answer = row.answer.token_ids[row.prompt_tokens :]
        tokens = (*other, *answer)[:max_tokens]
        found.append(
            replace(row.answer, token_ids=tokens, loss_mask=(0,) * len(other) + (1,) * (len(tokens) - len(other)))
        )
    return found

"""SPIN, self-play fine-tuning (Chen et al. 2024, arXiv 2401.01335, algorithm 1): learn to tell the data's answers from
one's own.

A step is an iteration. The opponent is the policy as the iteration before left it, which is what the samplers hold; it
answers every prompt of the iteration once. The policy then minimises, over pairs of the data's answer y and the
opponent's y' (equation 4.7),

    -log sigmoid(lambda [log p(y) - log p_opponent(y)] - lambda [log p(y') - log p_opponent(y')])

which is DPO's loss with beta = lambda and the opponent as the reference, ln 2 where p is the opponent. At the minimum p
is proportional to p_opponent (p_data / p_opponent) ^ (1 / lambda) (theorem 5.4), so that the data are its only fixed
point. No reward is needed; with `scored`, the rewards measure.

From the second iteration on the pairs that the one before trained on are trained on again, against the current
opponent. They are read from the ledger (the samples) and the data set (the answers), so a resumed run finds the same.

**When it ends.** A share of the rows (`held_out_share`, chosen by their ids) is never trained on. After an iteration's
updates, the margin and the accuracy of the loss on the pairs of such rows compare the new policy with its opponent:
lambda times how much more p gained over p_opponent on the data's answers than on the opponent's samples, and how often
that is above 0. Where the margin is not above `stop_margin`, or the accuracy not above `stop_accuracy`, the policy
could learn nothing that tells new samples from new data: the run ends. With either rule it also ends when each sample
of a held-out row is the data's own answer, and with or without when every sample is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rlsys.batch import PreferenceBatch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.answered import Answered
from rlsys.data.collate import collate_comparisons
from rlsys.data.load import Comparison, Demonstration
from rlsys.data.stream import Source
from rlsys.errors import DataError
from rlsys.methods.base import Experience, Facts, Learned, Measured, MethodConfig, Step
from rlsys.methods.shared.likelihood import likelihood
from rlsys.methods.shared.preferences import with_reference
from rlsys.methods.shared.sampling import collect_groups, rollout_metrics
from rlsys.methods.shared.update import update
from rlsys.objectives.preference_loss import PreferenceLoss
from rlsys.objectives.stats import Mean, Stats, masked_mean
from rlsys.roles import Policy, Roles
from rlsys.samples import Sample, Trajectory, stable_seed

CHUNK = 1024
"""Held-out demonstrations that are measured at once."""


class Config(MethodConfig):
    name: str = "spin"
    """This file."""
    prompts_per_step: PositiveInt = 4096
    """Rows of one iteration, each a prompt with its answer; loop.steps is the number of iterations."""
    epochs: PositiveInt = 2
    """Passes over an iteration's pairs."""
    mini_batches: PositiveInt = 64
    """Optimizer steps per pass; with the pairs of the iteration before, each is on twice as many pairs."""
    lambdas: tuple[PositiveFloat, ...] = Field(default=(0.1,), min_length=1)
    """The loss's lambda in each iteration; the last one holds for all further ones. A larger one keeps the policy
    closer to its opponent."""
    learning_rates: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1)
    """Factors of the learning rate in each iteration (policy.schedule runs over all of them); the last one holds for
    all further ones."""
    mix_previous: bool = True
    """From the second iteration on, also train on the pairs of the one before."""
    held_out_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows that is never trained on, to see whether the policy tells its opponent's samples from the
    data."""
    stop_margin: float | None = 0.0
    """End when the mean margin on those rows is not above this; none never ends."""
    stop_accuracy: float | None = Field(default=None, ge=0, le=1)
    """End when the accuracy on them is not above this (0.5 is chance); none never ends."""
    scored: bool = True
    """Have samples scored by the rewards, to measure the task; it learns the same either way."""

    @model_validator(mode="after")
    def _needs_rows(self) -> Self:
        if not self.held_out_share and self.stops:
            raise ValueError(
                f"{self.stops[0]} is measured on held-out rows, and held_out_share is 0; raise it, or set "
                f"{self.stops[0]} to null"
            )
        return self

    @property
    def stops(self) -> list[str]:
        """Keys of the stop rules that are asked for."""
        return [name for name in ("stop_margin", "stop_accuracy") if vars(self)[name] is not None]

    @property
    def facts(self) -> Facts:
        return Facts(
            rows="answered",
            needs=frozenset({"policy", "rollout", *(("reward",) if self.scored else ())}),
            updates_per_step=self.epochs * self.mini_batches,
            rows_per_step=self.prompts_per_step,
            samples_per_prompt=1,
            rows_together=2,
            measures=True,
        )


@dataclass(frozen=True)
class Pairs(Experience):
    """Of each the data's answer is the better one."""

    new: tuple[Comparison, ...] = ()
    previous: tuple[Comparison, ...] = ()
    held_out: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Method:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    def collect(self, roles: Roles, source: Source[Answered], step: Step) -> Pairs:
        """Metrics that begin with `dataset/` count rows: each gives a new pair (`pairs`), or a `held_out` one, or has a
        sample that is `equal` to its answer and so no pair. Of the samples, `empty` ones say nothing before they end;
        they are pairs like others, as the data's answers never are empty. Raises DataError where a stop rule is asked
        for and no row is held out."""
        rows = source.take(self.config.prompts_per_step)
        if self.config.stops and not any(self.is_held_out(row, step) for row in rows):
            raise DataError(
                f"iteration {step.number}: none of its {len(rows)} rows is held out, so method.{self.config.stops[0]} "
                "can't be measured; raise "
                f"method.held_out_share or prompts_per_step, or set it to null"
            )
        groups = collect_groups(
            roles, [row.prompt for row in rows], self.sampling.sampling(1), tag=f"train-{step.number}"
        )
        samples = [group.trajectories[0] for group in groups]
        pairs = [pair(row, sample, sample.sample_id) for row, sample in zip(rows, samples, strict=True)]
        sides: dict[bool, list[Comparison]] = {True: [], False: []}
        for row, one in zip(rows, pairs, strict=True):
            if one is not None:
                sides[self.is_held_out(row, step)].append(one)
        held_out, new = sides[True], sides[False]
        previous = self.previous(source, step)
        counts = {
            "pairs": len(new),
            "held_out": len(held_out),
            "equal": pairs.count(None),
            "empty": sum(not sample.text.strip() for sample in samples),
        }
        metrics = rollout_metrics(groups) | {f"dataset/{name}": float(count) for name, count in counts.items()}
        return Pairs(step.version, tuple(groups), (), (), metrics, tuple(new), tuple(previous), tuple(held_out))

    def is_held_out(self, row: Answered, step: Step) -> bool:
        return stable_seed(step.seed, "held out", row.row_id) < self.config.held_out_share * 2**63

    def previous(self, source: Source[Answered], step: Step) -> list[Comparison]:
        """The pairs that the step before trained on."""
        if not self.config.mix_previous or step.history is None:
            return []
        samples = [sample for sample in step.history.samples(step.number - 1) if sample.used_in_step is not None]
        rows = source.find([sample.prompt_id for sample in samples])
        pairs = [pair(row, sample, sample.sample_id) for row, sample in zip(rows, samples, strict=True)]
        return [one for one in pairs if one is not None]

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        """Beside the loss's statistics over all updates, `held_out_...` are those on the held-out pairs after them, and
        `opponent_..._log_prob` what the opponent says of these pairs."""
        assert isinstance(experience, Pairs)
        assert roles.policy is not None
        config, policy = self.config, roles.policy
        what = "held-out sample" if experience.new else "sample"
        equal = f"iteration {step.number}: each {what} of the opponent is the data's own answer"
        if not experience.new:
            return Learned({}, done=None if experience.held_out else equal)
        loss = PreferenceLoss("dpo", of_iteration(config.lambdas, step), temperature=self.sampling.temperature)
        # The policy is still the opponent: what it says now is the reference.
        training = self.batch(policy, [*experience.new, *experience.previous], loss)
        held_out = self.batch(policy, experience.held_out, loss) if experience.held_out else None
        rate = of_iteration(config.learning_rates, step)
        stats = renamed(
            update(policy, training, loss, config.epochs, config.mini_batches, step.seed, step.number, scale=rate)
        )
        stats |= {"pairs": Mean(len(training) / 2, 1.0), "lambda": Mean(loss.beta, 1.0)}
        used: dict[str, float | None] = {one.row_id: None for one in experience.new}
        if held_out is None:  # though rows are, wherever there is a stop rule
            return Learned(stats, used, done=equal if config.stops else None)
        after = renamed(policy.evaluate(held_out, loss))
        stats |= {f"held_out_{name}": stat for name, stat in after.items()} | opponent(held_out)
        return Learned(stats, used, done=self.ends(after, step))

    def batch(self, policy: Policy, pairs: Sequence[Comparison], loss: PreferenceLoss) -> PreferenceBatch:
        return with_reference(collate_comparisons(pairs, self.pad_id), loss, policy)

    def ends(self, after: Stats, step: Step) -> str | None:
        """Why the run ends here, if it does."""
        for name, least in (("margin", self.config.stop_margin), ("accuracy", self.config.stop_accuracy)):
            stat = after[name]
            assert isinstance(stat, Mean)
            if least is not None and stat.value <= least:
                return (
                    f"iteration {step.number}: the opponent's samples are no longer told from the data: {name} "
                    f"{stat.value:.4g} on "
                    f"{stat.count:.0f} held-out pairs, and method.stop_{name} is {least:g}"
                )
        return None

    def measure(self, roles: Roles, rows: Sequence[Answered]) -> Measured:
        """Of the rows' own answers `nll`, the mean over all tokens (nats), and `answer_nll`, the mean over answers of
        their sum. Over the data's own answers, `answer_nll` is the data's entropy plus KL(data || policy): what it
        falls by is distance to the data. The score is -`answer_nll`."""
        assert roles.policy is not None
        answers = [row.demonstration for row in rows]
        total, tokens = likelihood(roles.policy, answers, self.pad_id, CHUNK, self.sampling.temperature)
        return Measured({"nll": -total / tokens, "answer_nll": -total / len(rows)}, score=total / len(rows))


def pair(row: Answered, sample: Trajectory | Sample, name: str) -> Comparison | None:
    """The data's answer against the sample; None if they are equal: such a pair has no gradient."""
    real = replace(row.demonstration, row_id=name)
    generated = Demonstration(name, tuple(sample.token_ids), tuple(sample.loss_mask))
    return None if real == generated else Comparison(name, (real, generated), (1.0, 0.0))


def of_iteration(values: Sequence[float], step: Step) -> float:
    return values[min(step.number, len(values)) - 1]


def renamed(stats: Stats) -> Stats:
    """In the paper's words: the chosen answer is the real one, the rejected one is generated."""
    return {name.replace("chosen_", "real_").replace("rejected_", "generated_"): stat for name, stat in stats.items()}


def opponent(batch: PreferenceBatch) -> Stats:
    """The opponent's log-probs of the two answers of each pair, summed over tokens."""
    assert batch.reference_log_probs_B is not None
    better_B = batch.grade_B > 0
    sides = {"real": better_B, "generated": ~better_B}
    return {
        f"opponent_{side}_log_prob": masked_mean(batch.reference_log_probs_B, mask_B) for side, mask_B in sides.items()
    }

"""Rejection sampling: several samples of each prompt, of which the good ones become a data set to imitate. Trains
nothing.

`rft` and `rest_em` keep what a verifier accepts, one sample for each reasoning path; `raft` keeps the one with the
highest reward.

The rows (`dataset.jsonl` in the run's folder), {prompt, answer, ...}, are what method `sft` reads. What
`label_by_reward` says of text and tokens holds here too, but for answers that ran into the token limit: they are left
out, as no one should learn to stop there. Over epochs a prompt is one prompt: paths that it has rows of already are
duplicates, and `most_per_prompt` is for all its rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any, ClassVar, Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from rlsys.data.reasoning import Path, PathOf, most_different, path_function
from rlsys.data.stream import Source
from rlsys.errors import ConfigError, DataError
from rlsys.methods.base import Experience, Facts, MethodConfig, Step
from rlsys.methods.shared.difficulty import Outcome, difficulty_counts
from rlsys.methods.shared.makes_data import MakesData, counted, prompt_columns
from rlsys.methods.shared.sampling import collect_groups, in_order, rollout_metrics
from rlsys.roles import Roles
from rlsys.samples import Prompt, Score, ScoredGroup, Trajectory

OUTCOMES = ("accepted", "duplicates", "over_cap", "rejected", "unscored", "empty", "truncated", "unknown_tokens")
"""What becomes of a sample; only `accepted` ones make rows. `rejected`: the reward is too low, or another sample's is
higher. `unknown_tokens`: it has ids that the tokenizer lacks, and no text says these."""


class RejectionSettings(MethodConfig):
    """Settings of a method that keeps some of its samples; its file states `KEEP`."""

    KEEP: ClassVar[Literal["correct", "best"]]
    prompts_per_step: PositiveInt = 256
    """Prompts of one step; the data set comes from loop.steps of them."""
    samples: PositiveInt = 8
    """Samples per prompt (and round): k of RFT, n of best-of-n."""
    reward: str | None = None
    """The reward that decides, by its name; none is the weighted sum of all."""
    difficulty: str | None = None
    """Field (of fields in data.train) by which prompts are easy or hard, for the counts; none goes by the share of
    their samples that is kept (raft: counts nothing, as that is the same for all)."""

    @property
    def facts(self) -> Facts:
        return Facts(
            rows="prompts",
            needs=frozenset({"rollout", "reward"}),
            makes="data set",
            rows_per_step=self.prompts_per_step,
            samples_per_prompt=self.samples,
        )

    @property
    def paths(self) -> PathSettings:
        """What is asked of reasoning paths: here nothing, and one sample of each prompt is kept."""
        return PathSettings(name=self.name, most_per_prompt=1)


class PathSettings(RejectionSettings):
    """Settings of a method that keeps right answers by different reasoning paths."""

    KEEP: ClassVar[Literal["correct", "best"]] = "correct"
    threshold: float = 1.0
    """Least score of a sample that is kept."""
    path: str = "text"
    """What makes two answers the same reasoning path: equal `text`, equal `equations` (the list of all in the text), or
    the dotted path of your own function from a text to its path. Of each path the first sample is kept."""
    demonstration: str | None = None
    """Field (of fields in data.train) that holds a demonstrated answer: its path is known, so that samples that take it
    are duplicates."""
    most_per_prompt: PositiveInt = 4
    """Most rows of one prompt, so that easy prompts don't drown hard ones."""
    choose: Literal["different", "first"] = "different"
    """Which paths to keep where there are more: those that differ most from each other and the demonstration, or the
    first ones."""
    extra_rounds: NonNegativeInt = 0
    """Prompts with fewer rows than `enough` are sampled again, up to so many times: hard prompts get more tries."""
    enough: PositiveInt = 1
    """Rows of a prompt, those of earlier epochs included, from which it is not sampled again."""

    @property
    def paths(self) -> PathSettings:
        return self

    @model_validator(mode="after")
    def _enough_is_read(self) -> Self:
        if not self.extra_rounds and self.enough != 1:
            raise ValueError("enough: has no effect without extra_rounds; set that above 0, or leave it out")
        if self.enough > self.most_per_prompt:
            raise ValueError(
                f"enough: {self.enough} rows of a prompt are never reached with most_per_prompt={self.most_per_prompt}"
            )
        try:
            path_function(self.path)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sample that the reward accepts."""

    trajectory: Trajectory
    reward: float
    path: Path


@dataclass
class Harvest:
    """What one prompt has given in a step."""

    prompt: Prompt
    known: list[Path]
    """The demonstration's and earlier rows'."""
    room: int
    """Rows that it may still make."""
    scored: int = 0
    passed: int = 0
    accepted: list[Candidate] = field(default_factory=list)
    """With different paths."""

    @property
    def rows(self) -> int:
        return min(self.room, len(self.accepted))


@dataclass(frozen=True)
class Rejection(MakesData[RejectionSettings]):
    @cached_property
    def paths(self) -> PathSettings:
        return self.config.paths

    @cached_property
    def path_of(self) -> PathOf:
        return path_function(self.paths.path)

    def collect(self, roles: Roles, source: Source, step: Step) -> Experience:
        """Metrics that begin with `dataset/` count: each sample has one of the `OUTCOMES`, and `prompts_without_any`
        had no sample kept, not even a duplicate."""
        prompts, tag, counts = source.take(self.config.prompts_per_step), f"train-{step.number}", Counter[str]()
        sampling = self.sampling.sampling(self.config.samples)
        groups = collect_groups(roles, prompts, sampling, tag)
        harvests = self.harvests(groups, step)
        for group in groups:
            self.sort(group, harvests[group.prompt.prompt_id], counts)
        for number in range(1, self.paths.extra_rounds + 1):
            again = [
                group.prompt for group in groups[: len(prompts)] if self.wants_more(harvests[group.prompt.prompt_id])
            ]
            if not again:
                break
            assert roles.rollout is not None
            assert roles.reward is not None
            # Not `collect_groups`: a few hard prompts that can't be scored are no reason to end the run.
            extra = in_order(
                again, roles.reward.score(roles.rollout.generate(again, sampling, f"{tag}-again-{number}"))
            )
            for group in extra:
                self.sort(group, harvests[group.prompt.prompt_id], counts)
            groups += extra
        rows = tuple(row for harvest in harvests.values() for row in self.rows_of(harvest, counts))
        return Experience(
            version=step.version, groups=tuple(groups), rows=rows, metrics=self.metrics(groups, harvests, counts)
        )

    def harvests(self, groups: Sequence[ScoredGroup], step: Step) -> dict[str, Harvest]:
        """By prompt id, with what earlier steps made of it. Raises DataError for a prompt without the field of its
        demonstration."""
        earlier: dict[str, list[str]] = {}
        for row in step.history.rows() if step.history else ():
            earlier.setdefault(row["prompt_id"], []).append(row["answer"])
        found: dict[str, Harvest] = {}
        for group in groups:
            own = earlier.get(group.prompt.prompt_id, [])
            known = [self.path_of(text) for text in (*self.demonstrated(group.prompt), *own)]
            found[group.prompt.prompt_id] = Harvest(group.prompt, known, max(0, self.most - len(own)))
        return found

    @property
    def most(self) -> int:
        return self.paths.most_per_prompt

    def demonstrated(self, prompt: Prompt) -> tuple[str, ...]:
        name = self.paths.demonstration
        if name is None:
            return ()
        if name not in prompt.fields:
            raise DataError(
                f"prompt {prompt.prompt_id}: has no field {name!r}, which method.demonstration names; map it in fields "
                "of data.train"
            )
        return (prompt.fields[name],)

    def wants_more(self, harvest: Harvest) -> bool:
        earlier = self.most - harvest.room
        return earlier + harvest.rows < self.paths.enough

    def sort(self, group: ScoredGroup, harvest: Harvest, counts: Counter[str]) -> None:
        """Put each sample of the group where it belongs; what is accepted goes into the harvest."""
        passed: list[Candidate] = []
        for trajectory, result in zip(group.trajectories, group.results, strict=True):
            if not isinstance(result, Score):
                counts["unscored"] += 1
                continue
            harvest.scored += 1
            score = self.score(result)
            if not trajectory.text.strip():
                counts["empty"] += 1
            elif trajectory.finish_reason == "length":
                counts["truncated"] += 1
            elif trajectory.unknown_tokens:
                counts["unknown_tokens"] += 1
            elif self.config.KEEP == "correct" and score < self.paths.threshold:
                counts["rejected"] += 1
            else:
                passed.append(Candidate(trajectory, score, self.path_of(trajectory.text)))
        if self.config.KEEP == "best" and passed:
            counts["rejected"] += len(passed) - 1
            passed = [max(passed, key=lambda candidate: candidate.reward)]
        harvest.passed += len(passed)
        for candidate in passed:
            if candidate.path in (*harvest.known, *(other.path for other in harvest.accepted)):
                counts["duplicates"] += 1
            else:
                harvest.accepted.append(candidate)

    def score(self, result: Score) -> float:
        """Raises ConfigError where no reward has the name that decides."""
        name = self.config.reward
        if name is None:
            return result.value
        if name not in result.parts:
            raise ConfigError(f"method.reward: {name!r} is not among the rewards ({', '.join(result.parts)})")
        return result.parts[name]

    def rows_of(self, harvest: Harvest, counts: Counter[str]) -> list[dict[str, Any]]:
        paths = [candidate.path for candidate in harvest.accepted]
        chosen = list(range(harvest.rows))
        if self.config.KEEP == "best":
            # There can be two: a step that ends an epoch and begins the next may take a prompt twice.
            chosen = sorted(range(len(paths)), key=lambda index: -harvest.accepted[index].reward)[: harvest.rows]
        elif self.paths.choose == "different":
            chosen = most_different(paths, harvest.known, harvest.rows)
        counts["accepted"] += len(chosen)
        counts["over_cap"] += len(paths) - len(chosen)
        return [self.row(harvest.prompt, harvest.accepted[index]) for index in chosen]

    def row(self, prompt: Prompt, sample: Candidate) -> dict[str, Any]:
        path = None if self.paths.path == "text" else list(sample.path)  # the text is there already
        told = {"answer": sample.trajectory.text, "truth": prompt.answer, "reward": sample.reward, "path": path}
        return {**prompt_columns(prompt), **told, "sample_id": sample.trajectory.sample_id}

    def metrics(
        self, groups: Sequence[ScoredGroup], harvests: dict[str, Harvest], counts: Counter[str]
    ) -> dict[str, float]:
        outcomes = [Outcome(h.prompt, h.scored, h.passed, len(h.accepted), h.rows) for h in harvests.values()]
        counts["prompts_without_any"] = sum(not outcome.accepted for outcome in outcomes)
        found = {"paths/per_prompt": fmean(outcome.paths for outcome in outcomes)}
        if scored := sum(outcome.samples for outcome in outcomes):
            found["paths/acceptance"] = sum(outcome.accepted for outcome in outcomes) / scored
        own = counted(counts, (*OUTCOMES, "prompts_without_any"))
        # With one kept of every prompt, how many are kept says nothing of how hard it is.
        told = self.config.KEEP == "correct" or self.config.difficulty is not None
        by_difficulty = difficulty_counts(outcomes, self.config.difficulty) if told else {}
        return rollout_metrics(groups) | found | own | by_difficulty

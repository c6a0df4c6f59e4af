"""The supervised phase of Constitutional AI (Bai et al. 2022, arXiv 2212.08073, section 3): answers that the judge
critiques and revises, round after round, each by a principle drawn anew. Trains nothing: method `sft` imitates the
revisions.

The rows (`dataset.jsonl` in the run's folder) are the revisions of all rounds, {prompt, answer, ...}, which
`rlsys.data.load.load_demonstrations` reads. In the ledger, under the phase `beside`, a revision is a sample `ID#r1`,
`ID#r2`, ... of the answer `ID`. The policy did not sample it: its text is the revision and its tokens are the prompt's
alone, so only rewards that read text can score it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Literal

from pydantic import PositiveInt

from rlsys.data.stream import Source
from rlsys.judging.asking.questions import Answer, Single
from rlsys.methods.base import Experience, Facts, MethodConfig, Step
from rlsys.methods.shared.makes_data import MakesData, counted, prompt_columns
from rlsys.methods.shared.sampling import collect_groups, in_order, mean_parts, none_of, rollout_metrics
from rlsys.roles import Judge, Reward, Roles
from rlsys.samples import UNSAMPLED, Abstention, Group, RewardResult, ScoredGroup, Trajectory, Verdict

Reason = Literal["no_critique", "no_revision", "empty"]
"""Why a round makes no row: the judge abstained from the critique (or it was blank) or from the revision, or the
revision was blank."""
REASONS: tuple[Reason, ...] = ("no_critique", "no_revision", "empty")


class Config(MethodConfig):
    name: str = "constitutional"
    """This file."""
    prompts_per_step: PositiveInt = 256
    """Prompts of one step; the data set comes from loop.steps of them."""
    rounds: PositiveInt = 4
    """Critiques and revisions of each answer, one after the other."""

    @property
    def facts(self) -> Facts:
        return Facts(
            rows="prompts",
            needs=frozenset({"rollout", "reward", "judge"}),
            makes="data set",
            rows_per_step=self.prompts_per_step,
            samples_per_prompt=1,
            asks=frozenset({"critique", "revision"}),
            principles_for=frozenset({"critique"}),
            scores_texts=True,
        )


@dataclass
class Draft:
    """An answer on its way through the rounds."""

    group: ScoredGroup
    """Its prompt, and the sample as it was at first."""
    latest: Answer
    """What the next round revises."""
    revisions: list[Trajectory] = field(default_factory=list)
    """`sample_index` is the round, from 1."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def sample_id(self) -> str:
        return self.group.trajectories[0].sample_id

    def revised(self, number: int, critique: Single, text: str) -> None:
        """Take `text` for what came of round `number`."""
        assert critique.principle is not None
        before, self.latest = self.latest, Answer(f"{self.sample_id}#r{number}", text)
        self.revisions.append(unsampled(self.group, self.latest, number))
        found = {
            "answer": text,
            "round": number,
            "principle": critique.principle.id,
            "critique": critique.critique,
            "before": before.text,
        }
        self.rows.append({**prompt_columns(self.group.prompt), **found, "sample_id": self.latest.sample_id})


@dataclass(frozen=True)
class Method(MakesData[Config]):
    def collect(self, roles: Roles, source: Source, step: Step) -> Experience:
        """Metrics that begin with `dataset/` count rounds: each is either among the `rows` or has one `Reason`; of the
        rows, `changed` ones have another text than before. For `rounds/K/...` see `round_metrics`. Raises RlsysError
        when the step has no revision at all.

        What the judge said about an answer and its revisions is with the answer's group.
        """
        assert roles.judge is not None
        assert roles.reward is not None
        prompts, tag = source.take(self.config.prompts_per_step), f"train-{step.number}"
        groups = collect_groups(roles, prompts, self.sampling.sampling(1), tag)
        drafts = [
            Draft(group, Answer(sample.sample_id, sample.text)) for group in groups for sample in group.trajectories
        ]
        counts = Counter[str]()
        for number in range(1, self.config.rounds + 1):
            counts += revise(roles.judge, drafts, number, step.seed)
        if not counts["rows"]:
            raise none_of(
                "answers could be revised",
                tag,
                [verdict.abstention or "empty text" for draft in drafts for verdict in draft.verdicts],
            )

        answers = [replace(draft.group, verdicts=(*draft.group.verdicts, *draft.verdicts)) for draft in drafts]
        beside = scored_revisions(roles.reward, drafts)
        rows = tuple(row for draft in drafts for row in draft.rows)
        counts["changed"] = sum(row["answer"] != row["before"] for row in rows)
        metrics = (
            rollout_metrics(answers)
            | round_metrics(groups, beside, rows)
            | counted(counts, ("rows", "changed", *REASONS))
        )
        return Experience(version=step.version, groups=tuple(answers), beside=tuple(beside), rows=rows, metrics=metrics)


def revise(judge: Judge, drafts: Sequence[Draft], number: int, seed: int) -> Counter[str]:
    """One round of all drafts: every critique at once, then every revision. Counts `rows` and reasons. A draft without
    one keeps its text."""
    counts = Counter[str]()
    asked = [
        Single(
            f"{draft.sample_id}#c{number}",
            draft.group.prompt.asked,
            draft.latest,
            judge.constitution.draw("critique", seed, "critique", draft.sample_id, number),
        )
        for draft in drafts
    ]
    critiqued: list[tuple[Draft, Single]] = []
    for draft, single, writing in zip(drafts, asked, judge.critique(asked), strict=True):
        draft.verdicts.append(writing.verdict)
        if writing.text is None or not writing.text.strip():
            counts["no_critique"] += 1
        else:
            critiqued.append(
                (draft, replace(single, question_id=f"{draft.sample_id}#r{number}", critique=writing.text))
            )
    for (draft, single), writing in zip(critiqued, judge.revise([single for _, single in critiqued]), strict=True):
        draft.verdicts.append(writing.verdict)
        if writing.text is None:
            counts["no_revision"] += 1
        elif not writing.text.strip():
            counts["empty"] += 1
        else:
            counts["rows"] += 1
            draft.revised(number, single, writing.text)
    return counts


def unsampled(group: Group, answer: Answer, number: int) -> Trajectory:
    """A text that no policy sampled: its tokens are the prompt's alone, none of them to be trained on."""
    prompt = group.prompt
    length = len(prompt.token_ids)
    return Trajectory(
        sample_id=answer.sample_id,
        prompt_id=prompt.prompt_id,
        sample_index=number,
        token_ids=list(prompt.token_ids),
        loss_mask=[0] * length,
        log_probs=[0.0] * length,
        policy_versions=[UNSAMPLED] * length,
        finish_reason="stop",
        text=answer.text,
    )


def scored_revisions(reward: Reward, drafts: Sequence[Draft]) -> list[ScoredGroup]:
    """A group of all revisions of an answer, for each that has any."""
    groups = [Group(draft.group.prompt, tuple(draft.revisions)) for draft in drafts if draft.revisions]
    return in_order([group.prompt for group in groups], reward.score(groups))


def round_metrics(
    answers: Sequence[ScoredGroup], revisions: Sequence[ScoredGroup], rows: Sequence[dict[str, Any]]
) -> dict[str, float]:
    """Of all answers as they were sampled (round 0) and as they stand after each round, as `rounds/K/NAME`: the mean of
    every part of the reward over those that were scored, and how many `abstained`. Of the round's revisions, the share
    that `changed` the text."""
    results: dict[tuple[str, int], dict[int, RewardResult]] = {}
    for group in (*answers, *revisions):
        own = results.setdefault((group.prompt.prompt_id, group.prompt.epoch), {})
        own |= {sample.sample_index: result for sample, result in zip(group.trajectories, group.results, strict=True)}
    metrics: dict[str, float] = {}
    for number in range(1 + max(number for own in results.values() for number in own)):
        # An answer that a round did not revise stands as it was; left out, it would make rounds look better than they
        # are.
        of_round = [own[max(at for at in own if at <= number)] for own in results.values()]
        metrics[f"rounds/{number}/abstained"] = float(sum(isinstance(result, Abstention) for result in of_round))
        metrics |= {f"rounds/{number}/{name}": mean for name, mean in mean_parts(of_round).items()}
        if changed := [row["answer"] != row["before"] for row in rows if row["round"] == number]:
            metrics[f"rounds/{number}/changed"] = fmean(changed)
    return metrics

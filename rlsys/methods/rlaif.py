"""AI preferences: two samples for each prompt, and a judge says which is better (RLAIF, Lee et al. 2023, arXiv
2309.00267; and the RL phase of Constitutional AI, Bai et al. 2022, arXiv 2212.08073, section 4). Trains nothing.

The rows (`dataset.jsonl` in the run's folder) are what `load_comparisons` reads; what method `label_by_reward`
says of text and tokens holds here too. Their `preference` is a soft label: the judge's probability, over both orders,
that `chosen` is better. The judge sees what the rows hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from pydantic import PositiveInt

from rlsys.data.stream import Source
from rlsys.judging.asking.questions import Answer, Opinion, Pair
from rlsys.methods.base import Experience, Facts, MethodConfig, Step
from rlsys.methods.shared.makes_data import MakesData, counted, different_texts, prompt_columns
from rlsys.methods.shared.sampling import collect_groups, in_order, none_of, rollout_metrics
from rlsys.roles import Judge, Roles
from rlsys.samples import Abstention, Group, Prompt, RewardResult, Score, ScoredGroup

Reason = Literal["empty", "equal_texts", "unjudged"]
"""Why a prompt makes no row: an answer without text, one text twice, or the judge abstained."""
REASONS: tuple[Reason, ...] = ("empty", "equal_texts", "unjudged")


class Config(MethodConfig):
    name: str = "rlaif"
    """This file."""
    prompts_per_step: PositiveInt = 256
    """Prompts of one step; the data set comes from loop.steps of them."""
    principles: bool = True
    """Draw one of the judge's principles for each comparison, at random; else it says which answer is better in
    general."""
    measure: bool = False
    """Also score the samples by the experiment's rewards, to see how the labels agree with them; the labels stay the
    judge's."""

    @property
    def facts(self) -> Facts:
        return Facts(
            rows="prompts",
            needs=frozenset({"rollout", "judge", *(("reward",) if self.measure else ())}),
            makes="data set",
            rows_per_step=self.prompts_per_step,
            samples_per_prompt=2,
            asks=frozenset({"compare"}),
            principles_for=frozenset({"comparison"}) if self.principles else frozenset(),
        )


@dataclass(frozen=True)
class Method(MakesData[Config]):
    def collect(self, roles: Roles, source: Source, step: Step) -> Experience:
        """Metrics that begin with `dataset/` count prompts: each is either among the `rows` or has one `Reason`; with
        `measure`, `mislabelled` ones of the rows contradict the scores. `labels/certainty` is the mean of `preference`.

        Without `measure` a sample's result is the probability that it is the better one. Raises RlsysError when every
        comparison of the step is an abstention.
        """
        assert roles.judge is not None
        prompts, tag = source.take(self.config.prompts_per_step), f"train-{step.number}"
        groups = self.sampled(roles, prompts, tag)
        texts = [different_texts(group.trajectories) for group in groups]
        pairs = {
            index: self.pair(roles.judge, group, step.seed)
            for index, group in enumerate(groups)
            if not isinstance(texts[index], str)
        }
        opinions = dict(zip(pairs, roles.judge.compare(list(pairs.values())), strict=True))
        labels = {
            index: opinion.result.value for index, opinion in opinions.items() if isinstance(opinion.result, Score)
        }
        if pairs and not labels:
            reasons = [opinion.result.reason for opinion in opinions.values() if isinstance(opinion.result, Abstention)]
            raise none_of("comparisons could be judged", tag, reasons)

        counts = Counter[str]()
        for index, found in enumerate(texts):
            counts["rows" if index in labels else found if isinstance(found, str) else "unjudged"] += 1
        judged = [with_opinion(group, opinions.get(index)) for index, group in enumerate(groups)]
        if self.config.measure:
            counts["mislabelled"] = sum(contradicts(groups[index], label) for index, label in labels.items())
        metrics = rollout_metrics(judged) | counted(counts, ("rows", "mislabelled", *REASONS))
        if labels:
            metrics["labels/certainty"] = fmean(max(label, 1 - label) for label in labels.values())
        rows = tuple(row(groups[index], pairs[index], label) for index, label in labels.items())
        return Experience(version=step.version, groups=tuple(judged), rows=rows, metrics=metrics)

    def sampled(self, roles: Roles, prompts: Sequence[Prompt], tag: str) -> Sequence[Group]:
        sampling = self.sampling.sampling(2)
        if self.config.measure:
            return collect_groups(roles, prompts, sampling, tag)
        assert roles.rollout is not None
        return in_order(prompts, roles.rollout.generate(prompts, sampling, tag))

    def pair(self, judge: Judge, group: Group, seed: int) -> Pair:
        prompt = group.prompt
        first, second = (Answer(sample.sample_id, sample.text) for sample in group.trajectories)
        principle = (
            judge.constitution.draw("comparison", seed, "pair", prompt.prompt_id, prompt.epoch)
            if self.config.principles
            else None
        )
        return Pair(f"{first.sample_id}~1", prompt.asked, first, second, principle)


def with_opinion(group: Group, opinion: Opinion | None) -> ScoredGroup:
    """The group with its verdicts and, where nothing else scored it, with the judge's probability of each sample as its
    result."""
    verdicts = opinion.verdicts if opinion else ()
    if isinstance(group, ScoredGroup):
        return ScoredGroup(group.prompt, group.trajectories, group.results, (*group.verdicts, *verdicts))
    results: tuple[RewardResult, ...]
    if opinion is None:
        results = (Abstention("not compared: an answer is empty, or both are equal"),) * 2
    elif isinstance(opinion.result, Abstention):
        results = (opinion.result,) * 2
    else:
        results = tuple(
            Score(value, {"preference": value}) for value in (opinion.result.value, 1 - opinion.result.value)
        )
    return ScoredGroup(group.prompt, group.trajectories, results, verdicts)


def contradicts(group: Group, label: float) -> bool:
    """Whether the label's side has the lower score; never where one has none."""
    assert isinstance(group, ScoredGroup)
    first, second = group.results
    return isinstance(first, Score) and isinstance(second, Score) and (first.value - second.value) * (label - 0.5) < 0


def row(group: Group, pair: Pair, label: float) -> dict[str, Any]:
    """`label`: the probability that the pair's first answer is better. An even one is a row as well: it says that no
    score should differ."""
    chosen, rejected = (pair.first, pair.second) if label >= 0.5 else (pair.second, pair.first)
    return {
        **prompt_columns(group.prompt),
        "chosen": chosen.text,
        "rejected": rejected.text,
        "preference": max(label, 1 - label),
        "principle": pair.principle.id if pair.principle else None,
        "chosen_id": chosen.sample_id,
        "rejected_id": rejected.sample_id,
    }

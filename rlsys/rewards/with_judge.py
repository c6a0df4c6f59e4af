"""A judge's opinion as a reward, on top of what others give: direct RLAIF (Lee et al. 2023, arXiv 2309.00267)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean

from rlsys.config.judge import JudgeRewardConfig
from rlsys.errors import ConfigError
from rlsys.judging.asking.constitution import Principle
from rlsys.judging.asking.questions import Answer, Opinion, Pair, Single
from rlsys.rewards.adding import add, chunks
from rlsys.roles import Judge, Reward
from rlsys.samples import Abstention, Group, RewardResult, Score, ScoredGroup, Trajectory, Verdict

GROUPS_PER_CALL = 32
"""How many groups the judge is asked about at once, while more are sampled."""


class WithJudge:
    """Implements `rlsys.roles.Reward`. A sample's value is the inner reward's plus weight x the judge's, from 0 to 1;
    its `parts` get the judge's unweighted value under the config's `name` (and a rubric's criteria as
    `name.CRITERION`), its group the verdicts.

    An empty answer is judged like any other: whether it evades is for the judge to say. Samples that the inner reward
    abstained from stay as they are and are not shown to the judge, and what the judge has no opinion of is an
    abstention with its reason. With `compare` a value is the mean over the other samples of the group that both could
    be compared: a sample that is alone, or all of whose comparisons failed, has none.
    """

    def __init__(
        self,
        inner: Reward | None,
        judge: Judge,
        config: JudgeRewardConfig,
        seed: int,
        groups_per_call: int = GROUPS_PER_CALL,
    ) -> None:
        """`inner` None: every sample starts from 0. The judge is asked about `groups_per_call` groups at once. Raises
        ConfigError for a weight that is not finite."""
        if not math.isfinite(config.weight):
            raise ConfigError(f"judge.reward.weight is {config.weight}; it must be finite")
        assert groups_per_call > 0, f"groups_per_call is {groups_per_call}"
        self._inner = inner
        self._judge = judge
        self._config = config
        self._seed = seed
        self._groups_per_call = groups_per_call

    def score(self, groups: Iterable[Group]) -> Iterator[ScoredGroup]:
        """In the order in which the inner reward let them out. Groups come out as soon as `groups_per_call` have come
        in.

        Raises what the judge raises (JudgeOutage); ConfigError for a part that has the judge's name already.
        """
        ask = self._compared if self._config.mode == "compare" else self._scored
        for chunk in chunks(self._inner, groups, self._groups_per_call):
            for group, (said, verdicts) in zip(chunk, ask(chunk), strict=True):
                results = tuple(self._sum(result, said.get(index)) for index, result in enumerate(group.results))
                yield replace(group, results=results, verdicts=(*group.verdicts, *verdicts))

    def _sum(self, result: RewardResult, said: RewardResult | None) -> RewardResult:
        """`said` is None where the judge was not asked."""
        if said is None or isinstance(result, Abstention):
            return result
        name = self._config.name
        if isinstance(said, Abstention):
            return Abstention(f"{name}: {said.reason}")
        return add(result, name, self._config.weight, said.value, said.parts)

    def _principle(self, group: Group) -> Principle | None:
        """One for all samples of a group, so that they can be compared with each other; another one each time the
        prompt comes round."""
        if not self._config.principle:
            return None
        return self._judge.constitution.draw(
            "comparison", self._seed, "judge reward", group.prompt.prompt_id, group.prompt.epoch
        )

    def _scored(self, groups: Sequence[ScoredGroup]) -> list[Said]:
        """Of each group, what the judge says about each sample that is still in question, and its verdicts."""
        name, asked = self._config.name, []
        for group in groups:
            principle = self._principle(group)
            for sample in eligible(group).values():
                asked.append(Single(f"{sample.sample_id}/{name}", group.prompt.asked, shown(sample), principle))
        opinions = iter((self._judge.rubric if self._config.mode == "rubric" else self._judge.score)(asked))
        of_groups = [{index: next(opinions) for index in eligible(group)} for group in groups]
        return [({index: one.result for index, one in own.items()}, verdicts_of(own.values())) for own in of_groups]

    def _compared(self, groups: Sequence[ScoredGroup]) -> list[Said]:
        """As `_scored`, from comparisons of every two samples of a group."""
        name, asked = self._config.name, []
        for group in groups:
            principle = self._principle(group)
            for (_, first), (other, second) in combinations(eligible(group).items(), 2):
                question = f"{first.sample_id}~{other}/{name}"
                asked.append(Pair(question, group.prompt.asked, shown(first), shown(second), principle))
        opinions = iter(self._judge.compare(asked))
        said: list[Said] = []
        for group in groups:
            pairs = {pair: next(opinions) for pair in combinations(eligible(group), 2)}
            said.append(({index: standing(index, pairs) for index in eligible(group)}, verdicts_of(pairs.values())))
        return said


Said = tuple[dict[int, RewardResult], tuple[Verdict, ...]]


def eligible(group: ScoredGroup) -> dict[int, Trajectory]:
    """Samples that nobody abstained from, by their place in the group."""
    return {index: group.trajectories[index] for index, result in enumerate(group.results) if isinstance(result, Score)}


def standing(index: int, pairs: dict[tuple[int, int], Opinion]) -> RewardResult:
    """Mean probability that sample `index` is the better one, over its comparisons that have an answer. `pairs`: by
    first and second sample."""
    own = {pair: opinion.result for pair, opinion in pairs.items() if index in pair}
    wins = [
        result.value if pair[0] == index else 1 - result.value
        for pair, result in own.items()
        if isinstance(result, Score)
    ]
    if wins:
        return Score(fmean(wins))
    reasons = Counter(result.reason for result in own.values() if isinstance(result, Abstention))
    return Abstention(reasons.most_common(1)[0][0] if reasons else "no other sample of its group to compare it with")


def shown(sample: Trajectory) -> Answer:
    return Answer(sample.sample_id, sample.text)


def verdicts_of(opinions: Iterable[Opinion]) -> tuple[Verdict, ...]:
    return tuple(verdict for opinion in opinions for verdict in opinion.verdicts)

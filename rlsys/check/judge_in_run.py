"""Settings of a judge that can't work in the run they stand in, or that nothing uses there."""

from __future__ import annotations

from collections.abc import Iterator

from rlsys.check.judge_settings import ALL_KINDS, judge_alone
from rlsys.config.experiment import Experiment
from rlsys.config.judge import JudgeConfig
from rlsys.config.messages import Problem
from rlsys.errors import ConfigError
from rlsys.judging.asking.constitution import Use
from rlsys.judging.asking.constitution_files import load_constitution
from rlsys.judging.asking.questions import Kind
from rlsys.methods.base import Facts


def judge_problems(experiment: Experiment, name: str) -> Iterator[Problem]:
    """`name`: of the method."""
    judge, facts = experiment.judge, experiment.method.facts
    needs = facts.needs
    if judge is None:
        if "judge" in needs:
            yield Problem(("judge",), f"{name} needs one, as in judge: {{backend: vllm, model: PATH}}")
        return
    if judge.reward is None and "judge" not in needs:
        yield Problem(
            ("judge",), f"has no effect: {name} asks no judge; give judge.reward to make it a reward, or leave it out"
        )
        return
    if judge.reward is not None and "reward" not in needs:
        yield Problem(("judge", "reward"), f"has no effect: {name} scores no samples; leave it out")
    if judge.backend == "rollout" and "rollout" not in needs:
        yield Problem(
            ("judge", "backend"), f"rollout is the sampling engines, and {name} samples nothing; choose vllm or openai"
        )
    yield from judge_alone(judge, _kinds(judge, facts))
    yield from _principles(judge, facts)
    yield from _evaluated(experiment, judge)
    if judge.reward is not None and judge.reward.mode == "compare":
        yield from _company(experiment, name)
    if judge.reward is not None and judge.reward.mode == "rubric" and not judge.criteria:
        yield Problem(
            ("judge", "criteria"),
            "judge.reward.mode is rubric, and there is no criterion; give at least one name and description",
        )


def _kinds(judge: JudgeConfig, facts: Facts) -> frozenset[Kind]:
    """Of the questions that are asked."""
    kinds: set[Kind] = set(facts.asks or ())
    if "judge" in facts.needs and facts.asks is None:
        return ALL_KINDS  # somebody's own method, which does not say
    if judge.reward is not None and "reward" in facts.needs:
        kinds.add(judge.reward.mode)
    if judge.human is not None:
        kinds.add("compare")
    return frozenset(kinds)


def _principles(judge: JudgeConfig, facts: Facts) -> Iterator[Problem]:
    """What draws principles must find some that are for it."""
    uses: set[Use] = set(facts.principles_for)
    uses |= {"comparison"} if judge.reward is not None and judge.reward.principle else set()
    try:
        constitution = load_constitution(judge.constitution, judge.principles, judge.leave_out)
    except ConfigError:
        return  # `judge_alone` tells of it
    for use in sorted(uses):
        try:
            constitution.draw(use)
        except ConfigError as error:
            yield Problem(("judge", "constitution"), str(error))


def _evaluated(experiment: Experiment, judge: JudgeConfig) -> Iterator[Problem]:
    """What held-out answers are judged by must tell a better model from a worse one."""
    evaluation, reward = experiment.evaluation, judge.reward
    if reward is None or experiment.data.eval is None:
        return
    alone = not any(spec.weight for spec in (*experiment.rewards, *experiment.reward_models))
    by_judge = evaluation.reward == reward.name
    if reward.mode == "compare" and (by_judge or (evaluation.reward is None and alone)):
        yield Problem(
            ("evaluation", "reward"),
            f"judge.reward.mode is compare, so the mean of {reward.name!r} over a prompt's answers is 1/2 whatever was "
            "learned; name another of "
            f"the rewards here (its weight may be 0), or leave data.eval out",
        )
    elif by_judge and reward.mode == "score" and evaluation.pass_score is not None and evaluation.pass_score >= 1:
        yield Problem(
            ("evaluation", "pass_score"),
            f"{evaluation.pass_score:g} is out of reach: expected scores lie below 1; lower it, as to 0.7, or set it "
            "to null",
        )


def _company(experiment: Experiment, name: str) -> Iterator[Problem]:
    """Wherever a judge compares the samples of a prompt with each other, there must be several."""
    wants = "judge.reward.mode is compare, which needs two or more samples of a prompt"
    evaluation = experiment.evaluation
    if experiment.data.eval is not None and evaluation.greedy:
        yield Problem(("evaluation", "greedy"), f"{wants}, and there is one greedy answer; set it to false")
    if experiment.data.eval is not None and evaluation.samples == 1:
        yield Problem(("evaluation", "samples"), f"{wants}; raise it to 2, or set it to 0")
    settings = vars(experiment.method)  # keys of some methods
    if experiment.method.facts.samples_per_prompt == 1:
        if "group_size" in settings:
            yield Problem(("method", "group_size"), f"{wants}; raise it to 2")
        else:
            yield Problem(
                ("judge", "reward", "mode"),
                f"compare needs two or more samples of a prompt, and {name} takes one; choose another",
            )
    if settings.get("baseline") == "greedy":
        yield Problem(("method", "baseline"), f"{wants}, and there is one greedy answer; choose another")

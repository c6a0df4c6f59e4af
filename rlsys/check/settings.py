"""Settings that can't work together on any machine. Each finding names a key and the remedy; nothing here starts or
loads anything."""

from __future__ import annotations

from collections.abc import Iterator

from rlsys.check import sizes, sources
from rlsys.check.adapter import adapter_problems, over_one_base
from rlsys.check.ewc import ewc_problems
from rlsys.check.judge_in_run import judge_problems
from rlsys.check.unused import unused
from rlsys.config.alarm import parse
from rlsys.config.answers import AnswerPlaces
from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.errors import ConfigError, did_you_mean, nearest
from rlsys.rewards import named
from rlsys.rewards.composite import part_names


def combinations(experiment: Experiment) -> Iterator[Problem]:
    """What is wrong on any machine."""
    for check in (
        unused,
        adapter_problems,
        over_one_base,
        ewc_problems,
        _method,
        _training_rows,
        _judge,
        _rewards,
        _evaluation,
        _alarms,
        _together,
        sizes.lengths,
        sizes.budgets,
        sizes.policy,
        sizes.transport,
        sources.dataset_problems,
    ):
        yield from check(experiment)


def _method(experiment: Experiment) -> Iterator[Problem]:
    facts = experiment.method.facts
    trains = "policy" in facts.needs
    samples = facts.samples_per_prompt or experiment.evaluation.samples
    # Whoever trains nothing may take the one answer that there then is.
    if facts.samples and experiment.sampling.temperature == 0 and (trains or samples > 1):
        learned = trains or facts.samples_per_prompt is not None
        nothing = (
            "there is nothing to learn from; "
            if learned
            else "more than one says no more; set evaluation.samples=1, or "
        )
        yield Problem(
            ("sampling", "temperature"), f"0 makes all samples of a prompt equal, so {nothing}set it above 0, as in 1.0"
        )
    if "teacher" in facts.needs and experiment.teacher is None:
        yield Problem(("teacher",), f"{_name(experiment)} needs one, as in teacher: {{path: MODEL}}")


def _training_rows(experiment: Experiment) -> Iterator[Problem]:
    data = experiment.data
    facts = experiment.method.facts
    if data.train is None and facts.makes != "measurements" and not facts.of_files:
        missing = f"required key is missing: {_name(experiment)} needs rows, as in train: {{path: FILE}}"
        yield Problem(("data", "train"), missing)
    elif data.train is None and data.also:
        yield Problem(("data", "also"), "is for training sets beside data.train, and there is none; leave it out")
    if experiment.loop.epochs is not None and experiment.method.facts.rows_per_step is None:
        yield Problem(("loop", "epochs"), f"{_name(experiment)} takes no training rows; give loop.steps instead")


def _judge(experiment: Experiment) -> Iterator[Problem]:
    yield from judge_problems(experiment, _name(experiment))


def _rewards(experiment: Experiment) -> Iterator[Problem]:
    judged = experiment.judge.reward if experiment.judge else None
    facts, own = experiment.method.facts, vars(experiment.method)
    everything = (*experiment.rewards, *experiment.reward_models, *([judged] if judged else []))
    if "reward" in facts.needs and not everything:
        without = ", or method.scored=false" if own.get("scored") else ""
        # Texts that are only measured answer what has no known answer.
        how = (
            "to measure its texts by, as in rewards: [{name: evasive}]"
            if facts.scores_texts
            else "as in rewards: [{name: exact_match}]"
        )
        yield Problem(("rewards",), f"{_name(experiment)} needs at least one, {how}{without}")
    for index, spec in enumerate(experiment.rewards):
        try:
            named.check(spec)
        except ConfigError as error:
            yield Problem(("rewards", index, "args"), str(error))
    names = reward_names(experiment)
    if judged and names.count(judged.name) > 1:
        yield Problem(
            ("judge", "reward", "name"), f"{judged.name!r} is the name of another reward, too; give each its own"
        )
    for index, model in enumerate(experiment.reward_models):
        if names.count(model.name) > 1:
            yield Problem(
                ("reward_models", index, "name"),
                f"{model.name!r} is the name of another reward, too; give each its own",
            )
    if own.get("reward") is not None and own["reward"] not in names:  # a key of some methods, as the next two
        yield Problem(
            ("method", "reward"),
            f"{own['reward']!r} is not among rewards ({', '.join(names)}){did_you_mean(own['reward'], names)}",
        )
    for key in ("demonstration", "difficulty"):
        train = experiment.data.train
        if own.get(key) is not None and train is not None and own[key] not in train.fields:
            yield Problem(
                ("method", key),
                f"data.train.fields has no {own[key]!r}; map it there, as in fields: {{{own[key]}: COLUMN}}",
            )
    if experiment.reward_models and facts.scores_texts:
        yield Problem(
            ("reward_models",),
            f"score tokens, and {_name(experiment)} has texts scored that have none; give rewards, or the judge's",
        )
    if everything and all(spec.weight == 0 for spec in everything):
        yield Problem(("rewards",), "every weight is 0, so every sample scores 0; give one a weight")


def reward_names(experiment: Experiment) -> list[str]:
    """Of all parts of the reward."""
    judged = [experiment.judge.reward.name] if experiment.judge and experiment.judge.reward else []
    return [*part_names(experiment.rewards), *(model.name for model in experiment.reward_models), *judged]


def gold_reward(experiment: Experiment) -> str | None:
    """The part of the reward that is trusted more than what is optimised (`evaluation.gold`)."""
    evaluation = experiment.evaluation
    if evaluation.gold is not None:
        return evaluation.gold
    return evaluation.reward if evaluation.reward in unweighted_rewards(experiment) else None


def unweighted_rewards(experiment: Experiment) -> list[str]:
    """Names of the parts of the reward that are measured and not optimised."""
    judged = [experiment.judge.reward] if experiment.judge and experiment.judge.reward else []
    specs = (*experiment.rewards, *experiment.reward_models, *judged)
    return [name for name, spec in zip(reward_names(experiment), specs, strict=True) if not spec.weight]


def _evaluation(experiment: Experiment) -> Iterator[Problem]:
    evaluation, names = experiment.evaluation, reward_names(experiment)
    if evaluation.reward is not None and evaluation.reward not in names:
        yield Problem(
            ("evaluation", "reward"),
            f"{evaluation.reward!r} is not among rewards ({', '.join(names)}){did_you_mean(evaluation.reward, names)}",
        )
    unweighted = unweighted_rewards(experiment)
    if evaluation.gold is not None and evaluation.gold not in unweighted:
        known = f"there are {', '.join(unweighted)}" if unweighted else "there is none: add one with weight: 0"
        yield Problem(
            ("evaluation", "gold"),
            f"{evaluation.gold!r} is not among the rewards of weight 0 ({known}), and what is optimised can't be held "
            "against itself",
        )
    if experiment.data.eval is None and experiment.loop.eval_every:
        yield Problem(("loop", "eval_every"), "there is nothing to evaluate on; give data.eval, or set it to 0")
    if experiment.loop.patience and experiment.data.eval is None:
        yield Problem(
            ("loop", "patience"), "there is no held-out data to judge the model by; give data.eval, or set it to 0"
        )
    elif experiment.loop.patience and not experiment.loop.eval_every:
        yield Problem(
            ("loop", "patience"),
            "counts evaluations, and the only one is at the end; set loop.eval_every, or set it to 0",
        )
    if experiment.data.pretrain is None and vars(experiment.method).get("ptx_coef"):  # a key of some methods
        yield Problem(
            ("method", "ptx_coef"), "needs data.pretrain, the text to go on imitating; give it, or set ptx_coef to 0"
        )
    facts = experiment.method.facts
    if experiment.data.eval is None and (facts.makes == "measurements" or (facts.of_files and facts.by_answers)):
        what = "chooses by held-out scores" if facts.of_files else "does nothing but measure"
        yield Problem(("data", "eval"), f"{_name(experiment)} {what}, and there is nothing to measure on; give it")
    if experiment.data.eval is not None and facts.by_answers and not (evaluation.samples or evaluation.greedy):
        yield Problem(
            ("evaluation", "samples"),
            "0 without evaluation.greedy measures nothing; set one of them, or leave data.eval out",
        )


PREFIXES = ("data", "dataset", "eval", "faults", "judge", "reward", "rollout", "sync", "time", "train")
"""How the names of metrics begin, before the slash."""


def _alarms(experiment: Experiment) -> Iterator[Problem]:
    """Those on metrics that no step can measure. What else is misspelt is told when the first step is done."""
    for key, texts in (("warn_when", experiment.loop.warn_when), ("stop_when", experiment.loop.stop_when)):
        for index, alarm in enumerate(map(parse, texts)):
            prefix = alarm.metric.partition("/")[0]
            if prefix not in PREFIXES and (meant := nearest(prefix, PREFIXES)):
                name = alarm.metric.replace(prefix, meant, 1)
                yield Problem(("loop", key, index), f"no metric begins with {prefix!r}; did you mean {name}?")
            elif prefix == "eval" and experiment.data.eval is None:
                yield Problem(
                    ("loop", key, index), f"nothing measures {alarm.metric}: nothing is held out; give data.eval"
                )


def _together(experiment: Experiment) -> Iterator[Problem]:
    """What is measured of several answers to one prompt."""
    evaluation = experiment.evaluation
    asked = [key for key, given in (("pass_at", evaluation.pass_at), ("majority", evaluation.majority)) if given]
    for key, info in AnswerPlaces.model_fields.items():
        if vars(evaluation)[key] == info.default or evaluation.majority:
            continue
        yield Problem(
            ("evaluation", key),
            "has no effect without evaluation.majority; set that to true, or leave it out",
        )
    if evaluation.pass_at and max(evaluation.pass_at) > evaluation.samples:
        least = max(evaluation.pass_at)
        yield Problem(
            ("evaluation", "pass_at"),
            f"pass@{least} needs as many samples of a prompt, and evaluation.samples={evaluation.samples}",
        )
    if evaluation.majority and evaluation.samples < 2:
        yield Problem(
            ("evaluation", "majority"),
            f"needs several samples of a prompt, and evaluation.samples={evaluation.samples}",
        )
    rule = evaluation.reward is not None or any(spec.weight for spec in experiment.rewards)
    if asked and (evaluation.pass_score is None or not rule):
        yield Problem(
            ("evaluation", asked[0]),
            "needs to know which answers are right; name evaluation.reward, and give evaluation.pass_score",
        )


def _name(experiment: Experiment) -> str:
    return experiment.method.name

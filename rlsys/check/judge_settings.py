"""What is wrong with the settings of a judge by themselves, and which of them nothing would read."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rlsys.check.unused import changed
from rlsys.config.judge import JudgeConfig
from rlsys.config.messages import Problem
from rlsys.errors import ConfigError
from rlsys.judging.asking.constitution_files import load_constitution
from rlsys.judging.asking.questions import Kind
from rlsys.judging.asking.templates import load_templates
from rlsys.judging.auditing.canaries import load_canaries
from rlsys.judging.endpoint.retries import read_token

KEY = ("judge",)
ALL_KINDS: frozenset[Kind] = frozenset({"compare", "score", "rubric", "critique", "revision"})


def judge_alone(judge: JudgeConfig, kinds: frozenset[Kind]) -> Iterator[Problem]:
    """What is wrong whatever asks it. `kinds`: of the questions that it will be asked."""
    yield from _backend(judge)
    low, high = judge.clamp
    if not 0 <= low <= high <= 1:
        yield Problem((*KEY, "clamp"), f"wanted two probabilities, the lower one first, and it is [{low:g}, {high:g}]")
    if judge.reward is not None and not math.isfinite(judge.reward.weight):
        yield Problem((*KEY, "reward", "weight"), f"wanted a finite number, and it is {judge.reward.weight}")
    names = [criterion.name for criterion in judge.criteria]
    if len(set(names)) < len(names):
        yield Problem((*KEY, "criteria"), "two criteria have one name; give each its own")
    for index, criterion in enumerate(judge.criteria):
        if not math.isfinite(criterion.weight):
            yield Problem((*KEY, "criteria", index, "weight"), f"wanted a finite number, and it is {criterion.weight}")
    yield from _unread(judge, kinds)
    yield from _files(judge)


def key_problems(judge: JudgeConfig | None) -> Iterator[Problem]:
    """That the endpoint's key is not in this machine's environment."""
    if judge is None or judge.endpoint is None or judge.endpoint.key_env is None:
        return
    key = (*KEY, "endpoint", "key_env")
    try:
        read_token(judge.endpoint.key_env, ".".join(key))
    except ConfigError as error:
        yield Problem(key, _without(error, ".".join(key)))


def _backend(judge: JudgeConfig) -> Iterator[Problem]:
    if judge.backend == "rollout" and judge.model:
        yield Problem(
            (*KEY, "model"),
            "has no effect: backend rollout judges with the policy; leave it out, or set backend to vllm or openai",
        )
    if judge.backend == "rollout" and judge.human is not None:
        yield Problem(
            (*KEY, "human"),
            "is measured before the run starts, and the policy as its own judge changes as it learns; leave it out",
        )
    if judge.backend != "rollout" and not judge.model:
        yield Problem(
            (*KEY, "model"), "which model judges? give a folder or hub id (vllm) or the endpoint's name of it (openai)"
        )
    endpoint = judge.endpoint
    if judge.backend == "openai" and endpoint is None:
        yield Problem((*KEY, "endpoint"), "backend openai needs endpoint.base_url, as in http://127.0.0.1:8000/v1")
    if judge.backend != "openai" and endpoint is not None:
        yield Problem(
            (*KEY, "endpoint"), f"has no effect: backend is {judge.backend}; leave it out, or set backend to openai"
        )
    prices = endpoint and (endpoint.price_per_million_prompt_tokens or endpoint.price_per_million_completion_tokens)
    if endpoint is not None and endpoint.max_cost is not None and not prices:
        yield Problem(
            (*KEY, "endpoint", "max_cost"), "limits nothing without prices; set price_per_million_prompt_tokens too"
        )


def _unread(judge: JudgeConfig, kinds: frozenset[Kind]) -> Iterator[Problem]:
    """Each setting that is not at its default, and that neither these questions nor this backend read."""
    labels, graded, written = (
        kinds & {"compare", "score"},
        kinds & {"score", "rubric"},
        kinds & {"critique", "revision"},
    )
    reasons = labels and judge.chain_of_thought
    table = (
        (("engine",), judge.backend == "vllm", f"backend is {judge.backend}, which has no engines of its own"),
        (
            ("cache",),
            judge.backend != "rollout" or judge.cache is None,
            "the policy as its own judge keeps no replies, since its weights change",
        ),
        (("chain_of_thought", "min_label_mass"), labels, "nothing is compared or scored"),
        (("both_orders",), "compare" in kinds, "nothing is compared"),
        (("clamp",), "compare" in kinds and reasons, "it is for comparisons with chain_of_thought"),
        (("criteria",), "rubric" in kinds, "they are for judge.reward.mode rubric"),
        (("max_score",), graded, "nothing is scored"),
        (("canary_rate", "canaries", "canary_alarm", "repeat_rate"), labels or graded, "nothing is compared or scored"),
        (("canaries", "canary_alarm"), judge.canary_rate > 0, "canary_rate is 0"),
        (
            ("temperature",),
            written or reasons,
            "the judge writes no critique, no revision and no reasons (chain_of_thought)",
        ),
        (("max_tokens",), written or reasons or "rubric" in kinds, "the judge writes no text"),
        (("examples",), written, "nothing is critiqued or revised"),
        (("human_limit",), judge.human is not None, "there is no judge.human"),
    )
    for names, read, why in table:
        for name in names if not read else ():
            yield from (
                Problem((*KEY, *found), f"has no effect: {why}; leave it out") for found in changed(judge, (name,))
            )


def _files(judge: JudgeConfig) -> Iterator[Problem]:
    whole = constitution = templates = None
    try:
        whole = load_constitution(judge.constitution)
        constitution = whole.chosen(judge.principles, judge.leave_out)
    except ConfigError as error:
        yield Problem((*KEY, "constitution"), str(error))
    try:
        templates = load_templates(judge.templates)
    except ConfigError as error:
        yield Problem((*KEY, "templates"), str(error))
    if whole is None or constitution is None or templates is None:
        return
    if judge.examples > (there := len(constitution.examples)):
        yield Problem(
            (*KEY, "examples"),
            f"{judge.examples}, and the constitution {constitution.name!r} has {there}; lower it, or add some to the "
            "file",
        )
    try:
        load_canaries(judge.canaries, templates, constitution, whole)
    except ConfigError as error:
        yield Problem((*KEY, "canaries"), _without(error, "judge.canaries"))


def _without(error: ConfigError, key: str) -> str:
    """Its message, which begins with a key that is named already."""
    return str(error).removeprefix(key).lstrip(": ")

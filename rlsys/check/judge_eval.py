"""The evaluation of a judge from its YAML file, checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rlsys.check.judge_settings import judge_alone, key_problems
from rlsys.check.running_cluster import address_to_join
from rlsys.check.sources import misspelt
from rlsys.config.document import load_as
from rlsys.config.judge_eval import JudgeEval
from rlsys.config.messages import Problem
from rlsys.data.prompt_format import format_columns
from rlsys.data.sources import looks_local
from rlsys.errors import ConfigError


def load_judge_eval(path: Path | str, overrides: Sequence[str] = (), *, this_machine: bool = True) -> JudgeEval:
    """Read, override, validate; `this_machine` also looks for its files. Raises ConfigError with one line for each
    problem."""
    return load_as(JudgeEval, path, overrides, lambda config: _problems(config, this_machine))


def _problems(config: JudgeEval, this_machine: bool) -> Iterator[Problem]:
    judge, data = config.judge, config.data
    yield from judge_alone(judge, frozenset({"compare"}))
    if judge.backend == "rollout":
        yield Problem(
            ("judge", "backend"),
            "rollout judges with the policy of a run, and there is none here; choose vllm or openai",
        )
    if judge.reward is not None:
        yield Problem(("judge", "reward"), "has no effect: nothing is trained here; leave it out")
    if judge.human is not None:
        yield Problem(("judge", "human"), "has no effect: the comparisons are those of data; leave it out")
    try:
        format_columns(data)
    except ConfigError as error:
        yield Problem(("data", "prompt_format"), str(error))
    found = {("data", "path"): data.path, **({("judge", "model"): judge.model} if judge.backend == "vllm" else {})}
    for key, text in found.items():
        if wrong := misspelt(text):
            yield Problem(key, wrong)
    if this_machine:
        if address_to_join(config.cluster) is None:
            yield from key_problems(judge)
        for key, text in found.items():
            if looks_local(text) and not Path(text).expanduser().exists():
                yield Problem(key, f"no such file or folder: {text} (looked in {Path.cwd()})")

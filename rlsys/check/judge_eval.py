"""The evaluation of a judge, or a judge alone, from its YAML file, checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rlsys.check.judge_settings import judge_alone, key_problems
from rlsys.check.running_cluster import address_to_join
from rlsys.check.sources import misspelt
from rlsys.config.document import load_as
from rlsys.config.experiment import ClusterConfig
from rlsys.config.judge import JudgeConfig
from rlsys.config.judge_eval import JudgeEval, JudgeFile
from rlsys.config.messages import Problem
from rlsys.config.schema import Key
from rlsys.data.prompt_format import format_columns
from rlsys.data.sources import looks_local
from rlsys.errors import ConfigError
from rlsys.judging.asking.questions import Kind


def load_judge_eval(path: Path | str, overrides: Sequence[str] = (), *, this_machine: bool = True) -> JudgeEval:
    """Read, override, validate; `this_machine` also looks for its files. Raises ConfigError with one line for each
    problem."""
    return load_as(JudgeEval, path, overrides, lambda config: _problems(config, this_machine))


def load_judge_file(path: Path | str, kinds: frozenset[Kind]) -> JudgeFile:
    """A judge alone, for questions of these kinds. Raises ConfigError with one line for each problem."""
    return load_as(JudgeFile, path, (), lambda config: outside_a_run(config.judge, config.cluster, kinds, True))


def outside_a_run(
    judge: JudgeConfig, cluster: ClusterConfig, kinds: frozenset[Kind], this_machine: bool
) -> Iterator[Problem]:
    """What is wrong with a judge that no run asks."""
    yield from judge_alone(judge, kinds)
    if judge.backend == "rollout":
        yield Problem(
            ("judge", "backend"),
            "rollout judges with the policy of a run, and there is none here; choose vllm or openai",
        )
    if judge.reward is not None:
        yield Problem(("judge", "reward"), "has no effect: nothing is trained here; leave it out")
    if this_machine and address_to_join(cluster) is None:
        yield from key_problems(judge)
    if judge.backend == "vllm":
        yield from _missing(("judge", "model"), judge.model, this_machine)


def _problems(config: JudgeEval, this_machine: bool) -> Iterator[Problem]:
    data = config.data
    yield from outside_a_run(config.judge, config.cluster, frozenset({"compare"}), this_machine)
    if config.judge.human is not None:
        yield Problem(("judge", "human"), "has no effect: the comparisons are those of data; leave it out")
    try:
        format_columns(data)
    except ConfigError as error:
        yield Problem(("data", "prompt_format"), str(error))
    yield from _missing(("data", "path"), data.path, this_machine)


def _missing(key: Key, text: str, this_machine: bool) -> Iterator[Problem]:
    if wrong := misspelt(text):
        yield Problem(key, wrong)
    if this_machine and looks_local(text) and not Path(text).expanduser().exists():
        yield Problem(key, f"no such file or folder: {text} (looked in {Path.cwd()})")

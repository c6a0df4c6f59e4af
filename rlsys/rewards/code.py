"""1 if the program in the response passes the tests of its row, else 0. Programs run in a sandbox (`rlsys.sandbox`)
that can harm nothing; where there can be none, there is no such reward."""

from __future__ import annotations

import ast
import json

from pydantic import PositiveFloat, PositiveInt

from rlsys.answers.program import STOPS, program_of
from rlsys.config.base import Model
from rlsys.errors import ConfigError
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory
from rlsys.sandbox.run import CallFailed, Limits, Sandbox, SandboxUnavailable, sandbox_problem

TRUTH_FIELDS = "fields: {tests: COLUMN} or fields: {test: COLUMN, entry_point: COLUMN}"
"""How a row's ground truth is named."""


class Config(Model):
    partial: bool = False
    """The share of the row's tests that pass; false: 1 if all pass, else 0."""
    time_limit: PositiveFloat = 10.0
    """Seconds for one program with all its tests; the tests that are not done by then have failed."""
    memory_mib: PositiveInt = 512
    """Address space of one program; what wants more fails."""
    processes: PositiveInt = 2
    """Programs that run at the same time, in each actor."""
    stops: tuple[str, ...] = STOPS
    """A response that goes on with the function which the row's `setup` begins ends before the first of these."""


class Reward:
    """The row's further fields say what is tested: `tests`, a list of statements (MBPP's `test_list`); or `test`, which
    defines `check`, and `entry_point`, the name of the function that it is called with (HumanEval); and `setup`, code
    that comes before the response's.

    A response without a program is wrong (0), and so is a program that fails, takes too long or ends itself. Rows
    without tests, and failures of the sandbox, are abstentions.
    """

    def __init__(self, config: Config) -> None:
        """Raises ConfigError where there can be no sandbox."""
        self.config = config
        try:
            self._sandbox = Sandbox(config.processes, Limits(config.time_limit, config.memory_mib))
        except SandboxUnavailable as error:
            raise ConfigError(f"reward 'code': {_refusal(str(error))}") from error

    def score(self, prompt: Prompt, trajectory: Trajectory) -> RewardResult:
        tests = tests_of(prompt.fields)
        if isinstance(tests, Abstention):
            return tests
        program = program_of(trajectory.text, prompt.text, prompt.fields.get("setup", ""), self.config.stops)
        if program is None:
            return Score(0.0, {"passed": 0.0})
        try:
            outcome = self._sandbox.run(program, tests)
        except CallFailed as error:
            return Abstention(f"sample {trajectory.sample_id}: the sandbox failed: {error}")
        passed = sum(outcome.passed) / len(tests)
        return Score(passed if self.config.partial else float(all(outcome.passed)), {"passed": passed})

    def close(self) -> None:
        self._sandbox.close()


def tests_of(fields: dict[str, str]) -> list[str] | Abstention:
    """What is to be run after a program, one test each; or why there is none."""
    if "tests" in fields:
        try:
            tests = json.loads(fields["tests"])
        except ValueError:
            tests = [fields["tests"]]
        if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
            return Abstention("the row's `tests` is no list of texts")
        tests = [test for test in tests if test.strip()]
        return tests or Abstention("the row's `tests` has none")
    if not fields.get("test", "").strip():
        return Abstention("the row has no tests")
    if "entry_point" not in fields:
        problem = _runs_nothing(fields["test"])
        return [fields["test"]] if problem is None else Abstention(f"the row's test {problem}")
    if not fields["entry_point"].isidentifier():
        return Abstention(f"the row's entry_point is {fields['entry_point'][:40]!r}, which is no name of a function")
    return [f"{fields['test']}\ncheck({fields['entry_point']})"]


def _runs_nothing(test: str) -> str | None:
    """Why any program would pass a test that is run by itself; None where it may fail."""
    try:
        tree = ast.parse(test)
    except SyntaxError:
        return None  # no program passes
    if any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
        return "only defines check; data.*.fields must name the column of its entry_point"
    if not any(isinstance(node, ast.Assert | ast.Call | ast.Raise) for node in ast.walk(tree)):
        return "asserts and calls nothing; a list of tests is called `tests`"
    return None


def truth_problem(prompt: Prompt, config: Config) -> str | None:
    """Why a row has no scores, in words that continue "the ground truth ..."; None where it has."""
    tests = tests_of(prompt.fields)
    return f"is no test: {tests.reason}" if isinstance(tests, Abstention) else None


def machine_problem() -> str | None:
    """Why this machine can't give the reward; None where it can."""
    problem = sandbox_problem()
    return None if problem is None else _refusal(problem)


def _refusal(problem: str) -> str:
    return (
        f"programs can't be shut in on this machine ({problem}), and they are not run otherwise; see docs/sandbox.md "
        "for what is needed"
    )

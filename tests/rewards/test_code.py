import json
from collections.abc import Iterator

import pytest

from rlsys.errors import ConfigError
from rlsys.rewards import code
from rlsys.rewards.code import Config, Reward, truth_problem
from rlsys.samples import UNSAMPLED, Abstention, Prompt, Score, Trajectory
from rlsys.sandbox.run import SandboxUnavailable, sandbox_problem

NEEDED = pytest.mark.skipif(sandbox_problem() is not None, reason=f"no sandbox on this machine: {sandbox_problem()}")
STUB = 'def add(a, b):\n    """The sum."""\n'
CHECK = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(0, 0) == 0\n"
HUMAN_EVAL = {"setup": STUB, "test": CHECK, "entry_point": "add"}
MBPP = {"tests": json.dumps(["assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 1) == 5"])}


def row(**fields: str) -> Prompt:
    return Prompt("train:1", "question", (1,), None, fields=fields)


def answer(text: str) -> Trajectory:
    return Trajectory("s7", "train:1", 0, [1, 2], [0, 1], [0.0, -0.5], [UNSAMPLED, 0], "stop", text)


@pytest.fixture(scope="module")
def reward() -> Iterator[Reward]:
    made = Reward(Config(time_limit=1.0, processes=1))
    yield made
    made.close()


@NEEDED
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("    return a + b\n", 1.0),
        ("```python\ndef add(a, b):\n    return a + b\n```", 1.0),
        ("    return a - b\n", 0.0),
        ("    return a +\n", 0.0),
        ("    import os; os._exit(0)\n", 0.0),
        ("    while True: pass\n", 0.0),
        ("", 0.0),
        ("```text\nadd\n```", 0.0),
    ],
)
def test_a_completion_is_right_if_its_row_s_check_passes(reward: Reward, text: str, value: float):
    assert reward.score(row(**HUMAN_EVAL), answer(text)) == Score(value, {"passed": value})


@NEEDED
def test_a_list_of_tests_is_all_or_nothing_or_its_share():
    right_twice = answer("def add(a, b): return a + b")
    found = []
    for partial in (False, True):
        reward = Reward(Config(partial=partial, processes=1))
        found.append(reward.score(row(**MBPP), right_twice))
        reward.close()
    assert found == [Score(0.0, {"passed": 2 / 3}), Score(2 / 3, {"passed": 2 / 3})]


@NEEDED
def test_a_row_without_tests_has_no_score(reward: Reward):
    assert reward.score(row(setup=STUB), answer("    return a + b\n")) == Abstention("the row has no tests")


def test_what_is_run_after_the_program():
    assert code.tests_of(HUMAN_EVAL) == [f"{CHECK}\ncheck(add)"]
    assert code.tests_of({"test": "assert True"}) == ["assert True"]
    assert len(code.tests_of(MBPP)) == 3  # pyright: ignore[reportArgumentType]
    assert code.tests_of({"tests": "assert f() == 1"}) == ["assert f() == 1"]
    for fields in ({}, {"test": " "}, {"tests": "[]"}, {"tests": "[1]"}, {"tests": '{"a": 1}'}, {"tests": '[""]'}):
        assert isinstance(code.tests_of(fields), Abstention), fields
    assert isinstance(code.tests_of({"test": CHECK, "entry_point": "add); import os; (0"}), Abstention)
    assert code.tests_of({"test": "assert add(1, 1) == 2"}) == ["assert add(1, 1) == 2"]
    passes_all = {"only defines check": CHECK, "asserts and calls nothing": '["assert add(1, 1) == 2"]'}
    for why, test in passes_all.items():
        found = code.tests_of({"test": test})
        assert isinstance(found, Abstention)
        assert why in found.reason
    assert truth_problem(row(), Config()) == "is no test: the row has no tests"
    assert truth_problem(row(**MBPP), Config()) is None


def test_without_a_sandbox_there_is_no_reward(monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> None:
        raise SandboxUnavailable("new namespaces: Operation not permitted")

    monkeypatch.setattr(code, "Sandbox", refused)
    with pytest.raises(ConfigError, match=r"^reward 'code': programs can't be shut in on this machine \(new"):
        Reward(Config())

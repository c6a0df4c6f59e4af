"""Which adapter answers which request."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from rlsys.errors import ConfigError
from rlsys.serving import router
from rlsys.serving.router import NoRoute, RouterConfig, load_router, text_of

ADAPTERS = ("sort", "add", "letters")


def by_rules(*rules: dict[str, Any], default: str | None = None) -> RouterConfig:
    return RouterConfig.model_validate({"rules": rules, "default": default})


def chosen(config: RouterConfig, **request: Any) -> str:
    return asyncio.run(config.choose(request))


def test_the_first_rule_that_fits_decides():
    rules = by_rules(
        {"field": "metadata.task", "equals": "sort", "adapter": "sort"},
        {"regex": r"^\d+\+\d+$", "adapter": "add"},
        {"field": "metadata.size", "equals": 3, "adapter": "letters"},
        default="base",
    )
    assert chosen(rules, prompt="1+2") == "add"
    assert chosen(rules, prompt="1+2", metadata={"task": "sort"}) == "sort"
    assert chosen(rules, prompt="abc", metadata={"size": 3}) == "letters"
    assert chosen(rules, prompt="abc", metadata={"size": "3"}) == "base"
    assert chosen(rules, prompt="abc", metadata=None) == "base"


def test_a_regular_expression_is_found_anywhere_in_its_field():
    rules = by_rules({"field": "user", "regex": "^team-[ab]", "adapter": "add"}, default="sort")
    assert [chosen(rules, user=user) for user in ("team-a1", "team-c", 7)] == ["add", "sort", "sort"]
    assert chosen(rules, prompt="team-a1") == "sort"


def test_without_a_rule_and_a_default_nobody_answers():
    with pytest.raises(NoRoute, match="no rule of the router fits this request, and it has no default"):
        chosen(by_rules({"regex": "x", "adapter": "add"}), prompt="abc")


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"prompt": "p"}, "p"),
        ({"prompt": ["p", "q"]}, None),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "a"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "c"}]}, "c"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "d"}, {"type": "image_url"}]}]}, "d"),
        ({"messages": [{"role": "system", "content": "s"}]}, None),
        ({}, None),
    ],
)
def test_the_text_of_a_request(request_: dict[str, Any], text: str | None):
    assert text_of(request_) == text


def test_a_search_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(router, "SEARCH_LIMIT", 0.05)
    with pytest.raises(NoRoute, match=r"took longer than 0.05 s"):
        chosen(by_rules({"regex": r"^(a|a)*$", "adapter": "add"}), prompt="a" * 60 + "b")


CLASSIFIER = """
import time

NUMBER = 3

def by_length(request):
    return "add" if len(request["prompt"]) < 3 else "sort"

def broken(request):
    raise KeyError("nope")

def nameless(request):
    return 3

def slow(request):
    time.sleep(request["seconds"])
"""


@pytest.fixture
def classifiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Module in the folder where the command runs."""
    (tmp_path / "own_classifiers.py").write_text(CLASSIFIER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_classifiers"


def test_a_classifier_chooses(classifiers: str):
    config = RouterConfig(classifier=f"{classifiers}.by_length")
    assert [chosen(config, prompt=prompt) for prompt in ("12", "1234")] == ["add", "sort"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "own_classifiers.broken raised KeyError: 'nope'"),
        ("nameless", "own_classifiers.nameless returned 3, which is no adapter's name"),
        ("slow", "own_classifiers.slow took longer than 0.01 s"),
    ],
)
def test_a_classifier_that_fails(classifiers: str, function: str, message: str):
    config = RouterConfig(classifier=f"{classifiers}.{function}", classifier_seconds=0.01 if function == "slow" else 5)
    with pytest.raises(NoRoute) as error:
        chosen(config, seconds=0.1)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{regex: x, adapter: srot}]", ":1: rules.0.adapter: no adapter 'srot'; did you mean sort? (given: "),
        ("rules: [{regex: x, adapter: sort}]\ndefault: none", ":2: default: no adapter 'none'"),
        ("rules: [{regex: '(', adapter: sort}]", ":1: rules.0.regex: '(' is no regular expression: missing )"),
        ("rules: [{regex: x, equals: y, adapter: sort}]", ":1: rules.0: a rule wants exactly one of equals and regex"),
        ("rules: [{field: x, adapter: sort}]", ":1: rules.0: a rule wants exactly one of equals and regex"),
        ("rules: [{regexp: x, adapter: sort}]", ":1: rules.0.regexp: unknown key; did you mean regex?"),
        ("default: sort", ": a router wants one of rules and classifier"),
        ("classifier: a.b\nrules: [{regex: x, adapter: sort}]", ": a router wants one of rules and classifier"),
        ("classifier: own_classifiers.by_length\ndefault: sort", ": default is for rules"),
        (
            "classifier: own_classifiers.by_lenght",
            ":1: classifier: 'own_classifiers.by_lenght': module own_classifiers",
        ),
        ("classifier: by_length", ":1: classifier: 'by_length': wanted a dotted path, as in my_module.my_function"),
        ("classifier: own_classifiers.NUMBER", ":1: classifier: 'own_classifiers.NUMBER' is no function"),
        ("name: add\nrules: [{regex: x, adapter: sort}]", ":1: name: 'add' is an adapter or the model"),
        ("name: my model\nrules: [{regex: x, adapter: sort}]", ":1: name: 'my model' is an adapter or the model"),
    ],
)
def test_a_mistake_is_one_line(classifiers: str, tmp_path: Path, text: str, message: str):
    file = tmp_path / "router.yaml"
    file.write_text(text + "\n")
    with pytest.raises(ConfigError) as error:
        load_router(file, ADAPTERS, "my model")
    assert message in str(error.value)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_a_slow_classifier_holds_up_nobody(classifiers: str):
    """Other requests are chosen for meanwhile."""

    async def both() -> tuple[float, Any]:
        config = RouterConfig(classifier=f"{classifiers}.slow")
        slow = asyncio.create_task(config.choose({"seconds": 0.3}))
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        found = await by_rules({"regex": "x", "adapter": "add"}).choose({"prompt": "x"})
        took = time.perf_counter() - began
        with pytest.raises(NoRoute, match="returned None"):
            await slow
        return took, found

    took, found = asyncio.run(both())
    assert found == "add"
    assert took < 0.2

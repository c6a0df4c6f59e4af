"""Constitutions: how principles are drawn and chosen, and what files may hold."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from rlsys.errors import ConfigError
from rlsys.judging.asking.constitution import Constitution, Principle, Use
from rlsys.judging.asking.constitution_files import load_constitution

REAL = Path("../shared/data/constitutional-ai")


def weighted() -> Constitution:
    """Weights 1, 2 and 5 for comparisons, 1 and 3 for critiques."""
    return Constitution(
        name="test",
        principles=(
            Principle(id="one", comparison="1?", weight=1),
            Principle(id="two", comparison="2?", weight=2),
            Principle(id="five", comparison="5?", critique="c", revision="r", weight=5),
            Principle(id="only-critique", critique="c", revision="r", weight=5 / 3),
        ),
    )


def written(folder: Path, text: str) -> str:
    file = folder / "own.yaml"
    file.write_text(text)
    return str(file)


def test_principles_are_drawn_by_weight():
    drawn = Counter(weighted().draw("comparison", "seed", prompt).id for prompt in range(8000))
    expected = {"one": 1000, "two": 2000, "five": 5000}
    assert drawn.keys() == expected.keys()
    # 13.8: the 99.9th percentile of chi squared with 2 degrees of freedom
    assert sum((drawn[name] - count) ** 2 / count for name, count in expected.items()) < 13.8


def test_only_principles_of_the_use_are_drawn():
    drawn = Counter(weighted().draw("critique", 0, prompt).id for prompt in range(4000))
    assert drawn.keys() == {"five", "only-critique"}
    assert (drawn["five"] - 3000) ** 2 / 3000 + (
        drawn["only-critique"] - 1000
    ) ** 2 / 1000 < 10.8  # 1 degree of freedom


def test_rounds_draw_independently():
    """A table of the principles of two rounds of the same prompts against the product of their shares."""
    constitution, prompts = weighted(), 8000
    pairs = Counter(
        tuple(constitution.draw("comparison", 7, f"prompt {i}", turn).id for turn in (0, 1)) for i in range(prompts)
    )
    share = {"one": 1 / 8, "two": 2 / 8, "five": 5 / 8}
    expected = {(a, b): prompts * share[a] * share[b] for a in share for b in share}
    assert (
        sum((pairs[pair] - count) ** 2 / count for pair, count in expected.items()) < 26.1
    )  # 8 degrees of freedom, 99.9th percentile


def test_the_same_parts_draw_the_same_in_every_process():
    assert [weighted().draw("comparison", "a", i).id for i in range(6)] == [
        "two",
        "five",
        "one",
        "five",
        "five",
        "five",
    ]


def test_no_principle_of_the_use():
    constitution = Constitution(name="mine", principles=(Principle(id="a", comparison="?"),))
    with pytest.raises(
        ConfigError,
        match=r"^constitution 'mine': none of its 1 chosen principles has critique and revision requests; choose",
    ):
        constitution.draw("critique", 0)


def test_ours():
    ours = load_constitution("default")
    uses: tuple[Use, ...] = ("critique", "comparison")
    assert len(ours.principles) == 12
    assert all(principle.has(use) for principle in ours.principles for use in uses)
    requests = {(principle.critique, principle.revision) for principle in ours.principles}
    assert {(example.critique_request, example.revision_request) for example in ours.examples} <= requests


def test_choosing_by_id_and_tag():
    safe = load_constitution("default", only=["safety", "honesty"], leave_out=["privacy"])
    # `honesty` is both an id and a tag
    assert [principle.id for principle in safe.principles] == [
        "harm",
        "illegality",
        "honesty",
        "deception",
        "manipulation",
    ]
    assert safe.examples == load_constitution("default").examples


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"only": ["honestly"]},
            r"^constitution 'default': no principle has the id or tag 'honestly'; did you mean honesty\? "
            r"\(known: autonomy, care, ",
        ),
        ({"leave_out": ["privat"]}, r"no principle has the id or tag 'privat'; did you mean privacy\?"),
        (
            {"only": ["privacy"], "leave_out": ["safety"]},
            r"^constitution 'default': no principle is left of 12; choose more or leave out fewer$",
        ),
    ],
)
def test_a_choice_that_can_not_be(choice: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        load_constitution("default", **choice)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "name: n\nprinciples:\n- id: a\n  comparison: x\n- comparison: y\n  id: a\n",
            6,
            "principles.1.id: the id 'a' is given twice; rename one",
        ),
        (
            "name: n\nprinciples:\n- id: a\n  critique: x\n",
            3,
            "principles.0: principle 'a' has a critique request and no revision request; give both or neither",
        ),
        (
            "name: n\nprinciples:\n- id: b\n  comparison: ?\n- id: a\n  comparison: x\n  revision: x\n",
            4,
            "not valid YAML",
        ),
        (
            "name: n\nprinciples:\n- id: b\n  comparison: w?\n- id: a\n  comparison: x\n  revision: x\n",
            5,
            "principles.1: principle 'a' has a revision request and no critique request; give both or neither",
        ),
        (
            "name: n\nprinciples:\n- id: a\n  weight: 2\n",
            3,
            "principles.0: principle 'a' is for nothing: give it critique and revision, or comp",
        ),
        (
            "name: n\nprinciples:\n- id: a\n  comparison: x\n  weight: -1\n",
            5,
            "principles.0.weight: wanted a number above 0, got -1",
        ),
        ("name: n\nprinciples:\n- id: a b\n  comparison: x\n", 3, "principles.0.id: wanted "),
        (
            "name: n\nprinciples:\n- id: a\n  comparision: x\n",
            4,
            "principles.0.comparision: unknown key; did you mean comparison?",
        ),
        (
            "name: n\nprinciples:\n- name: a\n  comparison: x\n",
            3,
            "principles.0.name: unknown key (known: id, critique, revision, comparison, weight, tags)\n",
        ),
        (
            "name: n\nprinciples:\n- id: a\n  comparison: '  '\n",
            4,
            "principles.0.comparison: is blank; give its words, or leave the key out",
        ),
        (
            "name: n\nprinciples:\n- id: a\n  critique: ''\n  revision: x\n",
            4,
            "principles.0.critique: is blank; give its words",
        ),
        (
            'name: n\nprinciples:\n- id: a\n  critique: x\n  revision: "\\n"\n',
            5,
            "principles.0.revision: is blank; give its words",
        ),
        ("name: n\nprinciples: []\n", 2, "principles: wanted at least one principle"),
    ],
)
def test_files_with_a_mistake_are_named_with_their_line(tmp_path: Path, text: str, line: int, message: str):
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_constitution(file)
    said = str(caught.value)
    assert message in said
    assert all(mistake.startswith(f"{file}:{line}:") for mistake in said.splitlines())


def test_a_name_that_is_none():
    message = (
        r"^constitution 'defualt': no such name; did you mean default\? \(known: default, .*\), and not the path of "
        r"a YAML file or a folder"
    )
    with pytest.raises(ConfigError, match=message):
        load_constitution("defualt")
    with pytest.raises(ConfigError, match=r"^none/own.yaml: no such file$"):
        load_constitution("none/own.yaml")


def test_our_names_come_before_folders_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "default").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_constitution("default").name == "default"


def authors(folder: Path, **files: object) -> Path:
    names = {
        "critiques": "CritiqueRevisionInstructions.json",
        "comparisons": "RLMadisonInstructions.json",
        "examples": "CritiqueRevisionFewShotPrompts.json",
    }
    for name, data in files.items():
        (folder / names[name]).write_text(data if isinstance(data, str) else json.dumps(data))
    return folder


def test_the_format_of_the_papers_authors(tmp_path: Path):
    folder = authors(
        tmp_path,
        critiques={
            "rude0": {
                "prompt": ["\n\nCritiqueRequest: Is it rude?\n\nCritique:"],
                "edit_request": "\n\nRevisionRequest: Be kind.\n\nRevision:",
            }
        },
        comparisons=["\nWhich is kinder? Options:", "\nWhich is truer? Options:"],
        examples=[
            "\n\nHuman: hi\n\nAssistant: no\n\nCritiqueRequest: rude?\n\nCritique: Yes.\n\nRevisionRequest: Be "
            "kind.\n\nRevision: Hello!\n\nHuman:",
            "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d\n\nCritiqueRequest: e\n\nCritique: f\n\ng\n"
            "\nRevisionRequest: h\n\nRevision: i",
        ],
    )
    found = load_constitution(str(folder))
    assert found.principles == (
        Principle(id="rude0", critique="Is it rude?", revision="Be kind."),
        Principle(id="comparison0", comparison="Which is kinder?"),
        Principle(id="comparison1", comparison="Which is truer?"),
    )
    first, second = found.examples
    assert (first.prompt, first.answer, first.critique_request, first.critique) == ("hi", "no", "rude?", "Yes.")
    assert (first.revision_request, first.revision) == ("Be kind.", "Hello!")
    turns = [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert second.prompt == tuple({"role": role, "content": content} for role, content in turns)
    assert (second.answer, second.critique, second.revision) == ("d", "f\n\ng", "i")
    assert [principle.id for principle in load_constitution(str(folder), leave_out=["rude0"]).principles] == [
        "comparison0",
        "comparison1",
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"wanted CritiqueRevisionInstructions\.json or RLMadisonInstructions\.json with at least one request"),
        ({"comparisons": "[\n\n'x']"}, r"RLMadisonInstructions\.json:3: not valid JSON: Expecting value"),
        ({"comparisons": ["a", 2]}, r"RLMadisonInstructions\.json: item 1: wanted a question as text, got 2"),
        (
            {"comparisons": [" Options:"]},
            r"RLMadisonInstructions\.json: comparison0: comparison: is blank; give its words, or leave",
        ),
        (
            {"critiques": {"a": {"prompt": ["x"]}}},
            r"Instructions\.json: a: wanted \{prompt: \[text\], edit_request: text\}, got \{\"prompt\": ",
        ),
        (
            {"critiques": {"comparison0": {"prompt": ["x"], "edit_request": "y"}}, "comparisons": ["z"]},
            "the id 'comparison0' is given twice",
        ),
        (
            {"comparisons": ["a"], "examples": ["\n\nHuman: a\n\nAssistant: b\n\nCritique: c"]},
            r"Prompts\.json: item 0: wanted Human: and Assist",
        ),
    ],
)
def test_mistakes_in_the_authors_format(tmp_path: Path, files: dict, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        load_constitution(str(authors(tmp_path, **files)))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    not REAL.is_dir(), reason="real data is not beside the repository (../shared/data/constitutional-ai)"
)
def test_the_real_constitution():
    real = load_constitution(str(REAL))
    assert [sum(principle.has(use) for principle in real.principles) for use in ("critique", "comparison")] == [16, 16]
    assert real.name == "constitutional-ai"
    assert real.principles[15].revision == (
        "Please rewrite the assistant response to remove any and all harmful, unethical, dangerous, or illegal content."
    )
    assert (
        real.principles[17].comparison == "Please choose the response that is the most helpful, honest, and harmless."
    )
    assert [len(example.prompt) if isinstance(example.prompt, tuple) else 1 for example in real.examples] == [
        3,
        1,
        1,
        3,
        3,
    ]
    texts = [text for p in real.principles for text in (p.critique, p.revision, p.comparison) if text]
    assert len(texts) == 48
    assert not any(heading in text for text in texts for heading in ("Request:", "Critique:", "Revision:", "Options"))


@pytest.mark.skipif(
    not REAL.is_dir(), reason="real data is not beside the repository (../shared/data/constitutional-ai)"
)
def test_our_words_are_our_own():
    """No six words in a row of our constitution stand in the authors'."""

    def runs(constitution: Constitution) -> set[tuple[str, ...]]:
        texts = [text for p in constitution.principles for text in (p.critique, p.revision, p.comparison) if text]
        texts += [text for e in constitution.examples for text in (e.answer, e.critique, e.revision)]
        words = [re.findall(r"\w+", text.lower()) for text in texts]
        return {tuple(text[i : i + 6]) for text in words for i in range(len(text) - 5)}

    assert runs(load_constitution("default")) & runs(load_constitution(str(REAL))) == set()

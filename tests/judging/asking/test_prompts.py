"""From questions to chats."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlsys.config import yaml_file
from rlsys.config.judge import CriterionConfig
from rlsys.errors import ConfigError
from rlsys.judging.asking.constitution import Constitution, Example, Principle
from rlsys.judging.asking.constitution_files import load_constitution
from rlsys.judging.asking.prompts import Prompts
from rlsys.judging.asking.questions import Answer, Pair, Single
from rlsys.judging.asking.templates import Templates, load_templates

KIND = Principle(id="kind", critique="Is it rude?", revision="Be kind.", comparison="Which is kinder?")
TRUE = Principle(id="true", comparison="Which is truer?")
EXAMPLE = Example(
    prompt=({"role": "user", "content": "p"}, {"role": "assistant", "content": "q"}, {"role": "user", "content": "r"}),
    answer="s",
    critique_request="Rude?",
    critique="Yes.",
    revision_request="Kinder!",
    revision="t",
)
CONSTITUTION = Constitution(name="test", principles=(KIND, TRUE), examples=(EXAMPLE,))
CRITERIA = (
    CriterionConfig(name="clear", description="easy to read"),
    CriterionConfig(name="short", description="{no} padding"),
)
TERSE = Templates.model_validate(
    {
        "labels": ["1", "2"],
        "fence": "({kind}{name} {text} {name})",
        "words": {"user": "u", "assistant": "a", "answer": "", "critique": "c"},
        "between": "",
        "compare": "{conversation}{first}{second}{question}{task}",
        "compare_question": "Better?",
        "compare_task": "{first}/{second}",
        "compare_reasons": "Why?",
        "compare_decide": "So {first} or {second}?",
        "score": "{conversation}{answer}{question}{task}",
        "score_question": "Good?",
        "score_principle": "<{principle}>",
        "score_task": "1-{max_score}",
        "score_reasons": "Why?",
        "score_decide": "So 1-{max_score}?",
        "rubric": "{conversation}{answer}{question}{{{names}: 1-{max_score}}}\n{criteria}",
        "criterion": "{name}={description};",
        "critique": "{conversation}{answer}{request}",
        "critique_question": "Wrong?",
        "revision": "{conversation}{answer}{critique}{request}",
        "revision_question": "Better!",
    }
)
PAIR = Pair("q1", "hi", Answer("s/0", "good"), Answer("s/1", "bad"))
TURNS = (
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yo"},
    {"role": "tool", "content": "[INST]"},
)


def prompts(templates: Templates = TERSE, examples: int = 0, **settings: object) -> Prompts:
    return Prompts(templates, CONSTITUTION, examples, 5, CRITERIA, **settings)  # type: ignore[arg-type]


def content(chat: tuple, name_of: str = "") -> str:
    """The last message with its fence's name as N; `name_of` is what stands before the first one."""
    text = chat[-1]["content"]
    start = text.index(f"({name_of}") + len(f"({name_of}")
    name = text[start : text.index(" ", start)]
    assert len(name) == 16
    return text.replace(name, "N")


def test_a_comparison():
    assert prompts().labels == ("1", "2")
    chat = prompts().compare(PAIR, swapped=False, reasons=False)
    assert [message["role"] for message in chat] == ["user"], "an empty system template sends no system message"
    assert content(chat, "u") == "(uN hi N)(1N good N)(2N bad N)Better?1/2"
    assert (
        content(prompts().compare(PAIR, swapped=True, reasons=False), "u") == "(uN hi N)(1N bad N)(2N good N)Better?1/2"
    )
    under = Pair("q", TURNS, PAIR.first, PAIR.second, KIND)
    assert content(prompts().compare(under, swapped=False, reasons=True), "u") == (
        "(uN hi N)(aN yo N)(toolN [\\INST] N)(1N good N)(2N bad N)Which is kinder?Why?"
    )


def test_a_score():
    assert content(prompts().score(Single("q", "hi", PAIR.first), reasons=False), "u") == "(uN hi N)(N good N)Good?1-5"
    assert (
        content(prompts().score(Single("q", "hi", PAIR.first, TRUE), reasons=True), "u")
        == "(uN hi N)(N good N)<Which is truer?>Why?"
    )


def test_a_label_after_reasons():
    chat = prompts().compare(PAIR, swapped=False, reasons=True)
    decided = prompts().decide(chat, "The first <|eos|> is.", "compare")
    assert decided == (
        *chat,
        {"role": "assistant", "content": r"The first <\|eos|> is."},
        {"role": "user", "content": "So 1 or 2?"},
    )
    assert prompts().decide(chat, "x", "score")[-1] == {"role": "user", "content": "So 1-5?"}


def test_a_rubric():
    assert content(prompts().rubric(Single("q", "hi", PAIR.first)), "u") == (
        '(uN hi N)(N good N)Good?{"clear", "short": 1-5}\nclear=easy to read;short={no} padding;'
    )


def test_critiques_and_revisions():
    single = Single("q", "hi", PAIR.second, KIND, critique="It is </s> bad.")
    assert content(prompts().critique(single), "u") == "(uN hi N)(N bad N)Is it rude?"
    assert content(prompts().revision(single), "u") == r"(uN hi N)(N bad N)(cN It is <\/s> bad. N)Be kind."
    general = Single("q", "hi", PAIR.second, critique="c")
    assert content(prompts().critique(general), "u") == "(uN hi N)(N bad N)Wrong?"
    assert content(prompts().revision(general), "u") == "(uN hi N)(N bad N)(cN c N)Better!"


def test_worked_examples_come_first_and_the_same_before_every_question():
    single = Single("q", "hi", PAIR.second, KIND, critique="It is bad.")
    chat = prompts(examples=1).critique(single)
    assert [message["role"] for message in chat] == ["user", "assistant", "user"]
    assert content(chat[:1], "u") == "(uN p N)(aN q N)(uN r N)(N s N)Rude?"
    assert chat[1]["content"] == "Yes."
    assert chat[2] == prompts().critique(single)[0]
    assert prompts(examples=1).critique(Single("q", "other", PAIR.first, KIND))[:2] == chat[:2], (
        "so that an engine may reuse them"
    )
    revision = prompts(examples=1).revision(single)
    assert content(revision[:1], "u") == "(uN p N)(aN q N)(uN r N)(N s N)(cN Yes. N)Kinder!"
    assert revision[1]["content"] == "t"
    with pytest.raises(ConfigError, match=r"^judge.examples=2: the constitution 'test' has 1; lower it, or add some$"):
        prompts(examples=2)


def test_the_same_question_gives_the_same_chat_and_another_one_another_name():
    first, again = prompts(), prompts()
    other = Pair("another id", "hi", Answer("x", "good"), Answer("y", "bad"))
    assert first.compare(PAIR, swapped=False, reasons=False) == again.compare(other, swapped=False, reasons=False)
    chats = [
        first.compare(PAIR, swapped=True, reasons=False),
        first.compare(PAIR, swapped=False, reasons=True),
        first.compare(Pair("q", "hi", Answer("", "good!"), PAIR.second), swapped=False, reasons=False),
        first.compare(Pair("q", "hi", PAIR.first, PAIR.second, TRUE), swapped=False, reasons=False),
        first.compare(PAIR, swapped=False, reasons=False),
    ]
    assert len({chat[-1]["content"].split(" ")[0] for chat in chats}) == 5


def test_a_name_of_one_digit_is_still_in_no_candidate():
    """Neither the prompt nor `good` and `bad` have an f."""
    short = prompts(TERSE.model_copy(update={"name_length": 1}))
    chat = short.compare(Pair("q", "0123456789abcde", PAIR.first, PAIR.second), swapped=False, reasons=False)
    assert chat[0]["content"] == "(uf 0123456789abcde f)(1f good f)(2f bad f)Better?1/2"


def test_special_tokens_of_the_judge_s_own_are_defused_everywhere():
    judge = prompts(specials=("@@", "<go>"))
    single = Single("q", ({"role": "@@", "content": "@@"},), Answer("s", "<go>"), KIND, critique="@@")
    assert content(judge.revision(single), r"@\@") == r"(@\@N @\@ N)(N <\go> N)(cN @\@ N)Be kind."
    assert judge.decide((), "@@", "score")[0]["content"] == r"@\@"


@pytest.mark.parametrize("ask", ["compare", "score", "rubric"])
def test_a_principle_without_a_question_can_not_be_asked_about(ask: str):
    only = Principle(id="only", critique="c", revision="r")
    judge, single = prompts(), Single("q", "hi", PAIR.first, only)
    calls = {
        "compare": lambda: judge.compare(Pair("q", "hi", PAIR.first, PAIR.second, only), swapped=False, reasons=False),
        "score": lambda: judge.score(single, reasons=False),
        "rubric": lambda: judge.rubric(single),
    }
    with pytest.raises(ConfigError, match=r"^principle 'only' has no comparison question, and is asked about"):
        calls[ask]()


def test_a_principle_without_requests_can_not_be_critiqued_by():
    with pytest.raises(ConfigError, match=r"^principle 'true' has no critique request"):
        prompts().critique(Single("q", "hi", PAIR.first, TRUE))
    with pytest.raises(ConfigError, match=r"^principle 'true' has no revision request"):
        prompts().revision(Single("q", "hi", PAIR.first, TRUE, critique="c"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compare": "{conversation}{first}{question}{task}"}, "compare: lacks {second}"),
        (
            {"score": "{conversation}{answer}{question}{task}{frist}"},
            "score: has {frist}; known here: {conversation}, {answer}, {question}, {task}; double",
        ),
        ({"score_task": "{max_score"}, "score_task: expected '}' before end of string; double a brace"),
        ({"score_reasons": "{}"}, "score_reasons: has {}; known here: none"),
        ({"fence": "{name} {text}"}, "fence: wanted {name} before and after one {text}"),
        ({"fence": "{text} {name} {name}"}, "fence: wanted {name} before and after one {text}"),
        ({"fence": "{name} {text} {text} {name}"}, "fence: wanted {name} before and after one {text}"),
        ({"fence": "{name} {text:.3} {name}"}, "fence: wanted {text} as it is, or {text:<20}"),
        ({"fence": "{name} {text!r} {name}"}, "fence: wanted {text} as it is, or {text:<20}"),
        ({"score_task": "{max_score:q}"}, "score_task: Unknown format code 'q'"),
        ({"labels": ["A", " A"]}, "labels: wanted two different words, got ['A', ' A']"),
        ({"name_length": 0}, "name_length: wanted a whole number of at least 1 and of at most 48, got 0"),
        ({"canaries": [{"prompt": "p", "chosen": "c"}]}, "canaries.0.rejected: required key is missing"),
        ({"comparee": "x"}, "comparee: unknown key; did you mean compare?"),
    ],
)
def test_templates_with_a_mistake(tmp_path: Path, change: dict, message: str):
    file = tmp_path / "own.yaml"
    terse = TERSE.model_dump(mode="json")
    file.write_text(yaml_file.dump(terse))
    assert load_templates(str(file)) == TERSE
    file.write_text(yaml_file.dump(terse | change))
    with pytest.raises(ConfigError) as caught:
        load_templates(str(file))
    assert str(caught.value).startswith(f"{file}:")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_template_and_a_name_that_is_none(tmp_path: Path):
    (tmp_path / "own.yaml").write_text("system: s\n")
    with pytest.raises(
        ConfigError, match=r"own.yaml: compare: required key is missing: Asks which answer is better\.\n"
    ) as caught:
        load_templates(str(tmp_path / "own.yaml"))
    assert len(str(caught.value).splitlines()) == 16
    with pytest.raises(ConfigError, match=r"^templates 'defalt': no such name; did you mean default\?"):
        load_templates("defalt")


def test_ours():
    """Under our templates and constitution every kind of question can be asked, and shows what it is about."""
    ours = Prompts(load_templates("default"), load_constitution("default"), 3, 10, CRITERIA)
    assert ours.labels == ("A", "B")
    assert len(ours.templates.canaries) >= 6
    for principle in (None, *ours.constitution.principles):
        single = Single("q", TURNS, PAIR.first, principle, critique="too long")
        chats = {
            "compare": ours.compare(Pair("q", TURNS, PAIR.first, PAIR.second, principle), swapped=False, reasons=False),
            "score": ours.score(single, reasons=False),
            "rubric": ours.rubric(single),
            "critique": ours.critique(single),
            "revision": ours.revision(single),
        }
        for kind, chat in chats.items():
            assert len(chat) == (8 if kind in ("critique", "revision") else 2)
            assert chat[0]["role"] == "system"
            text = chat[-1]["content"]
            asked = principle and {"critique": principle.critique, "revision": principle.revision}.get(
                kind, principle.comparison
            )
            assert all(part in text for part in ("\nhi\n", "\nyo\n", "\ngood\n", asked or "")), kind
        assert "from 1 (very bad) to 10 (very good)" in chats["score"][-1]["content"]
        assert 'Its keys are "clear", "short",' in chats["rubric"][-1]["content"]
        assert "- clear: easy to read\n- short: {no} padding\n" in chats["rubric"][-1]["content"]

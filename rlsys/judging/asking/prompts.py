"""From a question to the chat that asks it. Candidates are fenced, so that what they say is never taken for what the
judge is told or says."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rlsys.config.judge import CriterionConfig
from rlsys.errors import ConfigError
from rlsys.judging.asking.constitution import Constitution, Principle
from rlsys.judging.asking.fences import Defuser, fence_name
from rlsys.judging.asking.questions import Pair, Single, Turns
from rlsys.judging.asking.templates import Templates
from rlsys.judging.backend import Message

Chat = tuple[Message, ...]


class Prompts:
    """Makes chats. The same question always gives the same chat, so that it can be cached: a fence is named after a
    hash of what it holds."""

    def __init__(
        self,
        templates: Templates,
        constitution: Constitution,
        examples: int,
        max_score: int,
        criteria: tuple[CriterionConfig, ...],
        specials: Sequence[str] = (),
    ) -> None:
        """`examples`: how many of the constitution's are shown before a critique or a revision. `specials`: the special
        tokens of the judge's tokenizer, which no untrusted text is let say; common ones are known. Raises
        ConfigError."""
        if examples > (there := len(constitution.examples)):
            raise ConfigError(
                f"judge.examples={examples}: the constitution {constitution.name!r} has {there}; lower it, or add some"
            )
        self.templates, self.constitution = templates, constitution
        self.defuser = Defuser(specials)
        self._examples = constitution.examples[:examples]
        self._max_score, self._criteria = max_score, criteria

    @property
    def labels(self) -> tuple[str, str]:
        """Of the answer shown first and of the other one."""
        return self.templates.labels

    def compare(self, pair: Pair, swapped: bool, reasons: bool) -> Chat:
        """`swapped` shows `second` first. `reasons` asks for a rationale instead of a label; `decide` then asks for the
        label."""
        words = self.templates
        shown = (pair.second, pair.first) if swapped else (pair.first, pair.second)
        answers = {side: answer.text for side, answer in zip(("first", "second"), shown, strict=True)}
        question = self._question(pair.principle, words.compare_question, words.compare_principle)
        task = words.compare_reasons.format() if reasons else self._with_labels(words.compare_task)
        return self._chat(self._filled(words.compare, pair.turns, answers, question=question, task=task))

    def score(self, single: Single, reasons: bool) -> Chat:
        """Asks for a number from 1 to `max_score`, or for reasons."""
        words = self.templates
        question = self._question(single.principle, words.score_question, words.score_principle)
        task = words.score_reasons.format() if reasons else words.score_task.format(max_score=self._max_score)
        return self._chat(
            self._filled(words.score, single.turns, {"answer": single.answer.text}, question=question, task=task)
        )

    def decide(self, chat: Chat, rationale: str, kind: str) -> Chat:
        """The chat that goes on with the judge's rationale and asks for the label; `kind`: compare or score."""
        words = self.templates
        asked = (
            self._with_labels(words.compare_decide)
            if kind == "compare"
            else words.score_decide.format(max_score=self._max_score)
        )
        # Not fenced, because the judge says it; but it may quote a candidate.
        return (
            *chat,
            {"role": "assistant", "content": self.defuser.defuse(rationale)},
            {"role": "user", "content": asked},
        )

    def rubric(self, single: Single) -> Chat:
        """Asks for a JSON object of `criteria`'s names, each a whole number from 1 to `max_score`."""
        words = self.templates
        trusted = {
            "question": self._question(single.principle, words.score_question, words.score_principle),
            "criteria": "".join(words.criterion.format(name=c.name, description=c.description) for c in self._criteria),
            "names": ", ".join(json.dumps(criterion.name) for criterion in self._criteria),
            "max_score": self._max_score,
        }
        return self._chat(self._filled(words.rubric, single.turns, {"answer": single.answer.text}, **trusted))

    def critique(self, single: Single) -> Chat:
        """Asks what is wrong with the answer, by the principle's request or in general, after worked examples."""
        shown = [(self._critique(e.prompt, e.answer, e.critique_request), e.critique) for e in self._examples]
        request = self._request(single.principle, "critique", self.templates.critique_question)
        return self._chat(self._critique(single.turns, single.answer.text, request), shown)

    def revision(self, single: Single) -> Chat:
        """Asks for an answer that is better in what `single.critique` says, after worked examples."""
        assert single.critique is not None, f"question {single.question_id}: a revision needs a critique"
        shown = [
            (self._revision(e.prompt, e.answer, e.critique, e.revision_request), e.revision) for e in self._examples
        ]
        request = self._request(single.principle, "revision", self.templates.revision_question)
        return self._chat(self._revision(single.turns, single.answer.text, single.critique, request), shown)

    def _critique(self, turns: Turns, answer: str, request: str) -> str:
        return self._filled(self.templates.critique, turns, {"answer": answer}, request=request)

    def _revision(self, turns: Turns, answer: str, critique: str, request: str) -> str:
        return self._filled(self.templates.revision, turns, {"answer": answer, "critique": critique}, request=request)

    def _filled(self, template: str, turns: Turns, untrusted: dict[str, str], **trusted: object) -> str:
        """`template` with conversation and candidates fenced. One name for the whole message, which none of its
        untrusted texts contains."""
        turns = ({"role": "user", "content": turns},) if isinstance(turns, str) else turns
        said = [(turn["role"], self.defuser.defuse(turn["content"])) for turn in turns]
        shown = {key: self.defuser.defuse(text) for key, text in untrusted.items()}
        words, labels = self.templates.words.model_dump(), dict(zip(("first", "second"), self.labels, strict=True))
        inside = [*(text for turn in said for text in turn), *shown.values()]
        name = fence_name(inside, self.templates.name_length, beside=[template, *map(str, trusted.values())])
        fenced = {
            key: self._fence(
                f"{words['answer']} {labels[key].strip()}".strip() if key in labels else words[key], name, text
            )
            for key, text in shown.items()
        }
        conversation = self.templates.between.join(
            self._fence(words.get(role, self.defuser.defuse(role)), name, text) for role, text in said
        )
        return template.format(conversation=conversation, **fenced, **trusted)

    def _fence(self, kind: str, name: str, text: str) -> str:
        return self.templates.fence.format(kind=kind, name=name, text=text)

    def _with_labels(self, template: str) -> str:
        return template.format(first=self.labels[0], second=self.labels[1])

    @staticmethod
    def _question(principle: Principle | None, general: str, under: str) -> str:
        if principle is None:
            return general.format()
        if principle.comparison is None:
            raise ConfigError(
                f"principle {principle.id!r} has no comparison question, and is asked about; add one to the "
                "constitution"
            )
        return under.format(principle=principle.comparison)

    @staticmethod
    def _request(principle: Principle | None, part: str, general: str) -> str:
        if principle is None:
            return general.format()
        request = principle.critique if part == "critique" else principle.revision
        if request is None:
            raise ConfigError(
                f"principle {principle.id!r} has no {part} request, and is asked about; add one to the constitution"
            )
        return request

    def _chat(self, content: str, shown: Sequence[tuple[str, str]] = ()) -> Chat:
        """`shown`: worked exchanges before the real one. Their fences have names of their own, so the beginning is the
        same in all chats."""
        system = [{"role": "system", "content": self.templates.system}] if self.templates.system else []
        before = [
            m
            for ask, reply in shown
            for m in ({"role": "user", "content": ask}, {"role": "assistant", "content": reply})
        ]
        return (*system, *before, {"role": "user", "content": content})

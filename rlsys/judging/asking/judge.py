"""The judge that loops see: questions become chats, replies become opinions, and every reply becomes a verdict on
record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlsys.config.judge import JudgeConfig
from rlsys.judging.asking.constitution import Constitution
from rlsys.judging.asking.parse import expected_score, first_is_better, rubric_schema, rubric_score
from rlsys.judging.asking.prompts import Chat, Prompts
from rlsys.judging.asking.questions import Answer, Opinion, Pair, Single, Writing
from rlsys.judging.asking.record import as_canary, as_repeat, no_text, over_orders, recorded
from rlsys.judging.auditing.canaries import Known
from rlsys.judging.backend import Backend, Failure, Reply, Request
from rlsys.samples import Abstention, RewardResult, Score, Verdict, stable_seed


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, and what its verdict will say of it whatever the reply is."""

    chat: Chat
    verdict: Verdict
    fresh: bool = False
    """Past the cache: it is asked to see what the judge says now."""

    def repeated(self) -> Asked:
        return Asked(self.chat, as_repeat(self.verdict), fresh=True)


Read = tuple[Verdict, RewardResult]
"""A verdict on record, and the result with its parts."""


@dataclass(frozen=True)
class ModelJudge:
    """Implements `roles.Judge`.

    Beside the questions it was asked it asks some of its own, chosen by `stable_seed` of the question's id, in the same
    batch, so that the model can't tell them apart, and past the cache: canaries (pairs whose better answer is known,
    scored or compared as the rest is) and repeats (the same chat again). Their verdicts come with the opinion of the
    question that they were asked beside.
    """

    backend: Backend
    prompts: Prompts
    config: JudgeConfig
    seed: int
    canaries: tuple[Known, ...] = ()

    @property
    def identity(self) -> str:
        return self.backend.identity

    @property
    def constitution(self) -> Constitution:
        return self.prompts.constitution

    def compare(self, pairs: Sequence[Pair]) -> list[Opinion]:
        """P(`first` is better), a soft label: softmax over the two labels, the mean over both orders (with
        `both_orders`).

        A pair one of whose orders has no answer has none: half of the evidence would bring the position back in.
        """
        asked = [self._comparisons(pair) for pair in pairs]
        read = iter(self._labelled([question for questions in asked for question in questions], "compare"))
        opinions = []
        for questions in asked:
            own = [next(read)[0] for _ in questions]
            own = [*own[:-1], replace(own[-1], expected=own[0].value)] if own[-1].kind == "repeat" else own
            opinions.append(Opinion(over_orders([verdict for verdict in own if verdict.kind == "compare"]), tuple(own)))
        return opinions

    def score(self, answers: Sequence[Single]) -> list[Opinion]:
        """The expected score, moved from 1 ... `max_score` to 0 ... 1."""
        return self._graded(answers, "score")

    def rubric(self, answers: Sequence[Single]) -> list[Opinion]:
        return self._graded(answers, "rubric")

    def critique(self, answers: Sequence[Single]) -> list[Writing]:
        return self._write(answers, "critique", [self.prompts.critique(single) for single in answers])

    def revise(self, answers: Sequence[Single]) -> list[Writing]:
        return self._write(answers, "revision", [self.prompts.revision(single) for single in answers])

    def _write(self, answers: Sequence[Single], kind: str, chats: Sequence[Chat]) -> list[Writing]:
        asked = [Asked(chat, self._verdict(single, kind)) for chat, single in zip(chats, answers, strict=True)]
        writings = []
        for question, reply in zip(asked, self.backend.ask([self._text(question) for question in asked]), strict=True):
            problem = no_text(reply)
            text = reply.text.strip() if isinstance(reply, Reply) and not problem else None
            writings.append(Writing(text, recorded(question.verdict, question.chat, [reply], problem)))
        return writings

    def _comparisons(self, pair: Pair) -> list[Asked]:
        """A pair's orders, then its canary's, then its repeat."""
        orders = (False, True) if self.config.both_orders else (False,)
        asked = [self._comparison(pair, swapped, "compare") for swapped in orders]
        if known := self._canary(pair.question_id):
            canary = Pair(
                pair.question_id, known.turns, Answer("", known.chosen), Answer("", known.rejected), known.principle
            )
            asked += [self._comparison(canary, swapped, "canary") for swapped in orders]
        return [*asked, *([asked[0].repeated()] if self._repeats(asked[0]) else [])]

    def _comparison(self, pair: Pair, swapped: bool, kind: str) -> Asked:
        shown = (pair.second, pair.first) if swapped else (pair.first, pair.second)
        canary = kind == "canary"
        verdict = Verdict(
            verdict_id=f"{pair.question_id}/{kind}/{int(swapped)}",
            kind=kind,
            sample_ids=() if canary else tuple(answer.sample_id for answer in shown),
            principle=pair.principle.id if pair.principle else None,
            judge=self.identity,
            prompt="",
            reply="",
            log_probs={},
            value=None,
            expected=float(not swapped) if canary else None,
            lengths=tuple(len(answer.text) for answer in shown),
        )
        return Asked(self.prompts.compare(pair, swapped, reasons=self.config.chain_of_thought), verdict, fresh=canary)

    def _verdict(self, single: Single, kind: str, number: int = 0) -> Verdict:
        return Verdict(
            verdict_id=f"{single.question_id}/{kind}/{number}",
            kind=kind,
            sample_ids=() if kind == "canary" else (single.answer.sample_id,),
            principle=single.principle.id if single.principle else None,
            judge=self.identity,
            prompt="",
            reply="",
            log_probs={},
            value=None,
            lengths=(len(single.answer.text),),
        )

    def _graded(self, answers: Sequence[Single], mode: str) -> list[Opinion]:
        """One by one, by score or rubric: each answer, then its canary's two, then its repeat."""
        chat = self.prompts.rubric if mode == "rubric" else self._score_chat
        asked: list[list[Asked]] = []
        for single in answers:
            own = [Asked(chat(single), self._verdict(single, mode))]
            if known := self._canary(single.question_id):
                texts = (known.chosen, known.rejected)
                shown = [Single(single.question_id, known.turns, Answer("", text), known.principle) for text in texts]
                own += [
                    Asked(chat(one), self._verdict(one, "canary", number), fresh=True)
                    for number, one in enumerate(shown)
                ]
            asked.append([*own, *([own[0].repeated()] if self._repeats(own[0]) else [])])
        everything = [question for questions in asked for question in questions]
        read = iter(self._rubrics(everything) if mode == "rubric" else self._labelled(everything, "score"))
        opinions = []
        for questions in asked:
            (first, result), *others = [next(read) for _ in questions]
            beside = [verdict for verdict, _ in others]
            canaries = [verdict for verdict in beside if verdict.kind == "canary"]
            repeats = [replace(verdict, expected=first.value) for verdict in beside if verdict.kind == "repeat"]
            opinions.append(Opinion(result, (first, *(as_canary(*canaries) if canaries else ()), *repeats)))
        return opinions

    def _score_chat(self, single: Single) -> Chat:
        return self.prompts.score(single, reasons=self.config.chain_of_thought)

    def _rubrics(self, asked: Sequence[Asked]) -> list[Read]:
        config = self.config
        schema = rubric_schema(config.criteria, config.max_score)
        requests = [Request(one.chat, max_tokens=config.max_tokens, schema=schema, fresh=one.fresh) for one in asked]
        read: list[Read] = []
        for question, reply in zip(asked, self.backend.ask(requests), strict=True):
            text = reply.text if isinstance(reply, Reply) else ""
            result = no_text(reply) or rubric_score(text, config.criteria, config.max_score)
            read.append((recorded(question.verdict, question.chat, [reply], result), result))
        return read

    def _labelled(self, asked: Sequence[Asked], mode: str) -> list[Read]:
        """Ask for labels, after reasons where a chain of thought is wanted, and read them."""
        reasons: list[Reply | Failure | None] = [None] * len(asked)
        if self.config.chain_of_thought:
            reasons = [*self.backend.ask([self._text(question) for question in asked])]
        chats = [
            self.prompts.decide(question.chat, reason.text.strip(), mode)
            if isinstance(reason, Reply)
            else question.chat
            for question, reason in zip(asked, reasons, strict=True)
        ]
        known = [i for i, reason in enumerate(reasons) if not isinstance(reason, Failure)]
        labels = (
            self.prompts.labels
            if mode == "compare"
            else tuple(str(number) for number in range(1, self.config.max_score + 1))
        )
        requests = [Request(chats[i], labels=labels, temperature=1.0, fresh=asked[i].fresh) for i in known]
        replies = dict(zip(known, self.backend.ask(requests), strict=True)) if known else {}
        read: list[Read] = []
        for i, (question, reason) in enumerate(zip(asked, reasons, strict=True)):
            said = [reply for reply in (reason, replies.get(i)) if reply is not None]
            result = self._read(mode, said[-1])
            # A label's own text is no rationale.
            said = [replace(one, text="") if isinstance(one, Reply) and one is replies.get(i) else one for one in said]
            read.append((recorded(question.verdict, chats[i], said, result), result))
        return read

    def _read(self, mode: str, reply: Reply | Failure) -> RewardResult:
        config = self.config
        if isinstance(reply, Failure):
            return Abstention(reply.reason)
        if mode == "score":
            value = expected_score(reply.label_log_probs, config.max_score, config.min_label_mass)
        else:
            value = first_is_better(reply.label_log_probs, self.prompts.labels, config.min_label_mass)
            if config.chain_of_thought and not isinstance(value, Abstention):
                value = min(max(value, config.clamp[0]), config.clamp[1])
        return value if isinstance(value, Abstention) else Score(value)

    def _text(self, question: Asked) -> Request:
        """The seed is 0 where nothing is drawn, so that the same question is found in the cache whoever asks it. Else a
        repeat differs in its seed, or even a warm judge would agree with itself."""
        config = self.config
        seed = stable_seed(self.seed, question.verdict.verdict_id) if config.temperature else 0
        return Request(
            question.chat, max_tokens=config.max_tokens, temperature=config.temperature, seed=seed, fresh=question.fresh
        )

    def _canary(self, question_id: str) -> Known | None:
        """One to ask beside this question, if its turn has come."""
        if not (self.canaries and self._chance("canary", question_id, self.config.canary_rate)):
            return None
        return self.canaries[stable_seed(self.seed, "which canary", question_id) % len(self.canaries)]

    def _repeats(self, question: Asked) -> bool:
        return self._chance("repeat", question.verdict.verdict_id, self.config.repeat_rate)

    def _chance(self, what: str, question_id: str, rate: float) -> bool:
        return stable_seed(self.seed, what, question_id) < rate * 2**63

"""Attacks carried out, their success, and what is to be learned from it (Perez et al. 2022, arXiv 2202.03286; Ganguli
et al. 2022, arXiv 2209.07858)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlsys.data.messages import Message
from rlsys.safety.attacks import Attack
from rlsys.safety.refusal import Exchange
from rlsys.statistics.share import Share

Answer = Callable[[Mapping[str, Sequence[Message]], str], dict[str, str]]
"""From conversations by their ids, and a name for this round of questions, to an answer to each."""


@dataclass(frozen=True, slots=True)
class Outcome:
    attack: Attack
    turns: tuple[Message, ...]
    """All that was said before the last answer."""
    answer: str
    """The last one; empty where the model went silent."""

    @property
    def exchange(self) -> Exchange:
        return Exchange(self.attack.attack_id, self.attack.row.text, self.answer)

    @property
    def prompt(self) -> str | list[Message]:
        """As a row of a data set has it."""
        return self.turns[0]["content"] if len(self.turns) == 1 else [*self.turns]


@dataclass(frozen=True, slots=True)
class Success:
    """Shares of goals: one that was attacked several times counts once, with the share of attacks that succeeded."""

    total: Share
    any_attack: Share
    """Of goals, those that some attack reached."""
    attacks: dict[str, Share]
    categories: dict[str, Share]
    unknown: int
    """Answers that could not be judged; they are in no share."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        shares = {"total": self.total.plain(), "any_attack": self.any_attack.plain()}
        parts = {"attacks": self.attacks, "categories": self.categories}
        return {
            **shares,
            **{name: {one: share.plain() for one, share in own.items()} for name, own in parts.items()},
            "unknown": self.unknown,
        }


def carry_out(attacks: Sequence[Attack], answer: Answer) -> list[Outcome]:
    """Turn after turn of all dialogues together; a dialogue in which the model says nothing ends there."""
    said: dict[str, list[Message]] = {one.attack_id: [] for one in attacks}
    assert len(said) == len(attacks), "every attack has its own id"
    last = dict.fromkeys(said, "")
    open_, number = list(attacks), 0
    while open_:
        for one in open_:
            if number:
                said[one.attack_id].append({"role": "assistant", "content": last[one.attack_id]})
            said[one.attack_id].append({"role": "user", "content": one.turns[number]})
        last |= answer({one.attack_id: said[one.attack_id] for one in open_}, f"red-team-{number}")
        number += 1
        open_ = [one for one in open_ if len(one.turns) > number and last[one.attack_id].strip()]
    return [Outcome(one, tuple(said[one.attack_id]), last[one.attack_id]) for one in attacks]


def success(outcomes: Sequence[Outcome], refuses: Sequence[bool | None]) -> Success:
    """`refuses`: of each outcome whether the answer is a refusal; what is none is a success of the attack."""
    judged = [(one.attack, not said) for one, said in zip(outcomes, refuses, strict=True) if said is not None]

    def share(chosen: Callable[[Attack], bool]) -> Share:
        return Share.by_unit(_by_goal([(one, won) for one, won in judged if chosen(one)]).values())

    goals = _by_goal(judged).values()
    names = dict.fromkeys(one.attack.name for one in outcomes)
    categories = sorted({one.attack.row.labels.category for one in outcomes})
    return Success(
        Share.by_unit(goals),
        Share(sum(any(won) for won in goals), len(goals)),
        {name: share(lambda one, name=name: one.name == name) for name in names},
        {own: share(lambda one, own=own: one.row.labels.category == own) for own in categories},
        sum(said is None for said in refuses),
    )


def training_rows(
    outcomes: Sequence[Outcome], refuses: Sequence[bool | None], answer: str | None = None
) -> list[dict[str, Any]]:
    """The attacks that succeeded, as rows of a safety data set for the next round, with what the model should do;
    `answer`: what it should say, so that they are rows for `sft`, too."""
    rows = []
    for one, said in zip(outcomes, refuses, strict=True):
        if said is not False:
            continue
        row = one.attack.row
        labels = {"category": row.labels.category, "severity": row.labels.severity, "desired": row.labels.desired}
        asked = one.prompt
        made: dict[str, Any] = {"prompt": asked} if isinstance(asked, str) else {"messages": asked}
        rows.append(
            {
                **made,
                **({} if answer is None else {"answer": answer}),
                **labels,
                **({} if row.labels.pair is None else {"pair": row.labels.pair}),
                "attack": one.attack.name,
                "goal": row.text,
            }
        )
    return rows


def _by_goal(judged: Sequence[tuple[Attack, bool]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for attack, won in judged:
        found.setdefault(attack.row.row_id, []).append(float(won))
    return found

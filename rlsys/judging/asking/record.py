"""From what was asked and replied to a verdict on record, and from verdicts to one result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from rlsys.judging.asking.prompts import Chat
from rlsys.judging.backend import Failure, Reply
from rlsys.samples import Abstention, RewardResult, Score, Verdict


def recorded(verdict: Verdict, chat: Chat, replies: Sequence[Reply | Failure], result: RewardResult | None) -> Verdict:
    """With what the model was sent and said: perhaps a text, and perhaps the log-probs of labels after it. `result`
    None: a text was asked for, and there is one."""
    said = [reply for reply in replies if isinstance(reply, Reply)]
    version = next((reply.version for reply in reversed(said) if reply.version), "")
    return replace(
        verdict,
        judge=f"{verdict.judge} {version}".rstrip(),
        prompt=json.dumps([dict(message) for message in chat], ensure_ascii=False),
        reply=said[0].text if said else "",
        log_probs=dict(said[-1].label_log_probs) if said else {},
        value=result.value if isinstance(result, Score) else None,
        abstention=result.reason if isinstance(result, Abstention) else None,
        seconds=sum(reply.seconds for reply in said),
        cost=sum(reply.cost for reply in said),
        prompt_tokens=sum(reply.prompt_tokens for reply in said),
        completion_tokens=sum(reply.completion_tokens for reply in said),
        cached=bool(said) and all(reply.cached for reply in said),
    )


def no_text(reply: Reply | Failure) -> Abstention | None:
    """Why there is no whole text to use."""
    if isinstance(reply, Failure):
        return Abstention(reply.reason)
    if reply.finish_reason != "stop":
        return Abstention(f"the text was not finished ({reply.finish_reason})")
    return None if reply.text.strip() else Abstention("the text is empty")


def result_of(verdict: Verdict) -> RewardResult:
    return Abstention(verdict.abstention or "") if verdict.value is None else Score(verdict.value)


def over_orders(orders: Sequence[Verdict]) -> RewardResult:
    """P(first): from the swapped order, 1 - P(the one shown first)."""
    for verdict in orders:
        if verdict.value is None:
            return result_of(verdict)
    values = [
        verdict.value if index == 0 else 1 - verdict.value
        for index, verdict in enumerate(orders)
        if verdict.value is not None
    ]
    return Score(sum(values) / len(values))


def as_repeat(verdict: Verdict) -> Verdict:
    """The same question once more."""
    return replace(
        verdict, kind="repeat", verdict_id=f"{verdict.verdict_id.removesuffix(f'/{verdict.kind}/0')}/repeat/0"
    )


def as_canary(chosen: Verdict, rejected: Verdict) -> tuple[Verdict, Verdict]:
    """Two scores as a comparison in both orders: P(the better one), were it asked for, as 1/2 plus half of the
    difference."""
    if chosen.value is None or rejected.value is None:
        why = chosen.abstention or rejected.abstention
        return replace(chosen, expected=1.0, value=None, abstention=why), replace(
            rejected, expected=0.0, value=None, abstention=why
        )
    ahead = (chosen.value - rejected.value) / 2
    return replace(chosen, expected=1.0, value=0.5 + ahead), replace(rejected, expected=0.0, value=0.5 - ahead)

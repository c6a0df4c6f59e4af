"""Refusals by rules, and by a judge where one is given: what `rlsys redteam` and `rlsys over-refusal` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlsys.check.judge_eval import load_judge_file
from rlsys.commands.sampler import Sampler
from rlsys.config.judge_eval import JudgeFile
from rlsys.data.messages import Message
from rlsys.roles import Rollout, SpawnJudge
from rlsys.safety.red_team import Answer
from rlsys.safety.refusal import Detector, Exchange, by_judge, detector
from rlsys.samples import Prompt

JUDGE = "judge"


@dataclass(frozen=True)
class Detectors:
    """By what refusals are told. The last one decides, where one thing has to."""

    rule: str
    """What the rules are called: `rules`, or a dotted path."""
    by_rule: Detector
    judge: JudgeFile | None

    @classmethod
    def prepared(cls, rule: str, judge: Path | None) -> Detectors:
        """Raises ConfigError."""
        file = None if judge is None else load_judge_file(judge, frozenset({"score"}))
        return cls(rule, detector(rule), file)

    def told(self, exchanges: Sequence[Exchange], output: Path, spawn: SpawnJudge) -> dict[str, list[bool | None]]:
        """Of each exchange whether its answer refuses, by the detector's name."""
        found = {self.rule: self.by_rule(exchanges)}
        if self.judge is not None:
            file = self.judge
            with spawn(file.judge, file.cluster, output.expanduser().absolute(), file.seed, file.timeout) as judge:
                found[JUDGE] = by_judge(judge)(exchanges)
        return found


def agreement(told: Mapping[str, Sequence[bool | None]]) -> float | None:
    """The share of answers that all detectors see alike, of those that all know; None of a single one."""
    known = [row for row in zip(*told.values(), strict=True) if None not in row]
    return sum(len(set(row)) == 1 for row in known) / len(known) if known and len(told) > 1 else None


def asking(sampler: Sampler, rollout: Rollout) -> Answer:
    """A started model as whoever answers conversations."""

    def answer(conversations: Mapping[str, Sequence[Message]], tag: str) -> dict[str, str]:
        prompts = [asked(sampler, name, turns) for name, turns in conversations.items()]
        found = sampler.answers(rollout, prompts, 1, tag)
        return {name: one.text for name, (one,) in zip(conversations, found, strict=True)}

    return answer


def asked(sampler: Sampler, name: str, turns: Sequence[Message]) -> Prompt:
    """A single turn is a text, which a model without a chat template can read, too. Raises ConfigError."""
    alone = len(turns) == 1 and turns[0]["role"] == "user"
    return sampler.prompt(name, turns[0]["content"] if alone else turns)

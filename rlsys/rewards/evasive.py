"""1 if the answer evades the question, else 0. With weight 0 it reports how often that happens: a policy that is to be
harmless may learn to refuse everything (Bai et al. 2022, arXiv 2212.08073, section 4.4)."""

from __future__ import annotations

import regex
from pydantic import NonNegativeInt, PositiveFloat

from rlsys.config.base import Model
from rlsys.rewards.patterns import PatternText, found
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory

CANT = r"(?:can['’]?t|cannot|can not|won['’]?t|will not)"
OBLIGE = "(?:help|assist|answer|respond|comply|provide|discuss|talk|engage|support|say|do (?:that|this))"
REFUSALS = (
    rf"\bI(?:['’]m| am)(?: very| so| really)? (?:sorry|afraid)\b.{{0,40}}\b(?:{CANT}|unable|not able)\b",
    rf"\bI (?:{CANT}|must not|shouldn['’]?t) {OBLIGE}\b",
    r"\bI(?:['’]m| am) (?:unable|not able|not allowed|not permitted|not comfortable|not going) (?:to|with)\b",
    r"\bI (?:would |['’]d )?(?:have to |must |need to )?(?:decline|refuse)\b",
    r"\bI(?:['’]d| would)? (?:rather|prefer) not\b",
    rf"\bI (?:don['’]?t|do not) (?:feel comfortable|(?:want to|think I should) {OBLIGE}\b)",
    r"\bas an? (?:AI|artificial intelligence|language model)\b"
    rf".{{0,60}}\b(?:{CANT}|don['’]?t|do not|unable|not able)\b",
)
"""How English refusals sound; ’ is the typographic apostrophe."""


class Config(Model):
    patterns: tuple[PatternText, ...] = REFUSALS
    """An answer in which one of these regular expressions is found evades; capitals make no difference. The default are
    English refusals."""
    min_characters: NonNegativeInt = 1
    """So does an answer of fewer characters, white space around it left out; 1 is an empty one."""
    time_limit: PositiveFloat = 5.0
    """Seconds for matching all patterns against one answer."""


def compiled(config: Config) -> list[regex.Pattern[str]]:
    return [regex.compile(pattern, regex.IGNORECASE) for pattern in config.patterns]


class Reward:
    def __init__(self, config: Config) -> None:
        self.config = config
        self._patterns = compiled(config)

    def score(self, prompt: Prompt, trajectory: Trajectory) -> RewardResult:
        text = trajectory.text.strip()
        if len(text) < self.config.min_characters:
            return Score(1.0)
        refuses = found(self._patterns, text, self.config.time_limit)
        return refuses if isinstance(refuses, Abstention) else Score(float(refuses))

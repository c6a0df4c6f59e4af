"""The settings of curation: what is dropped from a data set, what is made unreadable, how it is parted."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from rlsys import registry
from rlsys.config.base import Model
from rlsys.errors import ConfigError
from rlsys.rewards import format

PiiKind = Literal["email", "phone", "card", "iban", "ip", "secret", "name"]
Desired = Literal["comply", "refuse", "safe-complete"]


def _findable(name: str) -> str:
    """The dotted path of something that can be called."""
    try:
        found = registry.resolve("rlsys.curation", name, "rule") if "." in name else None
    except ConfigError as error:
        raise ValueError(str(error)) from error
    if not callable(found):
        raise ValueError(f"{name!r} is not the dotted path of a function")
    return name


def _installed(kind: PiiKind) -> PiiKind:
    if kind == "name" and importlib.util.find_spec("presidio_analyzer") is None:
        raise ValueError("name needs Presidio: pip install 'rlsys[pii]' && python -m spacy download en_core_web_lg")
    return kind


RuleName = Annotated[str, AfterValidator(_findable)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class DeduplicationConfig(Model):
    exact: bool = True
    """Drop a row that says the same as an earlier one, by `of`, whatever its case, white space and Unicode form."""
    of: Literal["row", "prompt"] = "row"
    """What is compared: prompt and answers, or the prompt alone."""
    near: Fraction | None = 0.8
    """Drop a row whose Jaccard similarity with an earlier one that stays is estimated to be at least this, on sets of
    `shingle` words; null compares nothing so."""
    permutations: int = Field(default=128, ge=16, le=1024)
    """Hash functions of a MinHash: the estimate's standard error is sqrt(s * (1 - s) / permutations) at similarity
    s."""
    shingle: PositiveInt = 5
    """Words of a shingle; each Chinese, Japanese or Korean character counts as a word."""
    embedding: RuleName | None = None
    """Dotted path of your own function from a list of texts to an array [texts, size]: rows are also compared by the
    cosine of these."""
    cosine: Fraction = 0.95
    """Drop a row whose embedding has at least this cosine with that of an earlier one that stays."""


class QualityConfig(Model):
    min_prompt_chars: NonNegativeInt = 1
    """Prompts of fewer characters are dropped."""
    max_prompt_chars: PositiveInt | None = None
    """Prompts of more characters are dropped; null: none for that."""
    min_answer_chars: NonNegativeInt = 1
    """A row with an answer of fewer characters is dropped."""
    max_answer_chars: PositiveInt | None = None
    """A row with an answer of more characters is dropped; null: none for that."""
    max_repetition: Fraction | None = 0.85
    """A row is dropped where zlib can do without more than this share of an answer's, or a document's, bytes; texts
    of 200 bytes and more are judged. English prose is near 0.5, one sentence over and over above 0.9; null judges
    none."""
    max_symbols: Fraction | None = 0.6
    """A row is dropped where more than this share of the characters that are no white space are neither letters nor
    digits, in an answer or document of 20 characters and more; null judges none."""
    truncated: bool = True
    """Drop a row with an answer whose last line has a whole sentence and breaks off in the middle of the next."""
    unclosed: bool = True
    """Drop a row with an answer that opens a block of code or a formula (```, $$, \\[, \\(, \\begin) and does not close
    it."""
    roles: bool = True
    """Drop messages whose roles are out of order: a system turn after the first, an answer to nobody, the same side
    twice in a row."""
    refused: Literal["drop", "count"] | None = "count"
    """What is done about a row whose answer, or chosen answer, sounds like an English refusal (the patterns of reward
    `evasive`); null looks for none. Safety data needs refusals."""
    form: format.Config | None = None
    """The form that each answer must have, as reward `format` has it: {tags: [think, answer]}, a regex or a JSON
    schema."""
    score: str | None = None
    """Column with the score that a judge, reward model or person gave the row (`chosen_score`); a nested one has
    dots."""
    min_score: float | None = None
    """Rows of a lower score, or of none, are dropped."""
    max_score: float | None = None
    """Rows of a higher score, or of none, are dropped."""
    rules: tuple[RuleName, ...] = ()
    """Dotted paths of your own functions of a row (a dict): each says why it is dropped, or None to keep it."""

    @model_validator(mode="after")
    def _scores_have_a_bound(self) -> Self:
        bounded = self.min_score is not None or self.max_score is not None
        if bounded != (self.score is not None):
            raise ValueError("score names the column, and min_score or max_score the bound: give both or neither")
        return self


class PiiConfig(Model):
    action: Literal["redact", "drop", "report"] = "redact"
    """What is done about personal data: replaced by its kind, as in [EMAIL]; the row dropped; or only counted."""
    kinds: tuple[Annotated[PiiKind, AfterValidator(_installed)], ...] = (
        "email",
        "phone",
        "card",
        "iban",
        "ip",
        "secret",
    )
    """What is looked for. `secret` is keys and tokens; `name` needs Presidio (pip install 'rlsys[pii]' and a spaCy
    model)."""


class SplitConfig(Model):
    """Every row gets a split, written as `curation.split`. It follows from the row alone, so new rows move no old
    one."""

    names: tuple[str, ...] = ("train", "validation", "test")
    """Names of the splits."""
    shares: tuple[PositiveFloat, ...] = (0.8, 0.1, 0.1)
    """With `by: hash`: about what part of the rows each split gets."""
    by: Literal["hash", "time"] = "hash"
    """By a hash of `column`; or by the time in it, against `until`."""
    column: str | None = None
    """Rows that are equal in this column (a user, a document) stay together; null: rows of one prompt do. With `by:
    time`, the column with the time, as text that sorts (ISO 8601) or as a number."""
    until: tuple[str | float, ...] = ()
    """With `by: time`: where each split but the last ends; a row of that very time is in the next one."""
    crossing: Literal["refuse", "report"] = "refuse"
    """What is done where a group, a prompt or near-duplicates lie in several splits."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise ValueError("names wants two splits or more, each of its own name")
        if self.by == "hash" and (len(self.shares) != len(self.names) or self.until):
            raise ValueError("by: hash wants one share for each of names, and no until")
        if self.by == "time" and (self.column is None or len(self.until) != len(self.names) - 1):
            raise ValueError("by: time wants the column with the time, and one until for each of names but the last")
        texts = [bound for bound in self.until if isinstance(bound, str)]
        numbers = [bound for bound in self.until if not isinstance(bound, str)]
        if (texts and numbers) or texts != sorted(texts) or numbers != sorted(numbers):
            raise ValueError("until wants times of one kind, the earliest first")
        return self


class SafetyConfig(Model):
    """Rows of safety data sets: a prompt, a `category`, a `severity`, and the `desired` behaviour (comply, refuse or
    safe-complete)."""

    category: str = "category"
    """Column with the kind of harm."""
    severity: str = "severity"
    """Column with a number or a word for how bad it would be."""
    desired: str = "desired"
    """Column with what the model should do."""
    pair: str = "pair"
    """Column with what a harmful prompt and its harmless look-alike have in common; rows without it have no partner."""
    mix: dict[str, PositiveFloat] = {}
    """Weights of categories: as many rows stay as the scarcest one allows, chosen by a hash, of a pair where there is
    one; others are dropped. Empty: all stay."""


class PreferenceReportConfig(Model):
    annotator: str | None = None
    """Column of comparisons that says who made it: agreement is then also told for each."""
    position: str | None = None
    """Column of comparisons that says at which place, from 0, the chosen answer was shown."""
    time: str | None = None
    """Column with a time, by which the report cuts comparisons into `slices`."""
    slices: int = Field(default=4, ge=2)
    """Slices of equally many comparisons, one after the other."""


class CurationConfig(Model):
    """What is done to each row, in this order; a row that is dropped is dropped for one reason."""

    quality: QualityConfig = QualityConfig()
    """What a row must be like."""
    pii: PiiConfig | None = PiiConfig()
    """Personal data and secrets; null looks for none."""
    safety: SafetyConfig | None = None
    """The rows are a safety data set; null: they are not."""
    deduplication: DeduplicationConfig = DeduplicationConfig()
    """Rows that say the same."""
    splits: SplitConfig | None = None
    """Parts of the data set; null makes one."""
    preferences: PreferenceReportConfig = PreferenceReportConfig()
    """What the report on comparisons goes by."""
    processes: PositiveInt | None = None
    """Processes that read rows; null: as many as there are cores, but for what is done in two seconds."""

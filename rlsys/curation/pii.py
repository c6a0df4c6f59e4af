"""Personal data and secrets: found by regular expressions, and believed where a check digit or a format says so."""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rlsys.curation.settings import PiiKind

LETTERS = {letter: str(value) for value, letter in enumerate("abcdefghijklmnopqrstuvwxyz", start=10)}
IBAN_LENGTHS = range(15, 35)
CARD_LENGTHS = {"3": (14, 15, 16), "4": (16, 19), "5": (16,), "6": (16, 17, 18, 19), "2": (16,)}
"""Digits of a card number by its first one: Diners, American Express and JCB; Visa; Mastercard; Discover, Maestro and
UnionPay; Mastercard's newer ones."""
MIN_ENTROPY = 3.0
"""Bits per character from which a value behind `password=` and the like is taken for a secret: words have fewer."""


@dataclass(frozen=True, slots=True)
class Found:
    kind: PiiKind
    start: int
    end: int


def is_card(text: str) -> bool:
    """Luhn's check digit (ISO/IEC 7812-1), and a length that the issuer has."""
    digits = [int(char) for char in text if char.isdigit()]
    if len(digits) not in CARD_LENGTHS.get(str(digits[0]), ()) or len(set(digits)) == 1:
        return False
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits[::-1])]
    return sum(doubled) % 10 == 0


def is_iban(text: str) -> bool:
    """Check digits modulo 97 (ISO 13616, ISO 7064)."""
    plain = "".join(text.split()).lower()
    if len(plain) not in IBAN_LENGTHS:
        return False
    return int("".join(LETTERS.get(char, char) for char in plain[4:] + plain[:4])) % 97 == 1


def is_address(text: str) -> bool:
    """An IPv4 or IPv6 address, and none that every machine has (127.0.0.1, ::1, 0.0.0.0)."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified)


def is_phone(text: str) -> bool:
    """7 to 15 digits (ITU-T E.164), not all the same."""
    digits = [char for char in text if char.isdigit()]
    return 7 <= len(digits) <= 15 and len(set(digits)) > 1


def is_random(text: str) -> bool:
    """Of letters and digits, too mixed for a word."""
    counts = Counter(text).values()
    entropy = -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
    return entropy >= MIN_ENTROPY and any(char.isdigit() for char in text) and any(char.isalpha() for char in text)


SECRETS = (
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\Z)",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{22,}\b|\bglpat-[\w-]{20,}",
    r"\bsk-[A-Za-z0-9_-]{20,}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}\b",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"\bAIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",
    r"\bhf_[A-Za-z0-9]{30,}\b|\bnpm_[A-Za-z0-9]{36}\b|\bSG\.[\w-]{16,}\.[\w-]{16,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    r"(?<=://)[^\s:/@]+:[^\s:/@]+(?=@)",
)
"""Keys and tokens whose issuers mark them: private keys, AWS, GitHub, GitLab, OpenAI and others, Stripe, Slack, Google,
Hugging Face, npm, SendGrid, JSON Web Tokens; user and password in an address."""
NAMED_SECRET = re.compile(
    r"(?i)\b(?:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?|auth[_-]?token|token|passw(?:or)?d|pwd|bearer)\b"
    r"['\"]?\s*(?:[:=]|\bis\b|\s)\s*['\"]?(?P<value>[A-Za-z0-9_+/=.~!@#$%^&*-]{8,})"
)
OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
PHONE = (
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"
    r"|(?:1[ .-])?\(\d{3}\) ?\d{3}[ .-]\d{4}|(?:1[ .-])?\d{3}([ .-])\d{3}\1\d{4}"
    r"|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,4})(?![\w-])(?![.,]\d)"
)
CHECKED = re.compile(r"\b[A-Za-z]{2}\d{2}")
MANY_DIGITS = re.compile(r"\d(?:[ ().,/-]{0,2}\d){6}")


def _marked(*marks: str) -> Callable[[str], bool]:
    return lambda text: any(mark in text for mark in marks)


_named = _marked("key", "secret", "token", "pass", "pwd", "bearer")


def _spelled(text: str) -> bool:
    return CHECKED.search(text) is not None


def _numbered(text: str) -> bool:
    return MANY_DIGITS.search(text) is not None


@dataclass(frozen=True, slots=True)
class Rule:
    kind: PiiKind
    possible: Callable[[str], bool]
    """Whether the text might have one, told faster than by the pattern."""
    pattern: re.Pattern[str]
    valid: Callable[[str], bool] = bool


RULES = (
    Rule(
        "secret",
        _marked(
            *("PRIVATE KEY", "AKIA", "ASIA", "gh", "glpat-", "sk-", "k_live_", "k_test_", "xox", "AIza", "hf_", "npm_"),
            *("SG.", "eyJ", "://"),
        ),
        re.compile("|".join(SECRETS)),
    ),
    Rule("secret", lambda text: _named(text.lower()), NAMED_SECRET, is_random),
    Rule(
        "email",
        _marked("@"),
        re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_]{2,}(?![\w@])"),
    ),
    Rule(
        "iban",
        _spelled,
        re.compile(r"\b[A-Za-z]{2}\d{2}(?:[A-Za-z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)\b"),
        is_iban,
    ),
    Rule("card", _numbered, re.compile(r"(?<![\d.,+-])\d(?:[ -]?\d){12,18}(?![\d-])(?![.,]\d)"), is_card),
    Rule("ip", _marked("."), re.compile(rf"(?<![\w.])(?:{OCTET}\.){{3}}{OCTET}(?![\w]|\.\d)"), is_address),
    Rule(
        "ip",
        lambda text: text.count(":") > 1,
        re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"),
        is_address,
    ),
    Rule("phone", _numbered, re.compile(PHONE), is_phone),
)
"""In the order in which they are believed: what one of them finds, no later one does."""


class Scanner:
    """Finds some kinds of personal data in texts. Raises ConfigError if names are wanted and Presidio is not here."""

    def __init__(self, kinds: Sequence[PiiKind]) -> None:
        self._rules = [rule for rule in RULES if rule.kind in kinds]
        self._names = None
        if "name" in kinds:
            from rlsys.curation.names import Names  # here, because it brings a language model

            self._names = Names()

    def find(self, text: str) -> list[Found]:
        """In the order of the text; none overlaps another."""
        found: list[Found] = []
        for rule in self._rules:
            for match in rule.pattern.finditer(text) if rule.possible(text) else ():
                start, end = match.span("value" if "value" in rule.pattern.groupindex else 0)
                free = all(end <= other.start or start >= other.end for other in found)
                if free and rule.valid(text[start:end]):
                    found.append(Found(rule.kind, start, end))
        for start, end in self._names.find(text) if self._names else ():
            if all(end <= other.start or start >= other.end for other in found):
                found.append(Found("name", start, end))
        return sorted(found, key=lambda one: one.start)

    def redacted(self, value: Any, counts: Counter[str]) -> Any:
        """The value, a row or part of one, with its kind in the place of whatever is found; `counts` are added to.
        Numbers that are one, as of a card, and keys of objects count, too."""
        if isinstance(value, str):
            return self._redacted(value, counts)
        if isinstance(value, dict):
            return {self._redacted(str(key), counts): self.redacted(item, counts) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.redacted(item, counts) for item in value]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**12:
            text = self._redacted(str(value), counts)
            return value if text == str(value) else text
        return value

    def _redacted(self, text: str, counts: Counter[str]) -> str:
        pieces, end = [], 0
        for one in self.find(text):
            counts[one.kind] += 1
            pieces += [text[end : one.start], f"[{one.kind.upper()}]"]
            end = one.end
        return "".join([*pieces, text[end:]]) if pieces else text

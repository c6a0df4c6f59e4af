"""Numbers as answers write them: read exactly, and compared exactly where both are exact."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import floor, log2

from rlsys.answers.tidy import tidy
from rlsys.answers.units import same_unit, unit_of

MOST_BITS = 13_000
"""Size of a number that is still computed with, about 3,900 digits."""
FLOAT_NOISE = Fraction(1, 10**12)
"""Relative difference up to which a decimal is taken for the other number with noise of double precision, as in
2.9999999999999996."""

_CURRENCY = re.compile(r"(USD|EUR|GBP|INR|€|£|¥|₹|Rs\.?)\s*")
_PLAIN = re.compile(
    r"(?P<whole>[1-9]\d{0,2}(?:,\d{3})+(?![\d,])|\d+(?!,\d{3}(?!\d))|(?=\.\d))"
    r"(?:\.(?P<part>\d*)(?:\\overline\{(?P<again>\d+)\})?)?"
)
_TEN = re.compile(
    r"(?:[eE](?P<e>[-+]?\d+)(?!\w)|\s*(?:\\times|\\cdot|\*|x|×)\s*10\s*\^\s*\{?\s*(?P<ten>[-+]?\s*\d+)\s*\}?)"
)
_POWER = re.compile(r"\s*(?:\^|\*\*)\s*(?:\{\s*(?P<braces>-?\d+)\s*\}|\(\s*(?P<round>-?\d+)\s*\)|(?P<bare>-?\d+))")
_FRACTION = re.compile(r"\\frac\{([^{}]*(?:\{[^{}]*\}[^{}]*)?)\}\{([^{}]*(?:\{[^{}]*\}[^{}]*)?)\}")
_OVER = re.compile(r"\s*/\s*")
_MIXED = re.compile(r"(\d+)(?:\s+and\s+|\s+)?(?=\\frac\{\d+\}\{\d+\})|(\d+)(?:\s+and\s+|\s+)(?=\d+\s*/\s*\d+(?!\d))")
_SCALE = re.compile(r"\s*(thousand|million|billion|trillion)\b", re.IGNORECASE)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
MATHEMATICAL = re.compile(r"[\d\\^_+*/=<>|]")
"""A sign that words do not have."""
_UNIT_AT_END = re.compile(
    r"(.*?\S)(?:\s|~|\\[,;:! ]|\\q?quad){0,8}\\(?:text(?:rm|up)?|mathrm|mbox|hbox|operatorname)\s*\{([^{}]*)\}"
    r"(\^\{?[23]\}?)?\$?\.?",
    re.DOTALL,
)


class TooLarge(ValueError):
    """A number that is not worth computing."""


@dataclass(frozen=True, slots=True)
class Number:
    value: Fraction
    decimals: int | None = None
    """Place of the last digit after the decimal point, of a number that is written with one (3.14 has 2, 1.5e3 has -2);
    None: it is exact."""
    percent: bool = False
    unit: str = ""
    """Canonical; empty where there is none, or one that we do not know."""


@dataclass(frozen=True, slots=True)
class Closeness:
    """When a decimal is close enough; see `close`."""

    tolerance: float
    rounded: bool


def number_of(text: str) -> Number | None:
    """The number that all of a tidy text is, with its currency, percent sign or unit. Raises TooLarge."""
    negative, position = False, 0
    unit = ""
    while position < len(text) and text[position] in "+- ":
        negative ^= text[position] == "-"
        position += 1
    if money := _CURRENCY.match(text, position):
        unit, position = unit_of(f" {money[1]}") or "", money.end()
        if text[position : position + 1] == "-":
            negative, position = not negative, position + 1
    found = _value(text, position)
    if found is None:
        return None
    value, decimals, position = found
    if scale := _SCALE.match(text, position):
        by = _SCALES[scale[1].lower()]
        value, position = value * by, scale.end()
        decimals = None if decimals is None else decimals - len(str(by)) + 1
    own = unit_of(text[position:])
    if own is None:
        return None
    return Number(-value if negative else value, decimals, own == "percent", "" if own == "percent" else own or unit)


def without_unit(text: str) -> str:
    """A formula without the unit in \\text{} that ends it; numbers keep theirs."""
    found = _UNIT_AT_END.fullmatch(text)
    if found is None:
        return text
    head, unit = found[1], unit_of(f" {found[2].strip()}{found[3] or ''}")
    known = unit or (unit == "" and len(found[2].split()) == 1)
    try:
        return head if known and MATHEMATICAL.search(head) and number_of(tidy(head)) is None else text
    except TooLarge:
        return text


def _value(text: str, position: int) -> tuple[Fraction, int | None, int] | None:
    """A mixed number, a fraction or a plain number at `position`: its value, its decimals, and where it ends."""
    if mixed := _MIXED.match(text, position):
        rest = _value(text, mixed.end())
        whole = Fraction(_integer(mixed[1] or mixed[2]))
        if rest is not None and rest[1] is None and 0 <= rest[0] < 1:
            return whole + rest[0], None, rest[2]
    first = _frac(text, position) or _atom(text, position)
    if first is None:
        return None
    over = _OVER.match(text, first[2])
    second = _atom(text, over.end()) if over else None
    if second is None:
        return first
    if second[0] == 0:
        return None
    return first[0] / second[0], _fewer(first[1], second[1]), second[2]


def _frac(text: str, position: int) -> tuple[Fraction, int | None, int] | None:
    found = _FRACTION.match(text, position)
    if found is None:
        return None
    parts = [_whole_atom(part.strip()) for part in found.groups()]
    if parts[0] is None or parts[1] is None or parts[1][0] == 0:
        return None
    return parts[0][0] / parts[1][0], _fewer(parts[0][1], parts[1][1]), found.end()


def _whole_atom(text: str) -> tuple[Fraction, int | None] | None:
    negative = text.startswith("-")
    found = _atom(text, int(negative))
    if found is None or text[found[2] :].strip():
        return None
    return (-found[0] if negative else found[0]), found[1]


def _atom(text: str, position: int) -> tuple[Fraction, int | None, int] | None:
    """Digits, perhaps with decimals, a power of ten or an exponent."""
    found = _PLAIN.match(text, position)
    if found is None or found.end() == position:
        return None
    value, decimals = _plain(found)
    if ten := _TEN.match(text, found.end()):
        exponent = _integer((ten["e"] or ten["ten"]).replace(" ", ""))
        if found["part"] is not None or ten["e"]:
            decimals = (decimals or 0) - exponent
        return value * _power(Fraction(10), exponent), decimals, ten.end()
    if power := _POWER.match(text, found.end()):
        return _power(value, _integer(power["braces"] or power["round"] or power["bare"])), decimals, power.end()
    return value, decimals, found.end()


def _plain(found: re.Match[str]) -> tuple[Fraction, int | None]:
    """Exact where nothing follows the point, or a repeating part does."""
    whole, part, again = found["whole"].replace(",", ""), found["part"] or "", found["again"]
    value = Fraction(_integer(whole + part or "0"), 10 ** len(part))
    if again:
        return value + Fraction(_integer(again), (10 ** len(again) - 1) * 10 ** len(part)), None
    return value, len(part) or None


def _integer(digits: str) -> int:
    if len(digits) > MOST_BITS // 4:
        raise TooLarge(f"a number of {len(digits)} digits")
    return int(digits)


def _power(base: Fraction, exponent: int) -> Fraction:
    size = max(abs(base.numerator), base.denominator)
    if size > 1 and abs(exponent) * log2(size) > MOST_BITS:
        raise TooLarge("a power too large to compute")
    if base == 0 and exponent < 0:
        raise TooLarge("a division by zero")
    return base ** (exponent if size > 1 else exponent % 2)


def _fewer(one: int | None, other: int | None) -> int | None:
    given = [decimals for decimals in (one, other) if decimals is not None]
    return min(given) if given else None


def same_number(truth: Number, response: Number, closeness: Closeness) -> bool:
    """Units that are both known must agree, and a percent sign is a unit or a factor of 1/100, unless both have it."""
    if not same_unit(*("percent" if number.percent else number.unit for number in (truth, response))):
        return False
    if truth.percent == response.percent:
        return close(truth.value, truth.decimals, response.value, response.decimals, closeness)
    return any(
        close(one, places, other, other_places, closeness)
        for one, places in _readings(truth)
        for other, other_places in _readings(response)
    )


def _readings(number: Number) -> list[tuple[Fraction, int | None]]:
    plain = [(number.value, number.decimals)]
    return (
        [*plain, (number.value / 100, None if number.decimals is None else number.decimals + 2)]
        if number.percent
        else plain
    )


def close(
    truth: Fraction, truth_decimals: int | None, response: Fraction, response_decimals: int | None, closeness: Closeness
) -> bool:
    """Equal; or one is a decimal, the relative difference is at most `tolerance`, and (with `rounded`) the one with
    fewer decimals is the other one rounded half up or cut off to these."""
    if truth == response:
        return True
    decimals = _fewer(truth_decimals, response_decimals)
    difference = abs(truth - response)
    if decimals is None or difference > Fraction(closeness.tolerance) * abs(truth):
        return False
    if not closeness.rounded or difference <= FLOAT_NOISE * abs(truth):
        return True
    if truth_decimals == response_decimals or truth * response < 0:
        return False
    short, long = (truth, response) if truth_decimals == decimals else (response, truth)
    places = Fraction(10) ** decimals
    scaled = abs(long) * places
    return abs(short) * places in (floor(scaled), floor(scaled + Fraction(1, 2)))

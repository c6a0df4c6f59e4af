"""Units after a number: known ones in one way of writing, so that 5 m is not 5 km; of others only that they are
units."""

from __future__ import annotations

import re

_NAMES = {
    "percent": "% percent percentage percents per-cent",
    "USD": "USD dollar dollars bucks US-dollars",
    "EUR": "EUR € euro euros",
    "GBP": "GBP £ pound-sterling",
    "JPY": "JPY ¥ yen",
    "INR": "INR ₹ Rs rupee rupees",
    "cent": "cent cents ¢",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "m": "m meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres kms",
    "in": "in in. inch inches",
    "ft": "ft ft. foot feet",
    "yd": "yd yard yards",
    "mi": "mi mile miles",
    "mg": "mg milligram milligrams",
    "g": "g gram grams",
    "kg": "kg kilogram kilograms kgs",
    "lb": "lb lbs",
    "pound": "pound pounds",
    "oz": "oz ounce ounces",
    "ml": "ml mL milliliter milliliters",
    "l": "L l liter liters litre litres",
    "gallon": "gal gallon gallons",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years yr yrs",
    "degree": "^{\\circ} degree degrees deg",
    "degree C": "^{\\circ}C celsius degrees-celsius",
    "degree F": "^{\\circ}F fahrenheit degrees-fahrenheit",
    "C": "C",
    "F": "F",
    "coulomb": "coulomb coulombs",
    "rad": "rad radian radians",
    "N": "N newton newtons",
    "J": "J joule joules",
    "W": "W watt watts",
    "V": "V volt volts",
    "K": "K kelvin kelvins",
    "Hz": "Hz hertz",
    "kWh": "kWh",
    "mi/h": "mph",
    "km/h": "kph kmh kmph",
    "mi/gallon": "mpg",
    "rpm": "rpm",
    "bpm": "bpm",
    "ppm": "ppm",
}
_VAGUE = {"pound": ("lb", "GBP"), "degree": ("degree C", "degree F"), "C": ("coulomb", "degree C"), "F": ("degree F",)}
"""What may be either of others."""
_MONEY = ("USD", "EUR", "GBP", "JPY", "INR", "cent")
_KNOWN = {written: unit for unit, names in _NAMES.items() for written in names.split()}
_ATTACHED = re.compile(r"%|¢|\^\{\\circ\}|[a-zA-Z]{2}")
_EXPONENT = re.compile(r"\^\{?([1-9])\}?$")
_SQUARE = re.compile(r"(square|sq\.?|cubic|cu\.?) (\S+)")
_WORDS = re.compile(r"[A-Za-z][A-Za-z.'’\"()-]*(?:\^\{?\d\}?)?(?:(?: ?/ ?| )[A-Za-z(][A-Za-z.'’()-]*(?:\^\{?\d\}?)?)*")
_BASE = re.compile(r"_\{?(\d{1,2})\}?")
_NO_UNIT = re.compile(
    r"\b(?:pi|sqrt|sin|cos|tan|log|ln|exp|or|and|plus|minus|times|more|less|fewer|over|than|not|mod)\b", re.IGNORECASE
)
_LONG_WORD = re.compile(r"[A-Za-z]{3}")
_VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)

_WRITTEN = "|".join(
    re.escape(name) if len(name) < 3 else rf"(?i:{re.escape(name)})".replace(r"\-", "[- ]")
    for name in sorted((name for name in _KNOWN if not name.startswith("^") and name != "in"), key=len, reverse=True)
)
_RAISED = r"(?:\^\{?[1-9]\}?|[²³])?"
_ONE = rf"(?:(?i:square|sq\.?|cubic|cu\.?) )?(?:(?:{_WRITTEN})(?![A-Za-z'’])|in(?!\w|'| [A-Za-z])){_RAISED}"
_PER = rf"{_ONE}(?:(?: ?/ ?| per | an? ){_ONE})?"
_DEGREES = r"(?:°|º|\^\s*\{?\s*\\circ\s*\}?)"
FOLLOWING = (
    rf"(?:{_DEGREES}(?:\s?(?:\\(?:text|mathrm)\s*\{{\s*)?[CF](?![A-Za-z])\}}?)?"
    rf"|(?:\s|\\[,;:! ]|~|\$){{0,4}}(?:{_PER}|\\(?:text|mathrm|mbox|textrm)\s*\{{\s*{_PER}\s*\}}{_RAISED}))"
)
"""Pattern of a known unit after a number in a text that is not tidy."""


def unit_of(rest: str) -> str | None:
    """Of what follows a number: the canonical unit, "" for none or words that may be any unit, None for what is no
    unit."""
    text = re.sub(r"\s+\^", "^", rest.strip().rstrip("."))
    if not text:
        return ""
    if base := _BASE.fullmatch(text):
        return f"base {base[1]}"
    pieces = [_known(piece.strip()) for piece in re.split(r"/| per | an? ", text)]
    attached = rest[0] not in " \t"
    if all(pieces) and (not attached or _ATTACHED.match(text) or len(pieces) > 1):
        return "/".join(filter(None, pieces))
    if (
        attached
        or _NO_UNIT.search(text)
        or not _WORDS.fullmatch(text)
        or not _LONG_WORD.search(text)
        or not _VOWEL.search(text)
    ):
        return None
    return ""


def same_unit(one: str, other: str) -> bool:
    """Of two canonical units. "" is any; $18 is $18 a day, as that may be what is asked for."""
    if not one or not other or one == other or other in _VAGUE.get(one, ()) or one in _VAGUE.get(other, ()):
        return True
    (first, *per), (second, *also_per) = one.split("/"), other.split("/")
    return first == second and first in _MONEY and not (per and also_per)


def _known(text: str) -> str | None:
    text = text.replace("^{\\circ} ", "^{\\circ}")
    power = ""
    if square := _SQUARE.fullmatch(text.lower()):
        power, text = "^2" if square[1].startswith("sq") else "^3", square[2]
    elif (found := _EXPONENT.search(text)) and not text.endswith("circ}"):
        power, text = f"^{found[1]}", text[: found.start()].strip()
    unit = (
        _KNOWN.get(text)
        or _KNOWN.get(text.replace(" ", "-"))
        or (_KNOWN.get(text.lower().replace(" ", "-")) if len(text) > 2 else None)
    )
    return unit and unit + power

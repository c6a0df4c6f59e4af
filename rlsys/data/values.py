"""Single values of a row: what is missing, and how numbers, labels and the rest are written as text."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from rlsys.data.raw import BadRow

NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
LABELS = {
    **dict.fromkeys(("true", "yes", "good", "desirable"), True),
    **dict.fromkeys(("false", "no", "bad", "undesirable"), False),
}
"""Texts that call an answer good or bad."""
LARGEST = 3.4e38
"""What float32 can hold."""
EXACT = 2**53
"""From here on a float does not tell every whole number from the next."""


def present(value: Any) -> Any:
    """None for what is missing: null, NaN and infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(value: Any) -> str:
    """Text as it is, numbers and truth values as people write them (`3` for a float of 3), anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return str(int(value)) if value == value.to_integral_value() else format(value, "f")
    return json.dumps(_plain(value), ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < EXACT else present(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def answer_text(value: Any) -> str:
    """An answer that is text, a number or a truth value. Raises BadRow."""
    if present(value) is None or not isinstance(value, (str, int, float, Decimal)):
        raise BadRow(f"the answer is {kind(value)}, not text or a number")
    text = as_text(value)
    if not text.strip():
        raise BadRow("the answer is empty")
    return text


def number(value: Any, name: str) -> float:
    """A finite number, or its text. Raises BadRow."""
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise BadRow(f"{name} is {kind(value)}, not a number")
    if not abs(value) <= LARGEST:  # NaN too
        raise BadRow(f"{name} is not a finite number")
    return float(value)


def truth(value: Any) -> bool | None:
    """What a label says: true or false, 1 or 0, or a word for them, also as text; None if it is none of these."""
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, str):
        return LABELS.get(value.strip().lower())
    return bool(value) if isinstance(value, (bool, int, float)) and value in (0, 1) else None


def kind(value: Any) -> str:
    """A JSON name of the value's type."""
    if value is not None and present(value) is None:
        return "missing (NaN or infinity)"
    names = {
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
        "str": "text",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
        "Decimal": "a number",
    }
    return names.get(type(value).__name__, type(value).__name__)

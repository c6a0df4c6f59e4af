"""One way to write what LaTeX, Markdown and Unicode write in many, so that answers can be read."""

from __future__ import annotations

import re

LONGEST = 1000
"""Characters of an answer; what is longer is no answer."""

_UNICODE = str.maketrans(
    {
        "−": "-",
        "×": r"\times ",
        "÷": r"\div ",
        "·": r"\cdot ",
        "°": r"^{\circ}",
        "π": r"\pi ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "±": r"\pm ",
        "∪": r"\cup ",
        "∈": r"\in ",
        "∅": r"\emptyset ",
        "½": r"\frac{1}{2}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "\u00a0": " ",
        "\u2009": r"\,",
        "\u202f": r"\,",
    }
)
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺"
_LOWERED = str.maketrans(_RAISED, "0123456789-+")
_ROW = "\x00"
"""Stands for the double backslash that ends a row, while single ones are dealt with."""
_STEPS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\\(?:\[[^\]]*\])?", _ROW),
        (r"\\[()\[\]]", " "),  # delimiters of formulas
        (r"\\(?:left|right|displaystyle|[bB]igg?[lr]?|limits)(?![A-Za-z])\.?", ""),
        (r"(?<=\d)(?:\{,\}|,\\! ?|\\[!,;: ]|~)(?=\d{3}(?!\d))", ""),  # thousands: 1{,}000, 1\,000, 1,\!000
        (r"\\!", ""),
        (r"\\[,;: ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:leq|leqslant|leqq)(?![A-Za-z])", r"\\le "),
        (r"\\(?:geq|geqslant|geqq)(?![A-Za-z])", r"\\ge "),
        (r"\\(?:approxeq|simeq|doteq)(?![A-Za-z])", r"\\approx "),
        (r"\\neq(?![A-Za-z])", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\(?:varnothing)(?![A-Za-z])", r"\\emptyset"),
        (r"\^\s*\\circ(?![A-Za-z])|\^\s*\{\s*\\circ\s*\}|\\degrees?(?![A-Za-z])", r"^{\\circ}"),
        (r"\\%", "%"),
        (r"\\#", "#"),
        (r"\\&", "&"),
        (r"\\(frac|binom)\s*(\d)\s*(\d)", r"\\\1{\2}{\3}"),
        (r"\\(frac|binom)\s*(\d)\s*\{", r"\\\1{\2}{"),
        (r"\\(frac|binom)\s*(\{[^{}]*\})\s*(\d)", r"\\\1\2{\3}"),
        (r"\\frac\s*(\{[^{}]*\})\s*\{", r"\\frac\1{"),
        (r"\\sqrt\s*([A-Za-z0-9])", r"\\sqrt{\1}"),
        (r"\^\s*\{\s*(-?\s*\w+)\s*\}", r"^{\1}"),
        (r"_\s*(\w)", r"_{\1}"),
    )
)
_WRAPPERS = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|up|normal)?|math(?:rm|bf|it|sf)|mbox|hbox|operatorname|boxed|fbox|bm)\s*\{([^{}]*)\}"
)
_THOUSANDS_BY_SPACES = re.compile(r"(?<![\d.,/])[1-9]\d{0,2}(?: \d{3})+(?![\d/])")
_DOLLAR_SIGN = re.compile(r"\\\$")
_CURRENCY = re.compile(r"[-+(]?\s*\$\s*[-+]?\.?\d[^$]*")

_EXCLAIMED = re.compile(r"(?<=[A-Za-z]{2})[.!?]+$")


def tidy(text: str) -> str:
    """Without delimiters of formulas, `\\left`, `\\text{}`, spacing commands and separators of thousands; a dollar that
    is money reads `USD`."""
    text = text.strip().strip('*_`"“”').strip()
    text = _DOLLAR_SIGN.sub(" USD ", text)
    if _CURRENCY.fullmatch(text):
        text = text.replace("$", " USD ")
    text = re.sub(
        f"[{_RAISED}]+", lambda raised: f"^{{{raised.group().translate(_LOWERED)}}}", text.translate(_UNICODE)
    )
    text = re.sub(r"√\s*(\d+|\w)", r"\\sqrt{\1}", text).replace("√", "sqrt")
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    text = text.replace("$", " ")
    for _ in range(4):  # a wrapper may hold another
        text, found = _WRAPPERS.subn(r" \1 ", text)
        if not found:
            break
    text = _THOUSANDS_BY_SPACES.sub(
        lambda match: match.group().replace(" ", ""), " ".join(text.replace(_ROW, r"\\").split())
    )
    return _EXCLAIMED.sub("", text.strip(" \n*_`").rstrip(".,;:")).strip()


def balanced(text: str) -> bool:
    """Whether all kinds of brackets are closed; a half-open interval closes one with the other."""
    depth, braces = 0, 0
    for token in re.findall(r"\\.|[()\[\]{}]", text):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1, r"\{": 1, r"\}": -1}.get(token, 0)
        braces += {"{": 1, "}": -1}.get(token, 0)
        if depth < 0 or braces < 0:
            return False
    return depth == braces == 0


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """The pieces between the separators that stand outside all brackets."""
    pieces, start, depth = [], 0, 0
    position = 0
    while position < len(text):
        found = separator.match(text, position) if depth == 0 else None
        if found and found.end() > position:
            pieces.append(text[start:position])
            start = position = found.end()
            continue
        width = 2 if text[position] == "\\" else 1
        token = text[position : position + width]
        if token in ("(", "[", "{", r"\{"):
            depth += 1
        elif token in (")", "]", "}", r"\}"):
            depth = max(0, depth - 1)
        position += width
    return [*pieces, text[start:]]


def closes_at_end(text: str) -> bool:
    """Whether the bracket that opens a text closes at its end."""
    depth = 0
    for found in re.finditer(r"\\.|[()\[\]{}]", text):
        depth += {"(": 1, "[": 1, "{": 1, r"\{": 1, ")": -1, "]": -1, "}": -1, r"\}": -1}.get(found.group(), 0)
        if depth == 0:
            return found.end() == len(text)
    return False


def without_spaces(text: str) -> str:
    """But one where a letter follows a command."""
    return re.sub(
        r"(\\[A-Za-z]+)\0(?=[A-Za-z])",
        r"\1 ",
        re.sub(r"\s+", "", re.sub(r"(\\[A-Za-z]+)\s+(?=[A-Za-z])", "\\1\0", text)),
    )

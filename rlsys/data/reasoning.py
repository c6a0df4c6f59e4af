"""Which reasoning path a text takes, so that the same path in other words, or the same words, count once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rlsys.errors import ConfigError, DataError
from rlsys.registry import resolve

Path = tuple[str, ...]
"""Its parts, in order."""
PathOf = Callable[[str], Path]

OWN = ("text", "equations")
_OPERAND = r"[-+]?\$?\(*(?:\d[\d,]*(?:\.\d+)?|\.\d+)%?\)*"
_EQUATION = re.compile(rf"{_OPERAND}(?:\s*[-+*/x×÷−–]\s*{_OPERAND})+\s*=\s*{_OPERAND}")
_CALCULATOR = re.compile(r"<<([^<>]*=[^<>]*)>>")
"""GSM8K's notes, as in "48 clips / 2 = <<48/2=24>>24 clips": they say an equation a second time, without its units."""
_OPERATORS = str.maketrans("x×÷−–", "**/--")


def text(answer: str) -> Path:
    """The exact text."""
    return (answer,)


def equations(answer: str) -> Path:
    """The equations in the text, in order and without spaces, thousands' commas and currency signs (Yuan et al. 2023,
    arXiv 2308.01825, section 3.3: "different equation lists"). Of a line with calculator notes, these; of another, what
    reads as numbers, operators and a result."""
    found: list[str] = []
    for line in answer.splitlines():
        found += _CALCULATOR.findall(line) or [match.group() for match in _EQUATION.finditer(line)]
    return tuple(re.sub(r"[\s,$]", "", equation).translate(_OPERATORS) for equation in found)


def path_function(name: str) -> PathOf:
    """`text`, `equations`, or the dotted path of a function of the user's own that takes a text and returns a text or a
    sequence of texts.

    Raises ConfigError for a name that is neither.
    """
    if name in OWN:
        return {"text": text, "equations": equations}[name]
    if "." not in name:
        raise ConfigError(
            f"method.path: {name!r} is not known (known: {', '.join(OWN)}, or the dotted path of your own function)"
        )
    function = resolve("rlsys.data", name, "path")
    if not callable(function):
        raise ConfigError(f"method.path: {name} is a {type(function).__name__}, not a function of a text")

    def checked(answer: str) -> Path:
        path = function(answer)
        if isinstance(path, str):
            return (path,)
        if isinstance(path, Sequence) and all(isinstance(part, str) for part in path):
            return tuple(path)
        raise DataError(f"method.path: {name} returned {type(path).__name__}, not a text or a sequence of texts")

    return checked


def distance(first: Path, second: Path) -> float:
    """1 - |both| / |either| of the parts (Jaccard's), 0 to 1; of exact texts, of their words."""
    one, other = (set(path) if len(path) != 1 else set(path[0].split()) for path in (first, second))
    return 1 - len(one & other) / len(one | other) if one | other else 0.0


def most_different(paths: Sequence[Path], known: Sequence[Path], count: int) -> list[int]:
    """Indices of up to `count` of the `paths`, chosen one after the other: each time the one whose nearest among the
    `known` and the chosen ones is farthest, the first of equals. In the order of `paths`."""
    chosen: list[int] = []
    nearest = [min((distance(path, other) for other in known), default=1.0) for path in paths]
    while len(chosen) < min(count, len(paths)):
        best = max(
            (index for index in range(len(paths)) if index not in chosen), key=lambda index: (nearest[index], -index)
        )
        chosen.append(best)
        nearest = [min(near, distance(path, paths[best])) for near, path in zip(nearest, paths, strict=True)]
    return sorted(chosen)

"""The process in which the `math` reward calls math-verify."""

from __future__ import annotations

import logging
from typing import Any

from math_verify import parse, verify

from rlsys.rewards.worker_pool import serve

NO_LIMIT: Any = None
"""Of time, for `parse`, whose type allows numbers alone."""


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Whether the last answer found in `response` equals `gold`. `right` is None when `gold` can't be parsed.

    The time limits of math-verify itself are off: the caller kills this process instead, which also ends what signals
    can't interrupt.
    """
    gold = _parse_gold(request["gold"])
    if not gold:
        return {"right": None}
    found = parse(request["response"], parsing_timeout=NO_LIMIT)
    return {
        "right": bool(found) and verify(gold, found, timeout_seconds=None, raise_on_error=True),
        "parsed": [str(item) for item in found],
    }


def _parse_gold(gold: str) -> list[Any]:
    """As LaTeX when it is not marked up already; only what parses counts, a mere text is no ground truth to compare
    with."""
    marked = "$" in gold or "\\boxed" in gold or "\\(" in gold or "\\[" in gold
    text = gold if marked else f"${gold}$"
    return parse(text, fallback_mode="no_fallback", parsing_timeout=NO_LIMIT, raise_on_error=False)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # math-verify logs every expression that does not parse
    serve(handle)

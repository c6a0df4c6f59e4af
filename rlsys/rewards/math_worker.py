"""The process in which the `math` reward computes formulas."""

from __future__ import annotations

import logging
from typing import Any

from rlsys.answers.algebra import same_formula
from rlsys.answers.equal import equal
from rlsys.answers.number import Closeness
from rlsys.workers.serve import serve


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Whether the final answer `response` equals the final answer `truth`."""
    closeness = Closeness(request["tolerance"], request["rounded"])
    return {"right": equal(request["truth"], request["response"], closeness, same_formula)}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # the parser logs what does not parse
    serve(lambda _: handle)

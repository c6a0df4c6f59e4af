"""Rewards of a user's own that do what they should not, when the response says so."""

import os
import re
import subprocess
import sys
import threading
import time
from decimal import Decimal

import numpy as np

from rlsys.samples import Score

STRANGE = {
    "nan": float("nan"),
    "inf": float("inf"),
    "minus inf": float("-inf"),
    "numpy nan": np.float64("nan"),
    "none": None,
    "text": "0.5",
    "too many": [1.0, 0.0],
    "too few": [],
    "array": np.zeros(3),
    "dictionary": {"score": 1.0},
    "complex": 1 + 0j,
    "decimal": Decimal("0.5"),
    "too large": 10**400,
    "part that is nan": Score(1.0, {"part": float("nan")}),
    "part that is text": Score(1.0, {"part": "high"}),  # pyright: ignore[reportArgumentType]
    "score that is text": Score("1.0"),  # pyright: ignore[reportArgumentType]
    "score that is none": Score(None),  # pyright: ignore[reportArgumentType]
}
KEPT = []


def strange(prompt, trajectory):
    return STRANGE[trajectory.text]


def misbehaves(prompt, trajectory):
    match trajectory.text:
        case "raise":
            raise RuntimeError("one in ten")
        case "loop":
            while True:
                pass
        case "thread":
            threading.Thread(target=loop, daemon=True).start()
            time.sleep(1e6)
        case "regex":
            re.match("(a+)+$", "a" * 60 + "b")
        case "memory":
            while True:
                KEPT.append(bytearray(1 << 24))
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(0)
        case "crash":
            os.abort()
        case "child":
            subprocess.Popen(["sleep", "1000"])
            time.sleep(1e6)
        case "close":
            os.closerange(0, 100)
        case "print":
            print("{}")  # noqa: T201 - what a user may do
            os.write(1, b"{}\n")
            return len(input()) if sys.stdin.isatty() else len(sys.stdin.read()) + 1
    return 1.0


def loop():
    while True:
        pass


def cheap(prompt, trajectory):
    return float(len(trajectory.text))

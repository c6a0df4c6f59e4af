"""Messages of a dialogue: what each must say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlsys.data.raw import BadRow

Message = dict[str, Any]
ROLES = ("system", "user", "assistant", "tool")


def checked_messages(turns: Sequence[Any]) -> list[Message]:
    """The same, if each has a role and text. Raises BadRow."""
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise BadRow(f"turn {number} of the messages has no role among {', '.join(ROLES)}")
        content = turn.get("content")
        if not isinstance(content, str) or not content.strip():
            said = "empty text" if isinstance(content, str) else "no text"
            raise BadRow(f"turn {number} of the messages has {said} as content")
    return list(turns)

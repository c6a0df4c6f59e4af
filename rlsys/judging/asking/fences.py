"""Keeps what a judge is shown apart from what it is told.

What is promised, whatever an untrusted text holds:

- It stands whole between two marks that carry a name which it does not contain: it can't end its fence, and can't open
  one of that name.
- It holds no special token of the judge's tokenizer (those given to `Defuser`, and the common families): it can't begin
  or end a turn of the chat.
- What was changed in it is visible, and can be undone exactly: a backslash behind the first character of each thing
  that looks like a special token.

What is not: a judge may still be *persuaded* by words, as people are; so attacks are also measured (`rlsys
judge-eval`). Nor are the words of a chat template that uses plain text for its roles ("USER:") kept out. Verdicts are
read from the judge's own output alone, never from what it was shown.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import count

from rlsys.errors import ConfigError

ESCAPE = "\\"
_NAMES = (
    "s|bos|eos|pad|unk|mask|sep|cls|sop|eop|eot|eod|eom|sys|inst|im_start|im_end|im_sep"
    "|start_of_[a-z]+|end_of_[a-z]+|begin_of_[a-z]+|endoftext|startoftext|think|tool_calls?|tool_response"
    "|image|audio|video|unused[0-9]+|reserved[a-z_]*[0-9]+|extra_id_[0-9]+|special_[0-9]+|0x[0-9a-f]{2}|fim_[a-z]+"
)
_FAMILIES = (
    r"<\|[^<>]{0,80}\|>",  # <|im_start|>, and what imitates it
    r"<\|[^<>|]{1,80}>",
    r"<[a-z_/]{1,40}\|>",
    rf"<{{1,2}}/?(?:{_NAMES})>{{1,2}}",
    r"\[/?(?:INST|SYS|CLS|SEP|PAD|UNK|MASK|BOS|EOS|gMASK|sMASK|IMG|THINK|ARGS|PREFIX|MIDDLE|SUFFIX)\]",
    r"(?-i:\[/?[A-Z]+_[A-Z_]+\])",  # [TOOL_CALLS]; in small letters it is prose
)


class Defuser:
    """Makes special tokens in a text unreadable as such. `specials`: those of the judge's own tokenizer, beside the
    common families."""

    def __init__(self, specials: Iterable[str] = ()) -> None:
        own = sorted({special for special in specials if len(special) > 1}, key=len, reverse=True)
        # One character can't be broken up; a tokenizer that has such a token (a padding token "!") reads it as text all
        # the same.
        if bad := [special for special in own if ESCAPE in special]:
            raise ConfigError(
                f"the judge's tokenizer has the special token {bad[0]!r}: with a backslash in it, no text can be kept "
                "from saying it"
            )
        literals = [re.escape(_bare(special)) for special in own if len(_bare(special)) > 1]
        self._look_alike = re.compile(f"(?=(?:{'|'.join((*literals, *_FAMILIES))}))", re.IGNORECASE)

    def defuse(self, text: str) -> str:
        """`text` with a backslash behind the first character of each special token in it (`<\\|im_start|>`). Lone
        surrogates, which are no text and which no tokenizer takes, are written out (`\\ud800`)."""
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        starts = self._starts(text)
        return text if not starts else "".join(_mark(text, starts))

    def restore(self, text: str) -> str:
        """What `defuse` was given."""
        starts, place, out = self._starts(text), count(), []
        skip = False
        for character in text:
            if not (skip and character == ESCAPE):
                out.append(character)
            skip = _plain(character) != "" and next(place) in starts
        return "".join(out)

    def _starts(self, text: str) -> set[int]:
        """Where special tokens begin, counted in characters that are not ignored: an escape does not move them, so it
        can be undone."""
        return {match.start() for match in self._look_alike.finditer(_bare(text))}


def fence_name(texts: Sequence[str], length: int, beside: Sequence[str] = ()) -> str:
    """`length` hex digits that none of `texts` contains (in any case or width), the same for the same texts.

    It is a hash of all of them, and of the words `beside` them, so a text would have to know the others, and itself, to
    guess it. Where one does, or where so short a name occurs by chance, the next one is taken, at last a longer one.
    """
    plain = [unicodedata.normalize("NFKC", _bare(text)).casefold() for text in texts]
    for attempt in count():
        digest = hashlib.blake2b(key=b"rlsys fence", digest_size=32)
        for text in (str(attempt), *beside, *texts):
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "big") + raw)
        name = digest.hexdigest()[: length + attempt // 64]
        if not any(name in text for text in plain):
            return name
    raise AssertionError("unreachable")


def _bare(text: str) -> str:
    return "".join(map(_plain, text))


@cache
def _plain(character: str) -> str:
    """As the laxest tokenizer reads it: full-width and other forms of a character as itself, invisible ones (soft
    hyphen, zero-width space) not at all. Nor the escape, which so may stand anywhere without hiding a special token."""
    if character == ESCAPE or unicodedata.category(character) == "Cf":
        return ""
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character


def _mark(text: str, starts: set[int]) -> Iterable[str]:
    place = count()
    for character in text:
        yield character
        if _plain(character) != "" and next(place) in starts:
            yield ESCAPE

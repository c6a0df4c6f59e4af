"""What was found out about a corpus, for people and as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rlsys.curation.preference_report import PreferenceReport, report
from rlsys.curation.splits import sizes
from rlsys.curation.survey import Survey
from rlsys.errors import DataError
from rlsys.files import to_json, write_whole

QUANTILES = (0, 0.05, 0.5, 0.95, 1)
SHOWN = 5
"""Examples that people see; the JSON has all."""


def counts(found: Survey) -> dict[str, int]:
    """What became of the rows: `rows` stay, each other one has one reason."""
    return {"rows": found.rows - len(found.dropped), **dict(found.reasons().most_common())}


def check_crossings(found: Survey) -> None:
    """Raises DataError if anything lies in several splits and the settings refuse that."""
    splits = found.config.splits
    if splits is not None and splits.crossing == "refuse" and found.crossings:
        raise DataError(
            f"splits: {len(found.crossings):,} pairs of rows lie in different splits and belong together "
            f"({'; '.join(_crossings(found)[:SHOWN])}); give splits.column, turn on deduplication.near, or set "
            "splits.crossing: report"
        )


def write(found: Survey, folder: Path) -> None:
    """`curation.json`, the report, and `dropped.jsonl`, a line for each row that is dropped."""
    write_whole(folder / "curation.json", to_json(as_json(found), indent=2) + "\n")
    with (folder / "dropped.jsonl").open("w", encoding="utf-8") as file:
        for row, one in sorted(found.dropped.items()):
            of = {} if one.of is None else {"of": found.name(one.of)}
            line = {"row": found.name(row), "reason": one.reason, "detail": one.detail, **of}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def as_json(found: Survey) -> dict[str, Any]:
    """The whole report. It names rows, and repeats nothing of what they say."""
    made: dict[str, Any] = {
        "settings": found.config.model_dump(mode="json"),
        "sources": [_source(found, place) for place in range(len(found.corpus.sets))],
        "read": found.rows,
        "counts": counts(found),
        "kinds": dict(found.kinds),
        "prompt_chars": _quantiles(found.prompt_chars),
        "answer_chars": _quantiles(found.answer_chars),
        "refused": found.refused,
        "pii": {"rows": found.pii_rows, **found.pii},
    }
    if found.contamination is not None:
        index = found.contamination.index
        made["contamination"] = {
            "evaluation": [config.path for config in found.corpus.against],
            "evaluation_rows": index.rows,
            "unreadable": index.unread,
            "found": found.contamination.rows,
            "share": found.contamination.share,
            "rows": found.contamination.examples(),
        }
    if found.config.splits is not None:
        made["splits"] = _splits(found)
        made["crossings"] = [[one.by, found.name(one.row), found.name(one.other)] for one in found.crossings]
    if found.comparisons:
        own = preferences(found)
        made["preferences"] = asdict(own) | {"conflicts": [[*map(found.name, pair)] for pair in own.conflicts]}
    if found.config.safety is not None:
        balance = found.balance
        behaviours = {category: dict(wanted) for category, wanted in balance.behaviours.items()}
        severities, warnings = dict(balance.severities), balance.warnings()
        whole = sum(len(sides) == 2 for sides in balance.pairs.values())
        pairs = {"whole": whole, "one_side": len(balance.pairs) - whole}
        made["safety"] = {"behaviours": behaviours, "severities": severities, "pairs": pairs, "warnings": warnings}
    return made


def preferences(found: Survey) -> PreferenceReport:
    return report(found.comparisons, found.config.preferences)


def lines(found: Survey, seconds: float) -> Iterator[tuple[str, str]]:
    """For people: what, and how it is."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.most_common())
    yield "rows", f"{found.rows:,} read{f' ({kinds})' if kinds else ''}, {found.rows - len(found.dropped):,} stay"
    for reason, count in found.reasons().most_common():
        first = next(row for row, one in sorted(found.dropped.items()) if one.reason == reason)
        yield f"  {reason}", f"{count:,} ({count / found.rows:.2%}); the first: {_dropped(found, first)}"
    for what, chars in (("prompt", found.prompt_chars), ("answers", found.answer_chars)):
        if len(chars):
            low, _, middle, high, most = _quantiles(chars).values()
            yield f"characters, {what}", f"median {middle:,}, 95% up to {high:,}, {low:,} to {most:,}"
    if found.refused:
        yield "sound like refusals", f"{found.refused:,} ({found.refused / found.rows:.2%})"
    if found.config.pii is not None:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.pii.most_common())
        yield "personal data", f"in {found.pii_rows:,} rows: {kinds}" if kinds else "none found"
    yield from _contamination_lines(found)
    if found.config.splits is not None:
        yield "splits", ", ".join(f"{name} {count:,}" for name, count in _splits(found).items())
        yield "cross splits", "; ".join(_crossings(found)[:SHOWN]) or "nothing"
    if found.comparisons:
        yield from _preference_lines(preferences(found), found)
    if found.config.safety is not None:
        for category, wanted in sorted(found.balance.behaviours.items()):
            yield f"category {category}", ", ".join(f"{count:,} {what}" for what, count in wanted.most_common())
        yield "severity", ", ".join(f"{count:,} {what}" for what, count in found.balance.severities.most_common())
        yield from (("beware", warning) for warning in found.balance.warnings())
    yield "time", f"{seconds:.1f} s"


def _contamination_lines(found: Survey) -> Iterator[tuple[str, str]]:
    own = found.contamination
    if own is None:
        return
    paths = ", ".join(f"{config.path} ({config.label})" for config in found.corpus.against)
    yield "contamination", f"{own.rows:,} of {own.index.rows:,} rows of {paths} are found ({own.share:.2%})"
    for one in sorted(own.examples(), key=lambda one: -one["similarity"])[:SHOWN]:
        yield "  found", f"{one['evaluation']} in {one['training']} by {one['by']} ({one['similarity']:.2f})"


def _preference_lines(own: PreferenceReport, found: Survey) -> Iterator[tuple[str, str]]:
    yield "longer is chosen", f"{own.longer}; {own.chars[0]:,.0f} against {own.chars[1]:,.0f} characters"
    yield "shown first is chosen", str(own.first) if own.first.of else "not known: preferences.position names no column"
    told = f"{own.repeated:,} pairs were compared again; judgements agree in {own.agreement}" if own.repeated else ""
    yield "agreement", told or "not known: no two answers were compared again"
    pairs = [" and ".join(map(found.name, pair)) for pair in own.conflicts]
    yield "conflicting pairs", f"{len(pairs):,}{''.join(f'; {pair}' for pair in pairs[:SHOWN])}"
    for name, share in own.by_annotator.items():
        yield f"  {name} agrees", str(share)
    for begin, longer, agreeing in own.slices:
        yield f"  from {begin}", f"longer is chosen: {longer}; agreement: {agreeing}"


def _dropped(found: Survey, row: int) -> str:
    one = found.dropped[row]
    of = "" if one.of is None else f" of {found.name(one.of)}"
    return f"{found.name(row)}{of}{f', {one.detail}' if one.detail else ''}"


def _crossings(found: Survey) -> list[str]:
    return [f"{found.name(one.row)} and {found.name(one.other)} by {one.by}" for one in found.crossings]


def _splits(found: Survey) -> dict[str, int]:
    assert found.config.splits is not None
    return sizes(np.array(found.parts, dtype=np.int8), found.alive, found.config.splits.names)


def _source(found: Survey, place: int) -> dict[str, Any]:
    config = found.corpus.sets[place]
    path = Path(config.path).expanduser()
    about: dict[str, Any] = {"path": config.path, "split": config.label, "rows": found.sources.count(place)}
    if path.is_file():
        with path.open("rb") as file:
            about |= {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    return about


def _quantiles(numbers: Sequence[int]) -> dict[str, int]:
    values = np.quantile(numbers, QUANTILES, method="lower").tolist() if len(numbers) else [0] * len(QUANTILES)
    return {f"{share:.0%}": int(value) for share, value in zip(QUANTILES, values, strict=True)}

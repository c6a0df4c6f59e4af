"""Comparisons labelled by people, to measure a judge by."""

from __future__ import annotations

from dataclasses import dataclass

from rlsys.config.dataset import DatasetConfig
from rlsys.data import comparisons
from rlsys.data.load import Report
from rlsys.data.raw import BadRow
from rlsys.data.sources import read_rows
from rlsys.errors import NoUsableRow
from rlsys.judging.questions import Turns


@dataclass(frozen=True, slots=True)
class Labelled:
    """People say that `better` is the better one of two answers."""

    row_id: str
    """`<split>:<number>`, the number counting lines or rows from 1."""
    turns: Turns
    better: str
    worse: str


def load_labelled(config: DatasetConfig, limit: int | None = None) -> tuple[list[Labelled], Report]:
    """The rows of a data set of comparisons (see `comparisons.parse` for its columns), the first `limit` usable ones;
    of a ranking, its best and its worst answer. Rows that can't be used, even preferences among them, are counted as
    quarantined. Raises DataError if none is left, or as `read_rows` does."""
    report, found, first_bad = Report.of(config), [], ""
    for raw in read_rows(config):
        if report.read == config.limit or len(found) == limit:
            break
        report.read += 1
        try:
            ranking = comparisons.parse(raw, config)
            if ranking.tools or not all(isinstance(answer, str) for answer in ranking.answers):
                raise BadRow("tools, or answers that are more than text, which the judge is not shown")
            if ranking.preference == 0.5:
                raise BadRow("the preference is 0.5: neither answer is better")
        except BadRow as error:
            report.quarantined += 1
            report.reason = report.reason or str(error)
            first_bad = first_bad or f"; first bad row, {raw.number}: {error}"
            continue
        report.formats[ranking.format] += 1
        grades = ranking.grades
        best, worst = (str(ranking.answers[grades.index(end)]) for end in (max(grades), min(grades)))
        turns = ranking.prompt if isinstance(ranking.prompt, str) else tuple(ranking.prompt)
        found.append(Labelled(f"{config.split}:{raw.number}", turns, best, worst))
    report.kept = len(found)
    if not found:
        raise NoUsableRow(f"{config.path}: no usable comparison among {report.read} rows{first_bad}", report.reason)
    return found, report

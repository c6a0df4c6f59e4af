"""Comparisons labelled by people, to measure a judge by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rlsys.config.dataset import DatasetConfig
from rlsys.config.judge import JudgeConfig
from rlsys.data import comparisons
from rlsys.data.raw import BadRow
from rlsys.data.report import Report
from rlsys.data.sources import read_rows
from rlsys.errors import NoUsableRow
from rlsys.judging.asking.constitution import Principle
from rlsys.judging.asking.questions import Answer, Pair, Turns
from rlsys.roles import Judge
from rlsys.samples import Verdict, stable_seed


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """People say that `better` is the better one of two answers."""

    row_id: str
    """`<split>:<number>`, the number counting lines or rows from 1."""
    turns: Turns
    better: str
    worse: str


def load_labelled_pairs(config: DatasetConfig, limit: int | None = None) -> tuple[list[LabelledPair], Report]:
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
        found.append(LabelledPair(f"{config.split}:{raw.number}", turns, best, worst))
    report.kept = len(found)
    if not found:
        raise NoUsableRow(f"{config.path}: no usable comparison among {report.read} rows{first_bad}", report.reason)
    return found, report


def pair_of(judge: Judge, row: LabelledPair, seed: int, worse: str | None = None, tag: str = "") -> Pair:
    """`worse`: what stands in place of the worse answer. `tag` sets the question apart from the plain one."""
    principle: Principle | None = None
    if any(one.comparison is not None for one in judge.constitution.principles):
        principle = judge.constitution.draw("comparison", seed, "judge-eval", row.row_id)
    answers = [
        Answer(f"{row.row_id}/better", row.better),
        Answer(f"{row.row_id}/worse", row.worse if worse is None else worse),
    ]
    if stable_seed(seed, "which is first", row.row_id) % 2:
        answers.reverse()
    return Pair(f"{row.row_id}{tag}", row.turns, answers[0], answers[1], principle)


def against_people(judge: Judge, config: JudgeConfig, seed: int) -> list[Verdict]:
    """What the judge says of `judge.human`'s comparisons, as questions whose answer people have given; and the audits
    that went with them."""
    assert config.human is not None
    rows, _ = load_labelled_pairs(config.human, config.human_limit)
    opinions = judge.compare([pair_of(judge, row, seed, tag="/people") for row in rows])
    verdicts = [verdict for opinion in opinions for verdict in opinion.verdicts]
    return [*as_human(verdicts), *(verdict for verdict in verdicts if verdict.kind != "compare")]


def as_human(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The comparisons as questions whose answer people have given."""
    return [
        replace(verdict, kind="human", expected=float(better_is_first(verdict.sample_ids[0])))
        for verdict in verdicts
        if verdict.kind == "compare"
    ]


def better_is_first(first_id: str) -> bool:
    return first_id.endswith("/better")

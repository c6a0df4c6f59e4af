"""The story of one sample: what was asked and answered, what a judge said and why, what it was worth, and what learned
from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rlsys.commands.sample_text import how_sampled, reward_line, text_lines
from rlsys.config import yaml_file
from rlsys.config.document import load_as
from rlsys.config.recipe import Recipe
from rlsys.errors import RunError
from rlsys.files import read_lines
from rlsys.run.folder import RECIPE, RunDir, is_run_or_recipe, recipe_folder, runs_in, saved_method
from rlsys.run.ledger import Ledger
from rlsys.run.metrics import MetricsLog
from rlsys.samples import Sample, Verdict

STEP = {
    "train/loss": "loss",
    "train/grad_norm": "gradient norm",
    "train/learning_rate": "learning rate",
    "train/kl": "KL",
}
"""Metrics of the optimizer step, and what they are called here."""


def trace(sample_id: str, folder: Path | None, chats: bool = False, root: Path = Path("runs")) -> Iterator[str]:
    """Lines for people about the sample in the run or recipe `folder`, or, with None, in whichever one of `root` has
    it. `chats` shows what the judge was sent, whole. Stages of one recipe may each have a sample of this id: all are
    shown.

    Raises RunError if nothing has it, naming the nearest ids, or if several runs of `root` have it.
    """
    folders = [folder] if folder else [path for path in sorted(root.glob("*")) if is_run_or_recipe(path)]
    if not folders:
        raise RunError(f"{root}: no runs here; give the folder of one with --run")
    found = {path: [run for run in runs_in(path) if run.ledger.exists() and _has(run, sample_id)] for path in folders}
    having = [path for path, runs in found.items() if runs]
    if not having:
        raise RunError(_unknown(sample_id, folders))
    if len(having) > 1:
        raise RunError(f"{sample_id}: several runs have it ({', '.join(map(str, having))}); choose one with --run")
    runs = found[having[0]]
    for number, run in enumerate(runs):
        if len(runs) > 1:
            yield from ([""] if number else [])
            yield f"=== stage {run.name} ==="
        yield from _story(run, sample_id, chats)


def some_ids(folder: Path) -> Iterator[str]:
    """Lines for people: the first sample of each phase in the run or recipe `folder`. Raises RunError if it is neither,
    or there are no samples."""
    none = True
    for run in (run for run in runs_in(folder) if run.ledger.exists()):
        with Ledger(run.ledger, read_only=True) as ledger:
            phases = ledger.phases()
        if phases:
            none = False
            yield f"samples of {run.path}:"
        for phase, sample_id, count in phases:
            yield f"  {phase}: {sample_id} (the first of {count:,})"
    if none:
        raise RunError(f"{folder}: there are no samples at all")
    yield f"The story of one: rlsys trace SAMPLE_ID --run {folder}"


def _has(run: RunDir, sample_id: str) -> bool:
    with Ledger(run.ledger, read_only=True) as ledger:
        return ledger.sample(sample_id) is not None


def _unknown(sample_id: str, folders: list[Path]) -> str:
    known: dict[str, None] = {}
    for run in (run for folder in folders for run in runs_in(folder) if run.ledger.exists()):
        with Ledger(run.ledger, read_only=True) as ledger:
            known |= dict.fromkeys(ledger.sample_ids())
    close = get_close_matches(sample_id, known, n=3, cutoff=0)
    nearest = f"; the nearest are {', '.join(close)}" if close else "; there are no samples at all"
    return f"{sample_id}: no such sample in {', '.join(map(str, folders))}{nearest}"


def _story(run: RunDir, sample_id: str, chats: bool) -> Iterator[str]:
    with Ledger(run.ledger, read_only=True) as ledger:
        sample = ledger.sample(sample_id)
        assert sample is not None
        yield f"sample {sample_id} of {run.path}: step {sample.step}, {sample.phase}"
        yield from text_lines(f"prompt {sample.prompt_id}, epoch {sample.epoch}", sample.prompt)
        if sample.answer is not None:
            yield from text_lines("its known answer", sample.answer)
        yield from _origin(ledger, sample, chats)
        yield from text_lines(f"response ({how_sampled(sample)})", sample.response)
        verdicts = list(ledger.verdicts(sample_id=sample_id))
        yield f"verdicts: {len(verdicts) or 'none'}"
        for verdict in verdicts:
            yield from _verdict(verdict, sample_id, chats)
        gave = {source.label: source for step, source in ledger.rewards() if step <= sample.step}
    yield reward_line(sample)
    for label, source in gave.items():
        yield f"  {label}: {source.file or source.name}, sha256 {source.sha256 or 'none'}"
    yield _used(run, sample)
    yield from _rows(run, sample_id)


def _origin(ledger: Ledger, sample: Sample, chats: bool) -> Iterator[str]:
    """Of a revision `ID#rN` (method `constitutional`): what it revises, and the critique `ID#cN` behind it."""
    answer, mark, number = sample.sample_id.rpartition("#r")
    revision = next(ledger.verdicts(verdict_id=f"{sample.sample_id}/revision/0"), None) if mark else None
    if revision is None:
        return
    yield f"revises {', '.join(revision.sample_ids)} by principle {revision.principle}, round {number}"
    for verdict in (*ledger.verdicts(verdict_id=f"{answer}#c{number}/critique/0"), revision):
        yield from _verdict(verdict, None, chats)


def _verdict(verdict: Verdict, sample_id: str | None, chats: bool) -> Iterator[str]:
    about = [verdict.kind, f"principle {verdict.principle}" if verdict.principle else "no principle"]
    if len(verdict.sample_ids) == 2:
        place = "first" if verdict.sample_ids[0] == sample_id else "second"
        other = next((other for other in verdict.sample_ids if other != sample_id), sample_id)
        about.append(f"shown {place}, beside {other}")
    about.append(f"by {verdict.judge}{', from the cache' if verdict.cached else ''}")
    yield f"  {verdict.verdict_id}: {', '.join(about)}"
    if verdict.log_probs:
        yield f"    log-probs: {', '.join(f'{label!r} {value:.4f}' for label, value in verdict.log_probs.items())}"
    if verdict.value is not None:
        meaning = "probability that the one shown first is better" if len(verdict.lengths) == 2 else "score"
        expected = f" (expected {verdict.expected:.4f})" if verdict.expected is not None else ""
        yield f"    {meaning}: {verdict.value:.4f}{expected}"
    if verdict.abstention is not None:
        yield f"    abstained: {verdict.abstention}"
    if chats:
        for message in json.loads(verdict.prompt):
            yield from text_lines(f"    {message['role']}", message["content"], "      ")
    if verdict.reply:
        yield from text_lines("    reply", verdict.reply, "      ")


def _used(run: RunDir, sample: Sample) -> str:
    if sample.used_in_step is None:
        return "advantage: none, it trained nothing in this run"
    records = [
        line
        for line in (MetricsLog.read(run.metrics) if run.metrics.exists() else [])
        if line["step"] == sample.used_in_step
    ]
    told = [
        f"{what} {record[name]:.6g}"
        for record in records
        for name, what in STEP.items()
        if record.get(name) is not None
    ]
    advantage = "none" if sample.advantage is None else f"{sample.advantage:.6g}"
    return (
        f"advantage: {advantage}, used in step {sample.used_in_step}: "
        f"{', '.join(told) or 'metrics.jsonl does not have it'}"
    )


def _rows(run: RunDir, sample_id: str) -> Iterator[str]:
    """Rows of the data set that the run makes in which the sample is, and who reads that data set."""
    if not run.dataset.exists():
        return
    found = 0
    for number, line in enumerate(read_lines(run.dataset), start=1):
        row = json.loads(line)
        for name in [
            name
            for name, value in row.items()
            if value == sample_id or (isinstance(value, list) and sample_id in value)
        ]:
            found += 1
            told = {key: row[key] for key in ("preference", "principle", "round") if row.get(key) is not None}
            more = [f"{key} {f'{value:.4f}' if isinstance(value, float) else value}" for key, value in told.items()]
            yield f"data set: {run.dataset}:{number}: it is {name}{', ' if more else ''}{', '.join(more)}"
    if not found:
        yield f"data set: no row of {run.dataset} is made from it"
    elif folder := recipe_folder(run):
        for stage, method, key in _readers(folder, run.dataset):
            yield f"  read by stage {stage} ({method}) as {key}"


def _readers(folder: Path, dataset: Path) -> Iterator[tuple[str, str, str]]:
    """Stages whose config names the data set: the stage, its method, and the key."""
    for stage in load_as(Recipe, folder / RECIPE).steps:
        file = folder / f"{stage.name}.yaml"
        config, _ = yaml_file.read(file)
        method = saved_method(config, file)
        for key, value in _texts(config, ()):
            if Path(value) == dataset:
                yield stage.name, method, ".".join(key[:-1])


def _texts(value: Any, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in nested sections and lists, with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, (*key, str(name)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*key, str(index)))

"""Samples of a run, picked from its ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlsys.commands.sample_text import how_sampled, reward_line, text_lines
from rlsys.errors import ConfigError, RunError
from rlsys.run.folder import RunDir, runs_in
from rlsys.run.ledger import Ledger, Order
from rlsys.samples import Sample


@dataclass(frozen=True, slots=True)
class Choice:
    """Which samples: the `worst` or `best` so many by reward, or, in the order of recording, at most `limit` of those
    of a step, of a phase, with a text in prompt or response."""

    worst: int | None = None
    best: int | None = None
    step: int | None = None
    phase: str | None = None
    search: str | None = None
    limit: int = 20

    def __post_init__(self) -> None:
        """Raises ConfigError for a choice that picks nothing, or two things."""
        if self.worst is not None and self.best is not None:
            raise ConfigError("--worst and --best: give one of them")
        if self.worst is self.best is self.step is self.phase is self.search is None:
            raise ConfigError(
                "which samples? give --worst N, --best N, --step N, --phase PHASE or --search TEXT (they combine)"
            )
        if self.search is not None and not self.search.strip():
            raise ConfigError("--search: the text is empty; give some of the prompt or response")

    @property
    def order(self) -> Order:
        return "reward" if self.worst is not None else "reward DESC" if self.best is not None else "rowid"

    @property
    def most(self) -> int:
        """Samples to show."""
        return self.worst or self.best or self.limit

    def told(self) -> str:
        """For people, as in `of step 3 with 'sorry'`."""
        told = ["with a reward"] if self.order != "rowid" else []
        told += [f"of step {self.step}"] if self.step is not None else []
        told += [f"of phase {self.phase}"] if self.phase is not None else []
        told += [f"with {self.search!r}"] if self.search is not None else []
        return " ".join(told)


def samples(folder: Path, choice: Choice) -> Iterator[str]:
    """Lines for people about the chosen samples of the run, or of every stage of the recipe, in `folder`. Raises
    RunError if it is neither, or has none of them."""
    runs = [run for run in runs_in(folder) if run.ledger.exists()]
    matching = 0
    for run in runs:
        with Ledger(run.ledger, read_only=True) as ledger:
            found, count = ledger.find(choice.order, choice.most, choice.step, choice.phase, choice.search)
        matching += count
        if found:
            yield from _of_run(run, found, count, choice)
    if not matching:
        raise RunError(f"{folder}: no sample {choice.told()}{_what_there_is(runs)}")


def _of_run(run: RunDir, found: list[Sample], count: int, choice: Choice) -> Iterator[str]:
    which = {"reward": "the worst ", "reward DESC": "the best "}.get(
        choice.order, "" if count == len(found) else "the first "
    )
    yield f"=== {run.path}: {which}{len(found):,} of {count:,} samples {choice.told()} ==="
    for sample in found:
        yield ""
        yield f"{sample.sample_id}: step {sample.step}, {sample.phase}"
        yield from text_lines("prompt", sample.prompt)
        if sample.answer is not None:
            yield from text_lines("its known answer", sample.answer)
        yield from text_lines(f"response ({how_sampled(sample)})", sample.response)
        yield reward_line(sample)
    yield ""


def _what_there_is(runs: list[RunDir]) -> str:
    """As the end of an error."""
    phases: set[str] = set()
    steps: set[int] = set()
    for run in runs:
        with Ledger(run.ledger, read_only=True) as ledger:
            phases |= {phase for phase, _, _ in ledger.phases()}
            steps |= {outcome.step for outcome in ledger.outcomes()}
    if not steps:
        return "; there are no samples at all"
    return f"; there are steps {min(steps)} to {max(steps)}, phases {', '.join(sorted(phases))}"

"""What a run does about an actor that dies or hangs: it begins again, with new actors, from its newest checkpoint. As
resuming is exact, it ends as it would have ended."""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from rlsys.errors import ActorDied, RlsysError, RunError, WaitTimeout, command
from rlsys.run.checkpoint import Checkpoints
from rlsys.run.folder import RunDir
from rlsys.run.loop import Loop
from rlsys.run.progress import print_line

ResultT = TypeVar("ResultT")
MENDED = (ActorDied, WaitTimeout)
"""What new actors may not meet again. An actor that raised would only raise again."""


@dataclass(frozen=True, slots=True)
class Fault:
    step: int
    """The last one that was complete."""
    back_to: int
    """The step of the checkpoint that the run went back to; 0: its start."""
    error: str

    @property
    def note(self) -> str:
        source = f"the checkpoint of step {self.back_to}" if self.back_to else "the start"
        return f"{self.error}; after step {self.step} the run began again from {source}"


@dataclass
class Recovery:
    """The faults of one driver's run. `allowed` restarts may follow each other without a new checkpoint."""

    run_dir: RunDir
    checkpoints: Checkpoints
    allowed: int
    loop: Loop | None = None
    """None as long as nothing was started: what fails at the first start is nothing that died."""
    faults: list[Fault] = field(default_factory=list)
    unrecorded: list[Fault] = field(default_factory=list)
    """Those that the ledger does not tell of yet."""
    restarts: int = 0
    """Of the run, with those of earlier drivers."""
    notes: list[str] = field(default_factory=list)
    """What had happened to the run when the last fault came, and that fault: a checkpoint knows less."""

    def run(self, attempt: Callable[[bool], ResultT]) -> ResultT:
        """What `attempt` gives, which is told whether it follows a fault."""
        while True:
            try:
                return attempt(bool(self.faults))
            except MENDED as error:
                self.take(error)

    def take(self, error: RlsysError) -> None:
        """Note the fault. Raises the error, with the command that goes on, where no restart is left or can help."""
        if self.loop is None:
            raise error
        if self.loop.stopping.requested:  # whoever asked the run to stop may have asked its actors, too
            raise KeyboardInterrupt from error
        steps = self.checkpoints.steps()
        fault = Fault(self.loop.state.step, steps[-1] if steps else 0, str(error))
        in_vain = sum(one.back_to == fault.back_to for one in self.faults)
        if in_vain >= self.allowed:
            tried = f"; it began again {in_vain} times without getting to another checkpoint" if in_vain else ""
            go_on = command("rlsys", "resume", self.run_dir.path)
            raise type(error)(f"{error}{tried}; go on from step {fault.back_to}: `{go_on}`") from error
        self.faults.append(fault)
        self.unrecorded.append(fault)
        state, mended = self.loop.state, self.loop.roles.mended
        state.notes += [*(f"step {state.step}: {what}" for what in mended), f"step {fault.back_to}: {fault.note}"]
        mended.clear()
        self.notes, self.restarts = state.notes, state.restarts + 1
        with self.run_dir.error_log.open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
        print_line(f"{self.run_dir.name}: {fault.note} (restart {in_vain + 1} of {self.allowed})")

    def watch(self, loop: Loop) -> None:
        """The loop that runs now: it tells what befell the ones before."""
        self.loop = loop
        while self.unrecorded:
            fault = self.unrecorded.pop(0)
            loop.ledger.record_fault(fault.step, fault.back_to, fault.error)
        loop.state.notes = [*self.notes] or loop.state.notes
        loop.state.restarts = self.restarts or loop.state.restarts


def told_of_ledger(run_dir: RunDir, error: sqlite3.Error) -> RunError:
    """What is wrong with the ledger, and what can still be done."""
    go_on = command("rlsys", "resume", run_dir.path)
    if "full" in str(error):
        return RunError(f"{run_dir.ledger}: {error}; make room and go on from the last checkpoint: `{go_on}`")
    aside = command("mv", run_dir.ledger, run_dir.ledger.with_suffix(".damaged"))
    return RunError(
        f"{run_dir.ledger}: can't be used: {error}; checkpoints and metrics are whole: put it aside, `{aside}`, and go "
        f"on: `{go_on}` (the samples so far are then in the damaged file only)"
    )

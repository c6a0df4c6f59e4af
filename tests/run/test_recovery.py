"""A run whose actors die begins again by itself, and ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.looping import logits, running

from rlsys.errors import ActorDied, ActorError, RlsysError, WaitTimeout
from rlsys.run.checkpoint import Checkpoints
from rlsys.run.folder import RunDir
from rlsys.run.ledger import Ledger
from rlsys.run.metrics import MetricsLog
from rlsys.run.recovery import Recovery
from rlsys.run.state import State

STEPS, EVERY = 8, 3


class Disturbed:
    """Runs whose n-th attempt fails in the n-th of the given steps, with its error; later ones end."""

    def __init__(self, folder: Path, *faults: tuple[int, RlsysError], allowed: int = 3, every: int = EVERY) -> None:
        self.run_dir = RunDir.create(folder, "disturbed")
        self.recovery = Recovery(self.run_dir, Checkpoints(self.run_dir.checkpoints, 2), allowed)
        self.faults, self.every = list(faults), every
        self.logits: list[float] = []

    def attempt(self, again: bool) -> State:
        with running(self.run_dir, STEPS, checkpoint_every=self.every, keep_last=2) as loop:
            if again:
                loop.restore(loop.checkpoints.latest())
            self.recovery.watch(loop)
            if self.faults:
                self._fail(loop, *self.faults.pop(0))
            state = loop.run()
            self.logits = logits(loop)
            return state

    def _fail(self, loop: Any, number: int, error: RlsysError) -> None:
        collect = loop.method.collect

        def dies(roles: Any, source: Any, step: Any) -> Any:
            if step.number == number:
                raise error
            return collect(roles, source, step)

        object.__setattr__(loop.method, "collect", dies)

    def ends(self) -> State:
        return self.recovery.run(self.attempt)


def test_it_ends_with_the_weights_and_samples_of_the_undisturbed_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    undisturbed = RunDir.create(tmp_path, "undisturbed")
    with running(undisturbed, STEPS, checkpoint_every=EVERY, keep_last=2) as loop:
        loop.run()
        wanted = logits(loop)
    disturbed = Disturbed(tmp_path, (2, ActorDied("actor A died")), (6, WaitTimeout("waited 5 s")))
    state = disturbed.ends()
    assert disturbed.logits == wanted
    first = "actor A died; after step 1 the run began again from the start"
    second = "waited 5 s; after step 5 the run began again from the checkpoint of step 3"
    assert state.notes == [f"step 0: {first}", f"step 3: {second}"]
    assert f"disturbed: {second} (restart 1 of 3)" in capsys.readouterr().err
    found, expected = (Ledger(run.ledger, read_only=True) for run in (disturbed.run_dir, undisturbed))
    assert found.faults() == [(1, 0, "actor A died"), (5, 3, "waited 5 s")]
    assert found.sample_ids() == expected.sample_ids()
    for step in range(STEPS + 1):
        assert found.samples(step) == expected.samples(step)
    logged = MetricsLog.read(disturbed.run_dir.metrics)
    assert [line["step"] for line in logged] == list(range(STEPS + 1))
    assert {line["step"]: line.get("faults/restarts") for line in logged} == {
        **dict.fromkeys([0]),
        **dict.fromkeys(range(1, 4), 1.0),
        **dict.fromkeys(range(4, 9), 2.0),
    }
    assert "actor A died" in disturbed.run_dir.error_log.read_text()


def test_faults_without_progress_end_the_run_with_the_command_that_goes_on(tmp_path: Path):
    """The first two are before the checkpoint of step 3 and no longer count after it."""
    died = ActorDied("actor A died")
    disturbed = Disturbed(tmp_path, (1, died), (2, died), (5, died), (5, died), (4, died), allowed=2)
    told = (
        "actor A died; it began again 2 times without getting to another checkpoint; go on from step 3: `rlsys resume "
    )
    with pytest.raises(ActorDied) as caught:
        disturbed.ends()
    assert str(caught.value) == f"{told}{disturbed.run_dir.path}`"


def test_a_run_that_was_asked_to_stop_does_not_begin_again(tmp_path: Path):
    """A scheduler's signal reaches the actors, too."""
    disturbed = Disturbed(tmp_path, (5, ActorDied("actor A died")))

    def stopped(again: bool) -> State:
        try:
            return disturbed.attempt(again)
        except ActorDied:
            assert disturbed.recovery.loop is not None
            disturbed.recovery.loop.stopping.requested = True
            raise

    with pytest.raises(KeyboardInterrupt):
        disturbed.recovery.run(stopped)


@pytest.mark.parametrize(
    ("error", "allowed", "told"),
    [
        (ActorDied("actor A died"), 0, "actor A died; go on from step 3: `rlsys resume "),
        (ActorError("ValueError: it raised"), 3, "ValueError: it raised"),
    ],
)
def test_what_is_not_mended(tmp_path: Path, error: RlsysError, allowed: int, told: str):
    with pytest.raises(type(error)) as caught:
        Disturbed(tmp_path, (5, error), allowed=allowed).ends()
    assert str(caught.value).startswith(told)


def test_what_fails_before_anything_ran_is_told_as_it_is(tmp_path: Path):
    run_dir = RunDir.create(tmp_path, "a")

    def attempt(again: bool) -> None:
        raise WaitTimeout("waited 5 s for 4 CPUs")

    with pytest.raises(WaitTimeout, match=r"^waited 5 s for 4 CPUs$"):
        Recovery(run_dir, Checkpoints(run_dir.checkpoints, 2), 3).run(attempt)

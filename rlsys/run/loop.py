"""The loop of every training run: collect -> learn -> sync -> log -> evaluate -> checkpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlsys.config.experiment import Experiment
from rlsys.data.mixture import epochs_taken
from rlsys.data.stream import Source
from rlsys.errors import RunError, SaveError, command
from rlsys.judging.auditing.quality import canaries_fail
from rlsys.methods.base import Method, Step
from rlsys.objectives.stats import values
from rlsys.roles import Roles
from rlsys.run.alarms import STOPPED, Alarms
from rlsys.run.checkpoint import Checkpoints, step_of
from rlsys.run.evaluation import ComparesWithStart, Evaluation, Evaluator
from rlsys.run.folder import RunDir
from rlsys.run.history import RunHistory
from rlsys.run.ledger import Ledger
from rlsys.run.made_dataset import MadeDataset
from rlsys.run.metrics import MetricsLog
from rlsys.run.patience import remember, return_to
from rlsys.run.progress import COLUMNS, Progress
from rlsys.run.queue import ExperienceQueue
from rlsys.run.state import COUNTS, State, read_state, write_state
from rlsys.run.stopping import Stopping
from rlsys.run.watch import Watch
from rlsys.samples import ScoredGroup

SKIPPED_AT_MOST = 3
"""Steps in a row whose gradient is not finite; at the last of them the run ends."""


@dataclass
class Loop:
    experiment: Experiment
    method: Method
    roles: Roles
    source: Source
    evaluator: Evaluator | None
    run_dir: RunDir
    ledger: Ledger
    metrics: MetricsLog
    checkpoints: Checkpoints
    progress: Progress
    dataset: MadeDataset
    origin: dict[str, Any] = field(default_factory=dict)
    """The config and the content of the data that the run is of; kept in every checkpoint."""
    stopping: Stopping = field(default_factory=Stopping)

    def __post_init__(self) -> None:
        self.state = State()
        config = self.experiment.loop
        self.queue = ExperienceQueue(config.max_staleness)
        self.alarms = Alarms(config.warn_when, config.stop_when)
        self.watch = Watch(self.experiment.method.facts, config.stop_if_nothing_taught)

    def run(self) -> State:
        """Train to the last step, or until patience ends, from wherever the state is. Raises KeyboardInterrupt, with
        the step's checkpoint saved, after the step in which `stopping` was asked for."""
        config = self.experiment.loop
        started = time.monotonic() - self.state.seconds
        self.sync()
        # What nothing trains is measured once, at the end.
        if not self.state.step and self.roles.trained() and (evaluation := self.evaluate()):
            self.state.before = evaluation.metrics
            self.metrics.log(0, evaluation.metrics)
        self.progress.update(self.state.step, self.state.before)
        while not self.ended:
            metrics = self.one_step()
            self.look_at(metrics)
            self.sound(metrics)
            self.state.seconds = time.monotonic() - started
            last = self.state.step == self.steps or self.state.done is not None
            evaluation = self.evaluate() if last or due(self.state.step, config.eval_every) else None
            better = remember(self.state, evaluation) if evaluation else False
            if evaluation:
                metrics |= evaluation.metrics
                self.sound(evaluation.metrics)
            times = {f"time/{name}": seconds for name, seconds in self.progress.timings().items()}
            self.sound(added := self.mended() | times)
            metrics |= added
            for doubt in self.alarms.doubts(metrics, {**self.state.before, **self.state.after}):
                self.progress.warn(doubt)
            self.metrics.log(self.state.step, metrics)
            self.progress.update(self.state.step, metrics)
            stops = self.stopping.requested
            if self.ended or due(self.state.step, config.checkpoint_every) or (config.patience and better) or stops:
                self.save(evaluation.score if evaluation else None)
            if stops and not self.ended:
                raise KeyboardInterrupt
        self.return_to_best()
        return self.state

    @property
    def ended(self) -> bool:
        config = self.experiment.loop
        waited = bool(config.patience and self.state.waited >= config.patience)
        return self.state.step >= self.steps or self.state.done is not None or waited

    @property
    def steps(self) -> int:
        assert self.experiment.loop.steps is not None, "epochs are counted in steps before the loop is made"
        return self.experiment.loop.steps

    def look_at(self, metrics: dict[str, float]) -> None:
        """Say what is wrong with the step, and keep its training numbers for the closing table. Raises RunError at the
        third step in a row whose gradient is not finite."""
        skipped = [name for name in sorted(metrics) if name.endswith("updates_skipped") and metrics[name]]
        self.state.skipped += bool(skipped)
        self.state.skipped_in_a_row = self.state.skipped_in_a_row + 1 if skipped else 0
        if skipped:
            self.note("the gradient was not finite: the update was skipped, weights and optimizer stay as they were")
        if self.state.skipped_in_a_row == SKIPPED_AT_MOST:
            raise RunError(
                f"{self.run_dir.path}: step {self.state.step}: the third step in a row whose gradient is not finite; "
                "look at the data of these steps or lower policy.learning_rate, and go on from the last checkpoint: "
                f"`{command('rlsys', 'resume', self.run_dir.path)}`"
            )
        for warning in self.watch.step(self.state.step, metrics):
            self.progress.warn(warning)
        self.state.watch = self.watch.state()
        if reason := self.watch.gave_up:
            self.state.done = f"{reason} (loop.stop_if_nothing_taught={self.watch.stop_after})"
        shown = {name for names in COLUMNS.values() for name in names if not name.startswith("eval/")}
        self.state.last = {name: metrics[name] for name in sorted(shown & metrics.keys())}
        self.state.first = self.state.first or self.state.last

    def sound(self, metrics: dict[str, float]) -> None:
        """Tell of the alarms that these metrics set off; the first that stops the run ends it."""
        for stops, what in self.alarms.fired(metrics):
            if stops and self.state.done is None:
                self.state.done = f"{STOPPED}{what}"
            self.note(what)
        self.state.alarms = self.alarms.state()

    def return_to_best(self) -> None:
        """With patience, the run's model is the best one by held-out score, not the last."""
        best = self.checkpoints.best() if self.experiment.loop.patience else None
        for damage in self.checkpoints.take_set_aside():
            self.note(damage)
        if best is not None and step_of(best) != self.state.step:
            return_to(best, self.state, self.roles, self.run_dir)

    def one_step(self) -> dict[str, float]:
        """Collect, learn, sync, and write down what was sampled; returns the step's metrics."""
        step = Step(
            self.state.step + 1,
            self.state.version,
            self.experiment.seed,
            self.state.memory,
            RunHistory(self.ledger, self.dataset),
        )
        with self.progress.timed("collect"):
            while not self.queue.full:
                self.queue.put(self.method.collect(self.roles, self.source, step))
        experience = self.queue.take(self.state.version)
        with self.progress.timed("learn"):
            learned = self.method.learn(self.roles, experience, step)
        self.state.step += 1
        self.state.version += bool(self.roles.trained())
        self.state.memory, self.state.done = learned.memory, learned.done
        metrics = experience.metrics | {f"train/{name}": value for name, value in values(learned.stats).items()}
        metrics |= self.sync()
        for name, value in metrics.items():
            if name.startswith(COUNTS):
                self.state.counts[name] = self.state.counts.get(name, 0.0) + value
        if self.state.restarts:
            metrics["faults/restarts"] = float(self.state.restarts)
        if (epochs := epochs_taken(self.source)) is not None:
            metrics["data/epoch"] = epochs
        if tokens := metrics.get("data/tokens"):
            metrics["train/tokens_per_second"] = tokens / self.progress.timings()["learn"]
        with self.progress.timed("log"):
            metrics |= self.account(experience.groups)
            self.ledger.record(self.state.step, experience.groups, learned.advantages, phase="train")
            self.ledger.record(self.state.step, experience.beside, {}, phase="beside")
            self.watch_judge([*experience.groups, *experience.beside])
            self.dataset.append(self.state.step, experience.made())
        return metrics

    def sync(self) -> dict[str, float]:
        """Send the weights, and prove that they arrived."""
        if self.roles.weight_sync is None:
            return {}
        with self.progress.timed("sync"):
            report = self.roles.weight_sync.sync(self.state.version)
        return {
            "sync/version": float(report.version),
            "sync/bytes": float(report.bytes),
            "sync/probe_gap": report.probe_gap,
        }

    def account(self, groups: tuple[ScoredGroup, ...]) -> dict[str, float]:
        """Count what was sampled, and how much of it was right by the measure that evaluation uses."""
        if not groups:
            return {}
        tokens = sum(trajectory.response_length for group in groups for trajectory in group.trajectories)
        self.state.samples += sum(len(group.trajectories) for group in groups)
        self.state.tokens += tokens
        metrics = {"rollout/tokens_per_second": tokens / self.progress.timings()["collect"]}
        if self.evaluator and (accuracy := self.evaluator.accuracy(groups)) is not None:
            metrics["reward/accuracy"] = accuracy
        return metrics

    def evaluate(self) -> Evaluation | None:
        if self.evaluator is None:
            return None
        with self.progress.timed("evaluate"):
            evaluation = self.evaluator(self.roles, self.state.step)
            if self.state.step and isinstance(self.evaluator, ComparesWithStart):
                # From the ledger, so that a resumed run finds it, too.
                compared = self.evaluator.against_start(evaluation.groups, self.ledger.samples(0, "eval"))
                evaluation = replace(evaluation, metrics=evaluation.metrics | compared)
            self.ledger.record(self.state.step, evaluation.groups, {}, phase="eval")
            self.watch_judge(evaluation.groups)
        return evaluation

    def watch_judge(self, groups: Sequence[ScoredGroup]) -> None:
        """Warn, once in a run, when the judge is wrong about too many of the pairs whose better answer is known.
        `groups` are what is new."""
        judge = self.experiment.judge
        if (
            judge is None
            or self.state.canary_alarm
            or not any(one.kind == "canary" for group in groups for one in group.verdicts)
        ):
            return
        if found := canaries_fail(self.ledger.verdicts(kind="canary", texts=False), judge.canary_alarm):
            count, accuracy = found
            self.state.canary_alarm = True
            self.progress.warn(
                f"the judge was right about {accuracy:.1%} of {count} canaries, below "
                f"judge.canary_alarm={judge.canary_alarm:g}: don't trust its "
                f"labels; `{command('rlsys', 'report', self.run_dir.path)}` shows more"
            )

    def save(self, score: float | None) -> None:
        """Everything that the run needs to go on exactly: all of it or nothing appears in the checkpoints folder."""
        assert not self.queue.waiting, "a checkpoint is taken between steps, when nothing collected waits to be learned"
        try:
            with self.progress.timed("checkpoint"):
                self.checkpoints.save(self.state.step, self.write_state, score)
        except SaveError as error:
            if self.ended or self.stopping.requested:
                raise
            self.note(f"{error}; the run goes on, and the next checkpoint that is due is tried again")
        for damage in self.checkpoints.take_set_aside():
            self.note(damage)

    def note(self, what: str) -> None:
        """Say what happened to the run, now and in its summary."""
        noted = f"step {self.state.step}: {what}"
        if noted not in self.state.notes:  # a step that is done again makes the same remarks
            self.state.notes.append(noted)
        self.progress.warn(what)

    def mended(self) -> dict[str, float]:
        """Tell what was done about actors that died since the last step; how many they were, if any."""
        told, self.roles.mended[:] = [*self.roles.mended], []
        for what in told:
            self.note(what)
            self.ledger.record_fault(self.state.step, self.state.step, what)
        return {"faults/mended": float(len(told))} if told else {}

    def write_state(self, folder: Path) -> None:
        for role, model in self.roles.trained().items():
            model.save_state(folder / role)
        write_state(folder, self.state, self.source.state(), self.origin)

    def restore(self, folder: Path | None) -> None:
        """Go back to a checkpoint, or to the start if there is none; what ledger and metrics say of later steps is
        forgotten."""
        if folder is not None:
            saved = read_state(folder)
            self.state = saved["state"]
            self.watch.restore(self.state.watch)
            self.alarms.restore(self.state.alarms)
            if self.state.done is not None and not self.alarms.stands(self.state.done):
                self.state.done = None
            self.source.restore(saved["source"])
            for role, model in self.roles.trained().items():
                model.load_state(folder / role)
            self.checkpoints.go_back_to(folder)  # only now that all of it could be read
        self.ledger.truncate_after(self.state.step if folder else -1)
        self.metrics.truncate_after(self.state.step if folder else -1)
        self.dataset.truncate_after(self.state.step if folder else -1)


def due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0

"""The loop of every training run: collect -> learn -> sync -> log -> evaluate -> checkpoint."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rlsys.algorithm import Algorithm, Experience, Step
from rlsys.batch import ScoredGroup
from rlsys.checkpoint import Checkpoints
from rlsys.config.models import Experiment
from rlsys.data.stream import Stream
from rlsys.evaluation import Evaluation, Evaluator
from rlsys.ledger import Ledger
from rlsys.metrics import MetricsLog
from rlsys.objectives.stats import values
from rlsys.progress import Progress
from rlsys.roles import Roles
from rlsys.run_dir import RunDir

STATE = "loop.json"
"""The loop's own state, within a checkpoint."""


class ExperienceQueue:
    """What stands between collect and learn. `max_staleness` bounds how many policy versions a batch may lag behind the weights that it
    trains; at 0 it holds one batch, collected with the very weights that learn from it."""

    def __init__(self, max_staleness: int) -> None:
        self.max_staleness = max_staleness
        self.waiting: deque[Experience] = deque()

    @property
    def full(self) -> bool:
        return len(self.waiting) > self.max_staleness

    def put(self, experience: Experience) -> None:
        assert not self.full, "collect ran further ahead than max_staleness allows"
        self.waiting.append(experience)

    def take(self, version: int) -> Experience:
        experience = self.waiting.popleft()
        lag = version - experience.version
        assert 0 <= lag <= self.max_staleness, f"a batch of policy version {experience.version} reached version {version}"
        return experience


@dataclass
class State:
    """What the loop itself must remember to go on exactly. All randomness derives from the run's seed, the step and row ids: there is no
    generator state in the driver."""

    step: int = 0
    version: int = 0
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


@dataclass
class Loop:
    experiment: Experiment
    algorithm: Algorithm
    roles: Roles
    source: Stream
    evaluator: Evaluator | None
    run_dir: RunDir
    ledger: Ledger
    metrics: MetricsLog
    checkpoints: Checkpoints
    progress: Progress

    def __post_init__(self) -> None:
        self.state = State()
        self.queue = ExperienceQueue(self.experiment.loop.max_staleness)

    def run(self) -> State:
        """Train to the last step, from wherever the state is."""
        config = self.experiment.loop
        started = time.monotonic() - self.state.seconds
        self.sync()
        if not self.state.step and (evaluation := self.evaluate()):
            self.state.before = evaluation.metrics
            self.metrics.log(0, evaluation.metrics)
        self.progress.update(self.state.step, self.state.before)
        while self.state.step < config.steps:
            metrics = self.one_step()
            self.state.seconds = time.monotonic() - started
            last = self.state.step == config.steps
            evaluation = self.evaluate() if last or due(self.state.step, config.eval_every) else None
            if evaluation:
                metrics |= evaluation.metrics
                self.state.after = evaluation.metrics
            metrics |= {f"time/{name}": seconds for name, seconds in self.progress.timings().items()}
            self.metrics.log(self.state.step, metrics)
            self.progress.update(self.state.step, metrics)
            if last or due(self.state.step, config.checkpoint_every):
                self.save(evaluation.score if evaluation else None)
        return self.state

    def one_step(self) -> dict[str, float]:
        """Collect, learn, sync, and write down what was sampled; returns the step's metrics."""
        step = Step(self.state.step + 1, self.state.version, self.experiment.seed)
        with self.progress.stage("collect"):
            while not self.queue.full:
                self.queue.put(self.algorithm.collect(self.roles, self.source, step))
        experience = self.queue.take(self.state.version)
        with self.progress.stage("learn"):
            learned = self.algorithm.learn(self.roles, experience, step)
        self.state.step += 1
        self.state.version += 1
        metrics = experience.metrics | {f"train/{name}": value for name, value in values(learned.stats).items()}
        metrics |= self.sync()
        with self.progress.stage("log"):
            metrics |= self.account(experience.groups)
            self.ledger.record(self.state.step, experience.groups, learned.advantages, phase="train")
        return metrics

    def sync(self) -> dict[str, float]:
        """Send the weights, and prove that they arrived."""
        if self.roles.weight_sync is None:
            return {}
        with self.progress.stage("sync"):
            report = self.roles.weight_sync.sync(self.state.version)
        return {"sync/version": float(report.version), "sync/bytes": float(report.bytes), "sync/probe_gap": report.probe_gap}

    def account(self, groups: tuple[ScoredGroup, ...]) -> dict[str, float]:
        """Count what was sampled, and how much of it was right by the measure that evaluation uses."""
        if not groups:
            return {}
        tokens = sum(trajectory.response_length for group in groups for trajectory in group.trajectories)
        self.state.samples += sum(len(group.trajectories) for group in groups)
        self.state.tokens += tokens
        metrics = {"rollout/tokens_per_second": tokens / self.progress.timings()["collect"]}
        if self.evaluator and (accuracy := self.evaluator.judgement.accuracy(groups)) is not None:
            metrics["reward/accuracy"] = accuracy
        return metrics

    def evaluate(self) -> Evaluation | None:
        if self.evaluator is None:
            return None
        with self.progress.stage("evaluate"):
            evaluation = self.evaluator(self.roles, self.state.step)
            self.ledger.record(self.state.step, evaluation.groups, {}, phase="eval")
        return evaluation

    def save(self, score: float | None) -> None:
        """Everything that the run needs to go on exactly: all of it or nothing appears in the checkpoints folder."""
        assert not self.queue.waiting, "a checkpoint is taken between steps, when nothing collected waits to be learned"
        with self.progress.stage("checkpoint"):
            self.checkpoints.save(self.state.step, self.write_state, score)

    def write_state(self, folder: Path) -> None:
        self.roles.policy.save_state(folder / "policy")
        (folder / STATE).write_text(json.dumps({"state": asdict(self.state), "source": self.source.state()}))

    def restore(self, folder: Path | None) -> None:
        """Go back to a checkpoint, or to the start if there is none; what ledger and metrics say of later steps is forgotten."""
        if folder is not None:
            saved = json.loads((folder / STATE).read_text())
            self.state = State(**saved["state"])
            self.source.restore(saved["source"])
            self.roles.policy.load_state(folder / "policy")
        self.ledger.truncate_after(self.state.step if folder else -1)
        self.metrics.truncate_after(self.state.step if folder else -1)


def due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0

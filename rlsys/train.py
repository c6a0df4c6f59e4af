"""One training run from its config: data, algorithm, roles, loop, final model and summary."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rlsys.algorithm import build_algorithm
from rlsys.checkpoint import Checkpoints
from rlsys.config.load import load, save
from rlsys.config.models import DatasetConfig, Experiment
from rlsys.data.load import Loaded, load_demonstrations, load_prompts
from rlsys.data.stream import Stream
from rlsys.evaluation import Evaluator, Judgement
from rlsys.ledger import Ledger
from rlsys.loop import Loop
from rlsys.metrics import MetricsLog
from rlsys.models.load import load_tokenizer, local_path
from rlsys.progress import Progress
from rlsys.run_dir import RunDir
from rlsys.spawning import Spawn, SpawnRequest
from rlsys.summary import summarize, summary_rows


def train(experiment: Experiment, spawn: Spawn) -> dict[str, Any]:
    """Run the experiment in a new folder; returns the summary."""
    run_dir = RunDir.create(experiment.output, experiment.name)
    save(experiment, run_dir.config)
    return execute(experiment, spawn, run_dir, resume=False)


def resume(folder: Path, spawn: Spawn) -> dict[str, Any]:
    """Go on with a run from its newest checkpoint, or from its start if there is none yet, as if it had never stopped; returns the summary."""
    run_dir = RunDir.open(folder)
    return execute(load(run_dir.config, this_machine=False), spawn, run_dir, resume=True)


def execute(experiment: Experiment, spawn: Spawn, run_dir: RunDir, resume: bool) -> dict[str, Any]:
    started = time.monotonic()
    checkpoints = Checkpoints(run_dir.checkpoints, experiment.loop.keep_last)
    checkpoint = checkpoints.latest() if resume else None
    model = local_path(experiment.model.path, experiment.output / "playground")
    tokenizer = load_tokenizer(model)
    assert isinstance(tokenizer.pad_token_id, int), "load_tokenizer sees to it that there is a pad token"
    algorithm = build_algorithm(experiment, tokenizer.pad_token_id)
    rows = load_rows(experiment, experiment.data.train, algorithm.rows, tokenizer, run_dir)
    evaluator = build_evaluator(experiment, tokenizer, run_dir) if "rollout" in algorithm.needs else None
    request = SpawnRequest(algorithm.needs, model, experiment.loop.steps * algorithm.updates_per_step)
    with ExitStack() as stack:
        stack.enter_context(run_dir.lock())
        ledger = stack.enter_context(Ledger(run_dir.ledger))
        metrics = stack.enter_context(MetricsLog(run_dir, experiment.logging))
        progress = stack.enter_context(Progress(experiment.loop.steps, experiment.logging.progress, title=run_dir.name))
        with progress.stage("start"):
            roles = stack.enter_context(spawn(experiment, request))
        source = Stream(rows.rows, experiment.seed, experiment.data.shuffle)
        loop = Loop(experiment, algorithm, roles, source, evaluator, run_dir, ledger, metrics, checkpoints, progress)
        if resume:
            loop.restore(checkpoint)
        state = loop.run()
        with progress.stage("export"):
            roles.policy.export(run_dir.final)
        summary = summarize(run_dir, state, rows.report, roles.policy.weight_hash(), time.monotonic() - started)
        run_dir.write_summary(summary)
        progress.table(summary_rows(summary))
    return summary


def load_rows(experiment: Experiment, dataset: DatasetConfig, kind: str, tokenizer: Any, run_dir: RunDir) -> Loaded[Any]:
    data = experiment.data
    if kind == "prompts":
        return load_prompts(dataset, tokenizer, data.max_prompt_tokens, data.strict, run_dir.quarantine)
    return load_demonstrations(dataset, tokenizer, experiment.stage.max_tokens, data.strict, run_dir.quarantine)


def build_evaluator(experiment: Experiment, tokenizer: Any, run_dir: RunDir) -> Evaluator | None:
    if experiment.data.eval is None:
        return None
    prompts = load_rows(experiment, experiment.data.eval, "prompts", tokenizer, run_dir).rows
    config = experiment.evaluation
    judgement = Judgement(config.reward or experiment.rewards[0].name, config.pass_score)
    return Evaluator(tuple(prompts[: config.prompts]), config, experiment.sampling, judgement)

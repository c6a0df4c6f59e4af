"""One training run from its config: data, algorithm, roles, loop, final model and summary."""

from __future__ import annotations

import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rlsys.algorithm import build_algorithm
from rlsys.batch import Prompt
from rlsys.checkpoint import Checkpoints
from rlsys.config.load import load, save
from rlsys.config.models import DatasetConfig, Experiment
from rlsys.data.load import Loaded, load_demonstrations, load_prompts
from rlsys.data.stream import Stream
from rlsys.errors import RlsysError
from rlsys.evaluation import Evaluator, Judgement
from rlsys.ledger import Ledger
from rlsys.loop import Loop
from rlsys.metrics import MetricsLog
from rlsys.models.load import load_tokenizer, local_path
from rlsys.progress import Progress, print_line
from rlsys.run_dir import RunDir
from rlsys.spawning import Spawn, SpawnRequest
from rlsys.summary import summarize, summary_rows


def train(experiment: Experiment, spawn: Spawn) -> dict[str, Any]:
    """Run the experiment in a new folder; returns the summary."""
    run_dir = RunDir.create(experiment.output, experiment.name)
    experiment = anchored(experiment)
    save(experiment, run_dir.config)
    return execute(experiment, spawn, run_dir, resume=False)


def resume(folder: Path, spawn: Spawn) -> dict[str, Any]:
    """Go on with a run from its newest checkpoint, or from its start if there is none yet, as if it had never stopped; returns the summary."""
    run_dir = RunDir.open(folder)
    return execute(load(run_dir.config, this_machine=False), spawn, run_dir, resume=True)


def execute(experiment: Experiment, spawn: Spawn, run_dir: RunDir, resume: bool) -> dict[str, Any]:
    """Be the only driver of the run, and leave the whole story of an error in its folder: people are shown one line."""
    with run_dir.lock():
        try:
            return _execute(experiment, spawn, run_dir, resume)
        except KeyboardInterrupt:
            steps = Checkpoints(run_dir.checkpoints, experiment.loop.keep_last).steps()
            newest = f"its newest checkpoint is of step {steps[-1]}" if steps else "it has no checkpoint yet and would begin anew"
            print_line(f"{run_dir.name}: interrupted; {newest}; go on with `rlsys resume {run_dir.path}`")
            raise
        except RlsysError:
            run_dir.error_log.write_text(traceback.format_exc(), encoding="utf-8")
            raise


def _execute(experiment: Experiment, spawn: Spawn, run_dir: RunDir, resume: bool) -> dict[str, Any]:
    started = time.monotonic()
    checkpoints = Checkpoints(run_dir.checkpoints, experiment.loop.keep_last)
    checkpoint = checkpoints.latest() if resume else None
    model = local_path(experiment.model.path, experiment.output / "playground")
    tokenizer = load_tokenizer(model)
    assert isinstance(tokenizer.pad_token_id, int), "load_tokenizer sees to it that there is a pad token"
    algorithm = build_algorithm(experiment, tokenizer.pad_token_id)
    rows = load_rows(experiment, experiment.data.train, algorithm.rows, tokenizer, run_dir)
    held_out = load_held_out(experiment, tokenizer, run_dir) if "rollout" in algorithm.needs else None
    evaluator = build_evaluator(experiment, held_out.rows) if held_out else None
    request = SpawnRequest(algorithm.needs, model, experiment.loop.steps * algorithm.updates_per_step)
    with ExitStack() as stack:
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
        held_out_report = held_out.report if held_out else None
        summary = summarize(run_dir, state, rows.report, held_out_report, roles.policy.weight_hash(), time.monotonic() - started)
        run_dir.write_summary(summary)
        progress.table(summary_rows(summary))
    return summary


def anchored(experiment: Experiment) -> Experiment:
    """The experiment with absolute paths, so that it can be resumed from any folder."""

    def absolute(path: str) -> str:
        return str(Path(path).expanduser().absolute()) if Path(path).expanduser().exists() else path

    def dataset(config: DatasetConfig | None) -> DatasetConfig | None:
        return config and config.model_copy(update={"path": absolute(config.path)})

    data = experiment.data.model_copy(update={"train": dataset(experiment.data.train), "eval": dataset(experiment.data.eval)})
    model = experiment.model.model_copy(update={"path": absolute(experiment.model.path)})
    reference = experiment.reference
    if reference.path is not None:
        reference = reference.model_copy(update={"path": absolute(reference.path)})
    output = experiment.output.expanduser().absolute()
    return experiment.model_copy(update={"output": output, "data": data, "model": model, "reference": reference})


def load_rows(experiment: Experiment, dataset: DatasetConfig, kind: str, tokenizer: Any, run_dir: RunDir) -> Loaded[Any]:
    data = experiment.data
    if kind == "prompts":
        return load_prompts(dataset, tokenizer, data.max_prompt_tokens, data.strict, run_dir.quarantine)
    return load_demonstrations(dataset, tokenizer, experiment.stage.max_tokens, data.strict, run_dir.quarantine)


def load_held_out(experiment: Experiment, tokenizer: Any, run_dir: RunDir) -> Loaded[Any] | None:
    return load_rows(experiment, experiment.data.eval, "prompts", tokenizer, run_dir) if experiment.data.eval else None


def build_evaluator(experiment: Experiment, prompts: list[Prompt]) -> Evaluator:
    config = experiment.evaluation
    judgement = Judgement(config.reward or experiment.rewards[0].name, config.pass_score)
    return Evaluator(tuple(prompts[: config.prompts]), config, experiment.sampling, judgement)

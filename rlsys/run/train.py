"""One training run from its config: data, method, roles, loop, final model and summary."""

from __future__ import annotations

import errno
import math
import sqlite3
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from rlsys.check.load import load
from rlsys.check.settings import gold_reward
from rlsys.config.document import save
from rlsys.config.experiment import Experiment
from rlsys.config.paths import with_dataset_paths, with_model_paths
from rlsys.curation.gate import check_contamination
from rlsys.data.answered import Answered
from rlsys.errors import RlsysError, RunError, command
from rlsys.judging.asking import constitution_files, templates
from rlsys.judging.asking.constitution_files import own_names
from rlsys.methods import evaluate
from rlsys.methods.base import Measures, Method, build_method
from rlsys.models.load import load_tokenizer, local_path
from rlsys.models.stop_tokens import stop_token_ids
from rlsys.rewards.composite import part_names
from rlsys.rewards.named import source_of
from rlsys.roles import Roles, Spawn, SpawnRequest
from rlsys.run import merge
from rlsys.run.changes import Beginning
from rlsys.run.checkpoint import Checkpoints
from rlsys.run.ending import finish
from rlsys.run.evaluation import AnsweredEvaluator, AnswerEvaluator, Evaluator, Judgement, RowEvaluator
from rlsys.run.folder import RunDir
from rlsys.run.inputs import Inputs
from rlsys.run.labelled_pairs import against_people
from rlsys.run.ledger import Ledger
from rlsys.run.loop import Loop
from rlsys.run.made_dataset import MadeDataset
from rlsys.run.metrics import MetricsLog
from rlsys.run.preflight import check_models
from rlsys.run.progress import Progress, print_line
from rlsys.run.recovery import Recovery, told_of_ledger
from rlsys.run.separation import shared_weights
from rlsys.run.signals import Trusted
from rlsys.run.stopping import Stopping
from rlsys.samples import Prompt, ScoredGroup


def train(experiment: Experiment, spawn: Spawn) -> dict[str, Any]:
    """Run the experiment in a new folder; returns the summary."""
    run_dir = RunDir.create(experiment.output, experiment.name)
    experiment = anchored(experiment)
    save(experiment, run_dir.config)
    return execute(experiment, spawn, run_dir, resume=False)


def resume(folder: Path, spawn: Spawn, overrides: Sequence[str] = (), start: str | None = None) -> dict[str, Any]:
    """Go on with a run from its newest checkpoint (or the one that `start` names, as in step-8), or from its start if
    there is none yet, as if it had never stopped; returns the summary. `overrides` as for `load`, of settings that may
    change (`changes.MAY_CHANGE`)."""
    run_dir = RunDir.open(folder)
    experiment = load(run_dir.config, overrides, this_machine=False)
    return execute(anchored(experiment) if overrides else experiment, spawn, run_dir, resume=True, start=start)


def execute(
    experiment: Experiment, spawn: Spawn, run_dir: RunDir, resume: bool, start: str | None = None
) -> dict[str, Any]:
    """Be the only driver of the run, and leave the whole story of an error in its folder: people are shown one line."""
    with run_dir.lock():
        try:
            if experiment.method.facts.of_files:
                return merge.make(experiment, run_dir, held_out_score(experiment, spawn, run_dir))
            checkpoints = Checkpoints(run_dir.checkpoints, experiment.loop.keep_last)
            recovery = Recovery(run_dir, checkpoints, experiment.loop.restarts)
            return recovery.run(
                lambda again: _execute(experiment, spawn, run_dir, resume or again, None if again else start, recovery)
            )
        except KeyboardInterrupt:
            steps = Checkpoints(run_dir.checkpoints, experiment.loop.keep_last).steps()
            newest = (
                f"its newest checkpoint is of step {steps[-1]}"
                if steps
                else "it has no checkpoint yet and would begin anew"
            )
            print_line(f"{run_dir.name}: interrupted; {newest}; go on: `{command('rlsys', 'resume', run_dir.path)}`")
            raise
        except sqlite3.Error as error:
            raise told_of_ledger(run_dir, error) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise RunError(
                f"{error.filename or run_dir.path}: {error.strerror}; make room and go on from the last checkpoint: "
                f"`{command('rlsys', 'resume', run_dir.path)}`"
            ) from error
        except RlsysError:
            with run_dir.error_log.open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())
            raise


def _execute(
    experiment: Experiment, spawn: Spawn, run_dir: RunDir, resume: bool, start: str | None, recovery: Recovery
) -> dict[str, Any]:
    started = time.monotonic()
    checkpoints = recovery.checkpoints
    checkpoint = (checkpoints.named(start) if start else checkpoints.latest()) if resume else None
    beginning = Beginning.at(checkpoint, experiment, run_dir.config)
    model = local_path(experiment.model.path, experiment.output / "playground")
    tokenizer = load_tokenizer(model)
    at = partial(local_path, cache=experiment.output / "playground")
    check_models(experiment, at)
    assert isinstance(tokenizer.pad_token_id, int), "load_tokenizer sees to it that there is a pad token"
    method, facts = build_method(experiment, tokenizer.pad_token_id), experiment.method.facts
    rows = Inputs(experiment, tokenizer, at, run_dir.quarantine)
    source = rows.training()
    check_contamination(experiment)
    experiment = in_steps(experiment, rows.training_rows)
    evaluator = build_evaluator(experiment, method, rows.held_out(), tokenizer.pad_token_id)
    steps = experiment.loop.steps
    assert steps is not None
    beginning.check(steps, rows.contents)
    updates = steps * facts.updates_per_step
    stop_ids = stop_token_ids(tokenizer, model, rows.templated)
    if beginning.changed:  # whoever resumes next goes on with the same
        save(beginning.config, run_dir.config)
    request = SpawnRequest(facts.needs, model, updates, tokenizer.pad_token_id, facts.heads, stop_ids)
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(run_dir.ledger))
        metrics = stack.enter_context(MetricsLog(run_dir, experiment.logging))
        progress = stack.enter_context(Progress(steps, experiment.logging.progress, title=run_dir.name))
        roles = Roles()
        if facts.needs:
            with progress.timed("start"):
                roles = stack.enter_context(spawn(experiment, request))
        stopping = Stopping()
        stack.enter_context(stopping.listening(experiment.loop.stop_grace))  # after Ray has set its own handler
        judged = judge_warning(experiment, model)
        for line in (*(report.left_out for report in rows.reports if report.left_out), *([judged] if judged else [])):
            progress.warn(line)
        dataset = MadeDataset(run_dir.dataset)
        # fmt: off
        loop = Loop(
            experiment, method, roles, source, evaluator, run_dir, ledger, metrics, checkpoints, progress, dataset,
            beginning.origin(rows.contents), stopping,
        )
        # fmt: on
        if resume:
            loop.restore(checkpoint)
            for change in beginning.changed:
                loop.note(change)
        recovery.watch(loop)
        for label in record_rewards(experiment, ledger, loop.state.step + 1 if loop.state.step else 0):
            loop.note(f"the code of reward {label} was changed since this run was stopped")
        measure_judge(experiment, roles, ledger, loop, progress)
        loop.run()
        return finish(loop, request, rows, [judged] if judged else [], started)


def record_rewards(experiment: Experiment, ledger: Ledger, step: int) -> list[str]:
    """Which code gives the rewards from `step` on; returns the labels of those whose code is no longer what it was."""
    specs = experiment.rewards
    labels = part_names(specs)
    return ledger.record_rewards(step, [source_of(*own) for own in zip(specs, labels, strict=True)])


def held_out_score(experiment: Experiment, spawn: Spawn, run_dir: RunDir) -> Callable[[Path, str], float]:
    """Measures the model in a folder as method `evaluate` does, by the experiment's `data.eval`, rewards and
    `evaluation`, in a run of the given name within this one's folder."""

    def measure(folder: Path, name: str) -> float:
        model = experiment.model.model_copy(update={"path": str(folder)})
        changed = {"name": name, "output": run_dir.path / "measured", "method": evaluate.Config(), "model": model}
        summary = train(experiment.model_copy(update=changed), spawn)
        if (score := summary["score"]) is None:
            raise RunError(f"{summary['run']}: no answer could be scored, so the models can't be compared")
        return score

    return measure


def in_steps(experiment: Experiment, rows: int) -> Experiment:
    """The experiment with `loop.epochs` over so many training rows written as `loop.steps`."""
    epochs, of_step = experiment.loop.epochs, experiment.method.facts.rows_per_step
    if epochs is None:
        return experiment
    assert of_step is not None, "rlsys.check refuses epochs of a method that takes no training rows"
    loop = experiment.loop.model_copy(update={"epochs": None, "steps": math.ceil(epochs * rows / of_step)})
    return experiment.model_copy(update={"loop": loop})


def measure_judge(experiment: Experiment, roles: Roles, ledger: Ledger, loop: Loop, progress: Progress) -> None:
    """Against people, where the config names their labels: once in a run, and it is on record."""
    judge = experiment.judge
    if judge is None or judge.human is None or roles.judge is None or any(ledger.verdicts(phase="people", texts=False)):
        return
    with progress.timed("judge"):
        verdicts = against_people(roles.judge, judge, experiment.seed)
    said = [ScoredGroup(Prompt("people", "", ()), (), (), tuple(verdicts))]
    ledger.record(0, said, {}, phase="people")
    loop.watch_judge(said)


def anchored(experiment: Experiment) -> Experiment:
    """The experiment with absolute paths, so that it can be resumed from any folder."""

    def absolute(path: str) -> str:
        return str(Path(path).expanduser().absolute()) if Path(path).expanduser().exists() else path

    output, judge = experiment.output.expanduser().absolute(), experiment.judge
    if judge is not None:
        own = {
            "constitution": own_names(constitution_files.FOLDER),
            "templates": own_names(templates.FOLDER),
            "canaries": (),
        }
        files = {key: vars(judge)[key] for key, names in own.items() if vars(judge)[key] not in (None, *names)}
        if judge.cache not in (None, "auto"):  # this run may be the one that makes it
            files["cache"] = str(Path(judge.cache).expanduser().absolute())
        judge = judge.model_copy(update={key: absolute(path) for key, path in files.items()})
    experiment = experiment.model_copy(update={"judge": judge, "output": output})
    return with_dataset_paths(with_model_paths(experiment, absolute), absolute)


def judge_warning(experiment: Experiment, policy: Path) -> str | None:
    """That the judge is the model which it judges, where that can be known."""
    config = experiment.judge
    if config is None:
        return None
    folder = local_path(config.model, experiment.output / "playground") if config.backend == "vllm" else None
    return shared_weights(config, folder, policy)


def build_evaluator(experiment: Experiment, method: Method, rows: list[Any] | None, pad_id: int) -> Evaluator | None:
    if rows is None:
        return None
    config, of_rows = experiment.evaluation, RowEvaluator(tuple(rows), method) if isinstance(method, Measures) else None
    if of_rows is not None and not experiment.method.facts.by_answers:
        return of_rows
    # By default only a rule that counts says right or wrong: the scores of a reward model or judge have no such point.
    rules = [name for name, spec in zip(part_names(experiment.rewards), experiment.rewards, strict=True) if spec.weight]
    judgement = Judgement(config.reward or next(iter(rules), None), config.pass_score, better_by=config.reward)
    prompts = [row.prompt if isinstance(row, Answered) else row for row in rows[: config.prompts]]
    gold = gold_reward(experiment)
    trusted = None if gold is None else Trusted(gold, next(iter(rules), None), config.pass_score)
    of_answers = AnswerEvaluator(tuple(prompts), config, experiment.sampling, judgement, pad_id, trusted)
    return of_answers if of_rows is None else AnsweredEvaluator(of_rows, of_answers)

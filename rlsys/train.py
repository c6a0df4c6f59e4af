"""One training run from its config: data, algorithm, roles, loop, final model and summary."""

from __future__ import annotations

import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rlsys.algorithm import Algorithm, MakesRewardModel, Measures, build_algorithm, by_answers
from rlsys.batch import Prompt, ScoredGroup
from rlsys.checkpoint import Checkpoints
from rlsys.config.load import load, save
from rlsys.config.models import Experiment
from rlsys.config.paths import model_paths, with_dataset_paths, with_model_paths
from rlsys.data.answered import Answered
from rlsys.dataset import Dataset
from rlsys.errors import ConfigError, DataError, RlsysError
from rlsys.evaluation import AnsweredEvaluator, AnswerEvaluator, Evaluator, Judgement, RowEvaluator
from rlsys.judge_eval import against_people
from rlsys.judging import constitution, prompts
from rlsys.judging.constitution import own_names
from rlsys.judging.separation import shared_weights
from rlsys.ledger import Ledger
from rlsys.loop import COUNTS, Loop, State
from rlsys.metrics import MetricsLog
from rlsys.models.load import embedding_problem, load_config, load_tokenizer, local_path, tokenizer_difference
from rlsys.models.reward_scale import read_scale, write_scale
from rlsys.models.stop_tokens import save_generation_config, stop_token_ids
from rlsys.models.value_model import is_value_model
from rlsys.progress import Progress, print_line
from rlsys.rewards.composite import part_names
from rlsys.roles import Roles
from rlsys.rows import Rows
from rlsys.run_dir import RunDir
from rlsys.spawning import Spawn, SpawnRequest
from rlsys.stages.makes_data import MakesData
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
    check_tokenizers(experiment, tokenizer)
    assert isinstance(tokenizer.pad_token_id, int), "load_tokenizer sees to it that there is a pad token"
    algorithm = build_algorithm(experiment, tokenizer.pad_token_id)
    rows = Rows(experiment, algorithm, tokenizer, run_dir.quarantine)
    check_windows(experiment, rows.longest)
    check_reward_models(experiment)
    source = rows.training()
    evaluator = build_evaluator(experiment, algorithm, rows.held_out(), tokenizer.pad_token_id)
    heads = algorithm.heads if isinstance(algorithm, MakesRewardModel) else 1
    stop_ids = stop_token_ids(tokenizer, model, rows.templated)
    updates = experiment.loop.steps * algorithm.updates_per_step
    request = SpawnRequest(algorithm.needs, model, updates, tokenizer.pad_token_id, heads, stop_ids)
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(run_dir.ledger))
        metrics = stack.enter_context(MetricsLog(run_dir, experiment.logging))
        progress = stack.enter_context(Progress(experiment.loop.steps, experiment.logging.progress, title=run_dir.name))
        with progress.stage("start"):
            roles = stack.enter_context(spawn(experiment, request))
        if warning := judge_warning(experiment, model):
            progress.warn(warning)
        dataset = Dataset(run_dir.dataset)
        loop = Loop(experiment, algorithm, roles, source, evaluator, run_dir, ledger, metrics, checkpoints, progress, dataset)
        if resume:
            loop.restore(checkpoint)
        measure_judge(experiment, roles, ledger, loop, progress)
        state = loop.run()
        check_made(algorithm, run_dir, state)
        with progress.stage("export"):
            hashes = export(roles, run_dir, state, request)
        verdicts = list(ledger.verdicts(texts=False))
        summary = summarize(run_dir, state, rows.reports, source, hashes, time.monotonic() - started, verdicts)
        summary["warnings"] = [warning] if warning else []
        run_dir.write_summary(summary)
        progress.table(summary_rows(summary))
    return summary


def measure_judge(experiment: Experiment, roles: Roles, ledger: Ledger, loop: Loop, progress: Progress) -> None:
    """Against people, where the config names their labels: once in a run, and it is on record."""
    judge = experiment.judge
    if judge is None or judge.human is None or roles.judge is None or any(ledger.verdicts(phase="people", texts=False)):
        return
    with progress.stage("judge"):
        verdicts = against_people(roles.judge, judge, experiment.seed)
    said = [ScoredGroup(Prompt("people", "", ()), (), (), tuple(verdicts))]
    ledger.record(0, said, {}, phase="people")
    loop.watch_judge(said)


def check_made(algorithm: Algorithm, run_dir: RunDir, state: State) -> None:
    """Raises DataError if a stage that makes a data set made no row at all: whoever is to read it could only say that there is no file."""
    if isinstance(algorithm, MakesData) and not run_dir.dataset.exists():
        # Counts of groups of prompts have a further slash.
        counts = {name.removeprefix(COUNTS): count for name, count in state.counts.items() if count}
        told = ", ".join(f"{count:,.0f} {name.replace('_', ' ')}" for name, count in counts.items() if "/" not in name)
        raise DataError(
            f"{run_dir.path}: not one row was made of {state.samples:,} samples ({told}); see some with `rlsys trace --run {run_dir.path}`, then "
            f"sample more, ask for less, or begin with a better model"
        )


def export(roles: Roles, run_dir: RunDir, state: State, request: SpawnRequest) -> dict[str, str]:
    """Write the trained models; returns the hash of each. The run's model is `final`; a critic is kept beside it, for
    whoever goes on. A policy's generation config names the tokens at which it stops."""
    for role, model in roles.trained().items():
        model.export(run_dir.path / "critic" if role == "critic" else run_dir.final)
    if roles.policy is not None:
        save_generation_config(run_dir.final, request.model, request.stop_ids)
    if roles.reward_model is not None and "eval/score_std" in state.after:
        write_scale(run_dir.final, state.after["eval/score_mean"], state.after["eval/score_std"])
    return {role: model.weight_hash() for role, model in roles.trained().items()}


def anchored(experiment: Experiment) -> Experiment:
    """The experiment with absolute paths, so that it can be resumed from any folder."""

    def absolute(path: str) -> str:
        return str(Path(path).expanduser().absolute()) if Path(path).expanduser().exists() else path

    output, judge = experiment.output.expanduser().absolute(), experiment.judge
    if judge is not None:
        own = {"constitution": own_names(constitution.FOLDER), "templates": own_names(prompts.FOLDER), "canaries": ()}
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


def check_tokenizers(experiment: Experiment, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ConfigError unless every model has an embedding of each of its tokens, and every other model reads tokens as
    the policy does: samples go to them as token ids."""
    for key, path in model_paths(experiment).items():
        folder, name = local_path(path, experiment.output / "playground"), ".".join(map(str, key))
        other = tokenizer if key == ("model", "path") else load_tokenizer(folder)
        asked_in_words = key == ("judge", "model")
        if not asked_in_words and (difference := tokenizer_difference(tokenizer, other)):
            raise ConfigError(
                f"{name} {path}: its tokenizer is not the policy's ({difference}), and samples are handed over as token ids; "
                f"choose a model with the tokenizer of {experiment.model.path}"
            )
        if problem := embedding_problem(other, load_config(folder)):
            raise ConfigError(f"{name} {path}: {problem}")


def check_windows(experiment: Experiment, longest: int) -> None:
    """Raises ConfigError if a model can't see as many tokens as the longest row or sample may have."""
    for key, path in model_paths(experiment).items():
        if key == ("judge", "model"):
            continue
        config = load_config(local_path(path, experiment.output / "playground")).get_text_config()
        window = config.max_position_embeddings if hasattr(config, "max_position_embeddings") else None
        if window is not None and longest > window:
            lower = "stage.max_tokens" if experiment.stage else "data.max_prompt_tokens or sampling.max_tokens"
            raise ConfigError(f"{'.'.join(map(str, key))} {path}: sees {window} tokens, and sequences may have {longest}; lower {lower}")


def check_reward_models(experiment: Experiment) -> None:
    """Raises ConfigError for what their folders do not have: a scalar head, a scale to normalise by, several heads to combine."""
    for index, config in enumerate(experiment.reward_models):
        folder = local_path(config.path, experiment.output / "playground")
        if not is_value_model(load_config(folder)):
            raise ConfigError(f"reward_models.{index}.path {config.path}: this model has no scalar head; train one by stage reward_model")
        if config.normalize:
            read_scale(folder)
        if config.ensemble == "mean_minus_std" and (load_config(folder).num_labels or 1) < 2:
            raise ConfigError(f"reward_models.{index}.ensemble: mean_minus_std needs several heads, and {config.path} has one; choose mean")


def build_evaluator(experiment: Experiment, algorithm: Algorithm, rows: list[Any] | None, pad_id: int) -> Evaluator | None:
    if rows is None:
        return None
    config, of_rows = experiment.evaluation, RowEvaluator(tuple(rows), algorithm) if isinstance(algorithm, Measures) else None
    if of_rows is not None and not by_answers(algorithm):
        return of_rows
    # By default only a rule that counts says right or wrong: the scores of a reward model or judge have no such point.
    rules = [name for name, spec in zip(part_names(experiment.rewards), experiment.rewards, strict=True) if spec.weight]
    judgement = Judgement(config.reward or next(iter(rules), None), config.pass_score, better_by=config.reward)
    prompts = [row.prompt if isinstance(row, Answered) else row for row in rows[: config.prompts]]
    of_answers = AnswerEvaluator(tuple(prompts), config, experiment.sampling, judgement, pad_id)
    return of_answers if of_rows is None else AnsweredEvaluator(of_rows, of_answers)

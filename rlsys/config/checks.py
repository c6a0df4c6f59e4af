"""Settings that can't work together on any machine. Each finding names a key and the remedy; nothing here starts or loads anything."""

from __future__ import annotations

from collections.abc import Iterator

from rlsys.algorithm import ScoresTexts, TakesRows, TakesSamples, build_algorithm, by_answers
from rlsys.config.judge_checks import judge_problems
from rlsys.config.messages import Problem
from rlsys.config.models import Experiment
from rlsys.config.paths import datasets, model_paths
from rlsys.config.schema import Key
from rlsys.config.unused import unused
from rlsys.data.prompt_format import format_columns
from rlsys.data.sources import PLAYGROUND, looks_local
from rlsys.errors import ConfigError
from rlsys.playground.shapes import SIZES
from rlsys.playground.splits import SPLITS
from rlsys.playground.tasks import TASKS
from rlsys.preferences import PreferenceSettings
from rlsys.registry import did_you_mean, nearest
from rlsys.rewards import composite

STAGE = "stage:"
"""A model path with this prefix is the model of an earlier stage of a recipe."""
ACTORS = {
    "policy": ("policy", "ranks"),
    "reward_model": ("policy", "ranks"),
    "critic": ("critic", "ranks"),
    "rollout": ("rollout", "engines"),
    "reference": ("reference", "ranks"),
    "teacher": ("teacher", "ranks"),
}
"""By role, the section and the key that says how many actors it has."""


def needs(experiment: Experiment) -> frozenset[str]:
    """Roles that the experiment's algorithm or stage uses."""
    return build_algorithm(experiment, pad_id=0).needs


def combinations(experiment: Experiment) -> Iterator[Problem]:
    """What is wrong on any machine."""
    for check in (unused, _algorithm, _judge, _rewards, _evaluation, _together, _lengths, _budgets, _policy, _transport, _datasets):
        yield from check(experiment)


def _algorithm(experiment: Experiment) -> Iterator[Problem]:
    algorithm = build_algorithm(experiment, pad_id=0)
    trains = "policy" in algorithm.needs
    samples = algorithm.samples_per_prompt if isinstance(algorithm, TakesSamples) else experiment.evaluation.samples
    # Whoever trains nothing may take the one answer that there then is.
    if "rollout" in algorithm.needs and experiment.sampling.temperature == 0 and (trains or samples > 1):
        learned = trains or isinstance(algorithm, TakesSamples)
        nothing = "there is nothing to learn from; " if learned else "more than one says no more; set evaluation.samples=1, or "
        yield Problem(("sampling", "temperature"), f"0 makes all samples of a prompt equal, so {nothing}set it above 0, as in 1.0")
    if "teacher" in algorithm.needs and experiment.teacher is None:
        yield Problem(("teacher",), f"{_name(experiment)} needs one, as in teacher: {{path: MODEL}}")


def _judge(experiment: Experiment) -> Iterator[Problem]:
    yield from judge_problems(experiment, _name(experiment))


def _rewards(experiment: Experiment) -> Iterator[Problem]:
    judged = experiment.judge.reward if experiment.judge else None
    algorithm = build_algorithm(experiment, pad_id=0)
    scores_texts = isinstance(algorithm, ScoresTexts) and algorithm.scores_texts
    everything = (*experiment.rewards, *experiment.reward_models, *([judged] if judged else []))
    if "reward" in algorithm.needs and not everything:
        without = ", or algorithm.scored=false" if vars(experiment.algorithm or experiment.stage).get("scored") else ""
        # Texts that are only measured answer what has no known answer.
        how = "to measure its texts by, as in rewards: [{name: evasive}]" if scores_texts else "as in rewards: [{name: exact_match}]"
        yield Problem(("rewards",), f"{_name(experiment)} needs at least one, {how}{without}")
    for index, spec in enumerate(experiment.rewards):
        try:
            composite.check(spec)
        except ConfigError as error:
            yield Problem(("rewards", index, "args"), str(error))
    names = reward_names(experiment)
    if judged and names.count(judged.name) > 1:
        yield Problem(("judge", "reward", "name"), f"{judged.name!r} is the name of another reward, too; give each its own")
    for index, model in enumerate(experiment.reward_models):
        if names.count(model.name) > 1:
            yield Problem(("reward_models", index, "name"), f"{model.name!r} is the name of another reward, too; give each its own")
    own = vars(experiment.algorithm or experiment.stage)
    if own.get("reward") is not None and own["reward"] not in names:  # a key of some stages, as the next two
        yield Problem(
            ("stage", "reward"), f"{own['reward']!r} is not among rewards ({', '.join(names)}){did_you_mean(own['reward'], names)}"
        )
    for key in ("demonstration", "difficulty"):
        if own.get(key) is not None and own[key] not in experiment.data.train.fields:
            yield Problem(("stage", key), f"data.train.fields has no {own[key]!r}; map it there, as in fields: {{{own[key]}: COLUMN}}")
    if experiment.reward_models and scores_texts:
        yield Problem(
            ("reward_models",), f"score tokens, and {_name(experiment)} has texts scored that have none; give rewards, or the judge's"
        )
    if everything and all(spec.weight == 0 for spec in everything):
        yield Problem(("rewards",), "every weight is 0, so every sample scores 0; give one a weight")


def reward_names(experiment: Experiment) -> list[str]:
    """Of all parts of the reward."""
    judged = [experiment.judge.reward.name] if experiment.judge and experiment.judge.reward else []
    return [*composite.part_names(experiment.rewards), *(model.name for model in experiment.reward_models), *judged]


def _evaluation(experiment: Experiment) -> Iterator[Problem]:
    evaluation, names = experiment.evaluation, reward_names(experiment)
    if evaluation.reward is not None and evaluation.reward not in names:
        yield Problem(
            ("evaluation", "reward"),
            f"{evaluation.reward!r} is not among rewards ({', '.join(names)}){did_you_mean(evaluation.reward, names)}",
        )
    if experiment.data.eval is None and experiment.loop.eval_every:
        yield Problem(("loop", "eval_every"), "there is nothing to evaluate on; give data.eval, or set it to 0")
    if experiment.loop.patience and experiment.data.eval is None:
        yield Problem(("loop", "patience"), "there is no held-out data to judge the model by; give data.eval, or set it to 0")
    elif experiment.loop.patience and not experiment.loop.eval_every:
        yield Problem(("loop", "patience"), "counts evaluations, and the only one is at the end; set loop.eval_every, or set it to 0")
    if experiment.data.pretrain is None and experiment.algorithm and vars(experiment.algorithm).get("ptx_coef"):  # a key of some algorithms
        yield Problem(("algorithm", "ptx_coef"), "needs data.pretrain, the text to go on imitating; give it, or set ptx_coef to 0")
    algorithm = build_algorithm(experiment, pad_id=0)
    if experiment.data.eval is None and not isinstance(algorithm, TakesRows) and not algorithm.needs & {"policy", "reward_model"}:
        yield Problem(("data", "eval"), f"{_name(experiment)} does nothing but measure, and there is nothing to measure on; give it")
    if experiment.data.eval is not None and by_answers(algorithm) and not (evaluation.samples or evaluation.greedy):
        yield Problem(("evaluation", "samples"), "0 without evaluation.greedy measures nothing; set one of them, or leave data.eval out")


def _together(experiment: Experiment) -> Iterator[Problem]:
    """What is measured of several answers to one prompt."""
    evaluation = experiment.evaluation
    asked = [key for key, given in (("pass_at", evaluation.pass_at), ("majority", evaluation.majority)) if given]
    if evaluation.answer_after is not None and not evaluation.majority:
        yield Problem(("evaluation", "answer_after"), "has no effect without evaluation.majority; set that to true, or leave it out")
    if evaluation.pass_at and max(evaluation.pass_at) > evaluation.samples:
        least = max(evaluation.pass_at)
        yield Problem(
            ("evaluation", "pass_at"), f"pass@{least} needs as many samples of a prompt, and evaluation.samples={evaluation.samples}"
        )
    if evaluation.majority and evaluation.samples < 2:
        yield Problem(("evaluation", "majority"), f"needs several samples of a prompt, and evaluation.samples={evaluation.samples}")
    rule = evaluation.reward is not None or any(spec.weight for spec in experiment.rewards)
    if asked and (evaluation.pass_score is None or not rule):
        yield Problem(
            ("evaluation", asked[0]), "needs to know which answers are right; name evaluation.reward, and give evaluation.pass_score"
        )


def _lengths(experiment: Experiment) -> Iterator[Problem]:
    longest, limit = experiment.data.max_prompt_tokens + experiment.sampling.max_tokens, experiment.rollout.max_model_len
    if limit is not None and limit < longest:
        yield Problem(
            ("rollout", "max_model_len"),
            f"{limit} is less than data.max_prompt_tokens + sampling.max_tokens = {longest}; raise it to that, or leave it out",
        )


def _budgets(experiment: Experiment) -> Iterator[Problem]:
    """A row never splits, so every micro-batch must have room for the longest one."""
    algorithm = build_algorithm(experiment, pad_id=0)
    samples = "rollout" in algorithm.needs
    if not samples and experiment.stage is None:
        return
    longest = experiment.data.max_prompt_tokens + experiment.sampling.max_tokens if samples else experiment.stage.max_tokens
    of = "data.max_prompt_tokens + sampling.max_tokens" if samples else "stage.max_tokens"
    pairs = algorithm.rows in ("comparisons", "answered") or isinstance(experiment.algorithm, PreferenceSettings)
    together = 2 if pairs else 1
    what = "the two answers of a comparison, each" if together == 2 else "one sequence"
    for role in algorithm.needs & (ACTORS.keys() - {"rollout"}):
        section, _ = ACTORS[role]
        if vars(experiment)[section] is None:  # found by _algorithm
            continue
        budget = vars(experiment)[section].tokens_per_micro_batch
        if budget < together * longest:
            yield Problem((section, "tokens_per_micro_batch"), f"{budget} has no room for {what} of {of} = {longest} tokens")
    for index, model in enumerate(experiment.reward_models):
        if model.tokens_per_micro_batch < longest:
            key = ("reward_models", index, "tokens_per_micro_batch")
            yield Problem(key, f"{model.tokens_per_micro_batch} has no room for one sequence of {of} = {longest} tokens")


def _policy(experiment: Experiment) -> Iterator[Problem]:
    model = experiment.model
    for name, trainer in (("policy", experiment.policy), ("critic", experiment.critic)):
        if trainer.offload_optimizer and trainer.zero_stage == 0:
            yield Problem((name, "offload_optimizer"), f"needs {name}.zero_stage of 1, 2 or 3, and it is 0")
        if trainer.optimizer == "rmsprop" and trainer.betas != type(trainer).model_fields["betas"].default:
            yield Problem((name, "betas"), f"are AdamW's, and {name}.optimizer is rmsprop; leave them out")
        if trainer.offload_parameters and trainer.zero_stage != 3:
            yield Problem((name, "offload_parameters"), f"needs {name}.zero_stage=3, and it is {trainer.zero_stage}")
    if model.attention == "flash_attention_2" and model.dtype == "float32":
        yield Problem(("model", "attention"), "flash_attention_2 has no float32; set model.dtype=bfloat16 or model.attention=sdpa")


def _transport(experiment: Experiment) -> Iterator[Problem]:
    transport, colocate = experiment.weight_sync.transport, experiment.cluster.colocate
    if transport == "ipc" and not colocate:
        yield Problem(
            ("weight_sync", "transport"), "ipc is for trainers and samplers on the same GPUs; set cluster.colocate=true, or transport=auto"
        )
    if colocate and experiment.judge is not None and experiment.judge.engine.tensor_parallel > 1:
        yield Problem(("judge", "engine", "tensor_parallel"), "colocated engines have one GPU each; set it to 1, or cluster.colocate=false")
    if colocate and experiment.rollout.tensor_parallel > 1:
        yield Problem(("rollout", "tensor_parallel"), "colocated engines have one GPU each; set it to 1, or cluster.colocate=false")
    if transport == "nccl" and colocate:
        yield Problem(
            ("weight_sync", "transport"), "nccl can't join two processes on one GPU; set cluster.colocate=false, or transport=auto"
        )


def _datasets(experiment: Experiment) -> Iterator[Problem]:
    data = experiment.data
    if data.also and build_algorithm(experiment, pad_id=0).rows == "tasks":
        yield Problem(("data", "also"), "seed tasks are one set, of which every step sees the whole; put them into one file")
    if not data.also and data.mix_temperature != 1:
        yield Problem(("data", "mix_temperature"), "has no effect on a single training set; leave it out, or give data.also")
    for key, dataset in datasets(experiment).items():
        if dataset.weight != 1 and not (data.also and key[:2] in (("data", "train"), ("data", "also"))):
            yield Problem((*key, "weight"), "has no effect outside a mixture of training sets (data.also); leave it out")
        try:
            format_columns(dataset)
        except ConfigError as error:
            yield Problem((*key, "prompt_format"), str(error))
        if wrong := misspelt(dataset.path):
            yield Problem((*key, "path"), wrong)
        if dataset.path.startswith(STAGE) and dataset.split.partition("[")[0] != "train":
            yield Problem(
                (*key, "split"), f"what a stage made is one split, train, and not {dataset.split!r}; set it to train or a slice of it"
            )
        task = dataset.path.removeprefix(PLAYGROUND)
        if task == dataset.path:
            if dataset.wrong_fraction:
                yield Problem((*key, "wrong_fraction"), "is for playground:TASK only; leave it out")
        elif task not in TASKS:
            yield Problem((*key, "path"), f"{dataset.path!r}: no such task (known: {', '.join(TASKS)}){did_you_mean(task, TASKS)}")
        elif (split := dataset.split.partition("[")[0]) not in SPLITS:
            yield Problem((*key, "split"), f"{dataset.path} has no split {split!r} (known: {', '.join(SPLITS)})")
        elif dataset.wrong_fraction and TASKS[task].spoilt is None:
            yield Problem((*key, "wrong_fraction"), f"has no meaning for {dataset.path}: no answer is right or wrong; leave it out")
    for key, path in named_models(experiment):
        if wrong := misspelt(path):
            yield Problem(key, wrong)
        size = path.removeprefix(PLAYGROUND)
        if size != path and size not in SIZES:
            yield Problem(key, f"{path!r}: no such size (known: {', '.join(SIZES)}){did_you_mean(size, SIZES)}")


def misspelt(path: str) -> str | None:
    """What is wrong with a path that begins like `playground:` or `stage:` and would be taken for a hub id."""
    word, colon, rest = path.partition(":")
    if not colon or path.startswith((PLAYGROUND, STAGE)) or looks_local(path):
        return None
    close = nearest(word, [kind.rstrip(":") for kind in (PLAYGROUND, STAGE)])
    hint = f"; did you mean {close}:{rest}?" if close else ""
    return f"{path!r}: a hub id has no colon, and a file or folder of this name is ./{path}{hint}"


def named_models(experiment: Experiment) -> Iterator[tuple[Key, str]]:
    """Model paths that are not those of a recipe's stages."""
    return ((key, path) for key, path in model_paths(experiment).items() if not path.startswith(STAGE))


def _name(experiment: Experiment) -> str:
    return (experiment.algorithm or experiment.stage).name

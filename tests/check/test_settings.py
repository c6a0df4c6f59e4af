import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlsys.check import machine
from rlsys.check.load import load
from rlsys.errors import ConfigError

CONFIG = """\
name: tiny
method: {name: grpo}
model: {path: "playground:0.5m"}
data:
  train: {path: "playground:sort_digits"}
rewards: [{name: exact_match}]
loop: {steps: 3}
cluster: {cpus: 8, gpus: 0}
"""


DISTILL = ("rewards=[]", "method={name: distill}")
REWARD_MODEL = ("rewards=[]", "method={name: reward_model, max_tokens: 4096}")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No cluster is running, and the current folder is empty but for the file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rewards.py").write_text("def short(prompt, trajectory, limit): return 1.0\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path / "tiny.yaml"
    for name in [name for name in sys.modules if name.partition(".")[0] == "own"]:
        del sys.modules[name]


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load("tiny.yaml", overrides)
    return str(error.value)


def test_a_sound_config_passes():
    sound = load(
        "tiny.yaml",
        ["data.eval={path: 'playground:add', split: test}", "evaluation.reward=exact_match", "policy.ranks=2"],
    )
    assert (sound.evaluation.reward, sound.policy.ranks) == ("exact_match", 2)


def test_only_what_measures_and_no_more_needs_no_training_rows():
    assert load("tiny.yaml", [*EVALUATE, "data.train=null"]).data.train is None
    missing = "data.train: required key is missing: grpo needs rows, as in train: {path: FILE}"
    assert missing in message("data.train=null")
    also = "data.also: is for training sets beside data.train, and there is none; leave it out"
    assert also in message(*EVALUATE, "data.train=null", "data.also=[{path: x/y}]")


def test_epochs_of_what_takes_no_rows_are_refused():
    refused = "loop.epochs: evaluate takes no training rows; give loop.steps instead"
    assert refused in message(*EVALUATE, "loop={epochs: 1}")


def test_a_method_that_measures_itself_has_held_out_data():
    held_out = ("data.eval={path: x/y}", "loop.eval_every=5", "loop.patience=2")
    assert load("tiny.yaml", [*REWARD_MODEL, *held_out, "policy.tokens_per_micro_batch=8192"]).loop.patience == 2


HELD_OUT = "data.eval={path: 'playground:add'}"
RFT = "method={name: rft, %s}"
EVALUATE = ("method={name: evaluate}", HELD_OUT)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            [HELD_OUT, "evaluation={samples: 4, pass_at: [1, 8]}"],
            "evaluation.pass_at: pass@8 needs as many samples of a prompt, and",
        ),
        (
            [HELD_OUT, "evaluation={majority: true}"],
            "evaluation.majority: needs several samples of a prompt, and evaluation.samples=1",
        ),
        (
            [HELD_OUT, "evaluation={answer_after: '='}"],
            "evaluation.answer_after: has no effect without evaluation.majority",
        ),
        (
            [HELD_OUT, "evaluation={answer_places: [box]}"],
            "evaluation.answer_places: has no effect without evaluation.majority",
        ),
        (
            [HELD_OUT, "evaluation={samples: 4, pass_at: [1], pass_score: null}"],
            "evaluation.pass_at: needs to know which answers are right; name evaluation.reward, and give "
            "evaluation.pass_score",
        ),
        (
            ["method={name: evaluate}"],
            "data.eval: evaluate does nothing but measure, and there is nothing to measure on",
        ),
        (
            [*EVALUATE, "sampling.temperature=0", "evaluation.samples=4"],
            "sampling.temperature: 0 makes all samples of a prompt equal, so more than one says no more; set "
            "evaluation.samples=1, or set it",
        ),
        ([RFT % "reward: exact"], "method.reward: 'exact' is not among rewards (exact_match)"),
        (
            [RFT % "difficulty: level"],
            "data.train.fields has no 'level'; map it there, as in fields: {level: COLUMN}",
        ),
    ],
)
def test_what_several_answers_to_one_prompt_need(overrides: list[str], expected: str):
    assert expected in message(*overrides)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["rewards=[]", "method={name: constitutional}", "judge={model: x/y}"],
            "rewards: constitutional needs at least one, to measure its texts by, as in rewards: [{name: evasive}]",
        ),
        (["rewards=[]"], "rewards: grpo needs at least one, as in rewards: [{name: exact_match}]"),
        (["rewards.0.weight=0"], "rewards: every weight is 0, so every sample scores 0; give one a weight"),
        (
            ["evaluation.gold=exact_match"],
            "evaluation.gold: 'exact_match' is not among the rewards of weight 0 (there is none: add one with weight: "
            "0), and what is optimised can't be held against itself",
        ),
        (
            ["loop.stop_when=['trian/kl > 1']"],
            "loop.stop_when.0: no metric begins with 'trian'; did you mean train/kl?",
        ),
        (
            ["data.eval=null", "loop.warn_when=['eval/kl_sampled > 1']"],
            "loop.warn_when.0: nothing measures eval/kl_sampled: nothing is held out; give data.eval",
        ),
        (
            ["evaluation.reward=exact_mtch"],
            "evaluation.reward: 'exact_mtch' is not among rewards (exact_match); did you mean exact_match?",
        ),
        (
            ["rewards=[{name: own.rewards.short}]"],
            "rewards.0.args: reward 'own.rewards.short' does not take (prompt, trajectory) with args {}: ",
        ),
        (
            ["rewards=[{name: own.rewards.short, args: {limt: 3}}]"],
            "rewards.0.args: reward 'own.rewards.short' does not take (prompt, trajectory) with args {'limt': 3}: ",
        ),
        (
            ["loop.patience=2"],
            "loop.patience: there is no held-out data to judge the model by; give data.eval, or set it to 0",
        ),
        (
            ["loop.patience=2", "data.eval={path: 'playground:add'}"],
            "loop.patience: counts evaluations, and the only one is at the end; set loop.eval_every, or set it to 0",
        ),
        (["loop.eval_every=5"], "loop.eval_every: there is nothing to evaluate on; give data.eval, or set it to 0"),
        (
            ["data.eval={path: 'playground:add'}", "evaluation={samples: 0, greedy: false}"],
            "evaluation.samples: 0 without evaluation.greedy measures nothing; set one of them, or leave data.eval out",
        ),
        (
            ["sampling.temperature=0"],
            "sampling.temperature: 0 makes all samples of a prompt equal, so there is nothing to learn from",
        ),
        (
            ["rollout.max_model_len=1500"],
            "rollout.max_model_len: 1500 is less than data.max_prompt_tokens + sampling.max_tokens = 2048; raise "
            "it to that, or leave it out",
        ),
        (
            ["policy.zero_stage=0", "policy.offload_optimizer=true"],
            "policy.offload_optimizer: needs policy.zero_stage of 1, 2 or 3, and it is 0",
        ),
        (["policy.offload_parameters=true"], "policy.offload_parameters: needs policy.zero_stage=3, and it is 2"),
        (
            ["model={path: x, attention: flash_attention_2, dtype: float32}"],
            "model.attention: flash_attention_2 has no float32; set model.dtype=bfloat16 or model.attention=sdpa",
        ),
        (
            ["weight_sync.transport=ipc"],
            "weight_sync.transport: ipc is for trainers and samplers on the same GPUs; set cluster.colocate=true",
        ),
        (
            ["weight_sync.transport=nccl", "cluster.colocate=true"],
            "weight_sync.transport: nccl can't join two processes on one GPU",
        ),
        (
            ["data.train.path=playground:sort"],
            "data.train.path: 'playground:sort': no such task (known: sort_digits, add, letters",
        ),
        (["data.train.split=dev"], "data.train.split: playground:sort_digits has no split 'dev' (known: train, test)"),
        (
            ["data.also=[{path: 'playground:sort'}]"],
            "data.also.0.path: 'playground:sort': no such task (known: sort_digits, add, letters",
        ),
        (
            ["data.train={path: 'playground:letters', wrong_fraction: 0.5}"],
            "data.train.wrong_fraction: has no meaning for playground:letters: no answer is right or wrong; "
            "leave it out",
        ),
        (
            ["data.mix_temperature=2"],
            "data.mix_temperature: has no effect on a single training set; leave it out, or give data.also",
        ),
        (
            ["data.train.weight=2"],
            "data.train.weight: has no effect outside a mixture of training sets (data.also); leave it out",
        ),
        (
            ["data.train={path: x/y, prompt_format: '{a} {b}', fields: {prompt: a}}"],
            "data.train.prompt_format: prompt_format makes the prompt, so fields can't map prompt too; leave one out",
        ),
        (
            ["data.train={path: x/y, prompt_format: '{a'}"],
            "data.train.prompt_format: prompt_format '{a' can't be read: expected '}' before end",
        ),
        (
            ["data.train={path: x/y, prompt_format: '{a!r}'}"],
            "must name columns, as in '{instruction}\\n\\n{input}', and nothing else",
        ),
        (
            ["data.train={path: x/y, wrong_fraction: 0.5}"],
            "data.train.wrong_fraction: is for playground:TASK only; leave it out",
        ),
        (
            ["reward_models=[{path: x/y}, {path: x/z}]"],
            "reward_models.0.name: 'reward_model' is the name of another reward, too",
        ),
        (
            ["reward_models=[{name: exact_match, path: x/y}]"],
            "reward_models.0.name: 'exact_match' is the name of another reward, too",
        ),
        (
            ["method={name: on_policy_distill}", "rewards=[]", "teacher={path: x/y}"],
            "rewards: on_policy_distill needs at least one, as in rewards: [{name: exact_match}], or "
            "method.scored=false",
        ),
        (DISTILL, "teacher: distill needs one, as in teacher: {path: MODEL}"),
        (
            [*DISTILL, "teacher={path: x/y, tokens_per_micro_batch: 2000}"],
            "teacher.tokens_per_micro_batch: 2000 has no room for one sequence of method.max_tokens = 2048 tokens",
        ),
        (
            [*DISTILL, "teacher={path: 'playground:5m'}"],
            "teacher.path: 'playground:5m': no such size (known: 0.5m, 25m); did you mean 25m?",
        ),
        (["method.ptx_coef=0.5"], "method.ptx_coef: needs data.pretrain, the text to go on imitating"),
        (
            ["method.gae_lambda=0.5"],
            "method: gae_lambda has no effect: it goes with baseline of gae, and baseline is group_mean",
        ),
        (["method.kl_in=reward"], "method: kl_in has no effect: kl_coef is not set"),
        (
            ["model.path=playgroud:0.5m"],
            "model.path: 'playgroud:0.5m': a hub id has no colon, and a file or folder of this name is "
            "./playgroud:0.5m; "
            "did you mean playground:0.5m?",
        ),
        (
            ["data.also=[{path: 'stge:made'}]"],
            "data.also.0.path: 'stge:made': a hub id has no colon, and a file or folder of this name is "
            "./stge:made; did you mean stage:made?",
        ),
        (
            ["data.train.path=owner/rows:1"],
            "data.train.path: 'owner/rows:1': a hub id has no colon, and a file or folder of this name is ",
        ),
        (
            ["model.path=playground:5m"],
            "model.path: 'playground:5m': no such size (known: 0.5m, 25m); did you mean 25m?",
        ),
    ],
)
def test_combinations_that_can_not_work(overrides: list[str], expected: str):
    where, _, text = message(*overrides).partition(": ")
    assert where.startswith(("tiny.yaml", "command line"))
    assert expected in text


@pytest.mark.parametrize("evaluation", ["{samples: 1, greedy: false, pass_at: [1]}", "{samples: 0}"])
def test_whoever_only_measures_may_measure_the_greedy_answer(evaluation: str):
    assert (
        load("tiny.yaml", [*EVALUATE, "sampling.temperature=0", f"evaluation={evaluation}"]).sampling.temperature == 0
    )


def test_pairs_of_samples_need_room_for_two():
    """Prompts of 1024 tokens and answers of as many, twice."""
    sampled = (
        "method={name: online_dpo}",
        "policy.tokens_per_micro_batch=4095",
        "reference.tokens_per_micro_batch=4096",
    )
    told = (
        "policy.tokens_per_micro_batch: 4095 has no room for the two answers of a comparison, each of "
        "data.max_prompt_tokens + sampling.max_tokens"
    )
    assert told in message(*sampled)
    assert load("tiny.yaml", [*sampled, "policy.tokens_per_micro_batch=4096"]).policy.tokens_per_micro_batch == 4096


def test_a_finding_names_the_line_of_its_key(config: Path):
    config.write_text(CONFIG + "policy:\n  ranks: 1\n  offload_parameters: true\nweight_sync: {transport: ipc}\n")
    first, second = message().splitlines()
    assert first == "tiny.yaml:11: policy.offload_parameters: needs policy.zero_stage=3, and it is 2"
    assert second.startswith("tiny.yaml:12: weight_sync.transport: ipc is for ")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.train.path=rows.jsonl"], "data.train.path: no such file or folder: rows.jsonl (looked in "),
        (["data.train.path=data/rows.csv"], "data.train.path: no such file or folder: data/rows.csv (looked in "),
        (["data.train.path=rows.json.gz"], "data.train.path: no such file or folder: rows.json.gz (looked in "),
        (["model.path=./model"], "model.path: no such folder: ./model (looked in "),
        (["data.also=[{path: more.jsonl}]"], "data.also.0.path: no such file or folder: more.jsonl (looked in "),
        (["data.eval={path: ./held_out}"], "data.eval.path: no such file or folder: ./held_out (looked in "),
        (["model.path=/nowhere/model"], "model.path: no such folder: /nowhere/model (looked in "),
        (
            ["reference.path=~/nowhere", "method.kl_coef=0.1"],
            "reference.path: no such folder: ~/nowhere (looked in ",
        ),
        (["model.path=empty"], "model.path: empty is no Hugging Face model folder: it has no config.json"),
    ],
)
def test_missing_files(tmp_path: Path, overrides: list[str], expected: str):
    (tmp_path / "empty").mkdir()
    assert expected in message(*overrides)


def test_reward_models_are_rewards_too():
    load("tiny.yaml", ["rewards=[]", "reward_models=[{name: helpful, path: x/y}]", "evaluation.reward=helpful"])
    load("tiny.yaml", ["rewards.0.weight=0", "reward_models=[{path: x/y}]"])
    assert "every weight is 0" in message("rewards.0.weight=0", "reward_models=[{path: x/y, weight: 0}]")


def test_hub_ids_are_not_looked_up():
    named = load(
        "tiny.yaml",
        [
            "model.path=Qwen/Qwen2.5-0.5B",
            "data.train.path=openai/gsm8k",
            "method.kl_coef=0.1",
            "reference.path=gpt2",
        ],
    )
    assert named.data.train is not None
    assert (named.model.path, named.data.train.path, named.reference.path) == (
        "Qwen/Qwen2.5-0.5B",
        "openai/gsm8k",
        "gpt2",
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # 6 x 1 for the policy, 2 x 2 for the sampler, 1 for the reward
        (
            ["policy.ranks=6", "rollout={engines: 2, threads: 2}"],
            "policy.ranks: the run needs 11 CPUs (policy 6, rollout 4, reward 1) and there are 8: lower policy.ranks, "
            "let roles take turns (cluster.colocate=true), or let them share cores (cluster.cpus=11)",
        ),
        # nine bundles of one CPU, which all roles share
        (
            ["policy.ranks=9", "cluster.colocate=true"],
            "policy.ranks: the run needs 9 CPUs (policy 9, rollout 1, reward 1) and there are 8: lower",
        ),
        (
            [*REWARD_MODEL, "policy.ranks=9"],
            "policy.ranks: the run needs 9 CPUs (reward_model 9) and there are 8: lower policy.ranks, ",
        ),
        (
            [*DISTILL, "teacher={path: x/y, ranks: 8}"],
            "teacher.ranks: the run needs 9 CPUs (policy 1, teacher 8) and there are 8: lower teacher.ranks, ",
        ),
        (
            ["rollout.threads=8"],
            "rollout.threads: the run needs 10 CPUs (policy 1, rollout 8, reward 1) and there are 8: lower "
            "rollout.threads, ",
        ),
        (
            ["cluster.gpus=2", "rollout.engines=2"],
            "rollout.engines: the run needs 3 GPUs (policy 1, rollout 2) and there are 2: lower rollout.",
        ),
        (
            ["cluster.gpus=2", "rollout.tensor_parallel=4"],
            "rollout.tensor_parallel: the run needs 5 GPUs (policy 1, rollout 4) and there are 2",
        ),
        (["rollout.tensor_parallel=2"], "rollout.tensor_parallel: needs GPUs, and there is none here; leave it out"),
        (["weight_sync.transport=nccl"], "weight_sync.transport: needs GPUs, and there is none here; leave it out"),
        (
            ["policy.offload_optimizer=true"],
            "policy.offload_optimizer: needs GPUs, and there is none here; leave it out",
        ),
    ],
)
def test_more_than_this_machine_has(overrides: list[str], expected: str):
    assert expected in message(*overrides)


def test_a_cluster_that_will_be_joined_has_its_own_cpus(monkeypatch: pytest.MonkeyPatch):
    load("tiny.yaml", ["policy.ranks=64", "cluster.address=10.0.0.1:6379"])
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    load("tiny.yaml", ["policy.ranks=64"])
    assert "64" in message("policy.ranks=64", "cluster.address=local")


def test_a_reward_listed_twice_has_two_names():
    twice = load(
        "tiny.yaml",
        ["rewards=[{name: exact_match}, {name: exact_match, args: {strip: false}}]", "evaluation.reward=exact_match.2"],
    )
    assert twice.evaluation.reward == "exact_match.2"


def test_another_machines_config_can_be_read():
    assert load("tiny.yaml", ["policy.ranks=64", "model.path=/nowhere/model"], this_machine=False).policy.ranks == 64


def test_the_cpus_of_the_machine_are_the_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert "needs 3 CPUs (policy 1, rollout 1, reward 1) and there are 2" in message("cluster.cpus=null")


def test_seed_tasks_are_one_set():
    with pytest.raises(ConfigError, match=r"data\.also: seed tasks are one set"):
        load(
            Path(__file__).parents[2] / "configs/self_instruct/seed_tasks.yaml",
            ["data.also=[{path: more.jsonl}]"],
            this_machine=False,
        )

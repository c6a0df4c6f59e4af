from pathlib import Path

import pytest

from rlsys.check.load import load
from rlsys.errors import ConfigError

MODEL_AND_DATA = """\
name: tiny
model: {path: "playground:0.5m"}
data: {train: {path: "playground:sort_digits"}}
loop: {steps: 3}
cluster: {cpus: 8, gpus: 0}
"""
CONFIGS = {
    "sft": "method: {name: sft}\n",
    "reward_model": "method: {name: reward_model}\n",
    "label_by_reward": "method: {name: label_by_reward}\nrewards: [{name: exact_match}]\n",
    "rlaif": "method: {name: rlaif}\njudge: {model: x/y}\n",
    "constitutional": "method: {name: constitutional}\nrewards: [{name: evasive}]\njudge: {model: x/y}\n",
    "distill": "method: {name: distill}\nteacher: {path: x/y}\n",
    "grpo": "method: {name: grpo}\nrewards: [{name: exact_match}]\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cluster is running, and the current folder holds nothing but the configs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name, own in CONFIGS.items():
        (tmp_path / f"{name}.yaml").write_text(own + MODEL_AND_DATA)
    return tmp_path


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_at_its_default_is_not_mentioned(name: str):
    defaults = ["sampling={}", "rollout={engines: 1}", "evaluation={prompts: 256}", "data.max_prompt_tokens=1024"]
    assert load(f"{name}.yaml", defaults) == load(f"{name}.yaml")


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("sft", "sampling.max_tokens=64", "sampling.max_tokens: has no effect: sft samples nothing; leave it out"),
        ("sft", "rollout={engines: 2}", "rollout.engines: has no effect: sft samples nothing; leave it out"),
        (
            "sft",
            "weight_sync.transport=gloo",
            "weight_sync.transport: has no effect: sft samples nothing; leave it out",
        ),
        (
            "sft",
            "data.max_prompt_tokens=64",
            "data.max_prompt_tokens: has no effect: sft samples nothing; leave it out",
        ),
        ("sft", "rewards=[{name: exact_match}]", "rewards: has no effect: sft scores no samples; leave it out"),
        ("sft", "reward_models=[{path: x/y}]", "reward_models: has no effect: sft scores no samples; leave it out"),
        ("sft", "scoring.actors=2", "scoring.actors: has no effect: sft scores no samples; leave it out"),
        ("sft", "reference.path=x/y", "reference.path: has no effect: sft uses no reference; leave it out"),
        ("sft", "teacher={path: x/y}", "teacher: has no effect: sft has no teacher; leave it out"),
        ("distill", "reference.path=x/y", "reference.path: has no effect: distill uses no reference; leave it out"),
        ("sft", "critic.learning_rate=1.0e-5", "critic.learning_rate: has no effect: sft has no critic; leave it out"),
        (
            "sft",
            "evaluation.samples=2",
            "evaluation.samples: has no effect: sft is measured on rows of its own kind, not by answers; leave",
        ),
        ("sft", "data.pretrain={path: x/y}", "data.pretrain: has no effect: sft has no ptx_coef above 0; leave it out"),
        ("reward_model", "critic.ranks=2", "critic.ranks: has no effect: reward_model has no critic; leave it out"),
        (
            "reward_model",
            "evaluation.greedy=false",
            "evaluation.greedy: has no effect: reward_model is measured on rows of its own kind",
        ),
        (
            "label_by_reward",
            "policy.ranks=2",
            "policy.ranks: has no effect: label_by_reward trains nothing; leave it out",
        ),
        (
            "constitutional",
            "policy.ranks=2",
            "policy.ranks: has no effect: constitutional trains nothing; leave it out",
        ),
        ("rlaif", "policy.ranks=2", "policy.ranks: has no effect: rlaif trains nothing; leave it out"),
        (
            "rlaif",
            "rewards=[{name: evasive}]",
            "rewards: has no effect: rlaif scores no samples; leave it out",
        ),
        (
            "rlaif",
            "data.eval={path: x/y}",
            "data.eval: has no effect: rlaif scores no samples; leave it out",
        ),
        ("grpo", "reference.ranks=2", "reference.ranks: has no effect: grpo uses no reference; leave it out"),
        ("grpo", "critic.ranks=2", "critic.ranks: has no effect: grpo has no critic; leave it out"),
        (
            "grpo",
            "data.pretrain={path: x/y}",
            "data.pretrain: has no effect: grpo has no ptx_coef above 0; leave it out",
        ),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(name: str, override: str, message: str):
    with pytest.raises(ConfigError) as error:
        load(f"{name}.yaml", [override])
    assert f"command line {override!r}: {message}" in str(error.value)


def test_it_is_read_as_soon_as_something_uses_its_role():
    known = ("rewards=[]", "method={name: dpo, precomputed: true}", "reference.path=x/y")
    assert load("grpo.yaml", known).reference.path == "x/y"
    with pytest.raises(ConfigError, match=r"reference\.ranks: has no effect: dpo uses no reference"):
        load("grpo.yaml", [*known, "reference.ranks=2"])
    assert load("grpo.yaml", ["method.kl_coef=0.1", "reference.ranks=2"]).reference.ranks == 2
    assert load("rlaif.yaml", ["method.measure=true", "rewards=[{name: evasive}]"]).rewards
    mixed = load("grpo.yaml", ["method.ptx_coef=0.1", "data.pretrain={path: x/y}"])
    assert mixed.data.pretrain is not None


def test_the_line_of_the_setting_is_named(folder: Path):
    with (folder / "sft.yaml").open("a") as file:
        file.write("rollout:\n  prefix_caching: true\n  engines: 2\nevaluation: {prompts: 9}\n")
    with pytest.raises(ConfigError) as error:
        load("sft.yaml")
    assert (
        str(error.value).splitlines()[0]
        == "sft.yaml:9: rollout.engines: has no effect: sft samples nothing; leave it out"
    )
    assert str(error.value).splitlines()[1].startswith("sft.yaml:10: evaluation.prompts: has no effect")

"""The quickstart, shortened: imitation of answers half of which are wrong, then GRPO finds out which half."""

from __future__ import annotations

import json
import re
import sys
from statistics import fmean
from typing import Any

import pytest
import torch
from support.command_line import CONFIGS, ROOT, Run, Workplace
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.engine

WARMUP, STEPS, PROMPTS, GROUP, HELD_OUT = 150, 12, 32, 8, 256
SETTINGS = (
    f"warmup.loop.steps={WARMUP}",
    f"grpo.loop.steps={STEPS}",
    "grpo.loop.eval_every=0",
    "grpo.policy.learning_rate=2.0e-4",
    "grpo.logging.wandb=offline",
)
TINY = ("grpo.method.prompts_per_step=4", "grpo.evaluation.prompts=16")
EVERY_STEP = {
    "reward": ("mean", "std", "accuracy", "exact_match", "abstained", "equal_groups_rate"),
    "rollout": ("samples", "tokens", "tokens_per_second", "response_length_mean", "stopped_rate"),
    "train": (
        "loss",
        "policy_loss",
        "kl",
        "entropy",
        "grad_norm",
        "learning_rate",
        "clip_fraction_low",
        "sampler_mismatch_max",
    ),
    "sync": ("version", "bytes", "probe_gap"),
    "time": ("collect", "learn", "sync", "log", "step"),
}


@pytest.fixture(scope="module")
def recipe(workplace: Workplace) -> Run:
    return workplace.train(CONFIGS / "quickstart.yaml", "quickstart", SETTINGS)


@pytest.fixture(scope="module")
def run(recipe: Run) -> Run:
    return Run(recipe.path / "grpo")


def test_held_out_accuracy_rises(recipe: Run):
    before, after = (recipe.summary[when]["eval/accuracy_sampled"] for when in ("before", "after"))
    assert 0.3 < before < 0.6
    assert after > before + 0.25  # seeds 0, 1 and 2 gave 0.445 to 0.869, 0.465 to 0.850 and 0.424 to 0.838


def test_it_is_the_verifier_that_taught(run: Run):
    """The warm-up's data are half wrong; what GRPO was rewarded for is right."""
    rewards = [record["reward/mean"] for record in run.metrics[1:]]
    assert sum(rewards[-3:]) > sum(rewards[:3])
    for step in (1, STEPS):
        for sample in run.samples(step, "train"):
            assert sample.answer == "".join(sorted(sample.answer or ""))
            assert sample.reward == float(sample.response.strip() == sample.answer)


def test_metrics_are_complete(run: Run):
    assert [record["step"] for record in run.metrics] == list(range(STEPS + 1))
    for record in run.metrics[1:]:
        for section, names in EVERY_STEP.items():
            assert all(isinstance(record[f"{section}/{name}"], float) for name in names)


def test_the_ledger_has_every_sample(run: Run):
    for step in range(1, STEPS + 1):
        samples = run.samples(step, "train")
        assert len(samples) == PROMPTS * GROUP
        assert {sample.used_in_step for sample in samples} == {step}
        assert {version for sample in samples for version in sample.policy_versions} == {-1, step - 1}
    ((count,),) = run.query("SELECT count(*) FROM samples WHERE phase = 'eval'")
    assert count == 2 * HELD_OUT * (2 + 1)  # before and after; two samples each and a greedy answer


def test_the_summary_agrees_with_the_ledger(run: Run):
    ((samples,),) = run.query("SELECT count(*) FROM samples WHERE phase = 'train'")
    assert run.summary["samples"] == samples
    ((right,),) = run.query(f"SELECT avg(reward) FROM samples WHERE sample_id LIKE 'eval-sampled-{STEPS}/%'")
    assert run.summary["after"]["eval/accuracy_sampled"] == pytest.approx(right)


def test_the_report_has_the_figures(recipe: Run, run: Run):
    text = (recipe.path / "report.html").read_text(encoding="utf-8")
    before, after = (recipe.summary[when]["eval/accuracy_sampled"] for when in ("before", "after"))
    assert f"held-out accuracy, sampled {before:.3f} -&gt; {after:.3f}" in text
    assert f"Best and worst samples of step {STEPS}" in text
    assert run.path.with_name("warmup").joinpath("report.html").exists()


def test_the_final_model_gives_the_sampler_s_greedy_answers(run: Run):
    """Loaded with plain transformers, it answers the held-out questions as vLLM did with the weights that it was sent
    last."""
    model: Any = AutoModelForCausalLM.from_pretrained(run.folder.final).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.folder.final)
    samples = [sample for sample in run.samples(STEPS, "eval") if sample.sample_id.startswith("eval-greedy")]
    assert len(samples) == HELD_OUT
    samples = samples[::4]
    same = 0
    for sample in samples:
        first = sample.loss_mask.index(1)
        prompt = torch.tensor([sample.token_ids[:first]])
        found = model.generate(
            prompt, max_new_tokens=8, do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=0
        )
        same += found[0, first:].tolist() == sample.token_ids[first:]
    assert same >= len(samples) - 1  # two best tokens may be as good as equal


def test_weights_and_biases_gets_the_metrics_offline(run: Run):
    (folder,) = run.path.glob("wandb/offline-run-*")
    assert folder.name.endswith((run.path / ".wandb-id").read_text())
    (record,) = folder.glob("run-*.wandb")
    assert record.stat().st_size > 10_000


def test_the_resolved_config_and_the_recipe_are_kept(recipe: Run, run: Run):
    assert f"steps: {STEPS}" in run.folder.config.read_text()
    assert str(Run(recipe.path / "warmup").folder.final) in run.folder.config.read_text()
    assert json.loads((run.folder.final / "config.json").read_text())["vocab_size"] > 256


def rewards_of_example(name: str, workplace: Workplace, recipe: Run, steps: int, *settings: str) -> list[float]:
    """The mean reward of each step of a loop in `examples/`, which begins with the warm-up's model."""
    model = Run(recipe.path / "warmup").folder.final
    given = (f"model.path={model}", f"output={workplace.folder}", *settings)
    told = workplace.succeed(sys.executable, ROOT / "examples" / name, str(steps), *given)
    rewards = [float(reward) for reward in re.findall(r"^step \d+: reward (\S+)", told, re.MULTILINE)]
    assert len(rewards) == steps
    return rewards


@pytest.mark.slow
def test_the_example_of_grpo_learns(workplace: Workplace, recipe: Run):
    rewards = rewards_of_example("grpo.py", workplace, recipe, 8, "policy.learning_rate=2.0e-4")
    assert fmean(rewards[-2:]) > fmean(rewards[:2]) + 0.05


@pytest.mark.slow
def test_the_example_of_ppo_learns(workplace: Workplace, recipe: Run):
    rewards = rewards_of_example("ppo.py", workplace, recipe, 10)
    assert fmean(rewards[-2:]) > fmean(rewards[:2]) + 0.05


@pytest.mark.slow
def test_the_example_of_a_notebook(workplace: Workplace):
    """A recipe from Python, its figures and its report."""
    settings = ("warmup.loop.steps=2", "grpo.loop.steps=1", f"output={workplace.folder}", "name=notebook")
    told = workplace.succeed(sys.executable, ROOT / "examples" / "notebook.py", *settings, *TINY)
    summary = Run(workplace.folder / "notebook").summary
    assert f"held-out accuracy: {summary['after']['eval/accuracy_sampled']:.3f}\n" in told
    assert re.search(r"^step 1: reward \d\.\d{3}$", told, re.MULTILINE)
    assert told.endswith(f"report: {workplace.folder / 'notebook' / 'report.html'}\n")

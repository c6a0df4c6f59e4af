"""The policy as its own judge, on the sampling engines, in direct RLAIF: possible, said loudly, and on record."""

from __future__ import annotations

import pytest
from support.command_line import Run, Workplace

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STEPS, PROMPTS, GROUP = 2, 40, 3


@pytest.fixture(scope="module")
def run(workplace: Workplace) -> Run:
    # More groups than an engine hands out before it waits: the judge can't be asked until they all have been taken.
    return workplace.train(
        workplace.stage("quickstart.yaml", "grpo"),
        "own",
        (
            "judge={backend: rollout, min_label_mass: 0.0, reward: {mode: compare, principle: true}}",
            "rewards=[]",
            f"method={{name: grpo, prompts_per_step: {PROMPTS}, group_size: {GROUP}}}",
            "policy.ranks=1",
            "rollout={queue_groups: 8, max_model_len: 2048}",
            "sampling.max_tokens=4",
            f"loop={{steps: {STEPS}}}",
            "data.eval=null",
        ),
    )


def test_every_sample_is_compared_with_the_others_of_its_group_in_both_orders(run: Run):
    for step in range(1, STEPS + 1):
        verdicts = run.query(
            f"SELECT sample_ids, principle, value, judge, cached FROM verdicts WHERE step = {step} AND kind = 'compare'"
        )
        assert len(verdicts) == PROMPTS * GROUP * (GROUP - 1)
        assert all(
            principle and 0 < value < 1 and "the policy itself" in judge and not cached
            for _, principle, value, judge, cached in verdicts
        )
        samples = {sample.sample_id: sample for sample in run.samples(step, "train")}
        for group in {sample.prompt_id for sample in samples.values()}:
            rewards = [sample.reward for sample in samples.values() if sample.prompt_id == group]
            # Each comparison gives its two samples probabilities that add up to 1, and each sample's are averaged over
            # two.
            assert sum(reward for reward in rewards if reward is not None) == pytest.approx(GROUP / 2)


def test_it_is_said_that_the_judge_is_not_independent(run: Run):
    assert "the policy judges itself" in run.summary["warnings"][0]
    assert run.summary["policy_version"] == STEPS

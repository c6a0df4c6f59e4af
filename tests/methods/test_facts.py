"""What each method states of itself, by its settings alone: the rows that it reads, the roles that it needs, what it
makes, and how many samples it takes of a prompt."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from rlsys import registry
from rlsys.methods.base import PACKAGE, Facts

ONLINE = "policy rollout reward"
DPO = ("comparisons", "policy reference", "model", None)
DEFAULTS: dict[str, tuple[str, str, str, int | None]] = {
    # Of the policy-gradient family a reference is needed where the paper's KL has a weight, a critic by PPO alone.
    "ppo": ("prompts", f"{ONLINE} reference critic", "model", 1),
    "grpo": ("prompts", ONLINE, "model", 8),
    "dapo": ("prompts", ONLINE, "model", 16),
    "dr_grpo": ("prompts", ONLINE, "model", 8),
    "gspo": ("prompts", ONLINE, "model", 8),
    "cispo": ("prompts", ONLINE, "model", 8),
    "sapo": ("prompts", ONLINE, "model", 8),
    "rloo": ("prompts", f"{ONLINE} reference", "model", 4),
    "remax": ("prompts", f"{ONLINE} reference", "model", 1),
    "reinforce_pp": ("prompts", f"{ONLINE} reference", "model", 1),
    "reinforce_pp_baseline": ("prompts", f"{ONLINE} reference", "model", 8),
    "online_dpo": ("prompts", f"{ONLINE} reference", "model", 2),
    # What is given is imitated or preferred: nothing is sampled. ORPO and SimPO have no reference in their loss.
    "sft": ("demonstrations", "policy", "model", None),
    "distill": ("demonstrations", "policy teacher", "model", None),
    "dpo": DPO,
    "cdpo": DPO,
    "robust_dpo": DPO,
    "ipo": DPO,
    "slic": DPO,
    "orpo": ("comparisons", "policy", "model", None),
    "simpo": ("comparisons", "policy", "model", None),
    "kto": ("labelled", "policy reference", "model", None),
    "reward_model": ("comparisons", "reward_model", "reward model", None),
    # The student, or the player, samples; a reward only measures.
    "on_policy_distill": ("prompts", f"{ONLINE} teacher", "model", 1),
    "spin": ("answered", ONLINE, "model", 1),
    # These train nothing, so they need no policy to train.
    "rft": ("prompts", "rollout reward", "data set", 8),
    "rest_em": ("prompts", "rollout reward", "data set", 32),
    "raft": ("prompts", "rollout reward", "data set", 8),
    "label_by_reward": ("prompts", "rollout reward", "data set", 2),
    "rlaif": ("prompts", "rollout judge", "data set", 2),
    "constitutional": ("prompts", "rollout reward judge", "data set", 1),
    "self_instruct": ("tasks", "rollout", "data set", 1),
    "curate": ("raw", "", "data set", None),
    "reference_log_probs": ("comparisons", "reference", "data set", None),
    "evaluate": ("prompts", "rollout reward", "measurements", None),
    # Of files: no rows, no actors.
    "merge": ("prompts", "", "model", None),
}


REQUIRED: dict[str, dict[str, Any]] = {"merge": {"models": [{"path": "one"}]}}
"""What has no default."""


def facts(name: str, **settings: Any) -> Facts:
    settings = REQUIRED.get(name, {}) | settings
    return registry.resolve(PACKAGE, name, "Config").model_validate(settings).facts


@pytest.fixture
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> None:
        raise AssertionError("a method was built")

    for name in registry.names(PACKAGE, "Method"):
        monkeypatch.setattr(importlib.import_module(f"{PACKAGE}.{name}"), "Method", build)


def test_every_method_stands_in_the_table():
    assert sorted(DEFAULTS) == registry.names(PACKAGE, "Method")


@pytest.mark.usefixtures("nothing_is_built")
@pytest.mark.parametrize("name", DEFAULTS)
def test_the_facts_of_the_defaults(name: str):
    rows, needs, makes, samples = DEFAULTS[name]
    found = facts(name)
    assert (found.rows, found.needs, found.makes) == (rows, frozenset(needs.split()), makes)
    assert found.samples_per_prompt == samples


@pytest.mark.usefixtures("nothing_is_built")
@pytest.mark.parametrize(
    ("name", "settings", "fact", "wanted"),
    [
        ("grpo", {"kl_coef": 0.01}, "needs", {*ONLINE.split(), "reference"}),
        ("ppo", {"kl_coef": 0}, "needs", {*ONLINE.split(), "critic"}),
        ("ppo", {"mini_batches": 3, "prompts_per_step": 16}, "updates_per_step", 12),
        ("ppo", {"mini_batches": 3, "prompts_per_step": 16}, "rows_per_step", 16),
        ("dpo", {"reference_free": True}, "needs", {"policy"}),
        ("dpo", {"precomputed": True}, "needs", {"policy"}),
        ("online_dpo", {"kind": "simpo"}, "needs", set(ONLINE.split())),
        ("online_dpo", {"group_size": 6}, "samples_per_prompt", 6),
        ("spin", {"scored": False}, "needs", {"policy", "rollout"}),
        ("spin", {"epochs": 3, "mini_batches": 5}, "updates_per_step", 15),
        ("on_policy_distill", {"scored": False}, "needs", {"policy", "rollout", "teacher"}),
        ("sft", {"tokens": "all"}, "rows", "texts"),
        ("reward_model", {"ensemble": 4}, "heads", 4),
        ("raft", {"samples": 3}, "samples_per_prompt", 3),
        ("label_by_reward", {"answers": 5}, "samples_per_prompt", 5),
        ("merge", {"by": "greedy_soup"}, "needs", {"rollout", "reward"}),
        ("rlaif", {"measure": True}, "needs", {"rollout", "judge", "reward"}),
        ("rlaif", {}, "principles_for", {"comparison"}),
        ("rlaif", {"principles": False}, "principles_for", set()),
        ("rlaif", {}, "asks", {"compare"}),
        ("constitutional", {}, "asks", {"critique", "revision"}),
        ("constitutional", {}, "principles_for", {"critique"}),
    ],
)
def test_facts_follow_the_settings(name: str, settings: dict[str, Any], fact: str, wanted: object):
    assert getattr(facts(name, **settings), fact) == wanted


@pytest.mark.parametrize("name", DEFAULTS)
def test_who_says_that_it_measures_itself_can(name: str):
    assert facts(name).measures == hasattr(registry.resolve(PACKAGE, name, "Method"), "measure")


def test_what_follows_from_the_roles():
    """SPIN measures itself and has answered prompts, so its answers can be scored, too, where it asks for rewards."""
    following = {name: (facts(name).samples, facts(name).trains, facts(name).by_answers) for name in DEFAULTS}
    assert {name for name, (samples, _, _) in following.items() if not samples} == {
        *("sft", "distill", "kto", "reward_model", "reference_log_probs", "curate", "merge"),
        *("dpo", "cdpo", "robust_dpo", "ipo", "slic", "orpo", "simpo"),
    }
    assert {name for name, (_, trains, _) in following.items() if not trains} == {
        *("rft", "rest_em", "raft", "label_by_reward", "rlaif", "constitutional", "self_instruct"),
        *("reference_log_probs", "evaluate", "curate", "merge"),
    }
    assert {name for name, (samples, _, by_answers) in following.items() if samples and not by_answers} == {
        *("rlaif", "self_instruct"),
    }
    assert not facts("spin", scored=False).by_answers

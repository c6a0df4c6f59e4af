import pytest

from rlsys.commands.explain import entries, explain
from rlsys.errors import ConfigError


def shown(key: str) -> list[str]:
    return [str(entry) for entry in explain(key)]


def test_a_key_of_a_method_says_whose_it_is():
    head, wanted, meaning = shown("method.clip_high")[0].splitlines()
    assert head.startswith("method.clip_high  (of cispo, dapo, ")
    assert wanted == "    a number above 0; default: 0.2 (cispo 4.0, dapo 0.28, gspo 0.0004)"
    assert meaning.startswith("    The probability ratio is clipped from above")


def test_allowed_values_limits_and_requirements():
    assert "one of auto, sdpa, flash_attention_2; default: auto" in shown("model.attention")[0]
    assert "a number above 0 and of at most 1; default: 0.85" in shown("rollout.gpu_memory_fraction")[0]
    assert "a whole number above 0 or null; default: null" in shown("loop.steps")[0]
    assert "text; required" in shown("data.train.path")[0]
    assert "a whole number above 0 or null; default: null" in shown("cluster.cpus")[0]
    assert "a list of 2: a number, a number; default: [0.9, 0.95]" in shown("policy.betas")[0]


def test_a_section_lists_its_keys():
    keys = [entry.key for entry in explain("weight_sync")]
    assert keys == ["weight_sync"] + [
        f"weight_sync.{name}" for name in ("transport", "content", "bucket_mib", "probe_tokens", "probe_tolerance")
    ]


def test_indices_and_last_parts_name_a_key_too():
    assert [entry.key for entry in explain("rewards.0.weight")] == ["rewards.weight"]
    assert [entry.key for entry in explain("kl_coef")] == ["method.kl_coef"]


def test_without_a_key_the_top_level_is_listed():
    assert {"name", "model", "data", "method", "policy", "cluster"} <= {entry.key for entry in explain()}


@pytest.mark.parametrize(
    ("key", "close"),
    [("policy.rank", "policy.ranks"), ("clip_hig", r"method\.clip_high"), ("weightsync", "weight_sync")],
)
def test_an_unknown_key_names_the_nearest(key: str, close: str):
    with pytest.raises(ConfigError, match=rf"^{key}: unknown key; did you mean {close}\?"):
        explain(key)


def test_every_key_has_a_description():
    assert [entry.key for entry in entries() if not entry.info.description] == []

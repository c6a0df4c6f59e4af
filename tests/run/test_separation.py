"""Is the judge the model that it judges?"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rlsys.config.judge import JudgeConfig
from rlsys.errors import ConfigError
from rlsys.models.version import fingerprint, version_of
from rlsys.playground.models import build
from rlsys.run.separation import shared_weights


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("0.5m", tmp_path_factory.mktemp("models") / "policy")


def test_a_copy_of_the_policy_is_the_policy(policy: Path, tmp_path: Path):
    copy = tmp_path / "judge"
    shutil.copytree(policy, copy)
    (copy / "tokenizer_config.json").write_text("{}")
    warning = shared_weights(JudgeConfig(model=str(copy)), copy, policy)
    assert warning is not None
    assert f"judge.model={copy}: the judge starts from the same weights as the policy" in warning
    assert fingerprint(copy) != fingerprint(policy), "another tokenizer is another judge, though of the same weights"


def test_another_model_is_another_judge(policy: Path, tmp_path: Path):
    other = build("0.5m", tmp_path / "judge", seed=1)
    assert shared_weights(JudgeConfig(model=str(other)), other, policy) is None
    assert fingerprint(other) != fingerprint(policy)
    assert fingerprint(other) == fingerprint(build("0.5m", tmp_path / "again", seed=1))


def test_the_policy_as_judge_is_always_said(policy: Path):
    assert "the policy judges itself" in (shared_weights(JudgeConfig(backend="rollout"), None, policy) or "")


def test_an_endpoint_is_known_by_its_name_alone(policy: Path):
    assert "may be the same weights" in (
        shared_weights(JudgeConfig(backend="openai", model="org/policy"), None, policy) or ""
    )
    assert shared_weights(JudgeConfig(backend="openai", model="gpt"), None, policy) is None


def test_hub_ids_are_told_apart_by_name_and_commit(policy: Path, tmp_path: Path):
    """A folder's hash of nothing would make one judge of all of them. The files are as the hub's library keeps them."""
    for owner, commit in (("org", "0123456789abcdef" * 2 + "01234567"), ("other", "f" * 40)):
        repository = tmp_path / f"models--{owner}--model"
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "snapshots" / commit / "config.json").write_text("{}")
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    assert version_of(Path("org/model"), hub_cache=tmp_path) == "org/model@0123456789ab"
    assert version_of(Path("other/model"), hub_cache=tmp_path) == "other/model@ffffffffffff"
    with pytest.raises(ConfigError, match="which version"):
        version_of(Path("org/absent"), hub_cache=tmp_path)
    assert version_of(policy) == f"policy@{fingerprint(policy)}"
    assert "the same weights" in (
        shared_weights(JudgeConfig(model="org/model"), Path("org/model"), Path("org/model")) or ""
    )


def test_a_folder_without_a_model_has_no_fingerprint(tmp_path: Path):
    with pytest.raises(ConfigError, match="no model"):
        fingerprint(tmp_path)

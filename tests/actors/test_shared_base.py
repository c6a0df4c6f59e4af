"""Reward models that are adapters over one base: each scores as it did where it was made; the base is there once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.adapted import adapted, saved, stir
from support.token_rows import rows

from actors.frozen import SharedBaseActor
from rlsys.check.load import load
from rlsys.check.seats import seating
from rlsys.commands.validate import validated
from rlsys.config.actors import ModelConfig
from rlsys.errors import ConfigError
from rlsys.models.adapters import freeze, ia3, lora, p_tuning, prefix, prompt
from rlsys.models.adapters.base import AdapterConfig
from rlsys.models.adapters.shared.over import check_over
from rlsys.models.adapters.shared.put import put_adapter
from rlsys.models.forward import ValueScorer, last_scores
from rlsys.models.value_model import load_value_model
from rlsys.rewards.with_models import WithModels
from rlsys.roles import SpawnRequest
from rlsys.samples import Group, Prompt, Score, Trajectory

KEYS = ("reward_models.0.path", "reward_models.0.base")
KINDS: dict[str, tuple[AdapterConfig, int]] = {
    "lora": (lora.Config(rank=4), 1),
    "ia3": (ia3.Config(), 2),
    "prefix": (prefix.Config(tokens=4, hidden_size=16), 1),
    "p_tuning": (p_tuning.Config(tokens=4, hidden_size=16), 1),
    "freeze": (freeze.Config(layers=2, export="adapter"), 1),
}
EACH = [[0, 1], [2, 3]]


def made(model: Path, folder: Path, config: AdapterConfig, heads: int, seed: int = 0) -> tuple[Path, torch.Tensor]:
    """A reward model's saved adapter, and what it said of the rows."""
    torch.manual_seed(0)
    adapter = put_adapter(load_value_model(model, torch.float32, heads=heads, seed=seed), config, model)
    stir(adapter)
    scores = last_scores(ValueScorer(adapter.network, False).eval(), rows(), EACH, torch.device("cpu"))
    assert scores is not None
    saved(adapter, folder / "adapter", model)
    return folder, scores


def test_each_scores_as_it_did_and_the_base_is_in_memory_once(model_path: Path, tmp_path: Path) -> None:
    found = {name: made(model_path, tmp_path / name, *config) for name, config in KINDS.items()}
    folders = {name: folder for name, (folder, _) in found.items()}
    assert all(check_over(folders[name], model_path, KEYS) == heads for name, (_, heads) in KINDS.items())
    actor = SharedBaseActor(ModelConfig(path="unused", dtype="float32"), 1, model_path, folders)
    actor.start()
    for name, (_, expected) in found.items():
        scores = actor.scores(rows(), EACH, name)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    held: dict[str, dict[int, int]] = {
        name: {p.data_ptr(): p.nbytes for p in scorer.parameters()} for name, scorer in actor.scorers.items()
    }
    base = sum(p.nbytes for p in load_value_model(model_path, torch.float32, heads=1).base_model.parameters())
    sharing = {pointer: size for name in KINDS if name != "freeze" for pointer, size in held[name].items()}
    of_lora = 4 * (3 * 4 * (4 * 256 + 3 * 384) + 128)  # matrices and a head
    assert sum(held["lora"].values()) == base + of_lora
    others = sum(sum(held[name].values()) - base for name in ("ia3", "prefix", "p_tuning"))
    assert sum(sharing.values()) == base + of_lora + others
    assert not held["freeze"].keys() & sharing.keys()  # it has changed weights of the base


TWO = ("helpful", "safe")
CONFIG = (
    "name: x\nmodel: {path: 'playground:0.5m', dtype: float32}\nloop: {steps: 1}\ncluster: {cpus: 16}\n"
    "method: {name: ppo, prompts_per_step: 2}\nsampling: {max_tokens: 8}\n"
    "data: {train: {path: 'playground:add'}, max_prompt_tokens: 32}\n"
)


@pytest.fixture(scope="module")
def adapters(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, torch.Tensor]]:
    """Three reward models over the model, and a policy."""
    folder = tmp_path_factory.mktemp("adapters")
    found = {name: made(model_path, folder / name, lora.Config(rank=4), 1, seed) for seed, name in enumerate(TWO)}
    policy = saved(adapted(model_path, lora.Config(rank=4)), folder / "policy", model_path)
    soft = made(model_path, folder / "soft", prompt.Config(tokens=20), 1)
    return {**found, "soft": soft, "policy": (policy, torch.empty(0))}


@pytest.fixture
def here(
    tmp_path: Path, model_path: Path, adapters: dict[str, tuple[Path, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A config, and these adapters over the base `m`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").symlink_to(model_path)
    for name, (folder, _) in adapters.items():
        (tmp_path / name).symlink_to(folder)
    (tmp_path / "x.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def models(*settings: str) -> list[str]:
    own = [f"{{name: {path}, path: {path}, {rest}}}" for path, _, rest in (one.partition(" ") for one in settings)]
    return ["model.path=m", f"reward_models=[{', '.join(own)}]"]


def test_they_have_one_seat_and_the_critic_begins_as_the_policy(here: Path) -> None:
    experiment = load(here / "x.yaml", models("helpful base: m, ranks: 2", "safe base: m, ranks: 2"))
    seats = seating(experiment, experiment.method.facts.needs, use_gpus=False).seats
    assert {role: len(own) for role, own in seats.items() if "reward" in role} == {"rewards on m": 2}
    (said, *_) = validated(here / "x.yaml", models("helpful base: m", "safe base: m"))
    assert "1 rewards on m" in said


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (models("helpful base: m", "safe base: m, threads: 2"), "reward_models.1.threads: 2, and helpful"),
        (models("helpful weight: 1"), "reward_models.0.path: helpful holds an adapter and no model: give its base as"),
        (models("m base: m"), "reward_models.0.path: m holds no adapter; give an adapter's folder"),
        (
            [*models("soft base: m"), "data.max_prompt_tokens=4070"],
            "reward_models.0.path soft: sees 4096 tokens, and sequences may have 4078 after the adapter's 20; lower",
        ),
        (models("nowhere base: m"), "reward_models.0.path: nowhere no such folder"),
        (models("helpful base: m, ensemble: mean_minus_std"), "reward_models.0.ensemble: mean_minus_std needs several"),
        (models("helpful base: m, normalize: true"), "normalize needs helpful/reward_scale.json"),
        (
            models("helpful base: 'playground:25m'"),
            r"reward_models.0.path helpful: was trained on .*reward_mod",
        ),
        (
            [*models("helpful base: m"), "model.path=safe"],
            "model.path: safe holds an adapter and no model: let model.pa",
        ),
        ([*models("helpful base: m"), "critic.path=safe"], "critic.path: safe holds an adapter and no model: merge it"),
        (
            [*models("helpful base: m"), "reference.path=safe"],
            "reference.path: safe holds an adapter and no model: mer",
        ),
        (
            [*models("helpful base: m"), "judge={backend: vllm, model: safe, reward: {mode: score}}"],
            "judge.model: safe holds an adapter and no model: merge it",
        ),
    ],
)
def test_an_adapter_in_a_model_s_place_is_one_line(here: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        list(validated(here / "x.yaml", overrides))
    assert "\n" not in str(error.value)


def test_a_policy_s_adapter_and_one_that_peft_wrote_are_no_reward_models(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"reward_models.0.path policy: is no reward model's adapter"):
        list(validated(here / "x.yaml", models("policy base: m")))
    (here / "peft").mkdir()
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (here / "peft" / file).symlink_to(here / "helpful" / "adapter" / file)
    with pytest.raises(ConfigError, match=r"peft: base.json does not say by which settings it was made"):
        list(validated(here / "x.yaml", models("peft base: m")))


@pytest.mark.engine
@pytest.mark.slow
def test_a_run_scores_with_both_in_one_process(
    ray_session: None, here: Path, model_path: Path, adapters: dict[str, tuple[Path, torch.Tensor]]
) -> None:
    from actors.spawn import spawn

    batch = rows()
    with spawn(
        load(here / "x.yaml", models("helpful base: m", "safe base: m, weight: 2")),
        SpawnRequest(frozenset({"reward"}), model_path, optimizer_steps=1, pad_id=0),
    ) as roles:
        reward = roles.reward
        assert isinstance(reward, WithModels)
        samples = tuple(
            Trajectory(f"s{row}", "p", row, ids[:n], [0, 0, *[1] * (n - 2)], [0.0] * n, [0] * n, "stop", "")
            for row, (ids, n) in enumerate(zip(batch.token_ids_BT.tolist(), batch.lengths_B.tolist(), strict=True))
        )
        (scored,) = reward.score([Group(Prompt("p", "", ()), samples)])
    helpful, safe = (adapters[name][1][:, 0] for name in TWO)
    assert [result.value for result in scored.results if isinstance(result, Score)] == pytest.approx(
        (helpful + 2 * safe).tolist(), abs=1e-5
    )

"""The training engine against plain PyTorch: the same gradients however the work is split, exact continuation, exports that load."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray import cloudpickle
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from actors.wait import fetch
from rlsys.batch import Batch, ComparisonBatch, DistillationBatch, PreferenceBatch, ValueBatch
from rlsys.config.actors import LoraConfig, ModelConfig, PolicyConfig
from rlsys.errors import CheckpointError, ConfigError, RlsysError
from rlsys.micro_batches import plan
from rlsys.models.value_model import load_value_model
from rlsys.objectives.distillation_loss import DistillationLoss
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.preference_loss import PreferenceLoss
from rlsys.objectives.reward_model_loss import BradleyTerryLoss
from rlsys.objectives.stats import Stats
from rlsys.objectives.value_loss import ClippedValueLoss
from rlsys.playground.models import build

pytestmark = pytest.mark.engine

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers can't import this file

TIMEOUT = 60.0
STEPS = 20
"""Of the learning-rate schedules."""
SEED = 7


def rows(seed: int, count: int = 11) -> Batch:
    """Random rows of 5 to 40 tokens, trained on from the fourth on."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 41, (count,), generator=generator)
    places = torch.arange(int(lengths.max()))
    token_ids = torch.randint(0, 256, (count, len(places)), generator=generator)
    return Batch(token_ids, (places >= 3) & (places < lengths[:, None]), lengths)


def rankings() -> ComparisonBatch:
    """Rankings of two, three, two and four of the rows, with a tie among the four; labels of two of them are soft."""
    batch = rows(0)
    units = torch.tensor([3, 0, 1, 3, 1, 2, 3, 0, 2, 3, 1])
    grades = torch.tensor([1.0, 2.0, 0.5, 3.0, 2.5, 1.0, 1.0, 0.0, 4.0, -1.0, 1.5])
    preferences = torch.tensor([1.0, 1.0, 0.75, 0.5])[units]
    return ComparisonBatch(batch.token_ids_BT, batch.loss_mask_BT, batch.lengths_B, units, grades, preferences, 1000 + units)


def preferred() -> PreferenceBatch:
    """The rankings, with a reference that found every token equally likely."""
    batch = rankings()
    return PreferenceBatch(**vars(batch), reference_log_probs_B=-math.log(262) * batch.loss_mask_BT.sum(1))


def valued() -> ValueBatch:
    """Old values and returns around those of a new head, so that some are clipped."""
    batch = rows(0)
    old, returns = (2 * torch.randn(batch.token_ids_BT.shape, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    return ValueBatch(batch.token_ids_BT, batch.loss_mask_BT, batch.lengths_B, old * batch.loss_mask_BT, returns * batch.loss_mask_BT)


def taught() -> DistillationBatch:
    """A teacher that names five tokens at each place, at random, and leaves a share to the others."""
    batch, generator = rows(0), torch.Generator().manual_seed(3)
    choices = torch.rand(*batch.token_ids_BT.shape, 262, generator=generator).argsort(-1)[..., :5]
    log_probs = torch.randn(*batch.token_ids_BT.shape, 6, generator=generator).log_softmax(-1)
    mask = batch.loss_mask_BT[..., None]
    return DistillationBatch(batch.token_ids_BT, batch.loss_mask_BT, batch.lengths_B, choices * mask, log_probs * mask)


class Poison(CrossEntropyLoss):
    def __call__(self, outputs: Outputs, batch: Any) -> tuple[Tensor, Stats]:
        loss, stats = super().__call__(outputs, batch)
        return loss * float("nan"), stats


@dataclass(frozen=True)
class Setting:
    """Of one engine."""

    zero: int = 2
    packing: str = "padded"
    budget: int = 120
    dtype: str = "float32"
    checkpointing: bool = False
    lora: LoraConfig | None = None
    schedule: str = "constant"
    warmup: int = 0
    learning_rate: float = 1e-3
    untied: bool = False
    """A model whose output head is not its embedding."""
    heads: int | None = None
    """Of a scalar head."""

    def model_config(self) -> ModelConfig:
        return ModelConfig.model_validate(
            {"path": "unused", "dtype": self.dtype, "gradient_checkpointing": self.checkpointing, "lora": self.lora}
        )

    def config(self, ranks: int) -> PolicyConfig:
        return PolicyConfig.model_validate(
            {
                "ranks": ranks,
                "zero_stage": self.zero,
                "packing": self.packing,
                "tokens_per_micro_batch": self.budget,
                "learning_rate": self.learning_rate,
                "schedule": self.schedule,
                "warmup_steps": self.warmup,
                "weight_decay": 0.1,
            }
        )


class Rank:
    """A process that builds one engine after the other, which is much faster than a process for each."""

    def __init__(self, rank: int, size: int, model: Path) -> None:
        self.rank, self.size, self.model = rank, size, model

    def open(self) -> str:
        from actors.engines.deepspeed_setup import open_store

        self.store = open_store("127.0.0.1", self.size, TIMEOUT)
        return f"127.0.0.1:{self.store.port}"

    def build(self, setting: Setting, address: str) -> None:
        from actors.engines.deepspeed_engine import TrainEngine
        from actors.engines.deepspeed_setup import World

        self.setting = setting
        world = World(self.rank, self.size, address, TIMEOUT)
        path = self.model.with_name("untied") if setting.untied else self.model
        self.engine = TrainEngine(setting.model_config(), setting.config(self.size), path, STEPS, SEED, world, setting.heads)

    def accumulate(self, batch: Batch, loss: Any, normalizer: float) -> int:
        own = plan(batch.lengths_B.tolist(), self.size, self.setting.budget, self.engine.packed, batch.units())[self.rank]
        self.engine.forward_backward(batch, own, loss, normalizer)
        return sum(not rows for rows in own)

    def train(self, batch: Batch, parts: int = 1, loss: Any = None) -> dict[str, float]:
        """One optimizer step on the mean over the whole batch (of trained tokens, by default), accumulated in `parts` calls."""
        loss = loss or CrossEntropyLoss()
        normalizer, units = loss.normalizer(batch), batch.units()
        shares = [[row for unit in part for row in units[unit]] for part in torch.arange(len(units)).tensor_split(parts)]
        idle = sum(self.accumulate(batch.rows(share), loss, normalizer) for share in shares)
        stats = self.engine.optimizer_step()
        return {name: stat.value for name, stat in stats.items()} | {"idle": idle}

    def gradients(self) -> dict[str, Tensor]:
        """The clipped gradients of the first step: what Adam's first moment is then, over 1 - beta1."""
        from deepspeed.utils import safe_get_full_optimizer_state

        optimizer = self.engine.engine.optimizer
        if self.setting.zero in (1, 2):
            # DeepSpeed links the states of all groups after the first group's step, when the second has none yet.
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()
        found = {}
        for name, parameter in self.engine.scorer.model.named_parameters():
            if self.setting.zero == 0:
                moment = optimizer.state[parameter]["exp_avg"]
            else:
                moment = safe_get_full_optimizer_state(parameter, "exp_avg")
                assert moment is not None
            found[name] = moment / (1 - 0.9)
        return found

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.engine, method)(*arguments)

    def log_probs(self, batch: Batch) -> Tensor:
        return self.engine.log_probs(batch, [[row] for row in range(len(batch))], 1.0)

    def scores(self, batch: Batch) -> Tensor | None:
        return self.engine.scores(batch, [[row] for row in range(len(batch))])

    def weights(self) -> dict[str, Tensor]:
        weights = {name: tensor.clone() for name, tensor in self.engine.named_weights()}
        assert [(name, t.dtype, tuple(t.shape)) for name, t in weights.items()] == self.engine.weight_metadata()
        return weights

    def loaded_extensions(self) -> list[str]:
        """Libraries that torch compiled for DeepSpeed in this process."""
        return [line for line in Path("/proc/self/maps").read_text().splitlines() if "torch_extensions" in line]


@dataclass
class Crew:
    actors: list[Any]

    def __post_init__(self) -> None:
        self.address = fetch(self.actors[0].open.remote(), "a store", TIMEOUT)

    def all(self, method: str, *arguments: Any) -> list[Any]:
        return fetch([getattr(actor, method).remote(*arguments) for actor in self.actors], method, TIMEOUT)

    def build(self, setting: Setting) -> None:
        self.all("build", setting, self.address)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside it lies the same model with an output head of its own, twice the embedding."""
    path = build("0.5m", tmp_path_factory.mktemp("policy") / "0.5m")
    config = AutoConfig.from_pretrained(path, tie_word_embeddings=False)
    tied = AutoModelForCausalLM.from_pretrained(path)
    untied = AutoModelForCausalLM.from_config(config)
    weights = tied.state_dict()
    untied.load_state_dict({**weights, "lm_head.weight": 2 * weights["lm_head.weight"]})
    untied.save_pretrained(path.with_name("untied"))
    AutoTokenizer.from_pretrained(path).save_pretrained(path.with_name("untied"))
    return path


def crew(size: int, model: Path) -> Crew:
    remote: Any = ray.remote(Rank).options(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
    return Crew([remote.remote(rank, size, model) for rank in range(size)])


@pytest.fixture(scope="module")
def two(ray_session: None, model: Path) -> Iterator[Crew]:
    made = crew(2, model)
    yield made
    for actor in made.actors:
        ray.kill(actor)


@pytest.fixture(scope="module")
def one(ray_session: None, model: Path) -> Iterator[Crew]:
    made = crew(1, model)
    yield made
    ray.kill(made.actors[0])


@pytest.fixture(scope="module")
def truth(model: Path) -> dict[str, Any]:
    """Plain PyTorch: whole logits, one row at a time, AdamW, three steps. `gradients`: of the first step, clipped."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    matrices = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    result: dict[str, Any] = {"norms": []}
    for seed in range(3):
        batch = rows(seed)
        total = torch.zeros(())
        for i, length in enumerate(batch.lengths_B.tolist()):
            tokens = batch.token_ids_BT[i, :length]
            scores = network(tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
            total = total - scores[batch.loss_mask_BT[i, 1:length]].sum()
        (total / batch.loss_mask_BT.sum()).backward()
        result["norms"].append(float(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)))
        if seed == 0:
            result["gradients"] = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        optimizer.step()
        optimizer.zero_grad()
    result["weights"] = dict(network.named_parameters())
    return result


def assert_trained_alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Within rounding. Adam makes of a gradient near 0 and its rounding steps of up to the learning rate, 1e-3: that must stay a rare exception."""
    for name, weight in expected.items():
        gap = (found[name] - weight.detach()).abs()
        assert float(gap.max()) < 5e-4, name
        assert float((gap > 1e-5).float().mean()) < 2e-3, name


SPLITS = {
    "zero 0": (2, Setting(zero=0), 1),
    "zero 1": (2, Setting(zero=1), 1),
    "zero 2": (2, Setting(zero=2), 1),
    "zero 3": (2, Setting(zero=3), 1),
    "one rank": (1, Setting(zero=2), 1),
    "one rank, one micro-batch": (1, Setting(zero=0, budget=4000), 1),
    "packed": (2, Setting(zero=2, packing="packed"), 1),
    "zero 3, packed, small, recomputed": (2, Setting(zero=3, packing="packed", budget=45, checkpointing=True), 1),
    "zero 0, accumulated in two calls": (2, Setting(zero=0), 2),
    "zero 1, accumulated in two calls": (2, Setting(zero=1), 2),
    "zero 2, accumulated in eleven calls": (2, Setting(zero=2), 11),  # one row each: the other rank idles
    "zero 3, accumulated in eleven calls": (2, Setting(zero=3, checkpointing=True), 11),
}


@pytest.mark.parametrize("name", SPLITS)
def test_gradients_do_not_depend_on_the_split(request: pytest.FixtureRequest, truth: dict[str, Any], name: str) -> None:
    ranks, setting, parts = SPLITS[name]
    crew: Crew = request.getfixturevalue("one" if ranks == 1 else "two")
    crew.build(setting)
    answers = crew.all("train", rows(0), parts)
    gradients = crew.all("gradients")
    norms = [answers[0]["grad_norm"], *(crew.all("train", rows(seed), parts)[0]["grad_norm"] for seed in (1, 2))]

    assert norms == pytest.approx(truth["norms"], rel=2e-5)
    assert truth["norms"][0] > 1.5, "clipping must have had something to do"
    for own in gradients:
        for weight, expected in truth["gradients"].items():
            torch.testing.assert_close(own[weight], expected, rtol=0, atol=1e-5 * float(expected.abs().max()), msg=weight)
    for own in crew.all("weights"):
        assert_trained_alike(own, truth["weights"])
    if parts == 11:
        assert sum(answer["idle"] for answer in answers) == 11


@pytest.fixture(scope="module")
def student_truth(model: Path) -> dict[str, Any]:
    """Plain PyTorch and whole logits: KL(student || teacher) over six outcomes plus half the cross-entropy, one place at a time."""
    network, batch, total = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), taught(), torch.zeros(())
    for i, length in enumerate(batch.lengths_B.tolist()):
        tokens = batch.token_ids_BT[i, :length]
        probabilities = network(tokens[None]).logits[0].softmax(-1)
        for t in batch.loss_mask_BT[i, :length].nonzero()[:, 0].tolist():
            named = probabilities[t - 1, batch.choices_BTK[i, t]]
            student = torch.cat([named, 1 - named.sum()[None]])
            total = (
                total + (student * (student.log() - batch.teacher_log_probs_BTO[i, t])).sum() - 0.5 * probabilities[t - 1, tokens[t]].log()
            )
    (total / batch.loss_mask_BT.sum()).backward()
    norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0))
    return {"norm": norm, "gradients": {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}}


@pytest.mark.parametrize("name", ["zero 0", "zero 2", "packed", "zero 3, packed, small, recomputed", "zero 3, accumulated in eleven calls"])
def test_a_student_s_gradients_do_not_depend_on_the_split(request: pytest.FixtureRequest, student_truth: dict[str, Any], name: str) -> None:
    ranks, setting, parts = SPLITS[name]
    crew: Crew = request.getfixturevalue("one" if ranks == 1 else "two")
    crew.build(setting)
    answers = crew.all("train", taught(), parts, DistillationLoss("reverse_kl", ce_weight=0.5))
    assert answers[0]["grad_norm"] == pytest.approx(student_truth["norm"], rel=2e-5)
    for own in crew.all("gradients"):
        for weight, expected in student_truth["gradients"].items():
            torch.testing.assert_close(own[weight], expected, rtol=0, atol=1e-5 * float(expected.abs().max()), msg=weight)


SCALAR_SPLITS = {
    "zero 0, accumulated in four calls": (2, Setting(zero=0, budget=160), 4),  # one ranking each: the other rank idles
    "zero 1, packed": (2, Setting(zero=1, packing="packed", budget=160), 1),
    "zero 2": (2, Setting(zero=2, budget=160), 1),
    "zero 3, packed, accumulated in two calls": (2, Setting(zero=3, packing="packed", budget=160, checkpointing=True), 2),
    "one rank, one micro-batch": (1, Setting(zero=0, budget=4000), 1),
}


@pytest.fixture(scope="module")
def preference_truth(model: Path) -> dict[str, Any]:
    """Plain PyTorch, one answer and one pair at a time: DPO with beta 0.5 on rankings, also of soft labels, and 0.3 of the chosen answer's nll."""
    network, batch, total = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), preferred(), torch.zeros(())
    sums = []
    for i, length in enumerate(batch.lengths_B.tolist()):
        tokens = batch.token_ids_BT[i, :length]
        scores = network(tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
        sums.append(scores[batch.loss_mask_BT[i, 1:length]].sum())
    for unit in range(4):
        members = (batch.unit_B == unit).nonzero()[:, 0].tolist()
        costs = []
        for good in members:
            for bad in members:
                if batch.grade_B[good] > batch.grade_B[bad]:
                    ratios = [sums[row] + math.log(262) * batch.loss_mask_BT[row].sum() for row in (good, bad)]
                    h, sure = 0.5 * (ratios[0] - ratios[1]), float(batch.preference_B[good])
                    means = [sums[row] / batch.loss_mask_BT[row].sum() for row in (good, bad)]
                    cost = -sure * torch.sigmoid(h).log() - (1 - sure) * torch.sigmoid(-h).log()
                    costs.append(cost - 0.3 * (sure * means[0] + (1 - sure) * means[1]))
        total = total + sum(costs) / len(costs) / 4
    total.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0))
    return {"norm": norm, "gradients": {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}}


@pytest.mark.parametrize("name", SCALAR_SPLITS)
def test_gradients_of_preferences_do_not_depend_on_the_split(
    request: pytest.FixtureRequest, preference_truth: dict[str, Any], name: str
) -> None:
    """ZeRO 0 to 3; a ranking's answers are always on one rank and in one micro-batch."""
    ranks, setting, parts = SCALAR_SPLITS[name]
    crew: Crew = request.getfixturevalue("one" if ranks == 1 else "two")
    crew.build(setting)
    answers = crew.all("train", preferred(), parts, PreferenceLoss("dpo", beta=0.5, sft_weight=0.3))
    assert answers[0]["grad_norm"] == pytest.approx(preference_truth["norm"], rel=2e-5)
    for own in crew.all("gradients"):
        for weight, expected in preference_truth["gradients"].items():
            torch.testing.assert_close(own[weight], expected, rtol=0, atol=1e-5 * float(expected.abs().max()), msg=weight)


@pytest.fixture(scope="module")
def scalar_truth(model: Path) -> dict[str, dict[str, Any]]:
    """Plain PyTorch again, for both losses of scalar heads: one row at a time, each term of the loss by its definition, one AdamW step."""
    return {"rankings": one_step(model, ranking_loss), "values": one_step(model, value_loss)}


def one_step(model: Path, loss: Any) -> dict[str, Any]:
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    network.score.load_state_dict(load_value_model(model, torch.float32, heads=1, seed=SEED).get_submodule("score").state_dict())
    batch, scores = rows(0), []
    for i, length in enumerate(batch.lengths_B.tolist()):
        scores.append(network.score(network.model(batch.token_ids_BT[i : i + 1, :length]).last_hidden_state)[0, :, 0])
    loss(scores).backward()
    norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0))
    gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
    decayed = [
        {"params": [p for p in network.parameters() if (p.dim() > 1) == large], "weight_decay": 0.1 * large} for large in (True, False)
    ]
    torch.optim.AdamW(decayed, lr=1e-3, betas=(0.9, 0.95)).step()
    return {"norm": norm, "gradients": gradients, "weights": dict(network.named_parameters())}


def ranking_loss(scores: list[Tensor]) -> Tensor:
    batch, total = rankings(), torch.zeros(())
    for unit in range(4):
        members = (batch.unit_B == unit).nonzero()[:, 0].tolist()
        terms = [
            torch.nn.functional.binary_cross_entropy_with_logits(scores[a][-1] - scores[b][-1], batch.preference_B[a])
            + 0.01 * (scores[a][-1] + scores[b][-1]) ** 2
            for a in members
            for b in members
            if batch.grade_B[a] > batch.grade_B[b]
        ]
        assert len(terms) == [1, 3, 1, 5][unit]
        total = total + sum(terms) / len(terms)
    return total / 4


def value_loss(scores: list[Tensor]) -> Tensor:
    """Of the value before each trained token: the score of the token before."""
    batch, total, clipped = valued(), torch.zeros(()), 0
    for i, t in batch.loss_mask_BT.nonzero().tolist():
        value, old, wanted = scores[i][t - 1], batch.old_values_BT[i, t], batch.returns_BT[i, t]
        bounded = torch.minimum(torch.maximum(value, old - 0.5), old + 0.5)
        clipped += int((bounded - wanted) ** 2 > (value - wanted) ** 2)
        total = total + 0.5 * torch.maximum((value - wanted) ** 2, (bounded - wanted) ** 2)
    assert clipped > 10
    return total / batch.loss_mask_BT.sum()


@pytest.mark.parametrize("task", ["rankings", "values"])
@pytest.mark.parametrize("name", SCALAR_SPLITS)
def test_a_scalar_head_s_gradients_do_not_depend_on_the_split(
    request: pytest.FixtureRequest, scalar_truth: dict[str, dict[str, Any]], name: str, task: str
) -> None:
    ranks, setting, parts = SCALAR_SPLITS[name]
    crew: Crew = request.getfixturevalue("one" if ranks == 1 else "two")
    crew.build(replace(setting, heads=1))
    given = (rankings(), parts, BradleyTerryLoss(centering=0.01)) if task == "rankings" else (valued(), parts, ClippedValueLoss(clip=0.5))
    answers, truth = crew.all("train", *given), scalar_truth[task]
    assert answers[0]["grad_norm"] == pytest.approx(truth["norm"], rel=2e-5)
    for own in crew.all("gradients"):
        assert own.keys() == truth["gradients"].keys()
        for weight, expected in truth["gradients"].items():
            torch.testing.assert_close(own[weight], expected, rtol=0, atol=1e-5 * float(expected.abs().max()), msg=weight)
    for own in crew.all("weights"):
        assert_trained_alike(own, truth["weights"])


def test_adapters_and_a_scalar_head_train_go_on_and_export(two: Crew, model: Path, tmp_path: Path) -> None:
    """An ensemble of three; dropout, so that a continued run needs its random state."""
    loss, setting = BradleyTerryLoss(), Setting(zero=3, budget=160, heads=3, lora=LoraConfig(rank=4, dropout=0.2))
    two.build(setting)
    start = two.all("weights")[0]
    two.all("train", rankings(), 1, loss)
    two.all("call", "save_state", tmp_path / "state")
    straight = two.all("train", rankings(), 1, loss), two.all("call", "weight_hash")
    two.build(setting)
    two.all("call", "load_state", tmp_path / "state")
    assert (two.all("train", rankings(), 1, loss), two.all("call", "weight_hash")) == straight

    weights = two.all("weights")[0]
    changed = {name for name in weights if not torch.equal(weights[name], start[name])}
    assert changed == {name for name in weights if name == "score.weight" or name.endswith("_proj.weight")}
    two.all("call", "export", tmp_path / "export")
    exported, batch = AutoModelForSequenceClassification.from_pretrained(tmp_path / "export"), rankings()
    lasts = [exported(batch.token_ids_BT[i : i + 1, :length]).logits[0].detach() for i, length in enumerate(batch.lengths_B)]
    torch.testing.assert_close(two.all("scores", batch)[0], torch.stack(lasts), rtol=0, atol=1e-5)


def test_a_scalar_head_s_gradient_that_is_not_finite_stops(one: Crew) -> None:
    one.build(Setting(zero=2, heads=1))
    batch = replace(valued(), returns_BT=torch.full_like(valued().returns_BT, float("nan")))
    with pytest.raises(RlsysError, match="optimizer step 1: the gradient is not finite"):
        one.all("train", batch, 1, ClippedValueLoss())


@pytest.mark.parametrize("setting", [Setting(zero=0, untied=True), Setting(zero=0, lora=LoraConfig(rank=4))], ids=["untied", "adapters"])
def test_zero_3_trains_other_models_alike(one: Crew, two: Crew, setting: Setting) -> None:
    """Four steps of one rank of ZeRO 0, and of two of ZeRO 3 that recompute activations."""
    norms = []
    for crew, own in ((one, setting), (two, replace(setting, zero=3, checkpointing=True, budget=60))):
        crew.build(own)
        norms.append([crew.all("train", rows(seed))[0]["grad_norm"] for seed in range(4)])
    assert norms[1] == pytest.approx(norms[0], rel=5e-5)
    expected, found = one.all("weights")[0], two.all("weights")[1]
    assert ("lm_head.weight" in expected) == setting.untied
    assert_trained_alike(found, expected)


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_training_goes_on_exactly_where_it_stopped(two: Crew, tmp_path: Path, zero: int) -> None:
    """Dropout in the adapters, warm-up and a cosine: what a continued run would get wrong if anything were missing."""
    lora = LoraConfig(rank=4, dropout=0.2) if zero in (2, 3) else None
    setting = Setting(zero=zero, lora=lora, schedule="cosine", warmup=2, dtype="bfloat16" if zero == 1 else "float32")
    two.build(setting)
    straight = [two.all("train", rows(seed))[0] for seed in range(3)]
    two.all("call", "save_state", tmp_path)
    straight += [two.all("train", rows(seed))[0] for seed in (3, 4)]
    wanted = two.all("call", "weight_hash")
    two.build(setting)
    torch.manual_seed(0)
    assert two.all("call", "weight_hash") != wanted
    two.all("call", "load_state", tmp_path)
    resumed = [two.all("train", rows(seed))[0] for seed in (3, 4)]
    assert resumed == straight[3:]
    assert two.all("call", "weight_hash") == wanted
    assert wanted[0] == wanted[1]
    # Warm-up from 0 over two steps, then half a cosine over the other eighteen: 1/2 (1 + cos(pi / 18)) = 0.99240.
    assert [answer["learning_rate"] for answer in straight[:4]] == pytest.approx([0.0, 5e-4, 1e-3, 0.99240e-3], rel=1e-4)


def test_a_state_of_other_ranks_is_refused(one: Crew, tmp_path: Path) -> None:
    one.build(Setting())
    one.all("call", "save_state", tmp_path)
    (tmp_path / "trainer" / "random-1.pt").touch()
    with pytest.raises(CheckpointError, match="no trainer state of 1 ranks"):
        one.all("call", "load_state", tmp_path)
    with pytest.raises(CheckpointError, match="no trainer state of 1 ranks"):
        one.all("call", "load_state", tmp_path / "missing")


@pytest.mark.parametrize(
    "setting", [Setting(zero=3, lora=LoraConfig(rank=4)), Setting(zero=2, dtype="bfloat16"), Setting(zero=3, untied=True)]
)
def test_an_export_loads_anywhere_and_computes_the_same(two: Crew, model: Path, tmp_path: Path, setting: Setting) -> None:
    two.build(setting)
    for seed in range(2):
        two.all("train", rows(seed))
    two.all("call", "export", tmp_path)
    batch = rows(9)
    scores = two.all("log_probs", batch)[0]
    source = model.with_name("untied") if setting.untied else model
    assert two.all("weights")[0].keys() == dict(AutoModelForCausalLM.from_pretrained(source).named_parameters()).keys()

    exported = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert str(exported.dtype) == f"torch.{setting.dtype}"
    table = exported(batch.token_ids_BT).logits[:, :-1].float().log_softmax(-1)
    expected = torch.zeros_like(scores)
    expected[:, 1:] = table.gather(-1, batch.token_ids_BT[:, 1:, None])[..., 0]
    tolerance = 1e-5 if setting.dtype == "float32" else 0.05
    torch.testing.assert_close(scores, expected.detach() * batch.loss_mask_BT, rtol=0, atol=tolerance)
    original = AutoTokenizer.from_pretrained(model)
    assert AutoTokenizer.from_pretrained(tmp_path).encode("Grüße") == original.encode("Grüße")


@pytest.mark.parametrize(
    ("zero", "dtype"), [(0, "float32"), (1, "float32"), (2, "float32"), (3, "float32"), (0, "bfloat16"), (1, "bfloat16")]
)
def test_a_gradient_that_is_not_finite_stops_at_its_step_and_spoils_nothing(two: Crew, zero: int, dtype: str) -> None:
    two.build(Setting(zero=zero, dtype=dtype))
    two.all("train", rows(0))
    before = two.all("call", "weight_hash")
    with pytest.raises(RlsysError, match="optimizer step 2: the gradient is not finite"):
        two.all("train", rows(1), 1, Poison())
    assert two.all("call", "weight_hash") == before


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_bfloat16_trains_on_float32_masters(two: Crew, zero: int) -> None:
    """The norms' weights begin at 1, where bfloat16's next lower number is 1 - 2^-8: an update of 1e-4 is seen only if it is added up elsewhere."""
    two.build(Setting(zero=zero, dtype="bfloat16", learning_rate=1e-4))
    batch = rows(0)
    for _ in range(2):
        two.all("train", batch)
    assert bool((two.all("weights")[0]["model.norm.weight"] == 1).all())
    for _ in range(50):
        two.all("train", batch)
    moved = two.all("weights")[0]["model.norm.weight"] != 1
    assert moved.float().mean() > 0.2


def test_nothing_is_compiled_at_start(two: Crew) -> None:
    two.build(Setting())
    assert two.all("loaded_extensions") == [[], []]


def test_offloading_without_a_gpu_is_refused(one: Crew) -> None:
    from actors.engines.deepspeed_setup import check

    with pytest.raises(ConfigError, match=r"policy\.offload_optimizer: there is no GPU"):
        check(PolicyConfig(offload_optimizer=True), has_gpu=False)
    with pytest.raises(ConfigError, match="zero_stage of at least 3, not 2"):
        check(PolicyConfig(offload_parameters=True, zero_stage=2), has_gpu=True)

"""What a sampler makes of an adapter's tensors, on a model with queries and keys in one module, without engines."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from support.adapted import adapted, stir
from torch import Tensor

from actors.engines.deepspeed_weights import Weights
from actors.weight_sync.assembly import Assembly
from actors.weight_sync.records import Handshake, TensorSpec
from actors.weight_sync.sync import choose_content
from rlsys.config.actors import SyncConfig
from rlsys.models.adapters import dora, freeze, ia3, lora, qlora, rslora, vera
from rlsys.models.adapters.base import AdapterConfig, Merge
from rlsys.models.adapters.lora import AddProduct

CPU = torch.device("cpu")
BASE = {"q": torch.eye(2), "k": 3 * torch.ones(2, 2), "up": 5 * torch.ones(2, 2), "bias": torch.ones(2)}
TRAINED = {"q.A": torch.tensor([[1.0, 2.0]]), "q.B": torch.tensor([[1.0], [0.0]]), "norm": torch.ones(2)}
MODULES = {"q": ("qkv",), "k": ("qkv",), "up": ("up",), "bias": ("up",), "norm": ("norm",)}


def specs(tensors: dict[str, Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.of(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items())


def assembly(merges: dict[str, Merge]) -> Assembly:
    made = Assembly(pickle.loads(pickle.dumps(Handshake("gloo", specs(TRAINED), {}, 0, specs(BASE), merges))))
    assert not made.learned
    made.learn({name: frozenset(own) for name, own in MODULES.items()})
    return made


def loaded(made: Assembly, *brought: dict[str, Tensor]) -> dict[str, list[list[float]] | list[float]]:
    """In one sync, as buckets of these tensors."""
    found: dict[str, Tensor] = {}
    made.start()
    for bucket in brought:
        found |= dict(made.take(bucket.items()))
    found |= dict(made.rest(CPU))
    return {name: tensor.tolist() for name, tensor in found.items()}


def test_it_merges_into_the_base_it_keeps_and_loads_whole_modules() -> None:
    """q = 1 + 2 B A: by hand [[1 + 2, 4], [0, 1]]; k stays and comes with it, as both are one module. `up` is loaded
    once."""
    made = assembly({"q": Merge(AddProduct(2.0), ("q.A", "q.B"))})
    first = loaded(made, BASE, TRAINED)
    assert first.keys() == MODULES.keys()
    assert (first["q"], first["k"], first["up"]) == ([[3, 4], [0, 1]], [[3, 3], [3, 3]], [[5, 5], [5, 5]])
    again = loaded(made, {**TRAINED, "q.B": torch.tensor([[0.0], [1.0]]), "norm": 2 * torch.ones(2)})
    assert again == {"q": [[1, 0], [2, 5]], "k": first["k"], "norm": [2, 2]}
    assert made.always() == again.keys()


def test_its_base_is_a_copy_and_nothing_of_a_broken_sync_is_left() -> None:
    made = assembly({"q": Merge(AddProduct(1.0), ("q.A", "q.B"))})
    base = {name: tensor.clone() for name, tensor in BASE.items()}
    expected = loaded(made, base, TRAINED)
    base["q"].zero_()  # a transport's buffer is written again
    made.start()
    list(made.take([("q.A", 100 * TRAINED["q.A"])]))
    made.start()
    assert made.arrived == {}
    assert loaded(made, TRAINED)["q"] == expected["q"]


def test_it_rounds_once() -> None:
    """In bfloat16, whose numbers above 256 are two apart: 256 + 1.5 is 258, where a product rounded to 1 makes 257,
    which is 256."""
    merge = Merge(AddProduct(1.0), ("a", "b"))
    parts = [torch.full((1, 1), value, dtype=torch.bfloat16) for value in (1.5, 1.0)]
    assert merge(torch.full((1, 1), 256.0, dtype=torch.bfloat16), parts).tolist() == [[258.0]]


def test_whole_models_are_loaded_as_they_come() -> None:
    made = Assembly(Handshake("gloo", specs(BASE), {}, 0))
    assert made.learned
    assert dict(made.take(BASE.items())).keys() == BASE.keys()
    assert list(made.rest(CPU)) == []


@pytest.mark.parametrize(
    "config",
    [
        lora.Config(rank=4, target_modules=("q_proj", "down_proj"), modules_to_save=("model.norm", "v_proj")),
        rslora.Config(rank=4),
        dora.Config(rank=4),
        vera.Config(rank=16),
        ia3.Config(),
        freeze.Config(layers=2),
        qlora.Config(rank=4, target_modules="attention"),
    ],
    ids=lambda config: config.kind,
)
def test_what_the_trainer_sends_makes_its_own_merged_weights_bit_for_bit(
    model_path: Path, config: AdapterConfig
) -> None:
    """With modules as vLLM fuses them; after training, only what is trained is sent."""
    adapter = adapted(model_path, config)
    weights = Weights(adapter, torch.float32, nullcontext)

    def told(content: str) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec.of(*metadata) for metadata in weights.metadata(content))  # type: ignore[arg-type]

    handshake = Handshake("gloo", told("trained"), {}, 0, told("base"), weights.merges())
    made = Assembly(pickle.loads(pickle.dumps(handshake)))
    fused = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up"}
    made.learn({name: frozenset({module(name, fused)}) for name in made.loaded})
    whole = loaded(made, dict(weights.named("base")), dict(weights.named("trained")))
    assert whole == {name: tensor.tolist() for name, tensor in weights.named("merged")}
    stir(adapter)
    merged = {name: tensor.tolist() for name, tensor in weights.named("merged")}
    alone = loaded(made, dict(weights.named("trained")))
    assert alone == {name: merged[name] for name in alone}
    assert {name for name in merged if merged[name] != whole[name]} <= alone.keys()
    assert alone.keys() == made.always() < merged.keys()
    modules = {module(name, fused) for name in alone}
    assert alone.keys() == {name for name in merged if module(name, fused) in modules}


def test_an_adapter_is_sent_alone_unless_it_is_told_otherwise_or_shares_a_gpu() -> None:
    auto, adapter = SyncConfig(), lora.Config()
    assert choose_content(auto, adapter, "shared_memory") == choose_content(auto, adapter, "nccl") == "adapter"
    assert choose_content(auto, adapter, "ipc") == choose_content(auto, None, "gloo") == "merged"
    assert choose_content(SyncConfig(content="merged"), adapter, "gloo") == "merged"
    assert choose_content(SyncConfig(content="adapter"), adapter, "ipc") == "adapter"


def module(name: str, fused: dict[str, str]) -> str:
    return ".".join(fused.get(part, part) for part in name.split(".")[:-1])

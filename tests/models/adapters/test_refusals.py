"""What does not fit a model is one line that names the setting and the nearest module."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.adapted import adapted, saved

from rlsys.errors import ConfigError
from rlsys.files import save_weights
from rlsys.models.adapters import bitfit, bottleneck, freeze, ia3, lora, vera
from rlsys.models.adapters.base import AdapterConfig
from rlsys.playground.models import random_model
from rlsys.playground.shapes import SIZES

WRONG: list[tuple[AdapterConfig, str]] = [
    (lora.Config(target_modules=("q_prj",)), "target_modules: 'q_prj' is no linear layer of .*did you mean q_proj?"),
    (lora.Config(target_modules=("lm_head",)), r"the output head \(lm_head\) can't have an adapter"),
    (lora.Config(target_modules=("embed_tokens",)), "target_modules: 'embed_tokens' is no linear layer"),
    (lora.Config(target_modules="all_liner"), "did you mean all_linear?"),
    (lora.Config(target_modules="(q_proj"), "is no regular expression"),
    (lora.Config(rank=129), "rank: 129 is more than model.layers.0.self_attn.q_proj can have .128 x 128.; at most 128"),
    (lora.Config(first_layers=4), "first_layers: 4 is more than the 3 layers"),
    (lora.Config(modules_to_save=("nrm",)), "modules_to_save: 'nrm' is no module with weights.*did you mean norm?"),
    (vera.Config(target_modules=("up",)), "target_modules: 'up' is no linear layer"),
    (ia3.Config(target_modules=("k_proj",)), "feedforward_modules: 'down_proj' is not among target_modules"),
    (bitfit.Config(), "bitfit trains biases, and this Qwen3ForCausalLM has none"),
    (freeze.Config(layers=4), "the model has 3 layers, so from 0 to 3 can stay, not 4"),
    (freeze.Config(layers=0, embeddings=False), "from 1 to 3 can stay, not 0"),
]


@pytest.mark.parametrize(("config", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_does_not_fit_the_model_is_one_line(tiny: Path, config: AdapterConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        adapted(tiny, config)
    assert "\n" not in str(error.value)


def test_an_adapter_of_another_base_kind_shape_or_scale_is_refused(tiny: Path, tmp_path: Path) -> None:
    """The other base differs in its weights only."""
    other = tmp_path / "other"
    model = random_model(SIZES["0.5m"], seed=1)
    model.config.save_pretrained(other)
    save_weights(other, dict(model.named_parameters()))
    config = lora.Config(rank=4, target_modules=("q_proj",))
    folder = saved(adapted(tiny, config), tmp_path / "final" / "adapter", tiny)

    def go_on(base: Path, config: AdapterConfig) -> None:
        adapted(base, config.model_copy(update={"path": str(folder.parent)}))  # the final model's folder is enough

    go_on(tiny, config)
    with pytest.raises(ConfigError, match=r"was trained on 0.5m@.* and model.path is other@.*give it the base"):
        go_on(other, config)
    with pytest.raises(ConfigError, match="is of kind lora, not bottleneck"):
        go_on(tiny, bottleneck.Config())
    with pytest.raises(ConfigError, match="its r is 4, and this config's 8"):
        go_on(tiny, lora.Config(rank=8, target_modules=("q_proj",)))
    with pytest.raises(ConfigError, match=r"its lora_alpha is 32.0, and this config's 16.0"):
        go_on(tiny, config.model_copy(update={"alpha": 16.0}))
    with pytest.raises(ConfigError, match=r"k_proj.* is not among its tensors"):
        go_on(tiny, config.model_copy(update={"target_modules": ("q_proj", "k_proj")}))
    with pytest.raises(ConfigError, match="holds no adapter"):
        adapted(tiny, config.model_copy(update={"path": str(tiny)}))

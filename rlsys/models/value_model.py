"""Models with a scalar head: reward models and critics. On disk they are what `AutoModelForSequenceClassification`
loads: the body of a causal language model and a linear map from the hidden state to K numbers, one per head (more than
one is an ensemble)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from rlsys.errors import ConfigError
from rlsys.models.load import Attention, first_line, load_config, without_dropout

SCALAR_HEAD = "score"
"""Its name in all of transformers' decoder models."""
HEADS = "reward_heads"
"""In the config of a model that we exported: its outputs are scores of the same thing, and not classes."""
SUFFIX = "ForSequenceClassification"
"""Of the architectures that have a scalar head."""


def is_value_model(config: PreTrainedConfig) -> bool:
    return any(name.endswith(SUFFIX) for name in config.architectures or ())


def load_value_model(
    path: Path, dtype: torch.dtype, attention: Attention = "sdpa", heads: int | None = None, seed: int = 0
) -> PreTrainedModel:
    """The model on the CPU, in training mode with every dropout at 0; its head is `.score`, a linear layer without
    bias.

    `heads`: to be trained, with so many outputs. A causal language model then gets a new head, drawn from N(0, 1 /
    (hidden size + 1)) by `seed` (Stiennon et al. 2020, arXiv 2009.01325); a model with a head keeps it; where one is
    wanted of an ensemble, it is their mean. None: to be used as it is, and then it must have a head. Raises ConfigError
    for a model that can't be loaded so.
    """
    disable_progress_bar()  # of many processes at once
    config = load_config(path)
    has_head = is_value_model(config)
    without_dropout(config)
    if not has_head:
        if heads is None:
            raise ConfigError(
                f"{path}: this is no reward model: it has no scalar head ({config.architectures}); train one by method "
                "reward_model"
            )
        config.num_labels = heads
    elif (config.num_labels or 1) > 1 and not hasattr(config, HEADS):
        raise ConfigError(
            f"{path}: a classifier of {config.num_labels} classes is no ensemble of {config.num_labels} reward models; "
            "one output is wanted, or "
            f"`{HEADS}` in its config.json if they are"
        )
    settings = {"config": config, "dtype": dtype, "attn_implementation": attention}
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            str(path), **settings, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no model with a scalar head can be made of it: {first_line(error)}") from error
    head = dict(model.named_children()).get(SCALAR_HEAD)
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise ConfigError(
            f"{path}: {type(model).__name__} has no linear head `{SCALAR_HEAD}` without bias, which is the only kind "
            "supported"
        )
    # What is missing transformers would draw at random.
    if missing := sorted({*found["missing_keys"]} - ({f"{SCALAR_HEAD}.weight"} if not has_head else set())):
        raise ConfigError(
            f"{path}: a {type(model).__name__} lacks {len(missing)} of its weights here, such as {missing[0]}; export "
            "it anew"
        )
    if not has_head:
        _draw(head, seed)
    if heads is not None and config.num_labels != heads:
        if heads != 1:
            raise ConfigError(
                f"{path}: has {config.num_labels} heads, not {heads}; start the ensemble from a model without heads"
            )
        _average(model, head)
    return cast(PreTrainedModel, model).train()


def _draw(head: nn.Linear, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * (head.in_features + 1) ** -0.5)


def _average(model: PreTrainedModel, head: nn.Linear) -> None:
    single = nn.Linear(head.in_features, 1, bias=False, dtype=head.weight.dtype)
    with torch.no_grad():
        single.weight.copy_(head.weight.mean(0, keepdim=True))
    model.score = single
    model.config.num_labels = 1

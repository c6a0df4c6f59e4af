"""Kinds that put trained vectors before the tokens or into each layer's attention: peft's prompt encoders, called by
hooks on the model's body, so that whoever asks for hidden states of T tokens still gets T of them."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveInt

from rlsys.errors import ConfigError
from rlsys.models.adapters import base

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn

DEFAULT = "default"
NAME = "prompt_encoder"
"""Of the encoder in the model's body."""


class SoftConfig(base.AdapterConfig):
    """Settings of all these kinds."""

    tokens: PositiveInt = 20
    """How many trained vectors stand before the input."""
    export: Literal["both", "merged", "adapter"] = "adapter"
    """What a finished run's `final` holds: only the adapter can be written."""

    unmergeable: ClassVar[str | None] = "trained vectors before the input are no weights of the base model"
    never_with: ClassVar[Mapping[str, str]] = {"packing": "each row needs its own vectors before it"}

    @property
    def keeps_base(self) -> bool:
        return True

    @property
    def positions(self) -> int:
        return self.tokens


class Soft(base.Adapter):
    """`peft_config` says what is trained."""

    @abstractmethod
    def peft_config(self) -> PeftConfig: ...

    def place(self) -> None:
        from peft import PeftModel

        described = self.peft_config()
        described.task_type = "SEQ_CLS" if self.network.get_output_embeddings() is None else "CAUSAL_LM"
        # Not peft's class for the task, which would wrap a scalar head.
        self.peft_model: Any = PeftModel(self.network, described, DEFAULT)
        self.network.requires_grad_(False)
        self.encoder: nn.Module = self.peft_model.prompt_encoder[DEFAULT].to(self.network.dtype)
        # What trains may be spread over ranks, with hooks that gather it; what makes the saved vectors may not.
        self.maker = copy.deepcopy(self.encoder)
        body: nn.Module = self.network.base_model
        body.add_module(NAME, self.encoder)
        self.encoder.requires_grad_(True)
        self.enable(True)
        # Asked each time, as hooks that are removed and come back would run in another order than ZeRO-3's own.
        body.register_forward_pre_hook(lambda *given: self.before(*given) if self.enabled else None, with_kwargs=True)
        body.register_forward_hook(lambda *given: self.after(*given) if self.enabled else None)

    def enable(self, on: bool) -> None:
        self.enabled = on

    def vectors(self, rows: int) -> Any:
        return self.peft_model.get_prompt(batch_size=rows)

    def before(self, body: Any, arguments: Any, asked: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Vectors before the tokens' embeddings."""
        import torch

        embedded = body.get_input_embeddings()(asked["input_ids"])
        both = torch.cat([self.vectors(len(embedded)).to(embedded.dtype), embedded], dim=1)
        return arguments, {**asked, "input_ids": None, "inputs_embeds": both}

    def after(self, body: Any, arguments: Any, found: Any) -> Any:
        found.last_hidden_state = found.last_hidden_state[:, self.config.tokens :]
        return found

    def tensors(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the encoder makes, which is all that plain peft wants, and a scalar head."""
        import torch

        prefix = next(name for name in self.base_names if f"{NAME}." in name).partition(f"{NAME}.")[0] + f"{NAME}."
        own = {name.removeprefix(prefix): tensor for name, tensor in parameters.items() if name.startswith(prefix)}
        others = {f"base_model.{name}": tensor for name, tensor in parameters.items() if not name.startswith(prefix)}
        indices = torch.arange(self.config.tokens)[None]
        with torch.no_grad():
            made = torch.func.functional_call(self.maker, own, (indices,))[0]
        return {"prompt_embeddings": made.detach(), **others}

    def description(self) -> dict[str, Any]:
        found = self.peft_model.peft_config[DEFAULT].to_dict()
        found["inference_mode"] = True
        return json.loads(json.dumps(found, default=sorted))

    def load(self, tensors: dict[str, Tensor], described: Mapping[str, Any]) -> None:
        own = dict(self.encoder.named_parameters())
        if [*own] != ["embedding.weight"]:
            raise ConfigError(
                f"model.adapter.path: of {self.config.kind} only what its encoder made is saved; its encoder is not in "
                "the file, so no training can go on from it"
            )
        if tensors["prompt_embeddings"].shape != own["embedding.weight"].shape:
            raise ConfigError(
                f"model.adapter.path: has the shape {[*tensors['prompt_embeddings'].shape]} there and "
                f"{[*own['embedding.weight'].shape]} here; take its settings"
            )
        own["embedding.weight"].data.copy_(tensors["prompt_embeddings"])
        for name, parameter in self.network.named_parameters():
            if f"base_model.{name}" in tensors:
                parameter.data.copy_(tensors[f"base_model.{name}"])

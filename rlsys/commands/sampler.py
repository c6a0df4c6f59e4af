"""A model that somebody wants to see answer: its prompts rendered, its engine started, nothing trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rlsys.commands.named_models import dtype_of, files, window_of
from rlsys.config.dataset import DatasetConfig
from rlsys.config.document import Document, Override
from rlsys.config.experiment import Experiment
from rlsys.data.chat import Renderer
from rlsys.data.messages import Message
from rlsys.data.raw import BadRow
from rlsys.errors import ConfigError
from rlsys.methods import evaluate
from rlsys.roles import Rollout, Spawn, SpawnRequest
from rlsys.samples import Prompt, Trajectory

NAME = "sample"
"""What the experiment is called; nothing is written under it."""


@dataclass(frozen=True)
class Sampler:
    """One model, not started yet, so that whatever is wrong with any of several costs no start."""

    name: str
    """As it was typed."""
    experiment: Experiment
    request: SpawnRequest
    renderer: Renderer

    @classmethod
    def prepare(
        cls, name: str, path: str, settings: Sequence[Override], system: str | None = None, plain: bool = False
    ) -> Sampler:
        """`path`: see `named_models.model_path`. `settings` are those of an experiment. `system`: a system prompt;
        `plain`: without the chat template. Raises ConfigError."""
        from rlsys.models.load import load_tokenizer  # brings transformers
        from rlsys.models.stop_tokens import stop_token_ids
        from rlsys.run.preflight import check_tokenizers

        document = Document.empty("rlsys sample")
        document.data = {"name": NAME, "model": {"path": path}, "data": {}, "loop": {"steps": 1}}
        document.data |= {"method": evaluate.Config().model_dump(), "sampling": {"max_tokens": 512}}
        for setting in settings:
            document.override(setting)
        experiment = document.validated(Experiment).model_copy(update={"method": evaluate.Config()})
        folder = files(name, path, experiment.output)
        tokenizer = load_tokenizer(folder)
        check_tokenizers(experiment, tokenizer, lambda _: folder)
        shown = DatasetConfig(path=name, system_prompt=system, chat_template="never" if plain else "auto")
        assert isinstance(tokenizer.pad_token_id, int), "load_tokenizer sees to it that there is a pad token"
        renderer = Renderer.create(shown, tokenizer)
        stop_ids = stop_token_ids(tokenizer, folder, renderer.template is not None)
        request = SpawnRequest(frozenset({"rollout"}), folder, 1, tokenizer.pad_token_id, stop_ids=stop_ids)
        return cls(name, _filled(experiment, document, folder), request, renderer)

    def prompt(self, name: str, turns: str | Sequence[Message]) -> Prompt:
        """A prompt of its own `name`. Raises ConfigError for one that leaves no room for the response, or that the chat
        template refuses."""
        try:
            text, token_ids = self.renderer.prompt(turns)
        except BadRow as error:
            raise ConfigError(f"{self.name}: {error}") from error
        window, longest = self.experiment.rollout.max_model_len, self.experiment.sampling.max_tokens
        assert window is not None
        if len(token_ids) + longest > window:
            raise ConfigError(
                f"{self.name}: the prompt has {len(token_ids)} tokens and the response may have {longest}, of {window} "
                "in all; shorten it, lower --max-tokens, or give --set rollout.max_model_len=N"
            )
        if not token_ids:
            raise ConfigError(f"{self.name}: an empty prompt has no tokens to go on from; give some text")
        return Prompt(name, text, tuple(token_ids))

    @contextmanager
    def started(self, spawn: Spawn) -> Iterator[Rollout]:
        with spawn(self.experiment, self.request) as roles:
            assert roles.rollout is not None, "it was asked for"
            yield roles.rollout

    def answers(self, rollout: Rollout, prompts: Sequence[Prompt], n: int, tag: str) -> list[tuple[Trajectory, ...]]:
        """`n` of each prompt, in their order."""
        groups = rollout.generate(prompts, self.experiment.sampling.sampling(n), tag)
        found = {group.prompt.prompt_id: group.trajectories for group in groups}
        return [found[prompt.prompt_id] for prompt in prompts]


def _filled(experiment: Experiment, document: Document, folder: Path) -> Experiment:
    """With what follows from the model's files, where nothing else was said."""
    model, rollout = experiment.model, experiment.rollout
    if "dtype" not in document.data["model"]:
        model = model.model_copy(update={"dtype": dtype_of(folder)})
    if rollout.max_model_len is None:
        rollout = rollout.model_copy(update={"max_model_len": window_of(folder)})
    return experiment.model_copy(update={"model": model, "rollout": rollout})

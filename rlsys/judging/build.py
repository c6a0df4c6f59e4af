"""From settings to a judge over whatever model answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlsys.config.judge import JudgeConfig
from rlsys.judging.asking.constitution_files import load_constitution
from rlsys.judging.asking.judge import ModelJudge
from rlsys.judging.asking.prompts import Prompts
from rlsys.judging.asking.templates import load_templates
from rlsys.judging.auditing.canaries import load_canaries
from rlsys.judging.backend import Backend
from rlsys.judging.endpoint.cache import CachedBackend

CACHE = "judge_cache.sqlite"


def build_judge(config: JudgeConfig, backend: Backend, output: Path, seed: int, specials: Sequence[str]) -> ModelJudge:
    """`specials`: the texts of the judge's special tokens, if its tokenizer is at hand. Raises ConfigError."""
    templates = load_templates(config.templates)
    whole = load_constitution(config.constitution)
    constitution = whole.chosen(config.principles, config.leave_out)
    prompts = Prompts(templates, constitution, config.examples, config.max_score, config.criteria, specials)
    # The policy's replies change with its weights, and its name does not.
    if config.cache is not None and config.backend != "rollout":
        backend = CachedBackend(backend, output / CACHE if config.cache == "auto" else Path(config.cache).expanduser())
    return ModelJudge(backend, prompts, config, seed, load_canaries(config.canaries, templates, constitution, whole))

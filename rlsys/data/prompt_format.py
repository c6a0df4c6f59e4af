"""Prompts made from several columns: "{instruction}\\n\\n{input}"."""

from __future__ import annotations

import json
from string import Formatter
from typing import Any

from rlsys.config.dataset import DatasetConfig
from rlsys.data.raw import BadRow
from rlsys.data.values import as_text, kind, present
from rlsys.errors import ConfigError
from rlsys.samples import stable_seed


def format_columns(config: DatasetConfig) -> list[str]:
    """Columns that `prompt_format`, or any of `templates`, names. Raises ConfigError for a format that can't be filled,
    or with a mapping beside it."""
    if not config.makes_prompts:
        return []
    key = "templates" if config.templates else "prompt_format"
    doubled = [own for own in ("prompt", "messages") if own in config.fields]
    if doubled:
        raise ConfigError(f"{key} makes the prompt, so fields can't map {doubled[0]} too; leave one out")
    formats = config.templates or (config.prompt_format or "",)
    return [*dict.fromkeys(name for one in formats for name in _columns(key, one))]


def chosen_format(config: DatasetConfig, value: dict[str, Any]) -> str:
    """`prompt_format`, or that of `templates` which the row is asked in: the same in every run, and in any order of
    rows."""
    if not config.templates:
        assert config.prompt_format is not None
        return config.prompt_format
    own = json.dumps(value, sort_keys=True, default=str)
    return config.templates[stable_seed("template", own) % len(config.templates)]


def _columns(key: str, template: str) -> list[str]:
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"{key} {template!r} can't be read: {error}; literal braces are doubled") from error
    names = [name for _, name, _, _ in pieces if name is not None]
    if not names or not all(names) or any(spec or conversion for _, _, spec, conversion in pieces):
        raise ConfigError(
            f"{key} {template!r} must name columns, as in '{{instruction}}\\n\\n{{input}}', and nothing else"
        )
    return names


def filled(template: str, value: dict[str, Any]) -> str:
    """An empty or missing last column leaves no white space behind."""
    text, last = "", None
    pieces = list(Formatter().parse(template))
    for place, (literal, name, _, _) in enumerate(pieces):
        text, last = text + literal, None
        if name is not None:
            item = present(value[name])
            if item is None and place < len(pieces) - 1:
                raise BadRow(f"column {name!r} is {kind(value[name])}, and prompt_format needs it")
            last = "" if item is None else as_text(item)
            text += last
    return text if last is None or last.strip() else text.rstrip()

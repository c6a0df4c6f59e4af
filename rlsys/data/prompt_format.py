"""Prompts made from several columns: "{instruction}\\n\\n{input}"."""

from __future__ import annotations

from string import Formatter
from typing import Any

from rlsys.config.dataset import DatasetConfig
from rlsys.data.raw import BadRow
from rlsys.data.values import as_text, kind, present
from rlsys.errors import ConfigError


def format_columns(config: DatasetConfig) -> list[str]:
    """Columns that `prompt_format` names. Raises ConfigError for a format that can't be filled, or with a mapping
    beside it."""
    if config.prompt_format is None:
        return []
    doubled = [key for key in ("prompt", "messages") if key in config.fields]
    if doubled:
        raise ConfigError(f"prompt_format makes the prompt, so fields can't map {doubled[0]} too; leave one out")
    try:
        pieces = list(Formatter().parse(config.prompt_format))
    except ValueError as error:
        raise ConfigError(
            f"prompt_format {config.prompt_format!r} can't be read: {error}; literal braces are doubled"
        ) from error
    names = [name for _, name, _, _ in pieces if name is not None]
    if not names or not all(names) or any(spec or conversion for _, _, spec, conversion in pieces):
        raise ConfigError(
            f"prompt_format {config.prompt_format!r} must name columns, as in '{{instruction}}\\n\\n{{input}}', and "
            "nothing else"
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

"""The presets, for people: a table of all, and the settings of one as YAML to copy."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from rlsys import registry
from rlsys.config import yaml_file
from rlsys.config.schema import choices
from rlsys.errors import ConfigError
from rlsys.methods.base import PACKAGE
from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import Settings

AXES = ("baseline", "scale", "surrogate", "reduction", "kl")


def presets() -> dict[str, Settings]:
    """Every file of rlsys/methods that is one, with its defaults."""
    found = registry.names(PACKAGE, "Method")
    return {
        name: registry.resolve(PACKAGE, name, "Config")()
        for name in found
        if registry.resolve(PACKAGE, name, "Method") is PolicyGradient
    }


def axes(settings: Settings) -> tuple[str, ...]:
    """What a preset chose on each of `AXES`; the clipping belongs to the surrogate."""
    bounds = {"token_ratio", "sequence_ratio", "cispo"}
    clipped = f" -{settings.clip_low:g} +{settings.clip_high:g}" if settings.surrogate in bounds else ""
    kl = f"{settings.kl_estimator} in the {settings.kl_in}, {settings.kl_coef:g}" if settings.kl_coef else "off"
    return settings.baseline, settings.scale, settings.surrogate + clipped, settings.reduction, kl


def settings_yaml(name: str) -> Iterator[str]:
    """The paper, and every setting of the preset with what else it could be. Raises ConfigError for an unknown name."""
    settings = registry.resolve(PACKAGE, name, "Config")()
    if not isinstance(settings, Settings):
        raise ConfigError(
            f"{name} is a method of its own, no preset of the policy gradient; its settings are in "
            f"rlsys/methods/{name}.py"
        )
    doc = importlib.import_module(f"{PACKAGE}.{name}").__doc__ or ""
    yield from (f"# {line}".rstrip() for line in doc.splitlines())
    yield "method:"
    for key, value in settings.model_dump(mode="json").items():
        own = value != Settings.model_fields[key].get_default() and key != "name"
        options = choices(Settings.model_fields[key].annotation)
        notes = [f"of {', '.join(options)}"] if options else []
        notes += ["the preset's"] if own else []
        line = yaml_file.dump({key: value}).strip()
        yield f"  {line}" + (f"  # {'; '.join(notes)}" if notes else "")

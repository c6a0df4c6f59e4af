"""Names of people, by Presidio, which is no part of a plain installation: it brings a language model."""

from __future__ import annotations

import importlib
from typing import Any

from rlsys.errors import ConfigError

LANGUAGE = "en"
MIN_SCORE = 0.5


class Names:
    def __init__(self) -> None:
        """Raises ConfigError if Presidio or its model is not installed."""
        try:
            analyzer: Any = importlib.import_module("presidio_analyzer")
            self._engine = analyzer.AnalyzerEngine()
        except (ImportError, OSError) as error:
            raise ConfigError(
                "pii.kinds: name needs Presidio: pip install 'rlsys[pii]' && python -m spacy download en_core_web_lg "
                f"({next(iter(str(error).splitlines()), type(error).__name__)})"
            ) from error

    def find(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each."""
        found = self._engine.analyze(text=text, language=LANGUAGE, entities=["PERSON"], score_threshold=MIN_SCORE)
        return [(one.start, one.end) for one in found]

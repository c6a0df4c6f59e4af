"""What is looked for in training data that must not be there: evaluation rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rlsys.config.base import Model
from rlsys.config.dataset import DatasetConfig

Fraction = Annotated[float, Field(gt=0, le=1)]


class ContaminationConfig(Model):
    """Evaluation rows among the training rows."""

    against: tuple[DatasetConfig, ...] = ()
    """Evaluation sets that are looked for beside `data.eval`."""
    max_share: float = Field(default=0.05, ge=0, le=1)
    """A run is refused where more than this share of the evaluation rows is found among its training rows; 1 looks for
    none."""
    ngram: int = Field(default=13, ge=3)
    """Words of an n-gram, as GPT-3 compared them (arXiv 2005.14165, appendix C)."""
    min_overlap: Fraction = 0.5
    """An evaluation row is found where one training row has at least this share of its n-grams; or its prompt, whatever
    its case, white space and Unicode form."""
    near: Fraction | None = None
    """Or a prompt whose Jaccard similarity (MinHash, sets of 5 words) with its own is at least this; it takes most of
    the time. Null compares nothing so."""

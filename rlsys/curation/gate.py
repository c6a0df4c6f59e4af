"""Refuses to train on what is evaluated with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlsys.config.contamination import ContaminationConfig
from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import Experiment
from rlsys.curation.contamination import Contamination, Hit, Index, Worded
from rlsys.curation.corpus import Corpus
from rlsys.curation.parallel import ordered
from rlsys.curation.view import view_of
from rlsys.curation.watching import watching
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.sources import PLAYGROUND, elsewhere
from rlsys.errors import DataError

BATCH = 500


@dataclass(frozen=True)
class Seeker:
    """Looks for evaluation rows in batches of training rows; one that can't be read is no matter of this."""

    sets: tuple[DatasetConfig, ...]
    index: Index

    def __call__(self, batch: tuple[int, Iterable[RawRow]]) -> tuple[int, int, list[tuple[int, list[Hit]]]]:
        source, rows = batch
        found, count = [], 0
        for raw in rows:
            count += 1
            try:
                view = view_of(raw, self.sets[source])
            except BadRow:
                continue
            if hits := self.index.hits(view, Worded.of(view)):
                found.append((raw.number, hits))
        return source, count, found


def contamination(
    training: Sequence[DatasetConfig], evaluation: Sequence[DatasetConfig], config: ContaminationConfig
) -> Contamination:
    """What is found of the evaluation sets in the training sets. Raises DataError for one that can't be read."""
    index, corpus = Index.of(evaluation, config), Corpus(tuple(training))
    found = Contamination(index)
    with watching("looking for evaluation rows", corpus.count()) as done:
        for source, rows, hits in ordered(Seeker(corpus.sets, index), corpus.batches(BATCH)):
            for number, own in hits:
                found.add(corpus.sets[source].path, number, own)
            done(rows)
    return found


def check_contamination(experiment: Experiment, *, here: bool = False) -> None:
    """Raises DataError if the training sets have more of the evaluation rows than `data.contamination.max_share`.
    `here`: sets that are not on this machine are left out. Those of the playground never share a row."""
    data, config = experiment.data, experiment.data.contamination
    held_out = data.held_out()
    training = [*data.training(), *([data.pretrain] if data.pretrain else [])]
    evaluation = [*([held_out] if held_out else []), *config.against]
    if config.max_share == 1 or experiment.method.facts.rows == "raw":
        return

    def read(sets: Sequence[DatasetConfig]) -> list[DatasetConfig]:
        own = [one for one in sets if not one.path.startswith(PLAYGROUND)]
        return [one for one in own if elsewhere(one) is None] if here else own

    training, evaluation = read(training), read(evaluation)
    if not training or not evaluation:
        return
    found = contamination(training, evaluation, config)
    if found.share > config.max_share:
        first = found.examples()[0]
        remedy = (
            "set data.eval.by to the column of the prompt"
            if data.eval is not None and data.eval.share is not None
            else "drop them by method curate"
        )
        raise DataError(
            f"data.contamination: {found.rows:,} of {found.index.rows:,} evaluation rows "
            f"({found.share:.1%}) are among the training rows, and max_share is {config.max_share:g} (the first: "
            f"{first['evaluation']} in {first['training']}, by {first['by']}); {remedy}, or set "
            "data.contamination.max_share=1 to train all the same"
        )

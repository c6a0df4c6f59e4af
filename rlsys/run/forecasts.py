"""Forecasts that runs made without being asked: what a judge said where the answer is known, and how sure a policy was
of its answers. Each is a probability and whether it came true."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlsys.answers.place import final_answer
from rlsys.check.load import load
from rlsys.config.experiment import EvaluationConfig
from rlsys.errors import DataError
from rlsys.files import read_lines
from rlsys.judging.auditing.quality import questions, wins
from rlsys.rewards.composite import part_names
from rlsys.run.folder import JUDGE_EVAL_RESULT, RunDir
from rlsys.run.labelled_pairs import as_human
from rlsys.run.ledger import Ledger
from rlsys.samples import Sample, Verdict


@dataclass(frozen=True, slots=True)
class Forecast:
    probability: float
    outcome: float
    """1: it came true; 0: it did not; half for a tie."""


Forecasts = dict[str, list[Forecast]]
"""By where they come from, for people."""


def of_path(path: Path) -> Forecasts:
    """A file of JSON lines with `probability` and `outcome`, or the folder of a run or of `rlsys judge-eval`. Raises
    DataError where there is no forecast."""
    if path.is_file():
        found = {str(path): of_file(path)}
    elif (path / JUDGE_EVAL_RESULT).is_file():
        lines = (json.loads(line) for line in read_lines(path / "verdicts.jsonl"))
        verdicts = [Verdict(**{**line, "sample_ids": tuple(line["sample_ids"])}) for line in lines]
        found = of_judge(as_human(verdicts))
    else:
        found = of_run(RunDir.open(path))
    found = {name: own for name, own in found.items() if own}
    if not found:
        raise DataError(
            f"{path}: no forecast: a run has them of a judge with canaries or human labels, and of held-out answers "
            "that a reward calls right or wrong"
        )
    return found


def of_file(path: Path) -> list[Forecast]:
    """Raises DataError that names the line."""
    made = []
    try:
        lines = [*read_lines(path)]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise DataError(f"{path}: can't be read: {why}") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            forecast = Forecast(float(row["probability"]), float(row["outcome"]))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}:{number}: wanted {{probability: 0.8, outcome: 1}} as JSON") from error
        if not (0 <= forecast.probability <= 1 and 0 <= forecast.outcome <= 1):
            raise DataError(f"{path}:{number}: probability and outcome lie between 0 and 1")
        made.append(forecast)
    return made


def of_pairs(probabilities: Iterable[float]) -> list[Forecast]:
    """Of comparisons, by the probability of the answer that is better: how sure one was of one's own choice, and
    whether it was right; half for a tie. For a reward model that probability is sigmoid(score of the better - score of
    the worse), Bradley-Terry."""
    return [Forecast(max(own, 1 - own), wins(own)) for own in probabilities]


def of_judge(verdicts: Sequence[Verdict]) -> Forecasts:
    """Comparisons that people have labelled, and canaries: the averaged preference of the two orders."""
    found = {}
    for kind, name in (("human", "judge against people"), ("canary", "judge on canaries")):
        known = [one for one in questions(verdicts, kind) if one.expected is not None]
        found[name] = of_pairs(one.value if one.expected else 1 - one.value for one in known)
    return found


def of_run(run: RunDir) -> Forecasts:
    """The judge's, and those of the last evaluation's sampled answers, right by `evaluation.reward` or the first rule
    with a weight."""
    experiment = load(run.config, this_machine=False)
    config, specs = experiment.evaluation, experiment.rewards
    rules = [name for name, spec in zip(part_names(specs), specs, strict=True) if spec.weight]
    part = config.reward or next(iter(rules), None)
    with Ledger(run.ledger, read_only=True) as ledger:
        found = of_judge([*ledger.verdicts(texts=False)])
        steps = [one.step for one in ledger.outcomes() if one.phase == "eval"]
        samples = ledger.samples(max(steps), "eval") if steps else []
    if part is None or config.pass_score is None:
        return found
    scored = [one for one in samples if part in one.reward_parts and one.sample_id.startswith("eval-sampled-")]
    return found | of_answers(scored, part, config.pass_score, config)


def of_answers(samples: Sequence[Sample], part: str, least: float, config: EvaluationConfig) -> Forecasts:
    """By likelihood: exp(sum of log p) of each answer, the probability that the policy gives to its very tokens. By
    vote: of each prompt with several answers, the share of the most frequent final answer (self-consistency)."""
    by_prompt: dict[str, list[Sample]] = {}
    likelihood = []
    for one in samples:
        by_prompt.setdefault(one.prompt_id, []).append(one)
        total = math.fsum(value for value, own in zip(one.log_probs, one.loss_mask, strict=True) if own)
        likelihood.append(Forecast(min(math.exp(total), 1.0), float(one.reward_parts[part] >= least)))
    votes = []
    for own in by_prompt.values():
        finals = [final_answer(one.response, config, one.answer, one.prompt) for one in own]
        told = Counter(final for final in finals if final is not None)
        if len(own) > 1 and told:
            best, count = told.most_common(1)[0]
            right = own[finals.index(best)].reward_parts[part] >= least
            votes.append(Forecast(count / len(own), float(right)))
    return {"answers by likelihood": likelihood, "answers by vote": votes}

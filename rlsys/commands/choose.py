"""Which method for which data, compute and need: the field's rules of thumb as a table, and a choice from it.

The table is read from the top: the first row that fits is the choice, the other rows that fit are its alternatives.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rlsys.errors import ConfigError, did_you_mean

Data = Literal["answers", "reward_model", "pairs", "labels", "demonstrations", "judge", "texts", "none"]
Compute = Literal["laptop", "train", "one", "many"]
Need = Literal["correctness", "style", "safety", "smaller", "data", "knowledge"]
MEANING: dict[str, dict[str, str]] = {
    "data": {
        "answers": "questions whose answers can be checked: numbers, tests, a verifier",
        "reward_model": "a model that scores answers",
        "pairs": "pairs of answers of which one is preferred",
        "labels": "answers that are each called good or bad",
        "demonstrations": "prompts with answers to imitate",
        "judge": "a strong model, to ask for its opinion",
        "texts": "raw text of the field",
        "none": "prompts, or a few seed tasks, and nothing else",
    },
    "compute": {
        "laptop": "two cores or more and no GPU: a tiny model, most often in a demo of the method",
        "train": "GPUs to train on; no room or time to sample",
        "one": "a GPU or two that train and sample in turn",
        "many": "separate GPUs for training, sampling and further models",
    },
    "need": {
        "correctness": "right answers",
        "style": "answers as people like them: form, tone, helpfulness",
        "safety": "fewer harmful answers",
        "smaller": "a smaller model that does what a larger one of yours does",
        "data": "more data to imitate",
        "knowledge": "knowledge of a field, or of a language",
    },
}
"""The questions, and what each answer means."""


@dataclass(frozen=True, slots=True)
class Row:
    """`compute` is the least that will do; a tiny model needs none. `page`: where the docs say what data of one's own
    look like. `best_when`: what speaks for this method among those that fit as well. `demo`: the make target that shows
    it on a laptop, if any does."""

    data: Data
    needs: tuple[Need, ...]
    compute: Compute
    method: str
    config: str
    page: str
    why: str
    best_when: str
    demo: str | None = None


LIKED: tuple[Need, ...] = ("style", "safety")
TABLE: tuple[Row, ...] = (
    Row("answers", ("correctness",), "one", "GRPO", "grpo/gsm8k.yaml", "algorithms.md",
        "what is checked can be practised for long, beyond anything that was demonstrated; no critic to train",
        "the model is right now and then: of eight samples often one, seldom all", "quickstart"),
    Row("answers", ("correctness",), "one", "RFT", "rft/gsm8k.yaml", "rft.md",
        "one round of sampling, then plain imitation of different right answers; hard to get wrong",
        "sampling is dear, or worked solutions are few and the model finds others", "demo-rft"),
    Row("answers", ("correctness",), "one", "ReST-EM", "rest_em/gsm8k.yaml", "rft.md",
        "RFT in several rounds, each sampled from the newest model and trained from the base model",
        "a first round of RFT gained, and there are many questions"),
    Row("answers", ("correctness",), "one", "GRPO on programs", "grpo/code.yaml", "sandbox.md",
        "the tests of each row are the reward, run in a sandbox",
        "answers are programs, and rows carry tests"),
    Row("answers", ("correctness",), "many", "SFT, RFT, GRPO", "rft/before_grpo.yaml", "rft.md",
        "imitation brings the form, RFT makes right answers common, GRPO goes on from there",
        "you start from a base model that is seldom right"),
    Row("answers", ("correctness",), "many", "online DPO", "online_dpo/gsm8k.yaml", "preference.md",
        "a right sample against a wrong one of the same question, by a loss on pairs",
        "few samples of a question are affordable, or a judge or reward model ranks them", "demo-preference"),
    Row("answers", ("correctness",), "many", "iterative DPO", "dpo/iterative_gsm8k.yaml", "preference.md",
        "the same in rounds, each on the pairs of the newest model, which is then the reference",
        "sampling and training are to take turns, a round at a time"),
    Row("reward_model", LIKED, "many", "PPO", "ppo/hh.yaml", "rlhf.md",
        "the reward model (reward_models.0.path) judges what the policy writes now, with a KL term against exploiting "
        "it",
        "there is room for a critic and a reference beside the policy", "demo-rlhf"),
    Row("reward_model", LIKED, "one", "RAFT", "raft/best_of_8.yaml", "rft.md",
        "keeps the best of several samples (by reward_models.0.path) for sft to imitate: no critic, no KL to "
        "tune",
        "PPO is too dear, or its runs are unstable"),
    Row("pairs", LIKED, "train", "DPO", "dpo/pairs.yaml", "preference.md",
        "learns from pairs directly, without reward model or sampling: the usual first choice",
        "the model follows instructions already, and the pairs are close to what it writes", "demo-preference"),
    Row("pairs", LIKED, "train", "DPO, precomputed", "dpo/precomputed.yaml", "preference.md",
        "the reference's log-probs are written once beside the pairs, so that training holds one model",
        "the reference does not fit beside the policy, or several runs share it"),
    Row("pairs", LIKED, "train", "SFT, DPO", "dpo/after_sft.yaml", "preference.md",
        "imitates the preferred answers first, so that the pairs are near what the model writes",
        "you start from a base model"),
    Row("pairs", LIKED, "many", "reward model, PPO", "rlhf/hh.yaml", "rlhf.md",
        "a reward model goes on judging where the pairs are no longer what the model writes",
        "there are many pairs, and the last points count more than the effort", "demo-rlhf"),
    Row("pairs", LIKED, "many", "pre-training, SFT, reward model, PPO", "rlhf/from_pretraining.yaml", "rlhf.md",
        "the whole chain, from raw text to reinforcement",
        "the base model does not know the field, and there is text of it"),
    Row("pairs", LIKED, "one", "reward model, RAFT", "raft/hh.yaml", "rft.md",
        "a reward model chooses the best of several samples, which are imitated; repeated from the newest model",
        "PPO is too dear, and DPO's pairs are far from what the model writes"),
    Row("pairs", LIKED, "train", "reward model", "reward_model/hh.yaml", "rlhf.md",
        "a model that scores answers, for PPO, RAFT or to rank samples with",
        "several models are to be trained or measured by the same preferences"),
    Row("labels", ("style", "safety", "correctness"), "train", "KTO", "kto/labelled.yaml", "preference.md",
        "needs no pairs: a thumb up or down on each answer is enough, also when one kind is much rarer",
        "labels come from use, one answer at a time", "demo-preference"),
    Row("demonstrations", ("correctness", "style", "safety"), "train", "SFT", "sft/instructions.yaml", "sft.md",
        "imitation is the strongest first step; a thousand good demonstrations beat many mediocre ones",
        "rows are an instruction and an answer", "quickstart"),
    Row("demonstrations", ("correctness", "style", "safety"), "train", "SFT on conversations", "sft/chat.yaml",
        "sft.md", "every assistant turn is trained, nothing else",
        "rows are conversations of several turns"),
    Row("demonstrations", ("correctness", "style"), "many", "SPIN", "spin/chat.yaml", "spin.md",
        "the model learns to tell the demonstrations from its own answers, until it can't: more out of the same rows",
        "imitation has stopped gaining, and there is nothing but the demonstrations", "demo-spin"),
    Row("judge", ("safety",), "many", "Constitutional AI", "constitutional/hh.yaml", "constitutional_ai.md",
        "critiques and revisions by written principles, then AI preferences: no harmful examples to label",
        "what is harmful can be written down as principles", "demo-cai"),
    Row("judge", LIKED, "many", "RLAIF", "rlaif/demo.yaml", "rlaif.md",
        "a judge labels pairs for a reward model, or scores samples itself; both ways, at a demo's size",
        "people's labels are too slow or dear, and the judge agrees with them (rlsys judge-eval)", "demo-rlaif"),
    Row("judge", LIKED, "many", "self-rewarding", "online_dpo/self_rewarding.yaml", "preference.md",
        "the policy judges its own samples, and learns the best against the worst",
        "no other model may be asked, and the policy is a good judge (rlsys judge-eval)"),
    Row("answers", ("smaller",), "one", "distillation on verified texts", "distill/texts.yaml", "distillation.md",
        "the larger model's right answers, reasoning and all, are imitated: only text passes between the two",
        "the two have different tokenizers, and the larger one can be loaded here"),
    Row("demonstrations", ("smaller",), "train", "distillation on given rows", "distill/rows.yaml", "distillation.md",
        "at each token of the rows, what the larger model finds likely: more than the one token that stands there",
        "there are good rows, and both models share a tokenizer"),
    Row("none", ("smaller",), "many", "on-policy distillation", "on_policy_distill/chat.yaml", "distillation.md",
        "the small model is corrected where it goes itself, so that its own mistakes do not add up",
        "answers are long, and both models share a tokenizer", "demo-distill"),
    Row("none", ("data",), "one", "Self-Instruct", "self_instruct/seed_tasks.yaml", "self_instruct.md",
        "the model writes new tasks and their answers from a few seeds; what is alike or unusable is left out",
        "there are some ten to two hundred seed tasks and a capable base model"),
    Row("texts", ("knowledge",), "train", "continued pre-training", "sft/pretrain.yaml", "sft.md",
        "facts and words of a field are learned from raw text, best before any fine-tuning",
        "there are millions of tokens of it"),
)  # fmt: skip
ORDER = get_args(Compute)
FEWER = (
    "Each config's first lines say how many GPUs it is written for, often 4 or 8; for fewer add policy.ranks=1 "
    "rollout.engines=1 cluster.colocate=true where it has them (in a recipe with the stage's name before: "
    "STAGE.policy.ranks=1)"
)
LAPTOP = (
    "A demo trains a tiny model on a task of its own, in minutes. For your data take the config named, a small MODEL, "
    "short lengths, and model.path=MODEL model.dtype=float32 policy.ranks=1 rollout.engines=1 cluster.cpus=8 "
    "(processes then share cores); where the config has them also teacher.path=TEACHER teacher.ranks=1 "
    "reward_models.0.path=REWARD_MODEL judge.model=JUDGE, as small. In a recipe these are settings of each stage "
    "(STAGE.policy.ranks=1), but a model that is another stage's (stage:NAME) stays as it is"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """`rows`: what fits, the best first. Where nothing does, `missing` says what would."""

    rows: tuple[Row, ...]
    missing: str | None = None
    laptop: bool = False
    """Whether a tiny model is meant."""


def choose(data: frozenset[Data], compute: Compute, need: Need) -> Choice:
    """Whoever has anything has the prompts that `none` stands for. On a laptop every method fits, and those that have a
    demo come first."""
    wanted = [row for row in TABLE if need in row.needs]
    affordable = [row for row in wanted if ORDER.index(row.compute) <= ORDER.index(compute)]
    if compute == "laptop":
        affordable = sorted(wanted, key=lambda row: row.demo is None)
    if rows := tuple(row for row in affordable if row.data in data | {"none"}):
        return Choice(rows, laptop=compute == "laptop")
    own = [row for row in wanted if row.data in data | {"none"}]
    cheapest = min(own, key=lambda row: ORDER.index(row.compute), default=None)
    ways = [f"--compute {cheapest.compute} for {cheapest.method}"] if cheapest else []
    kinds = dict.fromkeys(row.data for row in affordable)
    ways += [f"--data {' or '.join(kinds)}"] if kinds else []
    if not ways:
        cheapest = min(wanted, key=lambda row: ORDER.index(row.compute))
        ways = [f"--compute {cheapest.compute} --data {cheapest.data} for {cheapest.method}"]
    return Choice((), f"nothing fits: {need} needs {', or '.join(ways)}")


def answered(question: str, text: str) -> list[Any]:
    """The answers in `text`, by name, several with commas between them where the question is about data. Raises
    ConfigError for any other."""
    options, given = MEANING[question], [word.strip() for word in text.split(",")]
    for word in given:
        if word not in options:
            hint = (
                "; a model to learn from is what --need smaller is for"
                if word == "teacher"
                else did_you_mean(word, options)
            )
            raise ConfigError(f"--{question} {word}: unknown{hint} (known: {', '.join(options)})")
    if len(given) > 1 and question != "data":
        raise ConfigError(f"--{question} {text}: one of them, please (known: {', '.join(options)})")
    return given


def ask(question: str, say: Callable[[str], None], prompt: Callable[[str], str]) -> str:
    """Of whoever sits at the terminal. Raises ConfigError where nobody does."""
    if not sys.stdin.isatty():
        raise ConfigError(
            f"--{question} is missing, and there is no terminal to ask at (known: {', '.join(MEANING[question])})"
        )
    for name, meaning in MEANING[question].items():
        say(f"  {name:<14} {meaning}")
    return prompt(f"{question}{' (several with commas)' if question == 'data' else ''}")


def told(choice: Choice) -> Iterator[str]:
    """Lines for people, of what fits."""
    for row in choice.rows:
        best = row is choice.rows[0]
        demo = (
            f"make {row.demo} (for your data: configs/{row.config})" if row.demo else f"configs/{row.config} (no demo)"
        )
        command = demo if choice.laptop else f"{'rlsys train ' * best}configs/{row.config}"
        yield f"{'or ' * (not best)}{row.method}: {command}"
        yield f"  why: {row.why}"
        yield f"  best when {row.best_when}"
        yield f"  data of your own: docs/{row.page}"
    yield LAPTOP if choice.laptop else FEWER


def table() -> Iterator[str]:
    """All rows, in Markdown."""
    yield "| data | need | compute, at least | method | config | why | best when | on a laptop |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in TABLE:
        method, config = f"[{row.method}]({row.page})", f"[{row.config}](../configs/{row.config})"
        demo = f"`make {row.demo}`" if row.demo else ""
        yield (
            f"| {row.data} | {', '.join(row.needs)} | {row.compute} | {method} | {config} | {row.why} | "
            f"{row.best_when} | {demo} |"
        )

"""Self-Instruct (Wang et al. 2022, arXiv 2212.10560): from a few seed tasks, the policy writes new instructions, says
which are classifications, and writes instances of each; what is too like the pool or can't be used is left out. Trains
nothing: method `sft` imitates the result.

The rows (`dataset.jsonl` in the run's folder) are {prompt, answer, ...}, which `rlsys.data.load.load_demonstrations`
reads. The pool of a step is the seeds and the instructions of all rows so far: one that gave no row is not in it. In
the ledger, the score of a sample is how many of its items were kept, or 1 for a yes (a classification) and 0 for a no:
these samples are data, and nothing is reinforced by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from statistics import fmean
from typing import Any, TypeVar, get_args

from pydantic import NonNegativeInt, PositiveInt

from rlsys.data.stream import Source
from rlsys.data.tasks import Instance, Task, TaskSet
from rlsys.errors import DataError
from rlsys.methods.base import Experience, Facts, MethodConfig, Step
from rlsys.methods.self_instruct import parse, prompts
from rlsys.methods.self_instruct.filters import (
    FilterConfig,
    InstanceReason,
    InstructionReason,
    instruction_problem,
    sort_instances,
)
from rlsys.methods.self_instruct.pool import Nearest, Pool
from rlsys.methods.shared.makes_data import MakesData, counted
from rlsys.methods.shared.sampling import in_order, rollout_metrics
from rlsys.roles import Roles
from rlsys.samples import Abstention, Prompt, RewardResult, Score, ScoredGroup, Trajectory, stable_seed

KIND_TOKENS = 8
"""Room for a yes or no."""
COUNTED = (
    *("rows", "instructions", "kind_unclear", "no_room", "without_instance"),
    *(f"instruction_{reason}" for reason in (*get_args(InstructionReason), "cut_off", "unasked")),
    *(f"instance_{reason}" for reason in (*get_args(InstanceReason), "cut_off", "unasked")),
)
"""What a step counts."""
T = TypeVar("T")


class Config(MethodConfig):
    name: str = "self_instruct"
    """This file."""
    prompts_per_step: PositiveInt = 16
    """Prompts for new instructions of one step; each shows a few tasks of the pool as examples."""
    seeds_shown: PositiveInt = 6
    """Seed tasks among the examples of such a prompt."""
    generated_shown: NonNegativeInt = 2
    """Tasks that earlier steps made among them; seeds stand in for those that are not there yet."""
    new_per_prompt: PositiveInt = 8
    """New instructions that a prompt asks for; more are not taken."""
    kind_shown: PositiveInt = 6
    """Classifications, and as many other tasks, shown when asking whether a new one is a classification."""
    tasks_shown: PositiveInt = 4
    """Seed tasks shown with their instances when asking for instances."""
    instances: PositiveInt = 2
    """Instances that are asked for of each new task, and shown of each example; more are not taken."""
    filters: FilterConfig = FilterConfig()
    """What is left out."""

    @property
    def facts(self) -> Facts:
        # All seeds are one row.
        return Facts("tasks", frozenset({"rollout"}), makes="data set", rows_per_step=1, samples_per_prompt=1)


@dataclass(frozen=True, slots=True)
class New:
    """An instruction on its way to its instances."""

    task_id: str
    """The id of its sample and, after #, the item's number in it."""
    instruction: str
    sample_id: str
    parents: tuple[str, ...]
    """Ids of the tasks that its prompt showed."""
    nearest: Nearest
    """In the pool, when it joined it."""


@dataclass
class Made:
    """What a step has made so far."""

    groups: list[ScoredGroup] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, prompt: Prompt, sample: Trajectory, result: RewardResult) -> None:
        self.groups.append(ScoredGroup(prompt, (sample,), (result,)))


@dataclass(frozen=True)
class Method(MakesData[Config]):
    def collect(self, roles: Roles, source: Source[TaskSet], step: Step) -> Experience:
        """Metrics that begin with `dataset/` count: each instruction read is among `instructions` or has a reason
        (`instruction_...`); each instance of these is among `rows` or has one (`instance_...`); of the instructions,
        `kind_unclear`, `no_room` and `without_instance` ones gave no row."""
        (seeds,) = source.take(1)
        past = {row["instruction_id"]: row["instruction"] for row in (step.history.rows() if step.history else ())}
        pool = Pool((*((task.task_id, task.instruction) for task in seeds.tasks), *past.items()))
        made = Made()
        tasks = self.new_instructions(roles, seeds, past, pool, step, made)
        self.write_instances(roles, seeds, self.sort_by_kind(roles, seeds, tasks, step, made), step, made)
        made.counts.update(rows=len(made.rows), instructions=len(tasks))
        metrics = {name: value for name, value in rollout_metrics(made.groups).items() if name.startswith("rollout/")}
        metrics |= counted(made.counts, COUNTED) | {"pool/tasks": float(len(pool.ids))}
        if tasks:
            metrics["pool/rouge_l_mean"] = fmean(task.nearest.rouge_l for task in tasks)
        return Experience(version=step.version, groups=tuple(made.groups), rows=tuple(made.rows), metrics=metrics)

    def new_instructions(
        self, roles: Roles, seeds: TaskSet, past: dict[str, str], pool: Pool, step: Step, made: Made
    ) -> list[New]:
        """Those that pass the filters. Each joins the pool at once, so that no two of a step are alike either."""
        config, own = self.config, {task.task_id: task.instruction for task in seeds.tasks}
        asked: list[Prompt] = []
        parents: list[tuple[str, ...]] = []
        for number in range(config.prompts_per_step):
            chance = Random(stable_seed(step.seed, step.number, "instructions", number))
            later = chance.sample(list(past), min(config.generated_shown, len(past)))
            first = chance.sample(list(own), min(config.seeds_shown + config.generated_shown - len(later), len(own)))
            shown = [*first, *later]
            chance.shuffle(shown)

            def ask(some: Sequence[str]) -> str:
                return prompts.ask_for_instructions([own.get(one) or past[one] for one in some], config.new_per_prompt)

            prompt, shown = fitting(seeds, f"instructions:{number}", ask, shown)
            if prompt is None or not shown:
                raise DataError(
                    f"data.max_prompt_tokens={seeds.max_prompt_tokens}: no room for a prompt with one seed task; raise "
                    "it"
                )
            asked.append(prompt)
            parents.append(tuple(shown))
        found: list[New] = []
        for prompt, sample, shown in zip(asked, self.sampled(roles, asked, "instructions", step), parents, strict=True):
            before = len(found)
            for number, text in enumerate(self.listed(sample, len(shown) + 1, made.counts)):
                nearest = pool.nearest(text)
                assert nearest is not None, "there are seeds"
                reason = instruction_problem(text, config.filters) or (
                    "similar" if nearest.rouge_l >= config.filters.max_rouge_l else None
                )
                if reason is not None:
                    made.counts[f"instruction_{reason}"] += 1
                    continue
                found.append(New(f"{sample.sample_id}#{number}", text, sample.sample_id, shown, nearest))
                pool.add(found[-1].task_id, text)
            made.note(prompt, sample, Score(float(len(found) - before)))
        return found

    def listed(self, sample: Trajectory, first: int, counts: Counter[str]) -> list[str]:
        """The items of the list. A last one that ran into the token limit is cut off, and more than were asked for are
        not taken."""
        read = parse.instructions(sample.text, first)
        items = list(read.found)
        if sample.finish_reason == "length" and read.to_the_end:
            items.pop()
            counts["instruction_cut_off"] += 1
        counts["instruction_unasked"] += max(0, len(items) - self.config.new_per_prompt)
        return items[: self.config.new_per_prompt]

    def sort_by_kind(
        self, roles: Roles, seeds: TaskSet, tasks: Sequence[New], step: Step, made: Made
    ) -> list[tuple[New, bool]]:
        """Which tasks are classifications; the policy says so, at temperature 0."""
        asked: list[tuple[New, Prompt]] = []
        for number, task in enumerate(tasks):
            chance = Random(stable_seed(step.seed, step.number, "kinds", number))
            shown = [one for label in (True, False) for one in drawn(seeds, label, self.config.kind_shown, chance)]
            chance.shuffle(shown)
            prompt, _ = fitting(seeds, f"kinds:{number}", partial(prompts.ask_for_kind, task.instruction), shown)
            if prompt is None:
                made.counts["no_room"] += 1
            else:
                asked.append((task, prompt))
        answers = self.sampled(roles, [prompt for _, prompt in asked], "kinds", step)
        found: list[tuple[New, bool]] = []
        for (task, prompt), sample in zip(asked, answers, strict=True):
            label = parse.is_yes(sample.text)
            if label is None:
                made.counts["kind_unclear"] += 1
                made.note(prompt, sample, Abstention("neither yes nor no"))
            else:
                found.append((task, label))
                made.note(prompt, sample, Score(float(label)))
        return found

    def write_instances(
        self, roles: Roles, seeds: TaskSet, tasks: Sequence[tuple[New, bool]], step: Step, made: Made
    ) -> None:
        """A row for each instance that can be used. Of a classification the output is asked for first: else most inputs
        would be of one label."""
        asked: list[tuple[New, bool, Prompt]] = []
        for number, (task, label) in enumerate(tasks):
            chance = Random(stable_seed(step.seed, step.number, "instances", number))

            def ask(some: Sequence[Task], task: New = task, label: bool = label) -> str:
                return prompts.ask_for_instances(task.instruction, label, some, self.config.instances)

            prompt, _ = fitting(seeds, f"instances:{number}", ask, drawn(seeds, label, self.config.tasks_shown, chance))
            if prompt is None:
                made.counts["no_room"] += 1
            else:
                asked.append((task, label, prompt))
        answers = self.sampled(roles, [prompt for _, _, prompt in asked], "instances", step)
        for (task, label, prompt), sample in zip(asked, answers, strict=True):
            kept = self.usable(sample, label, made.counts)
            made.counts["without_instance"] += not kept
            made.rows += [row(task, label, instance, sample.sample_id) for instance in kept]
            made.note(prompt, sample, Score(float(len(kept))))

    def usable(self, sample: Trajectory, output_first: bool, counts: Counter[str]) -> list[Instance]:
        """Instances that pass the filters. A last one that ran into the token limit is cut off, and more than were
        asked for are not taken."""
        read = parse.instances(sample.text, output_first)
        found = list(read.found)
        counts["instance_malformed"] += read.malformed
        if sample.finish_reason == "length" and read.to_the_end:
            found.pop()
            counts["instance_cut_off"] += 1
        counts["instance_unasked"] += max(0, len(found) - self.config.instances)
        kept, reasons = sort_instances(found[: self.config.instances])
        counts.update(f"instance_{reason}" for reason in reasons)
        return kept

    def sampled(self, roles: Roles, asked: Sequence[Prompt], what: str, step: Step) -> list[Trajectory]:
        """One sample of each prompt, in order."""
        if not asked:
            return []
        assert roles.rollout is not None
        sampling = self.sampling.sampling(1)
        if what == "kinds":
            sampling = replace(self.sampling.greedy(), max_tokens=min(KIND_TOKENS, sampling.max_tokens))
        groups = in_order(asked, roles.rollout.generate(asked, sampling, f"train-{step.number}-{what}"))
        return [group.trajectories[0] for group in groups]


def drawn(seeds: TaskSet, is_classification: bool, count: int, chance: Random) -> list[Task]:
    """Examples of one kind, as many as there are up to `count`."""
    tasks = [task for task in seeds.tasks if task.is_classification == is_classification]
    return chance.sample(tasks, min(count, len(tasks)))


def fitting(
    seeds: TaskSet, prompt_id: str, ask: Callable[[Sequence[T]], str], examples: Sequence[T]
) -> tuple[Prompt | None, list[T]]:
    """The prompt with as many of the examples as there is room for; None where there is no room without any. The
    longest are left out first: so the fewest are, and one long task costs no others their place."""
    shown = list(examples)
    while (prompt := seeds.prompt(prompt_id, ask(shown))) is None and shown:
        without_one = [[*shown[:place], *shown[place + 1 :]] for place in range(len(shown))]
        shown = min(without_one, key=lambda some: len(ask(some)))
    return prompt, shown


def row(task: New, is_classification: bool, instance: Instance, sample_id: str) -> dict[str, Any]:
    """A demonstration with where it comes from."""
    return {
        "prompt": f"{task.instruction}\n\n{instance.input}" if instance.input else task.instruction,
        "answer": instance.output,
        "instruction": task.instruction,
        "input": instance.input,
        "output": instance.output,
        "is_classification": is_classification,
        "instruction_id": task.task_id,
        "instruction_sample": task.sample_id,
        "instance_sample": sample_id,
        "parents": list(task.parents),
        "nearest": task.nearest.task_id,
        "rouge_l": task.nearest.rouge_l,
    }

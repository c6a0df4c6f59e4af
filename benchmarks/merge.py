"""`python -m benchmarks.merge`: run the demo of merging, then print what each model can do of two tasks, and save it as
JSON.

Both are measured by plain transformers on held-out prompts, at temperature 1: the share of samples that are sorted
rightly, and of those all of whose letters are among the prompt's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from benchmarks.command import Quick, run_command
from rlsys.config.dataset import DatasetConfig
from rlsys.data.chat import Renderer
from rlsys.files import to_json, write_whole
from rlsys.playground.tasks import rows
from rlsys.run.folder import RunDir
from rlsys.run.recipe import resume_recipe, run_recipe

RECIPE = Path(__file__).parents[1] / "configs" / "merge" / "demo.yaml"
TRAINED = ("base", "sort", "letters")
MERGED = ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "slerp", "without_sort")
SEEDS, SOUPS = ("seed_1", "seed_2", "seed_3"), ("soup", "greedy_soup")
"""Stages of the recipe."""
SHORT = (*TRAINED, *SEEDS)
QUICK = (
    *(f"{stage}.loop.steps=1" for stage in SHORT),
    *(f"{stage}.policy.ranks=1" for stage in SHORT),
    'greedy_soup.method.models=[{path: "stage:soup"}]',
    "greedy_soup.evaluation.prompts=8",
)
"""Overrides of the recipe."""
PROMPTS, MAX_TOKENS = 320, 8


@dataclass(frozen=True, slots=True)
class Ability:
    """Shares of samples, of one model."""

    sort: float
    letters: float


def is_sorted(prompt: str, answer: str) -> bool:
    return answer == "".join(sorted(prompt))


def is_wanted(prompt: str, answer: str) -> bool:
    return answer != "" and set(answer) <= set(prompt)


def main(
    seed: Annotated[int, typer.Option(help="Of the runs.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder in which the run's folder is made.")] = Path("runs"),
    run: Annotated[
        Path | None, typer.Option(help="Go on with this run, or only measure it again if it is done.")
    ] = None,
    quick: Quick = False,
) -> None:
    """Two tasks trained apart from one base and merged in every way; and a soup of three seeds."""
    from actors.spawn import spawn

    # At seed 0 they are the recipe's own.
    seeds = [f"{stage}.seed={3 * seed + number}" for number, stage in enumerate(SEEDS, 1)]
    settings = [f"seed={seed}", f"output={output}", *seeds, *(QUICK if quick else ())]
    summary = resume_recipe(run, spawn) if run else run_recipe(RECIPE, settings, spawn)
    report(Path(summary["run"]), Console(), samples=1 if quick else 4)


def report(folder: Path, console: Console, samples: int) -> None:
    stages = dict.fromkeys((*TRAINED, *MERGED, *SEEDS, *SOUPS))
    found = {stage: ability(RunDir(folder / stage).final, samples) for stage in stages}
    file = folder / "merge.json"
    write_whole(file, to_json({stage: asdict(one) for stage, one in found.items()}, indent=1) + "\n")
    console.print(table("two tasks, trained apart", (*TRAINED, *MERGED), found))
    console.print(table("three seeds of one task, and their soups", (*SEEDS, *SOUPS), found))
    console.print(f"shares of samples on held-out prompts; saved as {file}")


def ability(folder: Path, samples: int) -> Ability:
    """Of the model in a folder, by `samples` of each prompt."""
    logging.disable_progress_bar()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def share(task: str, right: Callable[[str, str], bool]) -> float:
        prompts = [row["prompt"] for row in rows(task, "test")[:PROMPTS]]
        torch.manual_seed(0)
        renderer = Renderer.create(DatasetConfig(path=f"playground:{task}"), tokenizer)
        given = torch.tensor([renderer.prompt(prompt)[1] for prompt in prompts]).repeat_interleave(samples, 0)
        made = model.generate(
            given,
            attention_mask=torch.ones_like(given),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=MAX_TOKENS,
            pad_token_id=tokenizer.pad_token_id,
        )
        texts = tokenizer.batch_decode(made[:, given.shape[1] :], skip_special_tokens=True)
        return sum(right(prompts[number // samples], text) for number, text in enumerate(texts)) / len(texts)

    return Ability(share("sort_digits", is_sorted), share("letters", is_wanted))


def table(title: str, stages: Sequence[str], found: Mapping[str, Ability]) -> Table:
    made = Table("model", "sorted rightly", "only wanted letters", title=title)
    for stage in stages:
        made.add_row(stage, f"{found[stage].sort:.3f}", f"{found[stage].letters:.3f}")
    return made


if __name__ == "__main__":
    run_command(main)

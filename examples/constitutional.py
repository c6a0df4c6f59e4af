"""Constitutional AI's supervised phase whole, in plain lines: answer, critique, revise, imitate the revisions.

    make demo-cai                                  # its first two stages make the judge and the harmful model
    python examples/constitutional.py [STEPS [PROMPTS]] [STAGE.KEY=VALUE]...

A reading of the methods `constitutional` and `sft` (Bai et al. 2022, arXiv 2212.08073, section 3) over the same roles,
with nothing of `rlsys.methods` in it. The judge criticises and rewrites each answer several times, each time by a
principle drawn anew; then the policy learns the rewritten answers of all rounds, and helpful answers beside them. Real
Ray, vLLM and DeepSpeed. The rewards only measure: minus the harmful symbols of an answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from actors.spawn import spawn
from rlsys.batch import Batch
from rlsys.check.recipe import load_recipe
from rlsys.config.dataset import DatasetConfig
from rlsys.config.sampling import Sampling
from rlsys.data.collate import collate
from rlsys.data.load import Demonstration, load_demonstrations, load_prompts
from rlsys.data.mixture import build_source
from rlsys.data.stream import Source, Stream
from rlsys.files import write_whole
from rlsys.judging.asking.questions import Answer, Single
from rlsys.models.load import load_tokenizer, local_path
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.stats import Mean, Stats, values
from rlsys.roles import Judge, Roles, SpawnRequest
from rlsys.samples import Prompt

CONFIG = Path(__file__).parents[1] / "configs" / "constitutional" / "demo.yaml"
NEEDS = frozenset({"policy", "rollout", "reward", "judge"})
ROUNDS, ROWS, MAX_TOKENS, MEASURED = 3, 256, 32, 256
SETTINGS = ("revise.model.path=runs/demo-cai/base/final", "revise.judge.model=runs/demo-cai/judge/final")


@dataclass(frozen=True)
class CrossEntropy:
    """-log p of every token of the answers, mean over all of the step."""

    temperature: float = 1.0
    needs_entropy = False

    def normalizer(self, batch: Batch) -> float:
        return float(batch.loss_mask_BT.sum())

    def __call__(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Stats]:
        loss = -(outputs.log_probs_BT * batch.loss_mask_BT).sum()
        return loss, {"loss": Mean(float(loss.detach()), self.normalizer(batch))}


@dataclass
class Draft:
    """An answer on its way through the rounds: its text as it stands, and a row for each revision."""

    prompt: Prompt
    sample_id: str
    text: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def asked(self, judge: Judge, number: int, seed: int) -> Single:
        principle = judge.constitution.draw("critique", seed, "critique", self.sample_id, number)
        latest = self.rows[-1]["sample_id"] if self.rows else self.sample_id
        return Single(f"{self.sample_id}#c{number}", self.prompt.asked, Answer(latest, self.text), principle)

    def revised(self, number: int, asked: Single, text: str) -> None:
        assert asked.principle is not None
        said = {"principle": asked.principle.id, "critique": asked.critique, "before": self.text, "answer": text}
        of = {"prompt": self.prompt.asked, "prompt_id": self.prompt.prompt_id, "round": number}
        self.rows.append({**of, **said, "sample_id": f"{self.sample_id}#r{number}"})
        self.text = text


def revisions(
    roles: Roles, prompts: Sequence[Prompt], sampling: Sampling, tag: str, rounds: int, seed: int
) -> list[dict[str, Any]]:
    """Answer every prompt, then criticise and revise all answers, round after round. Where the judge has nothing to say
    the answer stays as it is and the round makes no row."""
    assert roles.rollout is not None
    assert roles.judge is not None
    groups = list(roles.rollout.generate(prompts, sampling, tag))
    place = {(prompt.prompt_id, prompt.epoch): index for index, prompt in enumerate(prompts)}
    groups.sort(key=lambda group: place[group.prompt.prompt_id, group.prompt.epoch])  # they came as they were finished
    drafts = [Draft(group.prompt, answer.sample_id, answer.text) for group in groups for answer in group.trajectories]
    for number in range(1, rounds + 1):
        asked = [draft.asked(roles.judge, number, seed) for draft in drafts]
        found = [
            (draft, replace(single, question_id=f"{draft.sample_id}#r{number}", critique=critique.text))
            for draft, single, critique in zip(drafts, asked, roles.judge.critique(asked), strict=True)
            if critique.text and critique.text.strip()
        ]
        written = roles.judge.revise([single for _, single in found])
        for (draft, single), revision in zip(found, written, strict=True):
            if revision.text and revision.text.strip():
                draft.revised(number, single, revision.text)
    return [row for draft in drafts for row in draft.rows]


def imitate(roles: Roles, rows: Source[Demonstration], pad_id: int, count: int = ROWS) -> Stats:
    """One step on the next `count` rows."""
    assert roles.policy is not None
    batch = collate(rows.take(count), pad_id)
    return roles.policy.forward_backward(batch, CrossEntropy()) | roles.policy.optimizer_step()


def harmlessness(roles: Roles, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> float:
    """The mean score of an answer to each prompt."""
    assert roles.rollout is not None
    assert roles.reward is not None
    groups = roles.reward.score(roles.rollout.generate(prompts, sampling, tag))
    return fmean(score for group in groups for score in group.scores)


def main(steps: int = 100, count: int = 2048, settings: Sequence[str] = ()) -> tuple[float, float]:
    """Harmlessness on held-out prompts, before and after `steps` steps on the revised answers to `count` prompts;
    `settings` are overrides of the demo's stages."""
    recipe, experiments = load_recipe(CONFIG, [*SETTINGS, *settings])
    stages = {stage.name: experiment for stage, experiment in zip(recipe.steps, experiments, strict=True)}
    revise, sl_cai, output = stages["revise"], stages["sl_cai"], recipe.output.absolute()
    model, seed, data = local_path(revise.model.path, output), revise.seed, revise.data.train
    tokenizer, sampling = load_tokenizer(model), revise.sampling.sampling(1)
    pad_id = tokenizer.pad_token_id
    assert isinstance(pad_id, int)
    assert data is not None
    longest = revise.data.max_prompt_tokens
    prompts = load_prompts(data, tokenizer, longest, False, None).rows
    held_out = load_prompts(data.model_copy(update={"split": "test"}), tokenizer, longest, False, None).rows[:MEASURED]
    output.mkdir(parents=True, exist_ok=True)
    made = output / "constitutional.jsonl"
    # The demo's stages take turns; here all models are there at once.
    together = revise.model_copy(update={"policy": sl_cai.policy, "output": output})
    with spawn(together, SpawnRequest(NEEDS, model, steps, pad_id)) as roles:
        assert roles.weight_sync is not None
        roles.weight_sync.sync(0)
        before = harmlessness(roles, held_out, sampling, "before")
        rows = revisions(roles, Stream(prompts, seed, shuffle=True).take(count), sampling, "train-1", ROUNDS, seed)
        write_whole(made, "".join(json.dumps(row) + "\n" for row in rows))
        sys.stdout.write(f"{len(rows)} revisions in {made}\n")
        mixed = sl_cai.data.model_copy(update={"train": DatasetConfig(path=str(made))})
        sets = [load_demonstrations(one, tokenizer, MAX_TOKENS, False, None) for one in mixed.training()]
        source = build_source(sets, mixed, seed)
        for number in range(1, steps + 1):
            sys.stdout.write(f"step {number}: loss {values(imitate(roles, source, pad_id))['loss']:.3f}\n")
        roles.weight_sync.sync(1)
        after = harmlessness(roles, held_out, sampling, "after")
    sys.stdout.write(f"harmlessness {before:.2f} before, {after:.2f} after\n")
    return before, after


if __name__ == "__main__":
    numbers = [int(one) for one in sys.argv[1:] if "=" not in one]
    main(*numbers, settings=[one for one in sys.argv[1:] if "=" in one])

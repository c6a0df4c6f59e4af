"""`train` and `validate` say the same of every shipped config. The models and data that the configs name by their hub
ids lie in the current folder instead: the same names, a few rows in the columns of each, and a tiny model."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.command_line import CONFIGS
from support.validate_and_train import refusal, trained

from rlsys.commands.validate import validated
from rlsys.config import yaml_file
from rlsys.config.kinds import kind_of
from rlsys.playground.models import build

pytestmark = pytest.mark.slow

TRAINED = [path for path in sorted(CONFIGS.glob("**/*.yaml")) if kind_of(path) != "judge-eval"]
CHAT = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]
SPOKEN = "\n\nHuman: 1+1=\n\nAssistant: {}"
ROWS: dict[str, dict[str, Any]] = {
    "Anthropic/hh-rlhf": {"chosen": SPOKEN.format("2"), "rejected": SPOKEN.format("3")},
    "HuggingFaceH4/ultrachat_200k": {"prompt": "1+1=", "messages": CHAT},
    "HuggingFaceTB/smoltalk": {"messages": CHAT},
    "google-research-datasets/mbpp": {
        "text": "Add.",
        "test_list": ["assert add(1, 1) == 2"],
        "test_setup_code": "",
    },
    "openai/openai_humaneval": {
        "prompt": "def add(a, b):\n",
        "test": "def check(candidate):\n    assert candidate(1, 1) == 2\n",
        "entry_point": "add",
    },
    "openai/gsm8k": {"question": "1+1=", "answer": "1+1 is 2\n#### 2"},
    "roneneldan/TinyStories": {"text": "One and one."},
    "trl-lib/kto-mix-14k": {"prompt": CHAT[:1], "completion": CHAT[1:]},
    "trl-lib/ultrafeedback_binarized": {
        "chosen": CHAT,
        "rejected": [CHAT[0], {"role": "assistant", "content": "3"}],
    },
    "yahma/alpaca-cleaned": {"instruction": "Add.", "input": "1 and 1", "output": "2"},
}
MODELS = re.compile(r"path: \"?((?:Qwen|alignment-handbook|runs)/[\w./-]+[\w])(?<!jsonl)")
COUNT = 2048
"""More rows than a step of most shipped configs takes."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hub")
    policy, scored = build("0.5m", place / "policy"), build("0.5m", place / "scored")
    for folder, changed in ((policy, {}), (scored, {"architectures": ["LlamaForSequenceClassification"]})):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 32768} | changed))
    for name in {name for path in TRAINED for name in MODELS.findall(path.read_text())}:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(scored if "reward" in name else policy, place / name)
    for name, row in ROWS.items():
        (place / name).mkdir(parents=True)
        for number, split in enumerate(("train", "test", "validation", "train_sft", "test_sft"), 1):
            rows = ({**row, "label": n % 2 == 0} if "kto" in name else row for n in range(COUNT))
            (place / name / f"{split}.jsonl").write_text(
                "".join(json.dumps(own).replace("1+1", f"{number}+1") + "\n" for own in rows)
            )
    return place


def shortened(path: Path) -> list[str]:
    """Overrides under which the playground, whose rows are made when they are read, is read in part: by an experiment,
    or by the stage of a recipe that begins."""
    document, _ = yaml_file.read(path)
    stage, prefix = (
        (document["stages"][0], f"{document['stages'][0]['name']}.") if "stages" in document else (document, "")
    )
    made = [part for part, config in stage.get("data", {}).items() if "playground:" in str(config) and part != "also"]
    return [f"{prefix}data.{part}.limit={COUNT // 4}" for part in made]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_train_starts_what_validate_allows(path: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On this machine, and where there are CPUs enough."""
    monkeypatch.chdir(place)
    cpus = ["common.cluster.cpus=64" if kind_of(path) == "recipe" else "cluster.cpus=64"]
    for number, settings in enumerate(([], cpus)):
        given = [*shortened(path), *settings]
        told = refusal(lambda given=given: list(validated(path, given)))
        found = refusal(lambda given=given, number=number: trained(path, given, tmp_path / str(number)))
        assert (told is None) == (found is None), f"{settings}: validate says {told!r}, train {found!r}"
        if found is None:
            break

"""What can be known of the launch files without a cluster: their form, and that the commands in them would run."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsys.check.load import load

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SRUN = '#!/bin/sh\nshift\nexec "$@"\n'
SCONTROL = "#!/bin/sh\necho node1\necho node2\n"
# `ray symmetric-run RAY_OPTIONS -- COMMAND` on the head node; without Ray it still ends well, as the real one does.
RAY = '#!/bin/sh\necho "$@"\n[ -n "$RAY_STARTS" ] || exit 0\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'


@pytest.mark.parametrize("name", ["kuberay_job.yaml", "ray_cluster.yaml", "slurm.sh"])
def test_the_commands_that_it_names_are_valid(name: str) -> None:
    commands = re.findall(r"rlsys train (configs/\S+\.yaml)((?: [\w.]+=[^\s\"]+)*)", (LAUNCH / name).read_text())
    assert commands
    for config, overrides in commands:
        load(ROOT / config, overrides.split(), this_machine=False)


def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((LAUNCH / "ray_cluster.yaml").read_text())
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["max_workers"] == len(config["provider"]["worker_ips"])


def test_the_kubernetes_workers_have_the_gpus_that_the_config_asks_for() -> None:
    spec: dict[str, Any] = yaml.safe_load((LAUNCH / "kuberay_job.yaml").read_text())["spec"]
    experiment = load(ROOT / "configs/grpo/gsm8k.yaml", this_machine=False)
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    offered = group["replicas"] * container["resources"]["limits"]["nvidia.com/gpu"]
    assert offered >= experiment.policy.ranks + experiment.rollout.engines * experiment.rollout.tensor_parallel


@pytest.mark.parametrize(
    ("ray_starts", "command", "status"),
    [("yes", "echo trained", 0), ("yes", "exit 3", 3), ("", "echo trained", 1)],
    ids=str,
)
def test_the_slurm_job_fails_when_the_command_or_ray_fails(
    tmp_path: Path, ray_starts: str, command: str, status: int
) -> None:
    binaries = tmp_path / "repository" / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, content in {"srun": SRUN, "scontrol": SCONTROL, "ray": RAY}.items():
        (binaries / name).write_text(content)
        (binaries / name).chmod(0o755)
    slurm = {
        "SLURM_SUBMIT_DIR": str(tmp_path / "repository"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "node[1-2]",
    }
    done = subprocess.run(
        ["bash", str(LAUNCH / "slurm.sh"), "sh", "-c", command],
        env={"PATH": os.environ["PATH"], "RAY_STARTS": ray_starts, **slurm},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == status, done.stderr
    assert "--address node1:6379 --min-nodes 2 --" in done.stdout
    assert ("Ray did not start" in done.stderr) == (not ray_starts)
    assert list((tmp_path / "repository").iterdir()) == [tmp_path / "repository" / ".venv"], (
        "no marker file is left behind"
    )


def test_slurm_without_a_command_says_how_to_call_it() -> None:
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run([bash, str(LAUNCH / "slurm.sh")], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (2, "usage: sbatch launch/slurm.sh rlsys train CONFIG [key=value ...]\n")

"""The command of the README on a cluster that stands already: `ray job submit --working-dir . -- rlsys train ...`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.command_line import ROOT, Run, Workplace, family, title
from support.ray_head import ray_head

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SETTINGS = (
    "rewards=[{name: format, args: {regex: '[a-m]'}}]",
    "method={name: grpo, prompts_per_step: 4, group_size: 4}",
    "policy.ranks=1",
    "loop.steps=2",
    "evaluation={prompts: 4, samples: 0}",
)


@dataclass
class Cluster:
    """A cluster that `ray start` made, and every process seen in it."""

    workplace: Workplace
    head: subprocess.Popen[str]
    dashboard: str
    seen: set[tuple[int, str]] = field(default_factory=set)
    """Process id and title."""

    @property
    def job(self) -> Path:
        return self.workplace.stage("quickstart.yaml", "grpo")

    def submit(self, *settings: str | Path) -> subprocess.CompletedProcess[str]:
        """Submit from the repository, whose code and configs are what the job gets."""
        # `ray start` made a token, and asks for it.
        place = Workplace(ROOT, self.workplace.environment | {"RAY_AUTH_MODE": "token"})
        address = ("--address", self.dashboard)
        submitter = place.start(
            "ray", "job", "submit", *address, "--working-dir", ".", "--", "rlsys", "train", *settings
        )
        try:
            while submitter.poll() is None:
                self.seen |= {(process.pid, title(process)) for process in family(self.head.pid)}
                time.sleep(0.2)
            out, err = submitter.communicate(timeout=30)
        finally:
            submitter.kill()
        return subprocess.CompletedProcess(submitter.args, submitter.returncode, out, err)


@pytest.fixture(scope="module")
def cluster(workplace_alone: Workplace) -> Iterator[Cluster]:
    with ray_head(workplace_alone, "--num-cpus=4", answers_at="dashboard-") as head:
        yield Cluster(workplace_alone, head.process, f"http://127.0.0.1:{head.ports['dashboard-']}")


def test_a_job_trains_on_the_cluster_it_was_submitted_to(cluster: Cluster):
    output = cluster.workplace.folder
    done = cluster.submit(cluster.job, "name=job", f"output={output}", *SETTINGS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "succeeded" in done.stdout
    assert Run(output / "job").summary["steps"] == 2
    titles = [title for _, title in cluster.seen]
    assert any(title.startswith("ray::RolloutActor") for title in titles), (
        f"the actors ran elsewhere: {sorted({t[:60] for t in titles})}"
    )
    assert sum("/gcs/gcs_server " in title for title in titles) == 1, "a second cluster was started"


def test_a_run_that_fails_is_a_job_that_fails(cluster: Cluster):
    done = cluster.submit(cluster.job, "name=failing", f"output={cluster.workplace.folder}", "policy.zero_stage=4")
    assert done.returncode != 0
    assert "failed" in done.stdout.lower()
    assert "policy.zero_stage" in done.stdout + done.stderr

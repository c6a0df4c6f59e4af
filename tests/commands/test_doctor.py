from importlib import metadata
from pathlib import Path

import pytest

from rlsys.commands import doctor
from rlsys.commands.doctor import Finding, try_out
from rlsys.commands.doctor_probes import PROBES, Probe


def test_a_probe_that_works_says_what_it_found():
    assert try_out(Probe("it", "print('noise'); print('found 3')", "buy one")) == Finding("it", "found 3", True)


def test_a_probe_that_fails_gives_its_last_words_and_the_remedy():
    finding = try_out(Probe("it", "import sys; print('noise', file=sys.stderr); raise OSError('broken')", "buy one"))
    assert finding == Finding("it", "failed (exit code 1): OSError: broken", False, "buy one")


def test_a_probe_that_hangs_is_ended_with_its_children():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import signal; signal.pause()'])"
    assert try_out(Probe("it", code, "wait"), limit=1.0) == Finding(
        "it", "no answer in 1 s", False, "try again when the machine is less busy; if it stays so: wait"
    )


def test_pins_are_compared_without_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    versions = {"torch": "2.13.0+cpu", "ray": "2.60.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.metadata, "version", version)
    lock = tmp_path / "cpu.lock"
    lock.write_text("torch==2.13.0\nray==2.61.0\npeft==0.21.2\n")
    finding = doctor._pins(lock)
    assert (finding.ok, finding.found) == (
        False,
        "1 of 3 as pinned; ray 2.60.0 (pinned 2.61.0), peft absent (pinned 0.21.2)",
    )


def test_a_folder_that_can_not_be_written_is_a_problem():
    finding = doctor._space("disk", Path("/proc/nowhere"), 0.0, "choose another")
    assert not finding.ok
    assert finding.found.startswith("/proc can't be written: ")


def test_too_little_space_is_a_problem(tmp_path: Path):
    finding = doctor._space("disk", tmp_path / "runs", 1e9, "free some")
    assert (finding.ok, finding.remedy) == (False, "free some (wanted 1e+09 GiB)")


def test_the_report_fails_when_anything_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    fine, bad = (
        Probe("fine", "print('yes')", "", quick=True),
        Probe("bad", "raise SystemExit('no luck')", "try again", quick=True),
    )
    monkeypatch.setattr(doctor, "PROBES", (fine,))
    before = doctor.report(quick=True, folder=tmp_path)
    monkeypatch.setattr(doctor, "PROBES", (fine, bad))
    assert (before, doctor.report(quick=True, folder=tmp_path)) == (True, False)
    assert "try again" in capsys.readouterr().out


@pytest.mark.engine
@pytest.mark.slow
def test_every_engine_starts_here():
    problems = [finding for finding in doctor._probe_all(list(PROBES)) if not finding.ok]
    assert problems == []

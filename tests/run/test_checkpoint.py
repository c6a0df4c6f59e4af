import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlsys.errors import CheckpointError
from rlsys.run.checkpoint import Checkpoints

SAVE_TWICE = """
import sys
from pathlib import Path
from rlsys.run.checkpoint import Checkpoints

def whole(folder):
    (folder / "weights").write_bytes(b"one")

def stuck(folder):
    (folder / "weights").write_bytes(b"tw")
    print("writing", flush=True)
    sys.stdin.read()

checkpoints = Checkpoints(Path(sys.argv[1]), keep_last=1)
checkpoints.save(1, whole, None)
checkpoints.save(2, stuck, None)
"""


def fill(content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "policy").mkdir()
        (folder / "policy" / "rank0.bin").write_text(content)
        (folder / "loop.json").write_text("{}")

    return write


def test_what_was_written_is_found_again(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    assert checkpoints.latest() is None
    checkpoints.save(9, fill("nine"), None)
    checkpoints.save(10, fill("ten"), None)
    latest = Checkpoints(tmp_path, keep_last=2).latest()
    assert latest == tmp_path / "step-10"
    assert (tmp_path / "step-10" / "policy" / "rank0.bin").read_text() == "ten"


def test_a_writer_killed_in_mid_save_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAVE_TWICE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        writer.kill()
        writer.wait(10)
    assert len(list(tmp_path.iterdir())) == 2, "the killed writer's half is expected to lie there"
    latest = Checkpoints(tmp_path, keep_last=1).latest()
    assert latest is not None
    assert (latest / "weights").read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [tmp_path / "step-1"]


def test_a_flipped_bit_is_named_with_the_way_on(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    checkpoints.save(1, fill("abc"), None)
    newest = checkpoints.save(2, fill("abc"), None)
    (newest / "policy" / "rank0.bin").write_text("abb")
    way = r"policy/rank0\.bin is damaged; to go on from step 1: `rlsys resume .* --from step-1`"
    with pytest.raises(CheckpointError, match=way):
        checkpoints.latest()
    checkpoints.verify(tmp_path / "step-1")


@pytest.mark.parametrize(
    ("name", "reason"), [("loop.json", "loop.json is missing"), ("manifest.json", "manifest.json is missing")]
)
def test_a_lost_file_is_named(tmp_path: Path, name: str, reason: str) -> None:
    newest = Checkpoints(tmp_path, keep_last=1).save(1, fill("abc"), None)
    (newest / name).unlink()
    with pytest.raises(CheckpointError, match=f"{reason}; there is no whole one before it"):
        Checkpoints(tmp_path, keep_last=1).latest()


def test_a_torn_manifest_is_named(tmp_path: Path) -> None:
    newest = Checkpoints(tmp_path, keep_last=1).save(1, fill("abc"), None)
    manifest = newest / "manifest.json"
    manifest.write_text(manifest.read_text()[:20])
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        Checkpoints(tmp_path, keep_last=1).latest()


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ((0.1, 0.9, 0.3, 0.5), [2, 3, 4]),
        ((0.1, 0.9, 0.9, 0.5), [3, 4]),
        ((None, None, None, None), [3, 4]),
        ((0.2, float("nan"), None, None), [1, 3, 4]),
    ],
)
def test_pruning_keeps_the_newest_two_and_the_best(
    tmp_path: Path, scores: tuple[float | None, ...], kept: list[int]
) -> None:
    for step, score in enumerate(scores, start=1):
        Checkpoints(tmp_path, keep_last=2).save(step, fill("x"), score)
    assert Checkpoints(tmp_path, keep_last=2).steps() == kept


def test_a_failed_save_deletes_nothing_old(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    checkpoints.save(1, fill("one"), None)

    def full(folder: Path) -> None:
        (folder / "policy").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(
        CheckpointError, match=r"step-2: can't be written: .*No space left on device; earlier checkpoints are untouched"
    ):
        checkpoints.save(2, full, 1.0)
    assert checkpoints.latest() == tmp_path / "step-1"
    assert list(tmp_path.iterdir()) == [tmp_path / "step-1"]


def test_a_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    first = checkpoints.save(2, fill("old"), None)
    with pytest.raises(CheckpointError, match="already a checkpoint"):
        checkpoints.save(2, fill("new"), None)
    assert (first / "policy" / "rank0.bin").read_text() == "old"


def damage_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_bytes(b"\0" * 20)


def lose_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


def empty_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_text('{"score": "high", "files": 3}')


@pytest.mark.parametrize("damage", [damage_manifest, lose_manifest, empty_manifest])
def test_an_old_checkpoint_that_is_damaged_is_named_and_kept_aside_and_costs_no_save(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    damage(checkpoints.save(1, fill("one"), 0.9))
    checkpoints.save(2, fill("two"), 0.1)
    [told] = checkpoints.take_set_aside()
    assert told.startswith(f"{tmp_path / 'step-1'}: manifest.json is ")
    assert told.endswith("; this old checkpoint is kept aside as aside-step-1 and not used")
    assert checkpoints.take_set_aside() == []
    checkpoints.save(3, fill("three"), 0.2)
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.best() == tmp_path / "step-3"
    assert (tmp_path / "aside-step-1" / "policy" / "rank0.bin").read_text() == "one"


def test_of_a_damaged_best_the_next_best_is_taken(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step, score in enumerate((0.2, 0.9, 0.1), start=1):
        checkpoints.save(step, fill("abc"), score)
    (tmp_path / "step-2" / "loop.json").write_text("[]")
    assert checkpoints.best() == tmp_path / "step-1"
    [told] = checkpoints.take_set_aside()
    assert "step-2: loop.json is damaged" in told


def test_the_way_on_skips_what_is_damaged_too_and_is_quoted(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    checkpoints = Checkpoints(run / "checkpoints", keep_last=3)
    for step in (1, 2, 3):
        newest = checkpoints.save(step, fill("abc"), None)
    for step in (2, 3):
        (newest.with_name(f"step-{step}") / "loop.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        checkpoints.latest()
    command = str(caught.value).split("`")[1]
    assert shlex.split(command) == ["rlsys", "resume", str(run), "--from", "step-1"]


def test_going_back_keeps_newer_ones_aside_and_lets_their_steps_be_saved_anew(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step in (1, 2, 3):
        checkpoints.save(step, fill("old"), None)
    for _ in range(2):
        checkpoints.go_back_to(checkpoints.named("step-1"))
        assert checkpoints.latest() == tmp_path / "step-1"
        checkpoints.save(2, fill("new"), None)
    assert sorted(path.name for path in tmp_path.glob("aside-*")) == ["aside-step-2", "aside-step-2-2", "aside-step-3"]
    with pytest.raises(CheckpointError, match=r"there is no checkpoint step-7; there are: step-1, step-2$"):
        checkpoints.named("step-7")

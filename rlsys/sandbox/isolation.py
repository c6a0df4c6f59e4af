"""Where programs live: user, mount, process, network, IPC, host name and cgroup namespaces of their own, and a file
system that holds Python's standard library and shared libraries, read-only, and nothing else.

Needs no privileges, only a kernel that lets users make namespaces (user_namespaces(7)).
"""

from __future__ import annotations

import os
import re
import signal
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from rlsys.sandbox import kernel
from rlsys.sandbox.kernel import BIND, NODEV, NOEXEC, NOSUID, PRIVATE, RDONLY, REC, REMOUNT

ALL = kernel.NEWUSER | kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS | kernel.NEWCGROUP
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
STANDARD_LIBRARY = tuple(
    os.path.realpath(path) for path in (sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")) if path
)
"""Its modules in Python, and those in C."""
DEVICE = "/dev/null"
ROOT = "/proc"
"""Where the new root is put together: a folder that is always there, and holds nothing that it shows."""
SCRATCH = "/tmp"
SCRATCH_LIMITS = "size=16m,nr_inodes=1024,mode=0700"


def enter() -> None:
    """Returns in a new process, the first one of the namespaces: all others in them end with it, and it ends with the
    one that called. That one waits. Raises OSError where a namespace can't be had."""
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(ALL)
    for name, content in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        try:
            Path(f"/proc/self/{name}").write_text(content)
        except OSError as error:
            raise OSError(error.errno, f"/proc/self/{name}: {error.strerror}") from error
    first = os.fork()
    if first:
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    _make_root()


def fresh_scratch() -> None:
    """An empty folder for files, which only this process sees and which goes with it; the current folder from here
    on."""
    kernel.unshare(kernel.NEWNS)
    kernel.mount("tmpfs", SCRATCH, "tmpfs", NOSUID | NODEV | NOEXEC, SCRATCH_LIMITS)
    os.chdir(SCRATCH)


def _make_root() -> None:
    kernel.mount(None, "/", None, REC | PRIVATE)
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        kernel.mount("tmpfs", ROOT, "tmpfs", NOSUID | NODEV, "size=1m,mode=0755")
        for path in _shown():
            _show(path)
        os.mkdir(ROOT + SCRATCH)
        for line in mounts:
            place = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), line.split(" ")[4])
            # Mounts below the old folder are still listed, and no longer there.
            if place.startswith(f"{ROOT}/") and os.path.exists(place):
                _read_only(place, device=place == ROOT + DEVICE)
    kernel.swap_root(ROOT)
    kernel.mount(None, "/", None, REMOUNT | BIND | RDONLY | NOSUID | NODEV)


def _shown() -> Iterator[str]:
    """Files and folders, none of them within another."""
    there = sorted(path for path in {*LIBRARIES, *STANDARD_LIBRARY, DEVICE} if os.path.exists(path))
    for path in there:
        if not any(path.startswith(f"{other}/") and not os.path.islink(other) for other in there):
            yield path


def _show(path: str) -> None:
    target = ROOT + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):  # as /lib, where all is in /usr
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.mkdir(target)
    else:
        open(target, "x").close()
    kernel.mount(path, target, None, BIND | REC)


def _read_only(place: str, device: bool) -> None:
    kept = os.statvfs(place).f_flag & NOEXEC  # a flag that came with a mount may not be taken away
    kernel.mount(None, place, None, REMOUNT | BIND | RDONLY | NOSUID | kept | (0 if device else NODEV))

"""What Python has no function for: calls of the C library that change what a process sees and may do. All raise OSError
with what was tried."""

from __future__ import annotations

import ctypes
import os

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000,
    0x02000000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
"""Of clone(2): a new namespace of that kind."""
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
"""Of mount(2)."""
DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
LAST_CAPABILITY = 63
CAPABILITY_VERSION = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    _done(libc.unshare(flags), "new namespaces")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    _done(result, f"mounting {kind or source or 'anew'} at {target}")


def swap_root(folder: str) -> None:
    """`folder`, a mount, becomes the root, and the old root is gone."""
    os.chdir(folder)
    # Both places may be one: the old root then lies on top of the new one (pivot_root(2), "pivot_root(".", ".")").
    _done(libc.pivot_root(b".", b"."), "a root of its own")
    _done(libc.umount2(b".", DETACH), "leaving the old root")
    os.chdir("/")


def prctl(option: int, value: int) -> None:
    _done(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def drop_capabilities() -> None:
    """All of them, for good."""
    for capability in range(LAST_CAPABILITY + 1):
        if libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0):
            break  # the kernel knows no more
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    _done(libc.capset(header, (ctypes.c_uint32 * 6)()), "dropping capabilities")


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")

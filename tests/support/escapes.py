"""Programs that try to get out of the sandbox, or to take what is not theirs. Each succeeds (raises nothing) only if it
did, and comes with what stops it instead. `CANARY` stands for the path of a file outside."""

from __future__ import annotations

import platform

CALLS = ("clone", "bpf", "perf_event_open", "userfaultfd", "keyctl", "init_module")
HERE = {"x86_64": (56, 321, 298, 323, 250, 175), "aarch64": (220, 280, 241, 282, 219, 105)}[platform.machine()]
NUMBERS = {
    **dict(zip(CALLS, HERE, strict=True)),
    **{"clone3": 435, "io_uring_setup": 425, "pidfd_open": 434, "open_tree": 428},
}

DENIED = "Operation not permitted|Permission denied"
ABSENT = "No such file"
FULL = "No space left"
READ_ONLY = "Read-only file system"
LATE = "timed out after|signal 24"
MEMORY = "MemoryError|Cannot allocate memory"
SLOWLY = f"{MEMORY}|{LATE}"
"""Of what takes all it can get, which lasts on a busy machine."""

_C = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    result = getattr(libc, name)(*args)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""


def _syscall(name: str, *args: object) -> str:
    return f"{_C}call('syscall', {', '.join(map(str, (NUMBERS[name], *args)))})"


ESCAPES: dict[str, tuple[str, str]] = {
    # Processes.
    "fork": ("import os\nif os.fork() == 0: os._exit(0)", DENIED),
    "fork bomb": ("import os\nwhile True: os.fork()", DENIED),
    "fork bomb that goes on": (
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        LATE,
    ),
    "fork in C": (f"{_C}call('fork')", DENIED),
    "clone": (_syscall("clone", 17, 0, 0, 0, 0), DENIED),
    "clone3": (_syscall("clone3", 0, 0), "not implemented"),
    "shell": ("import os\nassert os.system('true') == 0", "AssertionError"),
    "subprocess": ("import subprocess\nsubprocess.run(['/bin/sh', '-c', 'true'])", DENIED),
    "spawn": ("import os\nos.posix_spawn('/bin/true', ['true'], {})", f"{DENIED}|{ABSENT}"),
    "exec": ("import os, sys\nos.execv(sys.executable, ['python'])", DENIED),
    "multiprocessing": ("import multiprocessing as m\nm.get_context('fork').Process(target=print).start()", DENIED),
    "terminal": ("import pty\npty.fork()", f"{DENIED}|{ABSENT}|out of pty devices"),
    "thread bomb": (
        "import threading\nwhile True: threading.Thread(target=threading.Event().wait, daemon=True).start()",
        f"can't start new thread|{SLOWLY}",
    ),
    "kill the first process": ("import os\nos.kill(1, 9)", DENIED),
    "kill all processes": ("import os\nos.kill(-1, 9)", DENIED),
    "kill the parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)", DENIED),
    "signal the first process's thread": (f"{_C}call('tgkill', 1, 1, 2)", DENIED),
    "other process's descriptors": (_syscall("pidfd_open", 1, 0), DENIED),
    "priority": ("import os\nos.nice(-5)", DENIED),
    "other cores": ("import os\nos.sched_setaffinity(0, range(64))", DENIED),
    # Time.
    "endless loop": ("while True: pass", LATE),
    "endless loop that catches all": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        LATE,
    ),
    "endless loop deaf to signals": (
        "import signal\n"
        "for one in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(one, signal.SIG_IGN)\n"
        "while True: pass",
        LATE,
    ),
    "endless sleep": ("import time\ntime.sleep(1e6)", LATE),
    "endless regular expression": ("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", LATE),
    "large power": ("9**9**9", LATE),
    # Memory.
    "one large block": ("bytearray(1 << 40)", MEMORY),
    "many blocks": ("a = []\nwhile True: a.append(bytearray(1 << 20))", SLOWLY),
    "doubled text": ("a = 'a'\nwhile True: a += a", f"{SLOWLY}|OverflowError"),
    "mapped memory": ("import mmap\nmmap.mmap(-1, 1 << 33)", MEMORY),
    "shared memory": (f"{_C}call('shmget', 0, 1 << 20, 0o1600)", DENIED),
    "file in memory": ("import os\nos.memfd_create('x')", DENIED),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(1 << 30)\nclass A:\n    def __repr__(self): return repr([self])\nrepr(A())",
        f"signal 11|{SLOWLY}|RecursionError",
    ),
    "limits of the first process": ("import resource as r\nr.prlimit(1, r.RLIMIT_AS, (1 << 20, 1 << 20))", DENIED),
    "higher limits": ("import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))", "not allowed to raise"),
    # Files.
    "users": ("open('/etc/passwd')", ABSENT),
    "passwords": ("open('/etc/shadow')", ABSENT),
    "a file of the host": ("open('CANARY')", ABSENT),
    "what else is at the root": (
        "import os\nassert set(os.listdir('/')) - {'lib', 'lib64', 'usr', 'tmp', 'dev', 'root', 'opt', 'home'}",
        "AssertionError",
    ),
    "up and up": ("open('../' * 30 + 'etc/hostname')", ABSENT),
    "processes' files": ("open('/proc/1/environ')", ABSENT),
    "own memory": ("open('/proc/self/mem')", ABSENT),
    "kernel settings": ("import os\nos.listdir('/sys')", ABSENT),
    "devices": ("open('/dev/mem')", ABSENT),
    "new device": ("import os, stat\nos.mknod('d', 0o600 | stat.S_IFBLK, os.makedev(8, 0))", DENIED),
    "write at the root": ("open('/x', 'w')", READ_ONLY),
    "write into the library": ("import os\nopen(os.__file__, 'a')", READ_ONLY),
    "change the library's mode": ("import os\nos.chmod(os.__file__, 0o777)", READ_ONLY),
    "delete the library": ("import os\nos.unlink(os.__file__)", READ_ONLY),
    "symbolic link out": ("import os\nos.symlink('/etc/passwd', 'a')\nopen('a')", ABSENT),
    "symbolic link through proc": ("import os\nos.symlink('/proc/1/root/etc', 'a')\nos.listdir('a')", ABSENT),
    "hard link": ("import os\nos.link(os.__file__, 'a')", f"{READ_ONLY}|cross-device"),
    "large file": ("f = open('a', 'wb')\nwhile True: f.write(bytes(1 << 20))", f"File too large|{FULL}|{LATE}"),
    "many large files": (
        "n = 0\nwhile True:\n    n += 1\n    open(str(n), 'wb').write(bytes(1 << 20))",
        f"{FULL}|{LATE}",
    ),
    "many files": ("n = 0\nwhile True:\n    n += 1\n    open(str(n), 'w').close()", f"{FULL}|{LATE}"),
    "other root": ("import os\nos.chroot('.')", DENIED),
    "mount": (f"{_C}call('mount', b'none', b'/tmp', b'proc', 0, None)", DENIED),
    "unmount": (f"{_C}call('umount2', b'/tmp', 2)", DENIED),
    "swap roots": (f"{_C}call('pivot_root', b'.', b'.')", DENIED),
    "tree of mounts": (_syscall("open_tree", -100, "b'/'", 1), DENIED),
    # Environment.
    "variables": ("import os\nassert 'SECRET_OF_THE_HOST' in os.environ", "AssertionError"),
    "variables in memory": (
        f"{_C}libc.getauxval.restype = ctypes.c_size_t\n"
        "end = libc.getauxval(31)  # the name of the program stands behind its first variables\n"
        "found = ctypes.string_at(end - 4000, 4000)\n"
        "if b'PYTHONHASHSEED' not in found: raise LookupError('no variables here')\n"
        "assert b'SECRET_OF_THE_HOST' in found",
        "AssertionError",
    ),
    "open files": (
        "import os\nfound = []\n"
        "for one in range(3, 4096):\n"
        "    try: found.append(os.fstat(one))\n"
        "    except OSError: pass\n"
        "assert len(found) > 1  # the pipe of the report is its own",
        "AssertionError",
    ),
    "name of the host": ("import socket\nsocket.sethostname('x')", DENIED),
    # Sockets.
    "internet": ("import socket\nsocket.create_connection(('127.0.0.1', 22), 0.2)", DENIED),
    "internet 6": ("import socket\nsocket.socket(socket.AF_INET6)", DENIED),
    "datagrams": ("import socket\nsocket.socket(type=socket.SOCK_DGRAM)", DENIED),
    "local sockets": ("import socket\nsocket.socket(socket.AF_UNIX).connect('\\0x')", DENIED),
    "raw packets": ("import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)", DENIED),
    "kernel sockets": ("import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", DENIED),
    "pages": ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1')", f"{DENIED}|resolution|not known"),
    # Other people's memory, and the kernel.
    "trace": (f"{_C}call('ptrace', 16, 1, 0, 0)", DENIED),
    "be traced": (f"{_C}call('ptrace', 0, 0, 0, 0)", DENIED),
    "read memory": (f"{_C}call('process_vm_readv', 1, None, 0, None, 0, 0)", DENIED),
    "other user": ("import os\nos.setuid(1)", DENIED),
    "other groups": ("import os\nos.setgroups([0, 1])", DENIED),
    "new namespaces": (f"{_C}call('unshare', 0x10020000)", DENIED),
    "old namespaces": (f"{_C}call('setns', 0, 0)", DENIED),
    "capabilities": (f"{_C}call('prctl', 47, 2, 21, 0, 0)", DENIED),
    "program in the kernel": (_syscall("bpf", 0, 0, 0), DENIED),
    "counters": (_syscall("perf_event_open", 0, 0, -1, -1, 0), DENIED),
    "rings": (_syscall("io_uring_setup", 1, 0), DENIED),
    "page faults": (_syscall("userfaultfd", 0), DENIED),
    "keys": (_syscall("keyctl", 0, -3, 0), DENIED),
    "module": (_syscall("init_module", 0, 0, 0), DENIED),
    "reboot": (f"{_C}call('reboot', 0x01234567)", DENIED),
    # The verdict.
    "leave": ("import os\nos._exit(0)", "ended itself with exit code 0"),
    "leave politely": ("raise SystemExit(0)", "SystemExit"),
    "report for itself": (
        "import os\nfor one in range(64):\n    try: os.write(one, b'p' * 1000)\n    except OSError: pass\nos._exit(0)",
        "ended itself|before it began",
    ),
    "close the report": ("import os, time\nos.closerange(0, 64)\ntime.sleep(1e6)", "ended|signal"),
    "error without a text": (
        "class Odd(BaseException):\n    def __str__(self): raise Odd\nraise Odd",
        "Odd",
    ),
    "nothing that compiles": ("(" * 5000, "SyntaxError|MemoryError|RecursionError"),
}

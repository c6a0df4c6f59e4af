"""The system calls that a program may make: those of pure Python with files and threads. All others fail with EPERM:
there is no other process, no other program, no socket and no kernel object beyond them. By libseccomp, which knows
their numbers on every architecture."""

from __future__ import annotations

import ctypes
import errno
import os

_ALLOWED = """
access alarm arch_prctl brk chdir chmod clock_getres clock_gettime clock_nanosleep close close_range copy_file_range
dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 exit exit_group faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fcntl fdatasync flock fstat fstatfs fsync ftruncate futex futex_time64 getcwd
getdents64 getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresuid getrlimit getrusage getsid gettid gettimeofday getuid link linkat lseek lstat madvise membarrier mkdir
mkdirat mmap mprotect mremap msync munmap nanosleep newfstatat open openat pause pipe pipe2 poll ppoll pread64 preadv
preadv2 pselect6 pwrite64 pwritev pwritev2 read readlink readlinkat readv rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_yield select sendfile set_robust_list
set_tid_address setitimer setrlimit sigaltstack stat statfs statx symlink symlinkat sync_file_range sysinfo time times
truncate umask uname unlink unlinkat utime utimensat write writev
"""
TERMINAL = (0x5401, 0x5421, 0x5450, 0x5451)
"""The only requests of ioctl: is it a terminal, (non-)blocking, (non-)inheritable."""
CLONE_THREAD = 0x00010000
AF_UNIX = 1
ALLOW, FAIL = 0x7FFF0000, 0x00050000
EQUAL, MASKED_EQUAL = 4, 7
LIBRARY = "libseccomp.so.2"


class _Argument(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Filter:
    def __init__(self) -> None:
        """Raises OSError if there is no libseccomp."""
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise OSError(f"{LIBRARY} is not installed (package libseccomp2 or libseccomp)") from error
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._library.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p,
            ctypes.c_uint32,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.POINTER(_Argument),
        ]
        self._library.seccomp_load.argtypes = [ctypes.c_void_p]
        self._rules = self._library.seccomp_init(FAIL | errno.EPERM)
        if not self._rules:
            raise OSError("libseccomp could not make a filter")
        for name in _ALLOWED.split():
            self._add(ALLOW, name)
        for request in TERMINAL:
            self._add(ALLOW, "ioctl", _Argument(1, EQUAL, request))
        self._add(ALLOW, "clone", _Argument(0, MASKED_EQUAL, CLONE_THREAD, CLONE_THREAD))
        self._add(ALLOW, "prlimit64", _Argument(0, EQUAL, 0))  # its own
        self._add(FAIL | errno.ENOSYS, "clone3")  # whose flags no filter sees: the C library goes on with clone
        self._add(ALLOW, "socketpair", _Argument(0, EQUAL, AF_UNIX))  # what asyncio wakes itself with

    def load(self) -> None:
        """For good, for this process; it may signal itself alone. Raises OSError."""
        for name in ("kill", "tgkill"):
            self._add(ALLOW, name, _Argument(0, EQUAL, os.getpid()))
        if (result := self._library.seccomp_load(self._rules)) != 0:
            raise OSError(-result, f"seccomp: {os.strerror(-result)}")

    def _add(self, action: int, name: str, *arguments: _Argument) -> None:
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # this architecture does not have it
        array = (_Argument * len(arguments))(*arguments)
        if (result := self._library.seccomp_rule_add_array(self._rules, action, number, len(arguments), array)) != 0:
            raise OSError(-result, f"seccomp, {name}: {os.strerror(-result)}")

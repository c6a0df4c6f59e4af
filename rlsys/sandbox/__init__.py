"""Python programs that nobody wrote, run against tests where they can harm nothing: `run` is what others call.

A worker process moves into namespaces of its own (`isolation`), and forks itself for every program (`server`); the fork
gives up what it may still do (`seccomp`, resource limits) before it runs the program and its tests (`program`).
"""

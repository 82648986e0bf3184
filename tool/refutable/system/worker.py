"""A worker: a process told what to do by the one that started it, and gone when that is gone.

The pipe that carries the job stays open for as long as the first process lives. When it ends, in
whatever way, the operating system closes the pipe, which the worker notices: nothing goes
on measuring or drawing after a run that was killed.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from refutable.system.garbage import look_seldom

_SIZE = 8
"""Bytes in which the length of the job is told."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int) -> None:
    """Let torch use a number of threads, if it is loaded; else it reads ``OMP_NUM_THREADS``."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


class WorkerProcess:
    """A process that works beside this one.

    Parameters
    ----------
    process : subprocess.Popen
        Started with a pipe as its standard input.
    job : bytes
        What it is told; written by a thread, since it is read only after some imports.
    """

    def __init__(self, process: subprocess.Popen[bytes], job: bytes) -> None:
        self._process = process
        self._writer = threading.Thread(target=self._tell, args=(job,), daemon=True)
        self._writer.start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is still at work."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it is done, and return its exit code."""
        return self._process.wait(timeout)

    def said(self) -> bytes | None:
        """Wait, and return what it wrote to its standard output; ``None`` if it failed."""
        assert self._process.stdout is not None  # noqa: S101  (a pipe was asked for)
        said = self._process.stdout.read()
        failed = self._process.wait()
        self.end()
        return None if failed else said

    def end(self) -> None:
        """Stop it, if it is still at work, and close its pipes; more than once does no harm."""
        self._process.kill()
        self._process.wait()
        self._writer.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _tell(self, job: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101  (a pipe was asked for)
        # It may have failed already; its exit code tells.
        with suppress(OSError, ValueError):
            left = memoryview(len(job).to_bytes(_SIZE, "big") + job)
            while left:
                left = left[pipe.write(left) :]


def start(
    module: str, job: object, *, speaks: bool = False, env: Mapping[str, str] | None = None
) -> WorkerProcess | None:
    """Run a module of this package in a worker.

    Parameters
    ----------
    module : str
        It calls `receive` when it is run.
    job : object
        What `receive` returns there.
    speaks : bool
        Whether what it writes to its standard output is wanted.
    env : mapping, optional
        Changes of the environment.

    Returns
    -------
    WorkerProcess or None
        ``None`` where no process can be started: the first one then does all of the work.
    """
    if not sys.executable:
        return None
    message = pickle.dumps(job)
    try:
        process = subprocess.Popen(  # noqa: S603  (this interpreter and a module of this package)
            # Safe path: a file of the user's folder must not stand in for a library.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if speaks else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            # A thread that waits in a write must not hold the lock of a buffer at exit.
            bufsize=0,
        )
    except OSError:
        return None
    return WorkerProcess(process, message)


def receive() -> Any:
    """Return the job of this process, and let it end with the process that started it."""
    look_seldom()
    pipe = sys.stdin.buffer
    size = int.from_bytes(pipe.read(_SIZE), "big")
    message = pipe.read(size)
    if not size or len(message) < size:
        raise SystemExit(1)
    threading.Thread(target=_end_with_the_first, args=(pipe.fileno(),), daemon=True).start()
    return pickle.loads(message)  # noqa: S301  (its parent wrote it)


def _end_with_the_first(pipe: int) -> None:
    # Nothing more is written, so this returns when the other end is closed. Read past Python's
    # buffer, whose lock would be held when this process ends by itself.
    os.read(pipe, 1)
    os._exit(1)

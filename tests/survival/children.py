"""Commands in processes of their own, which can be harmed, and start at once: a server forks them that is warm."""

import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_FORKS: Any = get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.survival.warm"])
_CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}  # audit events
LONGEST = 300  # seconds that a command may take


@dataclass(frozen=True)
class Harm:
    """What goes wrong in a child.

    Attributes:
        kill_at: SIGKILL to its process group before this change of a file, counted from 1.
        kill_before: SIGKILL before the first change of a file whose path contains this text.
        clock: seconds by which its clock is wrong.
        host: the name of its machine, if it is another one.
        user: the number of the user that it runs as, if it is another one.
    """

    kill_at: int = 0
    kill_before: str = ""
    clock: float = 0
    host: str = ""
    user: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, negative for a signal; what it printed; its process; how long it took."""

    code: int
    output: str
    pid: int
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Child:
    """A command of lthprune in a process of its own.

    Args:
        words: the command without ``lthprune``, or ``imp`` and a folder for a search with a loop of one's own.
        below: only changes of files below this folder count for ``Harm.kill_at``.
        harm: what goes wrong.
    """

    def __init__(self, words: Sequence[str | Path], below: Path, harm: Harm = Harm()) -> None:
        self._log = below.parent / f"log-{time.monotonic_ns()}"
        self._started = time.monotonic()
        self._process: BaseProcess = _FORKS.Process(
            target=_work, args=([str(word) for word in words], str(below), str(self._log), harm)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL to its whole process group, if it is still there."""
        if self._process.is_alive():
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no group of its own yet
                self._process.kill()

    def end(self, after: float = LONGEST) -> Outcome:
        """Wait until it ends, and kill it after so many seconds."""
        self._process.join(after)
        self.kill()
        self._process.join()
        assert self._process.exitcode is not None
        output = self._log.read_text("utf-8", "replace") if self._log.exists() else ""
        self._log.unlink(missing_ok=True)
        return Outcome(self._process.exitcode, output, self.pid, time.monotonic() - self._started)


def call(words: Sequence[str | Path], below: Path, harm: Harm = Harm(), after: float = LONGEST) -> Outcome:
    """Run a command to its end, or kill it after so many seconds."""
    return Child(words, below, harm).end(after)


def _work(words: list[str], below: str, log: str, harm: Harm) -> None:
    """Be the child."""
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    assert threading.active_count() == 1
    if harm.host:
        platform.node = lambda: harm.host
    if harm.clock:
        _set_clock(harm.clock)
    if harm.kill_at or harm.kill_before:
        _kill_before(harm, below)
    if harm.user:
        os.setuid(harm.user)
    if words[0] == "imp":
        from tests.survival.warm import search

        search(words[1])
    else:
        from lthprune_cli.main import main

        sys.argv = ["lthprune", *words]
        main()


def _kill_before(harm: Harm, below: str) -> None:
    """Kill this process group before a change of a file below a folder, or before it is flushed to the disk."""
    count = 0

    def changes(path: str) -> None:
        nonlocal count
        count += 1
        if count == harm.kill_at or (harm.kill_before and harm.kill_before in path):
            os.killpg(0, signal.SIGKILL)

    def audit(event: str, arguments: Any) -> None:
        if event == "open":
            _, mode, flags = arguments
            written = bool({*"wax+"} & {*mode}) if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
            if not written:
                return
        elif event not in _CHANGES:
            return
        if str(arguments[0]).startswith(below):
            changes(str(arguments[0]))

    flush = os.fsync

    def flushed(descriptor: int) -> None:
        changes("")
        flush(descriptor)

    sys.addaudithook(audit)
    os.fsync = flushed


def _set_clock(seconds: float) -> None:
    """Let this process's clock be wrong."""
    from lthprune import writing
    from lthprune.experiments import environment, folders

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Wrong":
            right = datetime.now(tz) + timedelta(seconds=seconds)
            return cls(*right.timetuple()[:6], right.microsecond, right.tzinfo)

    for module in (writing, environment, folders):
        module.datetime = Wrong  # type: ignore[attr-defined]
    right = time.time
    time.time = lambda: right() + seconds

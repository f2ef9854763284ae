"""SIGTERM and SIGHUP end a command like Ctrl-C: it says how to go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGTERM", "SIGHUP")  # there is no SIGHUP on Windows


@contextmanager
def signals_as_interruptions() -> Iterator[None]:
    """Raise KeyboardInterrupt at these signals; the exit code is then 128 and the signal's number.

    A signal that is ignored from the beginning, as SIGHUP is under nohup, stays ignored.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        numbers = []
    replaced = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, interrupt)
    try:
        yield
    except SystemExit:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)

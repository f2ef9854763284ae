"""Memory of the system: how much is available, and giving back what a process has freed."""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

_LARGE = 1 << 26  # freed bytes that are worth a call, which takes milliseconds


def available_memory() -> int | None:
    """Return how many bytes a process may still take before the system swaps, as Linux estimates it; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kilobytes) * 1024
    except (OSError, ValueError):
        return None


def give_back_freed_memory(freed: int) -> None:
    """Give freed memory back to the system where the C library keeps it: glibc keeps blocks of up to 32 MB.

    Such blocks rarely serve a later tensor of the same size, because tensors are aligned; so without this, a process
    that replaces one state of a large model by another one after another grows. Elsewhere this does nothing.

    Args:
        freed: how many bytes were freed; below 64 MB nothing is done.
    """
    trim = _trim() if freed >= _LARGE else None
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # no glibc; on Windows no library without a name
        return None
    return trim

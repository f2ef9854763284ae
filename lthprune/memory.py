"""Memory: how much is available, copies in large pages, and giving freed memory back to the system."""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthprune.errors import LthpruneError

_PAGED = 1 << 22  # bytes from which numpy asks the system for large pages
_LARGE = 1 << 26  # freed bytes that are worth a call, which takes milliseconds


def copied(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor; a large one on the CPU in memory of numpy, which asks the system for large pages.

    torch asks for small ones, which the system takes longer to provide than the copy takes. The result is that of
    ``tensor.detach().clone()``, except that its memory cannot be resized.
    """
    tensor = tensor.detach()
    if type(tensor) is not Tensor or not tensor.is_cpu or not tensor.is_contiguous() or tensor.nbytes < _PAGED:
        return tensor.clone()
    memory = torch.from_numpy(np.empty(tensor.nbytes, np.uint8))
    return memory.view(tensor.dtype).view(tensor.shape).copy_(tensor)


def available_memory() -> int | None:
    """Return how many bytes a process may still take before the system swaps, as Linux estimates it; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kilobytes) * 1024
    except (OSError, ValueError):
        return None


def check_available(needed: int, what: str, advice: str, error: type[LthpruneError]) -> None:
    """Raise an error if something takes more memory than is available; where that is not known, more than a terabyte.

    Args:
        needed: how many bytes it takes.
        what: what takes them, as in ``"a network of 3,000 weights"``.
        advice: how to need less, as a sentence.
        error: the type of the error.

    Examples:
        >>> check_available(10**15, "a network of 250,000,000,000,000 weights", "Choose smaller layers.", LthpruneError)
        Traceback (most recent call last):
        lthprune.errors.LthpruneError: a network of 250,000,000,000,000 weights takes 1,000,000.0 GB of memory, and ...
    """
    available = available_memory() or 10**12
    if needed > available:
        raise error(
            f"{what} takes {needed / 1e9:,.1f} GB of memory, and {available / 1e9:,.1f} GB are available. {advice}"
        )


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

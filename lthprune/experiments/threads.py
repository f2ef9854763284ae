"""The number of threads that torch computes with while a recipe runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lthprune.errors import LthpruneError


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Let torch compute with so many threads, and restore the caller's number afterwards; None keeps the caller's.

    Raises:
        LthpruneError: the number is not between 1 and the number of cores.

    Examples:
        >>> with torch_threads(1):
        ...     torch.get_num_threads()
        1
        >>> with torch_threads(0):
        ...     pass
        Traceback (most recent call last):
        lthprune.errors.LthpruneError: threads = 0: this must be a whole number from 1 to the number of cores...
    """
    if number is None:
        yield
        return
    cores = os.cpu_count() or 1
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= cores:
        raise LthpruneError(
            f"threads = {number!r}: this must be a whole number from 1 to the number of cores, here {cores}. Set "
            "another one with --threads, in Python with threads=, also to resume a run of a machine with more cores."
        )
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

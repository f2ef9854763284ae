"""Calls of functions under test: their errors, and what they do to the global random generators."""

import functools
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

Result = TypeVar("Result")
DECLARE = "If it is meant to be random, draw from torch's generator and check it with random=True."
_TORCH = "torch"


class PropertyError(Exception):
    """A property that does not hold.

    Attributes:
        what: the rest of a sentence that begins with the function's name.
        seen: what the function returned or left behind; empty if ``what`` says it all.
    """

    def __init__(self, what: str, seen: str = "") -> None:
        super().__init__(what, seen)
        self.what, self.seen = what, seen


def call(function: Callable[[], Result], *, may_draw: bool = False, advice: str = DECLARE) -> Result:
    """Call a function; raise a PropertyError if it fails or draws from a global generator.

    Args:
        function: called without arguments and without warnings, since extreme cases rightly warn.
        may_draw: whether it may draw from torch's global generator.
        advice: for a function that draws from a global generator.
    """
    before = _states()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function()
    except Exception as error:  # other people's code fails in any way there is
        raise PropertyError(f"raises {type(error).__name__}: {' '.join(str(error).split())}") from error
    drawn = [name for name, state in _states().items() if state != before[name] and not (may_draw and name == _TORCH)]
    if drawn:
        raise PropertyError(
            f"draws from the global random generator of {' and '.join(drawn)}, so its result depends on what ran "
            f"before, and changes what runs after it. {advice}"
        )
    return result


def seed_generators(seed: int) -> None:
    """Seed the global generators of torch (on the CPU), numpy and Python."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@contextmanager
def generators_restored() -> Iterator[None]:
    """Restore the states of the global generators afterwards."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def called(function: Callable[..., Any]) -> str:
    """Return the name of a function, quoted; that of the function inside ``functools.partial``.

    Examples:
        >>> called(called), called(functools.partial(called)), called(lambda: 0)
        ("'called'", "'called'", "'<lambda>'")
    """
    while isinstance(function, functools.partial):
        function = function.func
    return repr(getattr(function, "__name__", type(function).__name__))


def _states() -> dict[str, object]:
    _, keys, *rest = np.random.get_state()
    return {
        _TORCH: torch.get_rng_state().numpy().tobytes(),
        "numpy": (np.asarray(keys).tobytes(), rest),
        "Python": random.getstate(),
    }

"""Checks of arguments, and descriptions of wrong ones for error messages."""

import operator
from collections.abc import Collection, Mapping

from torch import nn

from lthprune.errors import PruningError, suggestion


def check_word(what: str, word: object, known: Collection[str]) -> None:
    """Raise a PruningError unless a word is one of the known ones.

    Examples:
        >>> check_word("scope", "globl", ("global", "layerwise"))
        Traceback (most recent call last):
        lthprune.errors.PruningError: unknown scope 'globl'; did you mean 'global'? Known: global, layerwise.
    """
    if word not in known:
        raise PruningError(f"unknown {what} {word!r}{suggestion(str(word), known)} Known: {', '.join(known)}.")


def whole_number(name: str, number: object) -> int:
    """Return a whole number of any type, including numpy's, as an int.

    Raises:
        PruningError: it is not a whole number, or negative.

    Examples:
        >>> whole_number("levels", 2.5)
        Traceback (most recent call last):
        lthprune.errors.PruningError: levels = 2.5: this must be a whole number, 0 or more.
    """
    try:
        if isinstance(number, bool):  # an int in Python, but a mistake here
            raise TypeError
        whole = operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        whole = -1
    if whole < 0:
        raise PruningError(f"{name} = {number!r}: this must be a whole number, 0 or more.")
    return whole


def check_module(model: object) -> None:
    """Raise a PruningError unless a model is an ``nn.Module``; for a function or class, it suggests to call it."""
    if not isinstance(model, nn.Module):
        advice = " If it makes the model, call it and pass what it returns." if callable(model) else ""
        raise PruningError(f"a model is an nn.Module; this is {described(model)}.{advice}")


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return a phrase for each setting that is not what it was, for error messages.

    Examples:
        >>> differences({"points": 30, "copies": 2}, {"points": 10, "copies": 2})
        ['points was 30 and is now 10']
    """
    return [
        f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def described(value: object) -> str:
    """Return a phrase that says what a value is, for error messages about values of the wrong type.

    Examples:
        >>> described(3), described([]), described(int), described(len), described(None)
        ('an int', 'a list', 'the class int', 'the function len', 'None')
    """
    if value is None:
        return "None"
    name = getattr(value, "__name__", None)
    if isinstance(name, str) and callable(value):
        return f"the {'class' if isinstance(value, type) else 'function'} {name}"
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' or kind == 'ndarray' else 'a'} {kind}"

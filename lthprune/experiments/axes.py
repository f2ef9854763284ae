"""The axes of a sweep: what varies, read from text and checked."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lthprune.errors import RecipeError
from lthprune.reading import parse_toml

Axes = Mapping[str, Sequence[Any]]


def parse_axes(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Read axes: ``table.key=[values]``, a list as in TOML, or ``table.key=first..last``, whole numbers.

    Raises:
        RecipeError: one is neither, or two have the same key.

    Examples:
        >>> parse_axes(["model.hidden=[8, 10, 13]", "run.seed=0..3"])
        {'model.hidden': [8, 10, 13], 'run.seed': [0, 1, 2, 3]}
    """
    axes: dict[str, list[Any]] = {}
    for text in texts:
        key, _, values = (part.strip() for part in text.partition("="))
        if key in axes:
            raise RecipeError(f"there are two axes {key}; write all of its values into one list.")
        axes[key] = _values(text, values)
    return axes


def _values(axis: str, text: str) -> list[Any]:
    bounds = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", text)
    if bounds:
        first, last = map(int, bounds.groups())
        if first > last:
            raise RecipeError(f"the axis {axis!r} is empty: {first} is above {last}. Write the smaller bound first.")
        return list(range(first, last + 1))
    try:
        listed = parse_toml(f"values = {text}")["values"]
    except ValueError:
        listed = None
    if not isinstance(listed, list):
        raise RecipeError(
            f"cannot read the axis {axis!r}; write table.key=[value, value], texts in quotes, or table.key=first..last "
            "for whole numbers, as in model.hidden=[8, 10, 13] or run.seed=0..3."
        )
    return listed


def check_axes(axes: Axes, settings: Sequence[str]) -> None:
    """Raise a RecipeError for an axis without values, with a repeated value, or that is also a setting of all cells."""
    if not axes:
        raise RecipeError("there is nothing to sweep over; give an axis, as in model.hidden=[8, 10, 13].")
    given = {setting.partition("=")[0].strip() for setting in settings}
    for key, values in axes.items():
        if not isinstance(values, list | tuple | range):
            raise RecipeError(f"the axis {key} = {values!r} is not a list of values, as in [8, 10, 13].")
        texts = [in_toml(value) for value in values]
        if not texts:
            raise RecipeError(f"the axis {key} has no values.")
        if len(set(texts)) < len(texts):
            raise RecipeError(f"the axis {key} has a value twice: {', '.join(texts)}.")
        if key in given:
            raise RecipeError(f"{key} is both an axis and a setting of all cells; leave one of them out.")


def in_toml(value: object) -> str:
    """Return a value in TOML, on one line, as a setting has it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {in_toml(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_toml, value))}]"
    try:
        return json.dumps(value, ensure_ascii=False)  # JSON's texts, numbers, true and false are TOML's
    except TypeError as error:
        raise RecipeError(f"{value!r} cannot be a value of a recipe ({error}).") from error


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else in_toml(key)

"""Overrides of a recipe's settings, as in ``train.lr=3e-4``."""

from collections.abc import Collection, Sequence
from typing import Any

from lthprune.errors import RecipeError, shown
from lthprune.models import ModelSpec, keys_of
from lthprune.reading import parse_toml
from lthprune.search import SCHEDULES

_RATES = {"lr_schedule": "lr_milestones", "lr_milestones": "lr_schedule"}  # keys of [train] that replace one another


def override(tables: dict[str, Any], settings: Sequence[str]) -> None:
    """Replace settings in a recipe's tables, in place.

    An override also removes the settings that it replaces: another schedule; ``levels``, which follow where both a
    rate and a target are set; ``trials``, which a list of seeds counts; the keys of ``[model]`` that a new
    ``model.kind`` does not take; ``lr_milestones`` and ``lr_schedule``, of which each decides the other.

    Raises:
        RecipeError: a setting is not ``table.key=value``.

    Examples:
        >>> tables = {"prune": {"levels": 12, "rate": {"dense": 0.2, "output": 0.1}}}
        >>> override(tables, ["prune.target=600"])
        >>> tables
        {'prune': {'levels': 12, 'target': 600}}
        >>> override(tables, ["prune.rate=0.2", "prune.target=600"])
        >>> tables
        {'prune': {'rate': 0.2, 'target': 600}}
        >>> tables = {"model": {"kind": "conv6", "init": "glorot_normal"}}
        >>> override(tables, ["model.kind=torchvision", "model.name=resnet18"])
        >>> tables
        {'model': {'kind': 'torchvision', 'name': 'resnet18'}}
    """
    before: set[str] = set()
    for setting in settings:
        path, value = _read(setting)
        _remove_replaced(tables, path, value, before)
        *outer, last = path
        table = tables
        for part in outer:
            inner = table.get(part)
            if not isinstance(inner, dict):  # prune.rate.dense replaces a number prune.rate by a table
                inner = table[part] = {}
            table = inner
        table[last] = value
        before.add(".".join(path[:2]))


def _read(setting: str) -> tuple[list[str], Any]:
    key, equals, text = setting.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or len(path) < 2 or not all(path):
        raise RecipeError(f"cannot read the setting {shown(setting)}; write table.key=value, as in train.lr=3e-4.")
    if not text.strip():
        raise RecipeError(f"the setting {shown(setting)} has no value; for an empty text, write {key.strip()}=''.")
    try:
        read = parse_toml(f"value = {text}")
    except ValueError:
        read = {}
    return path, read["value"] if read.keys() == {"value"} else text.strip()


def _remove_replaced(tables: dict[str, Any], path: Sequence[str], value: object, before: Collection[str]) -> None:
    """Remove the settings that a new one replaces; ``before`` are the keys that were set earlier."""
    table, key, *inner = path
    held = tables.get(table)
    if not isinstance(held, dict):
        return
    if table == "model" and key == "kind":
        for other in ModelSpec.model_fields.keys() - keys_of(value):
            if f"model.{other}" not in before:
                held.pop(other, None)
    part = {"prune": "score", "data": "name", "model": "kind"}.get(table)
    if key == part and not inner and f"{table}.settings" not in before:
        held.pop("settings", None)  # they are arguments of the part that is replaced
    if table == "run" and key == "seed" and isinstance(value, list) and "run.trials" not in before:
        held.pop("trials", None)
    if table == "train" and key in _RATES and value != "milestones" and f"train.{_RATES[key]}" not in before:
        held.pop(_RATES[key], None)
    if table == "prune" and key in SCHEDULES:
        partner = {"rate": "target", "target": "rate"}.get(key)
        rate = value if key == "rate" else held.get("rate")
        together = (
            partner in held
            and not inner
            and not isinstance(rate, dict)
            and (f"prune.{partner}" in before or "levels" not in held)
        )
        for other in set(SCHEDULES) - {key} - ({partner} if together else set()):
            held.pop(other, None)
        if together and "prune.levels" not in before:
            held.pop("levels", None)

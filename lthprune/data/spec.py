"""The ``[data]`` table of a recipe."""

import math
from typing import Any

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from lthprune.data.sources import SOURCES
from lthprune.data.toys import TOYS
from lthprune.parts import DATA, check_part_name, is_own_part
from lthprune.reading import expanded
from lthprune.section import Section, Single

_KNOWN = (*SOURCES, *TOYS)


class DataSpec(Section):
    """The ``[data]`` table of a recipe."""

    name: str
    """``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``, ``svhn``, ``tiny-imagenet``, ``moons``,
    ``circles``, ``random``; the path of an ``.npz`` file, or of a folder of images, with ``/`` at its end; your own
    function, as in ``my_module:load``; or several of these joined, as in ``moons+circles``"""
    validation: int = Field(ge=1, le=10**9)
    """how many training samples are held out for validation"""
    size: int | None = Field(default=None, ge=1, le=4096)
    """images are resized to ``size`` x ``size`` pixels"""
    classes: tuple[int, ...] | None = None
    """keep only these classes, renumbered in this order; applies to every data set but toys"""
    samples: int | None = Field(default=None, ge=2, le=10**9)
    """of toys: how many samples to train on, besides those held out, and as many for testing; by default 1,000"""
    noise: Single | None = Field(default=None, ge=0)
    """of ``moons`` and ``circles``: the standard deviation of the points; by default 0.1"""
    factor: float | None = Field(default=None, gt=0, lt=1)
    """of ``circles``: the radius of the inner circle, where the outer one has 1; by default 0.35"""
    settings: dict[str, JsonValue] | None = None
    """keyword arguments of your own function; see [Extending](extending.md)"""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if "\0" in name:
            raise ValueError(f"{name!r} is no path: it has a character of the number 0")
        for part in split_name(name):
            if not is_path(part):
                also = ", the path of an .npz file, of a folder of images with / at its end, or several joined by +"
                check_part_name(DATA, part, _KNOWN, what="data set", also=also)
        return name

    @field_validator("classes")
    @classmethod
    def _two_or_more(cls, classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if classes is not None and (len(set(classes)) != len(classes) or len(classes) < 2 or min(classes) < 0):
            raise ValueError(f"{list(classes)} are not two or more different classes, counted from 0")
        return classes

    @model_validator(mode="after")
    def _reducible(self) -> "DataSpec":
        sources = [part for part in self.parts if part not in TOYS]
        for key in ("size", "classes"):
            if getattr(self, key) is not None and not sources:
                raise ValueError(f"{key} is for images; {self.name} has none")
        for part in sources:
            most = SOURCES[part].classes if part in SOURCES else math.inf
            if max(self.classes or (0,)) >= most:
                raise ValueError(f"classes = {list(self.classes or ())}, but those of {part} are 0 to {most - 1}")
        return self

    @model_validator(mode="after")
    def _settings_of_a_function(self) -> "DataSpec":
        if self.settings is not None and not self.own:
            raise ValueError(f"settings are for a function of your own; {self.name} takes none")
        return self

    @model_validator(mode="after")
    def _settings_of_toys(self) -> "DataSpec":
        takers = {"samples": tuple(TOYS)} | {key: _takers(key) for key in ("noise", "factor")}
        for key, toys in takers.items():
            if getattr(self, key) is not None and not set(self.parts) & set(toys):
                raise ValueError(f"{key} is a setting of {' and '.join(toys)}; {self.name} takes none")
        return self

    @model_serializer(mode="wrap")
    def _keys_that_apply(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out keys that only some data sets take, unless they are set."""
        optional = ("settings", "samples", "noise", "factor")
        return {key: value for key, value in handler(self).items() if key not in optional or value is not None}

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the data sets that are joined, or of the only one."""
        return split_name(self.name)

    @property
    def own(self) -> bool:
        """Whether a function of your own, or of an installed package, loads some of the data."""
        return any(part not in _KNOWN and not is_path(part) for part in self.parts)

    @property
    def known_beforehand(self) -> bool:
        """Whether shapes and tasks follow from the table alone, because lthprune provides all of its data sets."""
        return all(part in _KNOWN for part in self.parts)


def _takers(key: str) -> tuple[str, ...]:
    return tuple(name for name, settings in TOYS.items() if key in settings)


def split_name(name: str) -> tuple[str, ...]:
    """Return the data sets that a name joins by ``+``; a path may contain ``+`` itself.

    A part that is neither built in nor a function extends to the next ``.npz``, or to the next part that ends in ``/``.
    Write ``./moons+circles.npz`` for a file whose name begins like a data set.

    Examples:
        >>> split_name("moons+circles+/data/a+b.npz+digits")
        ('moons', 'circles', '/data/a+b.npz', 'digits')
        >>> split_name("./moons+circles.npz")
        ('./moons+circles.npz',)
        >>> split_name("/data/cats+dogs/+digits")
        ('/data/cats+dogs/', 'digits')
    """
    words, parts = name.split("+"), []
    while words:
        end = 1
        if words[0] not in _KNOWN and not is_own_part(DATA, words[0]):
            end = next((at for at, word in enumerate(words, start=1) if is_path(word)), 1)
        parts.append("+".join(words[:end]))
        words = words[end:]
    return tuple(parts)


def is_folder(part: str) -> bool:
    """Return whether a part of a data set's name is the path of a folder: it ends in ``/``."""
    return part.endswith("/")


def is_path(part: str) -> bool:
    """Return whether a part of a data set's name is the path of a file or of a folder."""
    return part.endswith(".npz") or is_folder(part)


def absolute_part(part: str) -> str:
    """Return a part of a data set's name, made absolute if it is a path.

    Examples:
        >>> absolute_part("/data/../flowers/"), absolute_part("moons")
        ('/flowers/', 'moons')
    """
    if not is_path(part):
        return part
    return f"{expanded(part).resolve()}{'/' * is_folder(part)}"

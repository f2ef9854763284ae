"""Lengths in recipes: numbers of steps, or of epochs until the number of training samples is known."""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any

from pydantic import Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

_EPOCHS = re.compile(r"(\d+(?:\.\d+)?)ep")


@dataclass(frozen=True, order=True)
class Epochs:
    """A number of epochs, as in ``"160ep"`` or ``"0.5ep"``.

    Examples:
        >>> Epochs.read("160ep").steps(750), Epochs.read("0.5ep").steps(750), Epochs.read("160")
        (120000, 375, None)
    """

    number: Decimal

    def __str__(self) -> str:
        return f"{self.number}ep"

    @classmethod
    def read(cls, value: object) -> "Epochs | None":
        """Return the epochs that a text says; None for anything else."""
        said = _EPOCHS.fullmatch(value) if isinstance(value, str) else None
        return cls(Decimal(said[1])) if said else None

    def steps(self, per_epoch: int) -> int:
        """Return the nearest number of steps, for so many steps in an epoch."""
        return int((self.number * per_epoch).to_integral_value(ROUND_HALF_EVEN))


def in_steps(value: Any, per_epoch: int) -> Any:
    """Return a value of a recipe with epochs, alone or in a tuple, replaced by steps.

    Examples:
        >>> in_steps((Epochs.read("2ep"), 5), 10)
        (20, 5)
    """
    if isinstance(value, tuple):
        return tuple(in_steps(each, per_epoch) for each in value)
    return value.steps(per_epoch) if isinstance(value, Epochs) else value


def has_epochs(value: object) -> bool:
    """Return whether a value of a recipe is in epochs, or a tuple with such a value in it."""
    return any(map(has_epochs, value)) if isinstance(value, tuple) else isinstance(value, Epochs)


def _read(value: Any, read_number: ValidatorFunctionWrapHandler) -> Any:
    epochs = value if isinstance(value, Epochs) else Epochs.read(value)
    if epochs is None and isinstance(value, str):
        raise ValueError(f'{value!r} is neither a number of steps, as in 1000, nor one of epochs, as in "2ep"')
    return read_number(value) if epochs is None else epochs


_AS_SAID = (WrapValidator(_read), PlainSerializer(lambda value: str(value) if isinstance(value, Epochs) else value))

# Both are whole numbers in every recipe that is run: preview_recipe replaces epochs by steps.
Steps = Annotated[int, Field(ge=1, le=10**12), *_AS_SAID]
"""A number of steps, 1 or more, or ``Epochs``."""
Moment = Annotated[int, Field(ge=0, le=10**12), *_AS_SAID]
"""The number of steps made at some moment, 0 or more, or ``Epochs``."""

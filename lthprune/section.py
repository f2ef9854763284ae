"""The base class of all tables of a recipe, and what pydantic says of other contents of files."""

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """A table of a recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def _in_single_precision(number: float) -> float:
    least, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    if number and not least <= abs(number) <= most:
        raise ValueError(
            f"{number} is no number of single precision, in which networks are trained: those are 0 and {least:.1e} to "
            f"{most:.1e}"
        )
    return number


Single = Annotated[float, AfterValidator(_in_single_precision)]
"""A number that single precision can hold: neither so small that it becomes 0 nor so large that it becomes infinite."""


def first_fault(error: ValidationError) -> str:
    """Return where pydantic finds the first fault, and what it is, for errors about files that lthprune wrote.

    Examples:
        >>> from pydantic import TypeAdapter
        >>> try:
        ...     TypeAdapter(dict[str, int]).validate_python({"level": "a"})
        ... except ValidationError as error:
        ...     first_fault(error)
        'level: Input should be a valid integer, unable to parse string as an integer'
    """
    (first, *_) = error.errors(include_url=False)
    return ": ".join(filter(None, (".".join(str(part)[:100] for part in first["loc"]), first["msg"])))

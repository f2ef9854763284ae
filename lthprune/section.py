"""The base class of all tables of a recipe, and what pydantic says of other contents of files."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """A table of a recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


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
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))

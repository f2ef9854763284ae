"""Messages for the faults that pydantic finds in a recipe: where, what, and the nearest known key or word."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from lthprune.errors import listed, shortened, shown, suggestion
from lthprune.section import Section

_MOST = 20  # faults that are described
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "dict": "a table",
    "model": "a table",
}


def describe_faults(error: ValidationError, tables: Mapping[str, type[Section]]) -> str:
    """Return the number of faults and a description of each; ``tables`` are the tables of a recipe."""
    found: dict[object, list[Mapping[str, Any]]] = {}
    for fault in error.errors():  # pydantic reports a value that fits none of several types once for each
        table, _, rest = _place(fault["loc"], tables)
        found.setdefault((table, *rest[:1]) if table else fault["msg"], []).append(dict(fault))
    counted = "a fault" if len(found) == 1 else f"{len(found)} faults"
    text = listed([shortened(_fault(faults, tables)) for faults in found.values()], most=_MOST)
    return f"{counted}: {text}{'' if text.endswith('?') else '.'}"


def _fault(faults: Sequence[Mapping[str, Any]], tables: Mapping[str, type[Section]]) -> str:
    """Describe the faults at one place: where, what, and the nearest known key or word."""
    fault = faults[0]
    table, section, rest = _place(fault["loc"], tables)
    place = f"[{table}]{' ' + rest[0] if rest else ''}" if table else "the whole"
    if fault["type"] == "extra_forbidden":
        what, words = ("key", section.model_fields) if section and rest else ("table", tables)
        return f"{place}: unknown {what}{suggestion((rest or [table])[-1], words).rstrip('.')}"
    if fault["type"] == "missing":
        return f"{place}: this {'key' if rest else 'table'} is missing"
    wanted = [_wanted(each) for each in faults]
    if all(wanted):
        return f"{place}: {shown(fault['input'])} is not {', or '.join(wanted)}{_near(fault)}"
    message = str(fault["msg"]).removeprefix("Value error, ").rstrip(".")
    quoted = fault["type"] == "value_error" or isinstance(
        fault["input"], dict | Section
    )  # our own messages already quote the value
    got = "" if quoted else f" (it is {shown(fault['input'])})"
    return f"{place}: {message[:1].lower()}{message[1:]}{got}"


def _place(loc: Sequence[object], tables: Mapping[str, type[Section]]) -> tuple[str, type[Section] | None, list[str]]:
    """Return the name of the innermost table that a fault is in, its type, and the parts of the place inside it."""
    if not loc:
        return "", None, []
    name, *rest = map(str, loc)
    section = tables.get(name)
    while section is not None and len(rest) > 1 and rest[0] in section.model_fields:
        inner = section.model_fields[rest[0]].annotation
        if not (isinstance(inner, type) and issubclass(inner, Section)):
            break  # what follows names one of several types
        name, section, rest = f"{name}.{rest[0]}", inner, rest[1:]
    return name, section, rest


def _wanted(fault: Mapping[str, Any]) -> str:
    """Return the words or type that were expected; nothing for any other kind of fault."""
    if fault["type"] == "literal_error":
        return str(fault["ctx"]["expected"])
    return _TYPES.get(fault["type"].removesuffix("_type"), "")


def _near(fault: Mapping[str, Any]) -> str:
    words = fault.get("ctx", {}).get("expected", "").replace(" or ", ", ").split(", ")
    return suggestion(str(fault["input"]), [word.strip("'") for word in words]).rstrip(".")

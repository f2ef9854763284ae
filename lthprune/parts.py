"""Your own parts of a recipe: functions named ``"my_module:my_function"``, or registered by installed packages."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from lthprune.errors import RecipeError, suggestion

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class PartKind:
    """A place in a recipe that can name your own function.

    Attributes:
        table: the recipe's table, which also holds the function's ``settings``.
        key: the key in that table that names the function.
        arguments: what lthprune calls the function with, in this order; settings are keyword arguments.
        group: the entry-point group in which packages register such functions.
    """

    table: str
    key: str
    arguments: tuple[str, ...]
    group: str

    def named(self, name: str) -> str:
        """Return how a recipe names a part, for error messages."""
        return f'[{self.table}] {self.key} = "{name}"'


SCORE = PartKind("prune", "score", ("candidate",), "lthprune.scores")
MODEL = PartKind("model", "kind", ("input_shape", "outputs"), "lthprune.models")
DATA = PartKind("data", "name", ("data_dir",), "lthprune.data")


def is_own_part(kind: PartKind, name: str) -> bool:
    """Return whether a name refers to a function of your own or of an installed package; imports nothing.

    Examples:
        >>> is_own_part(SCORE, "my_module:my_score"), is_own_part(SCORE, "magnitude")
        (True, False)
    """
    return _REFERENCE.fullmatch(name) is not None or name in registered(kind)


def registered(kind: PartKind) -> tuple[str, ...]:
    """Return the names that installed packages register; reads their metadata and imports none of them."""
    return tuple(sorted(entry_points(group=kind.group).names))


def check_part_name(kind: PartKind, name: str, known: Iterable[str], *, what: str, also: str = "") -> None:
    """Raise a RecipeError unless a name is a built-in one or that of an own part; imports nothing.

    Examples:
        >>> check_part_name(SCORE, "magnitud", ["magnitude", "random"], what="score")
        Traceback (most recent call last):
        lthprune.errors.RecipeError: unknown score 'magnitud'; did you mean 'magnitude'? Known: magnitude, random; \
or a function of your own, as in "my_module:my_function".
    """
    known = tuple(known)
    if name in known or is_own_part(kind, name):
        return
    words = (*known, *registered(kind))
    raise RecipeError(
        f"unknown {what} {name!r}{suggestion(name, words)} Known: {', '.join(words)}{also}; or a function of your own, "
        'as in "my_module:my_function".'
    )


def import_part(
    kind: PartKind, name: str, settings: Mapping[str, Any] | None, *, trust_code: bool
) -> Callable[..., Any]:
    """Import the function that a recipe names, check that it can be called, and return it.

    A module is looked for where Python looks, and then in the current directory.

    Args:
        kind: what the function is for.
        name: ``"my_module:my_function"``, or a registered name.
        settings: the recipe's settings for the function, its keyword arguments.
        trust_code: whether the person who asks has agreed to import it. Importing a module runs it.

    Raises:
        RecipeError: there is no consent, no such module or function, or the function does not take the arguments and
            settings.
    """
    where = kind.named(name)
    if not trust_code:
        raise RecipeError(
            f"{where} is code from outside lthprune. Importing it runs it, so it is not imported without your consent. "
            "If you trust it, add --trust-code on the command line, or trust_code=True in Python, as in "
            "Run(folder, trust_code=True)."
        )
    function = _registered_function(kind, name, where) if ":" not in name else _function(name, where)
    _check_signature(kind, function, settings or {}, name)
    return function


def _registered_function(kind: PartKind, name: str, where: str) -> Callable[..., Any]:
    found = [entry for entry in entry_points(group=kind.group) if entry.name == name]
    if len(found) != 1:
        packages = ", ".join(str(entry.dist.name) if entry.dist else entry.value for entry in found) or "no package"
        raise RecipeError(
            f"{where}: {packages} registers this name in the entry-point group {kind.group}, which takes exactly one. "
            "Install or uninstall packages, or name the function itself, as in "
            f'"{found[0].value if found else "my_module:my_function"}".'
        )
    return _function(found[0].value, where)


def _function(reference: str, where: str) -> Callable[..., Any]:
    name, _, path = reference.partition(":")
    found: Any = _module(name, where)
    file = getattr(found, "__file__", None) or name
    for part in path.split("."):
        if not hasattr(found, part):
            functions = [each for each in dir(found) if callable(getattr(found, each)) and not each.startswith("_")]
            raise RecipeError(f"{where}: {file} has no function {path!r}{suggestion(part, functions)}")
        found = getattr(found, part)
    if not callable(found):
        raise RecipeError(f"{where}: {path} in {file} is not a function; its type is {type(found).__name__}.")
    function: Callable[..., Any] = found
    return function


def _module(name: str, where: str) -> Any:
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)  # last, so that no file in it hides an installed module; stays for imports made later
    importlib.invalidate_caches()  # the file may be newer than Python's listing of the folder
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise RecipeError(f"{where}: importing {name} needs the module {error.name}, which is missing.") from error
        near = suggestion(name, [file.stem for file in Path(here).glob("*.py")])
        raise RecipeError(
            f"{where}: there is no module {error.name!r}{near} Python looks in its own folders and in {here}. Change "
            f"into the folder of {name.partition('.')[0]}.py, or add that folder to PYTHONPATH."
        ) from error
    except Exception as error:  # importing runs the module, which fails in any way there is
        message = " ".join(str(error).split())
        raise RecipeError(f"{where}: importing {name} failed with {type(error).__name__}: {message}.") from error


def _check_signature(kind: PartKind, function: Callable[..., Any], settings: Mapping[str, Any], name: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables of compiled code have none
        return
    call = f"lthprune calls {name}({', '.join(kind.arguments)}) with the settings as keyword arguments"
    try:
        positional = signature.bind_partial(*kind.arguments).arguments
    except TypeError as error:
        raise RecipeError(f"{kind.named(name)}: the function takes {signature}, but {call} ({error}).") from error
    parameters = signature.parameters.values()
    keywords = [
        each.name
        for each in parameters
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and each.name not in positional
    ]
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        for key in settings:
            if key not in keywords:
                takes = f" It takes {', '.join(keywords)}." if keywords else " It takes no settings."
                raise RecipeError(
                    f"[{kind.table}] settings.{key}: {name} has no such setting{suggestion(key, keywords)}{takes}"
                )
    missing = [
        each.name
        for each in parameters
        if each.name in keywords and each.default is each.empty and each.name not in settings
    ]
    if missing:
        raise RecipeError(
            f"[{kind.table}] settings: {name} needs {' and '.join(missing)}, as in {missing[0]} = ...; {call}."
        )

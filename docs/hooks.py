"""Fills the documentation from the code: settings of recipes, commands, the version.

``{{ table NAME }}`` becomes the keys of a table of recipes, ``{{ commands }}`` the reference of the command line,
``{{ version }}`` the version of the package; ``{{ claims }}``, ``{{ results }}`` and ``{{ faults }}`` the tables of
stored results, and ``{{ origin }}`` where the last one comes from.
"""

import inspect
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, get_args

import typer

from lthprune.experiments import Recipe
from lthprune.section import Section
from lthprune_cli.main import app
from results import faults, page


def on_config(config: Any) -> Any:
    """Put the version into the footer of every page."""
    config.copyright = f"lthprune {version('lthprune')}, MIT licence"
    return config


def on_page_markdown(markdown: str, **context: object) -> str:
    """Replace the placeholders of a page."""
    markdown = re.sub(r"\{\{ table (\w+) \}\}", lambda match: _keys(match[1]), markdown)
    markdown = re.sub(r"\{\{ commands \}\}", lambda match: "\n\n".join(_commands()), markdown)
    for name, header, rows in (
        ("claims", page.CLAIMS_HEAD, page.rows),
        ("results", page.RESULTS_HEAD, page.results),
        ("faults", faults.HEAD, faults.rows),
    ):
        if f"{{{{ {name} }}}}" in markdown:
            markdown = markdown.replace(f"{{{{ {name} }}}}", _table(header, list(rows())))
    markdown = re.sub(r"\{\{ origin \}\}", lambda match: faults.origin(), markdown)
    return markdown.replace("{{ version }}", version("lthprune"))


def _keys(table: str) -> str:
    annotation = Recipe.model_fields[table].annotation
    section = (get_args(annotation) or (annotation,))[0]  # a table that may be left out is X | None
    assert isinstance(section, type)
    assert issubclass(section, Section)
    return _table(
        ("key", "default", "what"),
        [
            (f"`{name}`", "*required*" if field.is_required() else _toml(field.default), field.description or "")
            for name, field in section.model_fields.items()
        ],
    )


def _toml(value: object) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, tuple):
        text = str(list(value)).replace("'", '"')
    return f"`{text}`"


def _commands() -> Iterator[str]:
    """Yield the sections of the reference: what each command does, its arguments and its options."""
    group: Any = typer.main.get_command(app)
    yield _table(("option of every command", "what"), [(_names(each), _marked(each.help)) for each in group.params])
    for name, command in group.commands.items():
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
        several = {each.name: "..." if each.nargs == -1 else "" for each in arguments}
        words = [f"{each.metavar}{several[each.name]}" for each in arguments]
        usage = " ".join(["lthprune", name, *words, *(["[OPTIONS]"] if options else [])])
        yield f"## {name}\n\n```text\n{usage}\n```\n\n{_marked(inspect.cleandoc(command.help))}"
        rows = [(f"`{word}`", _marked(each.help), "") for word, each in zip(words, arguments, strict=True)]
        rows += [(_names(each), _marked(each.help), _default(each)) for each in options]
        if rows:
            yield _table(("argument or option", "what", "default"), rows)


def _marked(text: str) -> str:
    """Return a help text with options, settings and paths as code."""
    return re.sub(r"(?<![\w/])(--[a-z][a-z-]*|~?/[\w./-]+\w|[a-z]+\.[a-z]+=[^\s,;]*[^\s,;.])", r"`\1`", text)


def _names(option: Any) -> str:
    names = [*option.opts, *option.secondary_opts]
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    return ", ".join(f"`{name}{value}`" for name in names)


def _default(option: Any) -> str:
    if option.required:
        return "*required*"
    nothing = option.default is None or option.default is False
    return "" if nothing else f"`{option.default}`"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    """Return a text as a cell of a table: on one line, and without characters that end the cell."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))  # code keeps its bars
    return "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in parts)

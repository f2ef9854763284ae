"""Fills the documentation with what the code says: ``{{ table NAME }}`` becomes the keys of a recipe's table."""

import re

from lthprune.experiments import Recipe
from lthprune.section import Section


def on_page_markdown(markdown: str, **context: object) -> str:
    """Replace every mention of a recipe's table by its keys, defaults and descriptions."""
    return re.sub(r"\{\{ table (\w+) \}\}", lambda match: _keys(match[1]), markdown)


def _keys(table: str) -> str:
    section = Recipe.model_fields[table].annotation
    assert isinstance(section, type)
    assert issubclass(section, Section)
    rows = ["| key | default | what |", "| --- | --- | --- |"]
    for name, field in section.model_fields.items():
        default = "*required*" if field.is_required() else _toml(field.default)
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(rows)


def _toml(value: object) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, tuple):
        text = str(list(value)).replace("'", '"')
    return f"`{text}`"

"""The table of the page on faults, from what ``python -m tests.survival.page`` has stored."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "survival.json"
HEAD = ("fault", "how often", "what happened", "lost")


def rows() -> Iterator[tuple[str, ...]]:
    """Yield a row for each fault: its name, how often it was tried, what happened how often, and what was lost; at last
    one for all.
    """
    found = [row for part in _stored()["rows"].values() for row in part]
    for each in found:
        happened = "; ".join(f"{what}: {often:,}" for what, often in each["happened"].items() if often)
        yield each["fault"], f"{each['tries']:,}", happened, _times(len(each["lost"]))
    yield "all", f"{sum(each['tries'] for each in found):,}", "", _times(sum(len(each["lost"]) for each in found))


def origin() -> str:
    """Return where the table comes from."""
    stored = _stored()
    versions = ", ".join(f"{name} {stored['versions'][name]}" for name in ("python", "torch"))
    (command,) = stored["commands"]
    return f"`{command}`, {stored['date']}, {stored['processor']}, {versions}; [all figures](survival.json)."


def _times(lost: int) -> str:
    return f"{lost} times" if lost else "nothing"


def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return stored

"""The page ``docs/modules.md``: a table for each family of models, a line for each model.

python -m tests.matrix.page                       # examine everything: an hour on two cores
python -m tests.matrix.page torchvision/resnet18  # examine some models, and keep the other lines
"""

import re
import sys
from pathlib import Path

from tests.matrix.examination import YES, Row, examine
from tests.zoo.catalogue import FAMILIES, specimen

PAGE = Path(__file__).parents[2] / "docs" / "modules.md"

_HEAD = "| model | covered by default | prune, search, rewind, ticket | torch's form | states | compaction | export |\n"
_RULE = "| --- | --- | --- | --- | --- | --- | --- |\n"
_TITLES = {
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers",
    "recurrent": "Recurrent networks",
    "own": "Modules of one's own",
}
# What a refusal says, and the words that stand for it in a table.
_REFUSALS = [
    (r"computed from other parameters", "computed"),
    (r"torch's form of pruning does not reach", "not called"),
    (r"a gradient reached", "not called"),
    (r"torch\.fx cannot trace", "not traced"),
    (r"the effect of ([\w.]+)", r"unknown: \1"),
    (r"inputs that are not tensors|inputs: an example is", "inputs"),
    (r"is parametrised", "computed"),
]


def line(row: Row) -> str:
    """The line of a table that tells of one model."""
    search = YES if row.works else _brief(next(each for each in (row.prune, row.search, row.ticket) if each != YES))
    cells = [f"`{row.name.partition('/')[2]}`", row.default, search]
    cells += [_brief(each) for each in (row.torch, row.states, row.compaction, row.export)]
    return f"| {' | '.join(cells)} |"


def lines() -> dict[str, str]:
    """The lines that the page has, by the names of the models."""
    found, family = {}, ""
    for each in PAGE.read_text("utf-8").splitlines():
        for name, title in _TITLES.items():
            family = name if each == f"## {title}" else family
        if match := re.match(r"\| `([^`]+)` \|", each):
            found[f"{family}/{match[1]}"] = each
    return found


def write(known: dict[str, str]) -> None:
    """Write the tables into the page, below its introduction."""
    introduction = PAGE.read_text("utf-8").partition("\n## torchvision\n")[0]
    parts = [introduction.rstrip() + "\n"]
    for family, members in FAMILIES.items():
        rows = "".join(f"{known[each.name]}\n" for each in members if each.name in known)
        parts.append(f"\n## {_TITLES[family]}\n\n{_HEAD}{_RULE}{rows}")
    PAGE.write_text("".join(parts), "utf-8")


def _brief(outcome: str) -> str:
    for pattern, words in _REFUSALS:
        if match := re.search(pattern, outcome):
            return match.expand(words)
    return outcome.replace("|", "\\|")


def main(names: list[str]) -> None:
    """Examine models and write the page, after each one."""
    known = lines() if names else {}
    for name in names or [each.name for members in FAMILIES.values() for each in members]:
        known[name] = line(examine(specimen(name)))
        print(known[name], flush=True)
        write(known)


if __name__ == "__main__":
    main(sys.argv[1:])

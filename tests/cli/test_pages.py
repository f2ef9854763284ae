"""The pages for newcomers: their commands run in the order of the page, and the generated parts are complete."""

import importlib.util
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import typer

from lthprune.experiments.folders import find_runs
from lthprune.experiments.recipe import Recipe, bundled
from lthprune_cli.main import app
from tests.cli.conftest import Cli

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.glob("**/*.md"))
COMPILING = "Compiling for this processor, which takes up to half a minute. Later runs load what is compiled."
SHORT = ("--set", "train.steps=4", "--set", "train.evaluate_every=2")

needs_data = pytest.mark.skipif("LTHPRUNE_DATA" not in os.environ, reason="MNIST: set LTHPRUNE_DATA to a data root")


@pytest.fixture(scope="session")
def fill() -> Callable[[str], str]:
    """What the documentation does with the text of a page."""
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return lambda page: str(hooks.on_page_markdown((DOCS / page).read_text("utf-8")))


def commands(page: str) -> list[list[str]]:
    """The commands of a page in their order, each a list of words; only those of lthprune."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words[1:] for line in lines if (words := shlex.split(line, comments=True))[:1] == ["lthprune"]]


def follow(page: str, cli: Cli) -> list[str]:
    """Run the commands of a page in their order, trainings with few steps; return the verbs."""
    found = commands(page)
    for words in found:
        more = SHORT if words[0] in ("run", "sweep") else ()
        result = cli(*words, *more)
        assert result.code == 0, f"lthprune {' '.join(words)}: {result.err}"
        assert result.err == "" or result.err.startswith("Compiling for this processor"), result.err
        assert result.narrow, f"lthprune {' '.join(words)}"
    return [words[0] for words in found]


@pytest.mark.heavy
@needs_data
def test_the_quick_start_works_in_its_order(cli: Cli) -> None:
    verbs = follow("quickstart.md", cli)
    assert verbs == ["run", "plot", "run", "ls", "show", "show", "run", "run", "runs", "resume"]
    first, *others = find_runs("runs")
    assert (first.folder / "figures" / "states.png").is_file()
    assert len(others) == 3


@needs_data
def test_the_page_on_recipes_works_in_its_order(cli: Cli) -> None:
    Path("my-experiment.toml").write_text(bundled()["lenet-mnist"].replace("levels = 20", "levels = 1"))
    assert follow("recipes.md", cli) == ["run", "show"]
    assert [run.recipe_name for run in find_runs("runs")] == ["my-experiment"]


def test_the_page_on_troubleshooting_works_in_its_order(cli: Cli) -> None:
    cli("run", "lenet-digits", *SHORT, "--set", "prune.levels=1")
    assert follow("troubleshooting.md", cli) == ["show", "runs", "resume"]


@pytest.mark.parametrize("page", PAGES)
def test_every_row_of_a_table_has_as_many_cells_as_its_header(page: str, fill: Callable[[str], str]) -> None:
    inside, width = False, 0
    for line in fill(page).splitlines():
        if line.startswith("```"):
            inside = not inside
        if inside or not line.startswith("|"):
            width = 0
            continue
        cells = re.sub(r"`[^`]*`|\\\|", "", line).count("|") - 1
        width = width or cells
        assert line.endswith("|")
        assert cells == width, line


@pytest.mark.parametrize("table", Recipe.model_fields)
def test_every_key_of_a_recipe_is_described_in_a_row_of_its_own(table: str, fill: Callable[[str], str]) -> None:
    section = fill("recipes.md").partition(f"### `[{table}]`")[2].partition("\n### ")[0]
    annotation = Recipe.model_fields[table].annotation
    (spec,) = [each for each in (*get_args(annotation), annotation) if hasattr(each, "model_fields")]  # or None
    for key, field in spec.model_fields.items():
        (row,) = [line for line in section.splitlines() if line.startswith(f"| `{key}` |")]
        assert row.endswith(f" {' '.join(field.description.split())} |")


def test_the_command_line_reference_names_every_command_argument_and_option(fill: Callable[[str], str]) -> None:
    page = fill("cli.md")
    group = typer.main.get_command(app)
    assert re.findall(r"^## (\w+)$", page, flags=re.MULTILINE) == list(group.commands)  # type: ignore[attr-defined]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            if parameter.name != "help":
                names = [*parameter.opts, *parameter.secondary_opts]
                shown = [parameter.metavar] if parameter.param_type_name == "argument" else names
                assert all(f"`{each}" in section for each in shown), (name, shown)
                assert parameter.help, f"{name}: {shown} has no help text"


def test_no_command_of_the_home_page_is_wider_than_a_narrow_page() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (DOCS / "index.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert all(len(line) <= 48 for block in blocks for line in block.splitlines())


def test_the_citation_names_the_version_of_the_package(fill: Callable[[str], str]) -> None:
    from importlib.metadata import version

    assert f"\nversion: {version('lthprune')}\n" in (DOCS.parent / "CITATION.cff").read_text("utf-8")
    assert f"version = {{{version('lthprune')}}}" in fill("citation.md")


def test_the_example_of_the_page_on_forms_runs() -> None:
    (program,) = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "concepts/forms.md").read_text(), re.MULTILINE | re.DOTALL
    )
    exec(program, {})

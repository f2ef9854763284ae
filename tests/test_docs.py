"""What the documentation says is so: its commands, names and examples are those of the code."""

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import warnings
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

import lthprune
from lthprune.experiments.figures import FIGURES
from lthprune.experiments.recipe import bundled, parse_recipe
from lthprune.experiments.sweep_figures import SWEEP_FIGURES
from lthprune_cli.main import app, main
from tests.own_parts import imports_restored, separated_sweep
from tests.tiny import environment, tiny

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in ROOT.glob("docs/**/*.md")}
README = (ROOT / "README.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


ENTRIES = re.findall(r"^::: (lthprune\.[\w.]+)$", "\n".join(PAGES.values()), flags=re.MULTILINE)
WINGS = sorted(path.parent.name for path in ROOT.glob("lthprune/*/__init__.py") if path.parent.name != "recipes")


def faces_names(wing: str) -> set[str]:
    return set(import_module(f"lthprune.{wing}").__all__) if wing != "integrations" else set()


def test_every_name_at_the_top_has_its_place_in_the_api_pages_once():
    documented = [entry.removeprefix("lthprune.") for entry in ENTRIES if entry.count(".") == 1]
    assert sorted(documented) == sorted(lthprune.__all__)


def test_every_entry_of_the_api_pages_is_a_public_name_and_there_once():
    assert sorted({*ENTRIES}) == sorted(ENTRIES)
    for entry in ENTRIES:
        _, *wing, name = entry.split(".")
        if wing and wing[0] in WINGS and wing[0] != "integrations":
            assert name in faces_names(wing[0]), f"{entry} is not in the face of its wing"


@pytest.mark.parametrize("wing", ["analysis", "compaction", "experiments", "plots"])
def test_every_function_and_class_for_studying_tickets_is_in_the_api_pages(wing):
    objects = {name: getattr(import_module(f"lthprune.{wing}"), name) for name in faces_names(wing)}
    names = {name for name, own in objects.items() if isinstance(own, type | FunctionType)} - set(lthprune.__all__)
    assert {f"lthprune.{wing}.{name}" for name in names} - set(ENTRIES) == set()


def test_every_name_of_a_wing_that_the_commands_use_or_another_page_mentions_is_in_the_api_pages():
    commands = "\n".join(path.read_text("utf-8") for path in (ROOT / "cli").rglob("*.py"))
    used = {
        (wing, name.strip())
        for wing, names in re.findall(r"from lthprune\.(\w+) import \(?([\w, \n]+)", commands)
        for name in names.split(",")
    }
    pages = README + "".join(text for page, text in PAGES.items() if not page.startswith("docs/api"))
    used |= set(re.findall(r"lthprune\.(\w+)\.(\w+)", pages))
    for wing in WINGS:
        classes = {name for name in faces_names(wing) if callable(getattr(import_module(f"lthprune.{wing}"), name))}
        names = {name for own, name in used if own == wing and name in classes} - set(lthprune.__all__)
        assert {f"lthprune.{wing}.{name}" for name in names} - set(ENTRIES) == set()


def test_every_command_has_a_python_call_in_the_api_pages():
    rows = re.findall(r"^\| `lthprune ([a-z]+)` \| (.*) \|$", PAGES["docs/api/runs.md"], flags=re.MULTILINE)
    assert {verb for verb, _ in rows} == {command.name for command in app.registered_commands}
    for _, calls in rows:
        targets = re.findall(r"\(#(lthprune[\w.]+)\)", calls)
        assert targets
        for target in targets:
            own, _, method = target.rpartition(".")
            assert target in ENTRIES or (own == "lthprune.Run" and hasattr(lthprune.Run, method))


def test_the_examples_of_the_page_on_the_run_directory_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tiny("prune.levels=12", "prune.rate=0.2", "run.trials=3", "train.steps=2")
    run = lthprune.run_recipe(recipe, "lenet-mnist")
    run.folder.rename(run.folder.parent / "lenet-mnist-20261120-0352-7f3a52c9")
    names: dict[str, object] = {}
    for program in blocks(PAGES["docs/run-directory.md"], "python"):
        exec(program, names)
    (exported,) = Path("runs").glob("*/exports/*/model.safetensors")
    assert exported.parent.name == "level-12-trial-0"


def test_the_figures_of_the_page_on_plots_are_those_that_a_run_draws_and_its_example_runs():
    names = re.findall(r"^\| `([a-z-]+)` \|", PAGES["docs/api/plots.md"], flags=re.MULTILINE)
    assert names == [*FIGURES, *SWEEP_FIGURES]
    made: dict[str, object] = {}
    (program,) = blocks(PAGES["docs/api/plots.md"], "python")
    exec(program, made)
    assert made["figure"].get_suptitle() == "my network"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert all(page.removeprefix("docs/") in navigation for page in PAGES)


def test_the_readme_and_the_home_page_give_the_same_two_commands():
    commands = [blocks(README.partition(f"<!-- ci: {mark} -->")[2], "sh")[0] for mark in ("run", "test")]
    assert commands == blocks(PAGES["docs/index.md"], "sh")


def test_the_readmes_code_is_what_the_library_offers():
    for name in re.findall(r"lthprune\.([a-z_]+)\(", README):
        assert name in lthprune.__all__


def test_the_faults_that_the_page_on_recipes_shows_are_told_in_those_words(tmp_path, monkeypatch):
    (sample,) = (block for block in blocks(PAGES["docs/recipes.md"], "text") if block.startswith("Error: "))
    monkeypatch.chdir(tmp_path)
    text = bundled()["lenet-mnist"].replace("\nsteps = ", "\nstepz = ").replace("dense = 0.2", "dense = -0.2")
    Path("my-experiment.toml").write_text(text, "utf-8")
    with pytest.raises(lthprune.RecipeError) as caught:
        lthprune.load_recipe("my-experiment.toml")
    assert " ".join(sample.split()) == f"Error: {caught.value}"


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_a_newcomer_activates_the_environment_before_running_lthprune_by_its_name(page):
    commands = "\n".join(blocks((ROOT / page).read_text("utf-8"), "sh"))
    assert ". .venv/bin/activate\n" in commands.partition("\nlthprune ")[0] + "\n"


@pytest.mark.parametrize("recipe", bundled())
def test_every_bundled_recipe_is_in_the_list_of_recipes(recipe):
    assert f"`{recipe}`" in PAGES["docs/recipes.md"]


def test_every_verb_that_the_documentation_mentions_exists_and_every_verb_is_mentioned():
    verbs = {command.name for command in app.registered_commands}
    text = README + "\n".join(PAGES.values())
    mentioned = set(re.findall(r"^lthprune ([a-z]+)", text, flags=re.MULTILINE))
    assert mentioned | set(re.findall(r"`lthprune ([a-z]+)", text)) == verbs


def test_the_examples_for_a_model_of_your_own_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, *others = blocks(PAGES["docs/own-model.md"], "python")
    assert sum(bool(line.strip()) for line in program.splitlines()) <= 20
    names: dict[str, object] = {}
    exec(program, names)
    names["train"] = lambda model: {"val_acc": 0.95}  # the others show words of imp, not training
    warnings.simplefilter("ignore", lthprune.errors.LayerCollapseWarning)  # which untrained networks run into
    complete = [block for block in others if "..." not in block.replace("left=..., total=...", "")]
    for block in complete:
        exec(block, names)
    assert len(complete) == len(others) == 10
    assert [ticket.metrics["sparse"] for ticket in names["tickets"]] == [0, 0, 0, 0, 1]


def test_the_example_of_a_population_runs():
    names: dict[str, object] = {}
    (program,) = blocks(PAGES["docs/speed.md"], "python")
    exec(program, names)
    assert [len(tickets) for tickets in names["fifty"]] == [3] * 50
    assert all(0.5 < ticket.metrics["val_acc"] <= 1 for tickets in names["fifty"] for ticket in tickets)


def test_the_examples_of_the_page_on_structure_run_one_after_the_other():
    names: dict[str, object] = {}
    for program in blocks(PAGES["docs/structure.md"], "python"):
        exec(program, names)
    assert names["lifetimes"].spent["2.weight"].shape == (5, 40, 40)


def test_the_example_of_the_page_on_comparing_runs_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    (program,) = blocks(PAGES["docs/concepts/comparison.md"], "python")
    exec(program, names)
    assert [level is not None for level in names["second"].levels] == [True] * 3
    assert all(own.mean > own.chance for own in names["between_runs"][1:])
    assert [own.parameters for own in names["costs"]] == [50_610, 40_670, 32_708]


def test_the_example_of_the_page_on_separation_counts_networks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program, *_ = blocks(PAGES["docs/concepts/separation.md"], "python")
    sweep = separated_sweep(tmp_path, {"model.hidden": [4, 6], "run.seed": [0, 1]}, "prune.densities=[0.75, 0.48]")
    sweep.folder.rename(Path(re.findall(r'Sweep\("(.*)"\)', program)[0]))
    exec(program, {})
    *counted, correlation = capsys.readouterr().out.splitlines()
    shown = [line.split(maxsplit=3) for line in counted]
    assert [(cell, number, active) for cell, number, _, active in shown] == [
        ("model.hidden=4", "2", "[17, 17]"),
        ("model.hidden=6", "2", "[32, 32]"),
    ]
    assert float(correlation) == pytest.approx(1)


def test_the_examples_of_the_page_on_separation_find_the_random_inputs_that_a_ticket_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, drawing, reading = blocks(PAGES["docs/concepts/separation.md"], "python")
    exec(drawing, {})
    settings = ["data.name=./moons-and-noise.npz", "model.hidden=8", "train.steps=30", "run.trials=1", "train.l1=1e-3"]
    recipe = lthprune.load_recipe("moons-circles", [*settings, "prune.levels=8", "prune.target=40"])
    names: dict[str, object] = {"folder": lthprune.run_recipe(recipe, "short", out=tmp_path).folder}
    exec(reading, names)
    assert names["read"].shape == (10,)
    assert names["read"].any()


def test_the_examples_of_the_page_on_stability_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for program in blocks(PAGES["docs/concepts/stability.md"], "python"):
        exec(program, names)
    assert (names["pair"].trial, len(names["pair"].path.at)) == (1, 7)
    assert len(names["path"].errors["train"]) == 32


def test_the_examples_of_the_page_on_tickets_before_training_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for program in blocks(PAGES["docs/concepts/before-training.md"], "python"):
        exec(program, names)
    assert {name: value for name, value in names["drawn"].items() if name != "distance"} == {
        "step": 100,
        "epoch": 5,
        "settled": True,
    }
    assert names["bird"].found
    assert names["accuracy"] > 0.8
    assert 0 < names["ticket"].density < 1


def test_the_examples_of_compaction_run_one_after_the_other():
    names: dict[str, object] = {}
    first, second, _ = blocks(PAGES["docs/export.md"], "python")
    exec(first, names)
    exec(second, names)
    report = names["compacted"].report
    assert report.after.weights < report.before.weights
    assert set(names["seconds"]) == {"dense", "sparse"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("page", "package", "searches"),
    [
        ("lightning", "lightning", {"pruning": 5, "rewound": 3, "resumable": 3}),
        ("transformers", "accelerate", {"pruning": 3, "resumable": 3}),
    ],
)
def test_the_examples_for_training_frameworks_run_one_after_the_other(page, package, searches, tmp_path, monkeypatch):
    pytest.importorskip(page)
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the frameworks: few workers, short trainings
        for program in blocks(PAGES[f"docs/how-to/{page}.md"], "python"):
            exec(program, names)
    assert {name: len(names[name].tickets) for name in searches} == searches


@pytest.mark.heavy
def test_the_program_of_the_page_on_several_processes_runs_with_its_command(tmp_path):
    page = PAGES["docs/how-to/distributed.md"]
    (tmp_path / "search.py").write_text(blocks(page, "python")[0], "utf-8")
    words = shlex.split(blocks(page, "sh")[0])
    assert words[0] == "torchrun"
    command = [sys.executable, "-m", "torch.distributed.run", *words[1:]]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    accuracies = [
        float(each) for each in re.findall(r"^level \d: density .*, accuracy (.*)%$", done.stdout, re.MULTILINE)
    ]
    assert len(accuracies) == 5
    assert min(accuracies) > 70
    assert lthprune.search.TicketStore(tmp_path / "digits").finished == 5
    assert lthprune.load_ticket(tmp_path / "ticket.safetensors").left == 462


def test_the_recipe_of_the_page_on_torchvision_and_timm_runs_as_it_stands(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    (recipe,) = blocks(PAGES["docs/how-to/torchvision-timm.md"], "toml")
    Path("resnet10t.toml").write_text(recipe, "utf-8")
    run = lthprune.run_recipe(lthprune.load_recipe("resnet10t.toml"), "resnet10t")
    assert run.tickets.finished == 3


def test_the_page_on_extending_is_followed_in_order(tmp_path, monkeypatch, capsys):
    """Files are written, commands run and recipes parsed in the order of the page; lines are counted as it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main() replaces it
    page = PAGES["docs/extending.md"]
    written = re.findall(r"^# (\w+)\.py$", page, flags=re.MULTILINE)
    with imports_restored(*written):
        for language, block in re.findall(r"^```(python|toml|sh)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL):
            file = re.match(r"# ([\w.-]+)\n", block)
            if file is not None:
                Path(file[1]).write_text(block, "utf-8")
            elif language == "sh":
                for line in block.splitlines():
                    follow(line, monkeypatch)
            elif language == "python":
                exec(block, {"lthprune": lthprune, "folder": max(Path("runs").glob("my-criterion-*"))})
            else:
                parse_recipe(tomllib.loads(Path("my-criterion.toml").read_text()) | tomllib.loads(block), "the page")
    assert Path("my-plot.png").stat().st_size > 1_000
    assert "my-criterion" in capsys.readouterr().out


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment(), check=False)


def test_the_page_on_testing_ones_own_method_shows_what_its_tests_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, *others = blocks(PAGES["docs/how-to/test-your-method.md"], "python")
    Path("test_mine.py").write_text(program, "utf-8")
    done = python("-m", "pytest", "-p", "no:cacheprovider", "test_mine.py")
    reported = {line.removeprefix("E").strip() for line in done.stdout.splitlines() if line.startswith("E ")}
    messages = blocks(PAGES["docs/how-to/test-your-method.md"], "text")
    shown = {line.strip() for block in messages for line in block.splitlines()}
    assert shown == reported
    assert len(messages) == 2
    assert "2 failed" in done.stdout
    for block in others:
        exec(block, {})


def follow(line, monkeypatch):
    """Run one command of a page, in this process if possible; a pattern stands for the first folder that fits it."""
    words = [str(min(Path().glob(word))) if "*" in word else word for word in shlex.split(line)]
    if words[:2] == ["python", "-m"]:
        done = python(*words[1:])
        assert done.returncode == 0, done.stdout
        return
    if words[0] == "python":
        monkeypatch.setattr(sys, "argv", words[1:])
        runpy.run_path(words[1], run_name="__main__")
        return
    monkeypatch.setattr(sys, "argv", words)
    code: object = None
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    assert not code, line


@pytest.mark.parametrize("file", ["my_criteria", "my_networks", "my_data", "my_training", "my_plot", "smallest"])
def test_the_page_on_extending_counts_its_lines(file):
    page = PAGES["docs/extending.md"]
    (block,) = (text for text in blocks(page, "python") if text.startswith(f"# {file}.py"))
    own = [line for line in block.splitlines()[1:] if line.strip() and not line.startswith(("import", "from"))]
    (row,) = (line for line in page.splitlines() if line.startswith("|") and f"`{file}.py`" in line)
    assert re.findall(r"\d+", row.split("|")[3])[0] == str(len(own))

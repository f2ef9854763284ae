import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest

from lthprune.experiments.run import Run
from lthprune.training.histories import Histories
from tests.cli.conftest import Cli
from tests.tiny import OFFLINE, SETTINGS, command, environment, lthprune

NO_COMMAND = 0 if "click" in packages_distributions() and version("click").startswith("8.1.") else 2
TINY = [word for setting in SETTINGS for word in ("--set", setting)]
VERBS = ["ls", "show", "run", "sweep", "resume", "runs", "summary", "plot", "analyze", "export"]

FAULTS: dict[str, tuple[list[str], str]] = {
    "unknown recipe": (["run", "lenet-digist"], "did you mean 'lenet-digits'?"),
    "misspelt key": (["run", "lenet-digits", "--set", "train.lrr=1"], "did you mean 'lr'?"),
    "misspelt table": (["run", "lenet-digits", "--set", "trian.lr=1"], "did you mean 'train'?"),
    "unreadable setting": (["run", "lenet-digits", "--set", "lr"], "write table.key=value"),
    "negative rate": (["run", "lenet-digits", "--set", "prune.rate=-0.2"], "at least 0 and less than 1"),
    "unknown method": (["run", "lenet-digits", "--method", "ipm"], "'imp'"),
    "no trials": (["run", "lenet-digits", "--trials", "0"], "[run] trials"),
    "negative seed": (["run", "lenet-digits", "--seed", "-1"], "[run] seed"),
    "too many levels": (["run", "lenet-digits", "--set", "prune.levels=1000000"], "less than or equal to 10000"),
    "too many trials": (["run", "lenet-digits", "--trials", "1000000000"], "less than or equal to 10000"),
    "too many steps": (
        ["run", "lenet-digits", "--set", "train.steps=1" + 23 * "0"],
        "less than or equal to 1000000000000",
    ),
    "levels that follow from a tiny rate": (
        ["run", "lenet-digits", "--set", "prune.rate=1e-300", "--set", "prune.target=9"],
        "more than 10,000 levels",
    ),
    "too many levels that follow": (
        ["run", "lenet-digits", "--trials", "9000", "--set", "prune.rate=0.002", "--set", "prune.target=9"],
        "make more than 10,000,000 measurements",
    ),
    "too many evaluations": (
        ["run", "lenet-digits", "--set", f"train.steps=1{12 * '0'}"],
        "make more than 10,000,000 measurements",
    ),
    "missing recipe file": (["run", "mine.toml"], "mine.toml"),
    "missing data": (["run", "lenet-mnist", "--data-dir", "nowhere"], "MNIST/raw/train-images-idx3-ubyte"),
    "missing npz": (["run", "lenet-digits", "--set", "data.name=own.npz"], "own.npz"),
    "out is a file": (["run", "lenet-digits", *TINY, "--out", "/etc/passwd"], "Choose a folder"),
    "out cannot be made": (["run", "lenet-digits", *TINY, "--out", "/proc/nope"], "Choose a folder"),
    "unknown device": (["run", "lenet-digits", "--device", "tpu"], "Known: cpu, cuda"),
    "unknown engine": (["run", "lenet-digits", "--engine", "fast"], "[train] engine: 'fast' is not 'auto'"),
    "compiled convolutions": (
        ["run", "lenet-digits", "--engine", "compiled", "--set", "model.kind=tiny", "--set", "prune.rate=0.2"],
        'compiled" trains multilayer perceptrons only',
    ),
    "batch too large": (["run", "lenet-digits", *TINY, "--set", "train.batch_size=5000"], "1,200 training samples"),
    "pruning that does not fit": (["run", "lenet-digits", "--set", "prune.include=['x']"], "Layers: dense1"),
    "unreadable axis": (["sweep", "lenet-digits", "--over", "model.hidden=8"], "write table.key=[value, value]"),
    "misspelt axis": (["sweep", "lenet-digits", "--over", "model.hiden=[8]"], "did you mean 'hidden'?"),
    "faulty cell": (["sweep", "lenet-digits", "--over", "train.lr=[0.1, -1]"], "in the cell train.lr=-1: the recipe"),
    "swept over missing data": (
        ["sweep", "lenet-mnist", "--over", "run.seed=0..1", "--data-dir", "nowhere"],
        "in the cell run.seed=[0, 1]: MNIST is not in nowhere",
    ),
    "swept on an unknown device": (
        ["sweep", "lenet-digits", "--over", "run.seed=0..1", "--device", "tpu"],
        "Known: cpu, cuda",
    ),
    "sweep out cannot be made": (
        ["sweep", "lenet-digits", *TINY[:-2], "--over", "run.seed=0..1", "--out", "/proc/nope"],
        "Choose a folder",
    ),
    "shown misspelt": (["show", "lenet-digist"], "did you mean 'lenet-digits'?"),
    "negative target": (["show", "lenet-digits", "--set", "prune.target=-1"], "target: -1 is neither a density"),
    "density above one": (
        ["show", "lenet-digits", "--set", "prune.levels=2", "--set", "prune.densities=[0.5, 1.5]"],
        "densities: 1.5 is neither a density",
    ),
    "timed on an unknown device": (["show", "lenet-digits", "--time", "--device", "tpu"], "Known: cpu, cuda"),
    "timed without data": (["show", "lenet-mnist", "--time", "--data-dir", "nowhere"], "MNIST is not in nowhere"),
    "resumed nothing": (["resume", "nowhere"], "holds no run"),
    "latest of no runs": (["summary", "latest"], "Name a run directory, or start a run"),
    "exported nothing": (["export", "nowhere"], "nowhere"),
    "summed up nothing": (["summary", "nowhere"], "nowhere"),
    "runs of nowhere": (["runs", "--out", "nowhere"], "nowhere is not there. Name a folder of runs"),
    "runs of a file": (["runs", "--out", "/etc/passwd"], "/etc/passwd is a file. Name a folder of runs"),
    "plotted nothing": (["plot", "nowhere"], "nowhere"),
    "analysed nothing": (["analyze", "nowhere"], "holds no run"),
}


def is_one_clear_paragraph(text: str) -> bool:
    return text.startswith("Error: ") and "Traceback" not in text and "\n\n" not in text.strip()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LTHPRUNE_DATA", raising=False)
    for name, proxy in OFFLINE.items():
        monkeypatch.setenv(name, proxy)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_ends_with_one_paragraph_that_names_the_mend_and_with_nothing_made(fault: str, cli: Cli) -> None:
    arguments, fix = FAULTS[fault]
    result = cli(*arguments)
    assert result.code == 2
    assert is_one_clear_paragraph(result.err), result.err
    assert "".join(fix.split()) in "".join(result.err.split())  # long paths are broken anywhere
    assert result.out == ""
    assert list(Path().iterdir()) == []
    assert result.narrow


def truncate(folder: Path) -> None:
    path = folder / "trial-0" / "level-00.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def edit(folder: Path) -> None:
    path = folder / "recipe.toml"
    path.write_text(path.read_text().replace("lr = 0.0012", "lr = 0.1"))


def cut_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:-20])


def empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"format": 1, "finished": []}')


def cut_histories(folder: Path) -> None:
    path = folder / "histories.npz"
    path.write_bytes(path.read_bytes()[:-100])


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))


def forged_control(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["search"].update(control="shuffled"))


def empty_level(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["finished"][1].clear())


def more_levels(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["finished"].extend(9 * manifest["finished"][-1:]))


def fewer_trials(folder: Path) -> None:
    def drop(manifest: dict[str, Any]) -> None:
        manifest["initial"].popitem()  # that of a trial which has tickets

    change_manifest(folder, drop)


def other_histories(folder: Path) -> None:
    Histories.empty(2, 7, [1, 2]).save(folder / "histories.npz")


def other_environment(folder: Path) -> None:
    (folder / "environment.json").write_text("[]")


@pytest.mark.parametrize(
    ("verb", "damage", "file"),
    [
        ("resume", truncate, "level-00.safetensors"),
        ("summary", truncate, "level-00.safetensors"),
        ("resume", edit, "is not the recipe that this run of tiny began with"),
        *((verb, cut_manifest, "manifest.json") for verb in ("resume", "summary", "plot")),
        *((verb, empty_manifest, "manifest.json") for verb in ("resume", "plot")),
        *(
            (verb, damage, "manifest.json")
            for verb in ("resume", "summary")
            for damage in (forged_control, empty_level, more_levels, fewer_trials)
        ),
        *((verb, cut_histories, "histories.npz") for verb in ("summary", "plot")),
        *((verb, other_histories, "histories.npz") for verb in ("summary", "plot")),
    ],
)
def test_a_damaged_run_ends_with_one_paragraph_and_stays_as_it_was(
    verb: str, damage: object, file: str, finished: Run, cli: Cli
) -> None:
    assert callable(damage)
    folder = Path(shutil.copytree(finished.folder, "copy"))
    damage(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    result = cli(verb, folder)
    assert (result.code, is_one_clear_paragraph(result.err)) == (2, True), result.err
    assert file in " ".join(result.err.split())
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


@pytest.mark.parametrize(
    "damage",
    [cut_manifest, empty_manifest, empty_level, forged_control, cut_histories, other_histories, other_environment],
)
def test_runs_lists_the_others_beside_a_damaged_run(damage: Callable[[Path], None], finished: Run, cli: Cli) -> None:
    for name in ("damaged", "whole"):
        shutil.copytree(finished.folder, Path("runs") / name)
    damage(Path("runs/damaged"))
    result = cli("runs")
    assert (result.code, result.err) == (0, "")
    table = result.out.partition("Search:")[0].splitlines()
    states = {line.split()[0]: line.split()[-1] for line in table if line.strip()}
    assert states["whole"] == "finished"
    assert states["damaged"] == ("finished" if damage is other_environment else "damaged")


@pytest.mark.parametrize("environment", ["[]", '{"data_dir": "a\\u0000b"}'])
@pytest.mark.parametrize("verb", ["summary", "resume"])
def test_a_run_with_a_damaged_environment_is_resumed_and_shown(
    verb: str, environment: str, finished: Run, cli: Cli
) -> None:
    folder = Path(shutil.copytree(finished.folder, "copy"))
    (folder / "environment.json").write_text(environment)
    assert cli(verb, folder).code == 0


def test_a_path_that_cannot_be_opened_is_bad_input(cli: Cli) -> None:
    path = "x" * 300  # longer than names of files may be
    for words in (["summary", path], ["run", "lenet-digits", *TINY, "--out", path], ["run", f"{path}.toml"]):
        result = cli(*words)
        assert (result.code, is_one_clear_paragraph(result.err)) == (2, True), (words, result.err)


def test_a_run_directory_is_no_place_for_another_recipes_run(finished: Run, cli: Cli) -> None:
    result = cli("run", "lenet-digits", *TINY, "--out", finished.folder)
    assert (result.code, is_one_clear_paragraph(result.err)) == (2, True)
    assert "is itself a run" in " ".join(result.err.split())


@pytest.mark.parametrize("verb", ["resume", "summary", "plot"])
def test_a_folder_of_runs_points_at_the_runs_inside_it(verb: str, finished: Run, cli: Cli) -> None:
    shutil.copytree(finished.folder, Path("runs") / "one")
    result = cli(verb, "runs")
    assert (result.code, is_one_clear_paragraph(result.err)) == (2, True)
    assert "Name one of the runs inside it: runs/one." in " ".join(result.err.split())


@pytest.mark.parametrize("place", [0, 2])
def test_debug_shows_where_an_error_was_raised(place: int, cli: Cli) -> None:
    arguments = ["run", "lenet-digist"]
    arguments.insert(place, "--debug")
    with pytest.raises(Exception, match="unknown recipe 'lenet-digist'"):
        cli(*arguments)


def test_exit_codes_and_messages_are_those_of_the_process(tmp_path: Path) -> None:
    plain = lthprune("run", "lenet-digits", "--out", tmp_path / "runs", "--set", "train.lrr=1")
    assert plain.returncode == 2
    assert is_one_clear_paragraph(plain.stderr)
    debug = lthprune("--debug", "run", "lenet-digits", "--out", tmp_path / "runs", "--set", "train.lrr=1")
    assert debug.returncode not in (0, 2)
    assert "Traceback" in debug.stderr
    assert "RecipeError" in debug.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["lthprune.experiments.load_recipe", "lthprune.experiments.experiment.load_data"])
def test_an_interruption_before_anything_is_written_says_so(
    where: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    result = cli("run", "lenet-digits", *TINY)
    assert result.code == 130
    assert "Traceback" not in result.err
    assert "topped" in result.err or where == "lthprune.experiments.load_recipe"
    assert list(Path().iterdir()) == []


def test_a_fault_of_lthprunes_own_is_called_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by [zero]")

    monkeypatch.setattr("lthprune.experiments.load_recipe", broken)
    result = cli("show", "lenet-digits")
    assert result.code == 1
    assert "ZeroDivisionError: by [zero]" in result.err
    assert "--debug" in result.err
    assert "Traceback" not in result.err


def test_a_warning_is_a_line_and_no_traceback(tmp_path: Path) -> None:
    done = lthprune("run", "lenet-digits", *TINY, "--set", "prune.densities=[0.5, 0.002]", "--out", tmp_path)
    assert done.returncode == 0
    assert "Warning: " in done.stderr
    assert ".py" not in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], [], *([verb, "--help"] for verb in VERBS)])
def test_help_is_answered_without_importing_torch(arguments: list[str]) -> None:
    code = (
        "import sys, atexit; from lthprune_cli.main import main\n"
        "atexit.register(lambda: print(sorted({'torch', 'numpy', 'lthprune'} & set(sys.modules)), file=sys.stderr))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.stderr.strip() == "[]"
    assert done.returncode == (0 if arguments else NO_COMMAND)
    assert "Usage: lthprune" in done.stdout
    assert "…" not in done.stdout
    assert all(word in done.stdout for word in (VERBS if arguments in ([], ["--help"]) else ["--help"]))


@pytest.mark.parametrize("verb", ["run", "sweep", "resume"])
def test_help_names_the_folder_that_data_are_kept_in(verb: str) -> None:
    words = " ".join(lthprune(verb, "--help").stdout.replace("│", " ").split())
    assert "else ~/.cache/lthprune" in words


def test_the_installed_command_is_this_one() -> None:
    script = shutil.which("lthprune", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert script, "lthprune is not installed beside this Python"
    done = subprocess.run([script, "ls"], capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, "lenet-digits" in done.stdout) == (0, True)


def test_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version") == (0, f"lthprune {version('lthprune')}\n", "")


def test_python_m_lthprune_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lthprune", "--version"], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout == f"lthprune {version('lthprune')}\n"


@pytest.mark.skipif(os.name != "posix", reason="no pipes of this kind")
def test_help_goes_on_without_output_when_nobody_reads_it() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.join(command('run', '--help'))} | head -c 1"],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_data_root_below_a_home_that_is_not_known_is_refused(cli: Cli) -> None:
    result = cli("show", "lenet-digits", "--time", *TINY, "--data-dir", "~nobody-of-this-name/x")
    assert (result.code, is_one_clear_paragraph(result.err)) == (2, True)
    assert "begins with a home folder" in " ".join(result.err.split())


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EACCES, 2), (errno.ENOSPC, 2), (errno.ENOENT, 1), (errno.EBADF, 1)]
)
def test_only_refusals_of_a_path_by_the_system_are_bad_input(
    number: int, code: int, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "file")

    monkeypatch.setattr("lthprune.experiments.load_recipe", broken)
    assert cli("show", "lenet-digits").code == code


def test_a_setting_without_a_value_says_so(cli: Cli) -> None:
    result = cli("show", "lenet-digits", "--set", "prune.levels=")
    assert result.code == 2
    assert "the setting 'prune.levels=' has no value" in " ".join(result.err.split())

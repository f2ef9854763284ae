import json
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lthprune.experiments.execution import run_recipe
from lthprune.experiments.folders import find_runs
from lthprune.experiments.run import Run
from lthprune.experiments.summary import smallest_winning
from lthprune.experiments.sweep import find_sweeps
from tests.cli.conftest import Cli
from tests.tiny import SETTINGS, command, contents, environment, lthprune, tiny

LONG = ("train.steps=4000", "train.evaluate_every=500", "prune.levels=3", "model.dense=[40]")
LONGER = tuple(word.replace("levels=3", "levels=12") for word in LONG)  # still runs after a pause of this process


def settings(*words: str) -> list[str]:
    return [part for word in (*SETTINGS, *words) for part in ("--set", word)]


def test_run_and_resume_print_levels_summary_and_directory(cli: Cli) -> None:
    result = cli("run", "lenet-digits", *settings(), "--method", "osp", "--trials", 3, "--seed", 7, "--out", "there")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    (run,) = find_runs("there")
    recipe = run.recipe()
    assert (recipe.prune.method, recipe.run.trials, recipe.run.seed) == ("osp", 3, 7)
    assert run.name.startswith("lenet-digits-")
    line = r"^level  \d  density .*%  val acc .*%  test acc .*%  compiled$"
    assert len(re.findall(line, result.out, re.MULTILINE)) == 3
    assert f"Run directory: {run.folder}" in result.out
    assert f"lthprune plot {run.folder}" in result.out
    winner = smallest_winning(run.summary(), "accuracy")
    assert ("early-stopping step" in result.out) == (winner is not None)
    again = cli("resume", run.folder)
    assert (again.code, again.err) == (0, "")
    assert (
        again.out.splitlines()[1:] == [line for line in result.out.splitlines() if not line.startswith("level  ")][1:]
    )


def test_resume_trains_again_from_a_damaged_level_as_the_error_says(cli: Cli) -> None:
    cli("run", "lenet-digits", *settings(), "--out", "there")
    (run,) = find_runs("there")
    before, path = contents(run.folder), run.folder / "trial-1" / "level-01.safetensors"
    path.write_bytes(path.read_bytes()[:99])
    result = cli("resume", run.folder)
    assert result.code == 2
    said = " ".join(result.err.split())
    assert f"{path.name} is damaged" in said
    *_, command = said.partition("lthprune ")
    assert cli(*command.split()).out.count("level  ") == 2
    assert contents(run.folder) == before


def test_resume_goes_back_in_runs_only_and_to_finished_levels(cli: Cli) -> None:
    cli("run", "lenet-digits", *settings("prune.levels=1"), "--out", "there")
    (run,) = find_runs("there")
    before = contents(run.folder)
    assert "no level 2" in " ".join(cli("resume", run.folder, "--from-level", 2).err.split())
    assert contents(run.folder) == before
    cli("sweep", "lenet-digits", *settings("prune.levels=1"), "--over", "model.hidden=[4]", "--out", "sweeps")
    (sweep,) = find_sweeps("sweeps")
    result = cli("resume", sweep.folder, "--from-level", 0)
    assert (result.code, "is a sweep" in " ".join(result.err.split())) == (2, True)


def test_resume_forgets_no_level_if_it_cannot_train_it_again(cli: Cli) -> None:
    cli("run", "lenet-digits", *settings("prune.levels=1"), "--out", "there")
    (run,) = find_runs("there")
    cli("control", run.folder, "--kind", "shuffled")
    inside = run.folder / "controls" / "shuffled-0"
    before = contents(run.folder)
    for folder in (run.folder, inside):
        for words in (("--device", "abacus"), ("--threads", 0)):
            assert cli("resume", folder, "--from-level", 0, *words).code == 2
    assert contents(run.folder) == before
    assert cli("resume", inside, "--from-level", 1).out.count("level  ") == 1
    assert contents(run.folder) == before


def test_run_takes_a_recipe_by_its_path_and_keeps_it_in_runs_by_default(cli: Cli) -> None:
    Path("own.toml").write_text(tiny().to_toml())
    assert cli("run", "own.toml").code == 0
    (run,) = find_runs("runs")
    assert (run.recipe(), run.recipe_name) == (tiny(), "own")
    assert run.name.startswith("own-")


@pytest.mark.parametrize("engine", ["reference", "stacked", "compiled"])
def test_run_says_which_engine_it_took(cli: Cli, engine: str) -> None:
    result = cli("run", "lenet-digits", *settings(), "--engine", engine)
    assert result.out.count(f"%  {engine}\n") == 3
    (run,) = find_runs("runs")
    assert run.recipe().train.engine == engine
    assert {ticket.metrics["engine"] for ticket in run.tickets.level(2)} == {engine}


@pytest.mark.heavy
def test_run_says_when_it_compiles(tmp_path: Path) -> None:
    words = ["run", "lenet-digits", *settings("prune.levels=1"), "--out", tmp_path / "runs"]
    first, second = (lthprune(*words, NUMBA_CACHE_DIR=str(tmp_path / "kernels")) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stderr.startswith("Compiling for this processor")
    assert second.stderr == ""


def heed_signals() -> None:
    """Heed what a shell's background job or ``nohup`` ignores, and so would this child of it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Process:
    """``lthprune run`` in a process of its own, to be ended by signals."""

    def __init__(self, out: Path, words: tuple[str, ...]) -> None:
        arguments = command("run", "lenet-digits", *settings(*words), "--out", out)
        self.process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            bufsize=1,
            preexec_fn=heed_signals,
        )
        assert self.process.stdout is not None
        self.folder = Path(self.process.stdout.readline().removeprefix("Run directory: ").strip())
        assert self.folder.parent == out

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.0002)

    def writes(self, level: int) -> bool:
        """Whether tickets of a level are there that the manifest does not name yet."""
        return any(f"level-{level:02d}" in path.name for path in self.folder.glob("trial-*/*"))

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit code and what was printed as an error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def killed(out: Path, words: tuple[str, ...], moment: str) -> Path:
    """Run and kill at a random moment, or between the writing of a level's tickets and its manifest."""
    for attempt in range(6):
        begun = Process(out / str(attempt), words)
        if moment == "random":
            time.sleep(random.uniform(0, 0.8))
        else:
            begun.wait_for(lambda begun=begun: begun.writes(2))  # type: ignore[misc]
        code, _ = begun.end(signal.SIGKILL)
        finished = Run(begun.folder).tickets.finished
        if code == -signal.SIGKILL and (finished == 2 or moment == "random") and finished < 4:
            return begun.folder
    pytest.fail(f"the run was never caught at the moment: {moment}")


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("random", ("prune.rewind=100", "prune.method=osp", "run.keep_early_stop=true")),
        pytest.param("between tickets and manifest", ("run.trials=3",), marks=pytest.mark.heavy),
        pytest.param("random", (), marks=pytest.mark.heavy),
        pytest.param(
            "between tickets and manifest",
            ("prune.rewind=100", "run.trials=3", "train.optimizer=adamw"),
            marks=pytest.mark.heavy,
        ),
    ],
)
def test_a_run_killed_with_signal_nine_resumes_to_the_bits_of_one_that_was_not(
    tmp_path: Path, moment: str, words: tuple[str, ...]
) -> None:
    folder = killed(tmp_path / "killed", (*LONG, *words), moment)
    where = f"{folder}, finished levels: {Run(folder).tickets.finished}"
    resumed = lthprune("resume", folder)
    assert (resumed.returncode, resumed.stderr) == (0, ""), where
    whole = run_recipe(tiny(*LONG, *words), "lenet-digits", out=tmp_path / "whole")
    assert contents(folder) == contents(whole.folder), where


def test_an_interrupted_run_says_how_to_go_on_and_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    begun = Process(tmp_path / "runs", LONGER)
    begun.wait_for(lambda: Run(begun.folder).tickets.finished > 0)
    code, errors = begun.end(signal.SIGINT)
    assert code == 130
    assert "Traceback" not in errors
    assert f"lthprune resume {begun.folder}\n" in errors
    assert 0 < Run(begun.folder).tickets.finished < 13
    resumed = lthprune(*errors.split("lthprune ")[1].split())
    assert (resumed.returncode, resumed.stderr) == (0, "")
    whole = run_recipe(tiny(*LONGER), "lenet-digits", out=tmp_path / "whole")
    assert contents(begun.folder) == contents(whole.folder)


def test_run_resume_sweep_and_show_take_a_number_of_threads(cli: Cli) -> None:
    assert cli("run", "lenet-digits", *settings(), "--threads", 1).code == 0
    (run,) = find_runs("runs")
    assert run.environment()["threads_asked"] == 1
    assert cli("resume", run.folder, "--threads", 1).code == 0
    assert cli("sweep", "lenet-digits", *settings(), "--over", "train.lr=[0.1]", "--threads", 1).code == 0
    (sweep,) = find_sweeps("sweeps")
    assert sweep.cells()[0].run.environment()["threads_asked"] == 1
    assert cli("resume", sweep.folder, "--threads", 1).code == 0
    assert "with 1 thread." in " ".join(cli("show", "lenet-digits", "--time", *settings(), "--threads", 1).out.split())


def test_a_bad_number_of_threads_is_one_paragraph_and_exit_code_2(cli: Cli, finished: Run) -> None:
    bad = ("--threads", 0)
    for words in (
        ("run", "lenet-digits"),
        ("sweep", "lenet-digits", "--over", "train.lr=[0.1]"),
        ("resume", finished.folder),
        ("show", "lenet-digits", "--time"),
    ):
        result = cli(*words, *bad)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("Error: threads = 0: this must be a whole number from 1 to the number of cores")
    assert list(Path().iterdir()) == []


def test_transfer_trains_the_tickets_of_a_run_by_another_recipe_and_is_resumed(finished: Run, cli: Cli) -> None:
    run = Path(shutil.copytree(finished.folder, "run"))
    Path("other.toml").write_text(tiny("train.optimizer=sgd", "train.lr=0.3", "run.trials=5").to_toml())
    result = cli("transfer", run, "other.toml", "--set", "train.steps=15")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    (folder,) = run.glob("transfers/other-*")
    assert f"Run directory: {folder}" in result.out
    assert "All 3 levels are finished" in result.out
    recipe = Run(folder).recipe()
    assert (recipe.train.steps, recipe.train.optimizer, recipe.run) == (15, "sgd", finished.recipe().run)
    whole = contents(folder)
    kept = json.loads((folder / "manifest.json").read_text())
    del kept["finished"][1:]
    (folder / "manifest.json").write_text(json.dumps(kept))
    again = cli("resume", folder)
    assert (again.code, again.err, contents(folder)) == (0, "", whole)
    compared = cli("compare", run, folder)
    assert (compared.code, compared.err, compared.narrow) == (0, "", True)
    assert "paired with run 1 by trial" in compared.out
    for arguments, words in (
        (["conv2-cifar10"], "does not fit"),
        (["other.toml", "--set", "run.seed=3"], "are those of"),
    ):
        refused = cli("transfer", run, *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert words in " ".join(refused.err.split())


def test_run_says_that_pretraining_comes_first(cli: Cli) -> None:
    pretraining = ("pretrain.steps=2ep", "pretrain.data.name=digits", "pretrain.data.validation=237")
    result = cli("run", "lenet-digits", *settings(*pretraining, "prune.levels=0"))
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Pretraining on digits (2ep) comes first.\nRun directory: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.heavy)])
def test_a_run_that_the_system_ends_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    begun = Process(tmp_path / "runs", LONG)
    code, errors = begun.end(number)
    assert code == 128 + number
    assert errors.endswith(f"resume with:\n  lthprune resume {begun.folder}\n")


@pytest.mark.heavy
def test_a_run_goes_on_when_nobody_reads_what_it_prints(tmp_path: Path) -> None:
    begun = Process(tmp_path / "runs", ())
    with begun.process as process:
        assert process.stdout is not None
        process.stdout.close()
    assert process.returncode == 0
    assert Run(begun.folder).tickets.finished == 3


@pytest.mark.heavy
def test_a_run_needs_no_home(tmp_path: Path) -> None:
    nobody = "import os; del os.environ['HOME']; os.getuid = lambda: 4_000_000"
    python, flag, code, *words = command("run", "lenet-digits", *settings(), "--out", "runs")
    own = environment()
    own.pop("LTHPRUNE_DATA", None)
    done = subprocess.run(
        [python, flag, f"{nobody}; {code}", *words], capture_output=True, text=True, env=own, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

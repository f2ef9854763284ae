import json
import shutil
from pathlib import Path

import pytest

from lthprune.analysis import NeuronState
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.run import Run
from tests.cli.conftest import Cli, Result
from tests.tiny import tiny


@pytest.fixture(scope="session")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with few weights left at its last level; not to be changed."""
    settings = (
        'model.activation="relu"',
        'prune.scope="global"',
        "prune.densities=[0.3, 0.03]",
        'prune.bias="together"',
    )
    return run_recipe(tiny(*settings), "sparse", out=tmp_path_factory.mktemp("runs"))


def rows(result: Result) -> list[list[str]]:
    """The words of the lines that end in figures: rows of tables."""
    return [line.split() for line in result.out.splitlines() if line.split() and line.split()[-1][0].isdigit()]


@pytest.mark.parametrize("functional", [False, True])
def test_analyze_shows_neurons_and_parameters_by_state_level_by_level(functional: bool, sparse: Run, cli: Cli) -> None:
    result = cli("analyze", sparse.folder, "--trial", 1, *(["--functional"] if functional else []))
    assert (result.code, result.err, result.narrow) == (0, "", True)
    structure = sparse.structure(1, functional=functional)
    kind = "functional" if functional else "structural"
    assert result.out.startswith(f"{sparse.name}, trial 1: {kind} states")
    levels = [row for row in rows(result) if row[0].isdigit()]
    assert len(levels) == 6
    for place, level in enumerate(structure.levels):
        first = [str(place), f"{level.density:.2%}"]
        assert levels[place] == first + [f"{number:,}" for number in structure.neurons.counts[place]]
        horizon = [f"{level.smallest_kept:.4f}"] if place else []
        numbers = (place, level.left, level.active, *structure.parameters.counts[place])
        assert levels[3 + place] == [f"{number:,}" for number in numbers] + horizon


def test_analyze_says_what_there_is_to_say_of_biases(sparse: Run, cli: Cli) -> None:
    words = " ".join(cli("analyze", sparse.folder).out.split())
    structure = sparse.structure()
    first, last = structure.biases.fraction_negative[[0, -1]]
    assert f"{first:.0%} of the biases are negative at the first level, {last:.0%} at the last." in words
    assert (
        f"Zombies at some level: {len(structure.zombies.bias)}; at the last: {(~structure.zombies.ended).sum()}."
        in words
    )
    assert structure.comatose_biases is not None
    assert f"Comatose neurons: {sum(structure.comatose_biases)}." in words


def test_analyze_of_a_run_that_prunes_no_bias_says_so(finished: Run, cli: Cli) -> None:
    result = cli("analyze", finished.folder)
    assert (result.code, result.narrow) == (0, True)
    assert result.out.endswith("Zombies at some level: 0; at the last: 0.\nNo bias is pruned.\n")


def test_analyze_of_a_level_shows_it_layer_by_layer(sparse: Run, cli: Cli) -> None:
    result = cli("analyze", sparse.folder, "--level", 2)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    at_level = sparse.structure_at(2)
    (states,) = at_level.structure.levels
    assert f"trial 0: structural states of level 2, density {states.density:.2%}" in " ".join(result.out.split())
    assert f"{states.active:,} of {states.left:,} weights are active." in result.out
    shown = {row[0]: row[1:] for row in rows(result)}
    for layer in at_level.network.layers:
        counts = at_level.network.count_neurons()[layer.name].values()
        assert shown[layer.name] == [*map(str, counts), str(layer.frozen.sum())]
    for name, counts in at_level.network.count_parameters().items():
        five = [f"{number:,}" for state, number in counts.items() if state.name != "COMATOSE"]
        horizon = [] if states.horizon[name] != states.horizon[name] else [f"{states.horizon[name]:.4f}"]
        assert shown[name] == five + horizon
    assert sum(int(shown[state][0]) for state in ("alive", "comatose", "unproductive", "pruned") if state in shown) > 0


def test_analyze_of_a_large_run_fits_into_80_columns(tmp_path: Path, cli: Cli) -> None:
    run = run_recipe(tiny("model.dense=[2800, 400]", "train.steps=2", "run.trials=1"), "big", out=tmp_path)
    for arguments, number in (((), "1,306,410"), (("--level", 2), "3,210")):
        result = cli("analyze", run.folder, *arguments)
        assert (result.code, result.narrow) == (0, True)
        assert number in result.out


@pytest.mark.parametrize("level", [None, 1])
def test_analyze_writes_all_of_it_as_json(level: int | None, sparse: Run, cli: Cli) -> None:
    more = [] if level is None else ["--level", level]
    expected = (sparse.structure() if level is None else sparse.structure_at(level)).describe()
    printed = cli("analyze", sparse.folder, *more, "--json", "-")
    assert (printed.code, printed.err) == (0, "")
    assert json.loads(printed.out) == json.loads(json.dumps(expected))
    written = cli("analyze", sparse.folder, *more, "--json", "own/structure.json")
    assert (written.code, written.out.splitlines()[-1]) == (0, "Written to own/structure.json")
    assert written.out.startswith(sparse.name)
    assert Path("own/structure.json").read_text() + "\n" == printed.out


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (["--level", 3], "has 3 finished levels; there is no level 3"),
        (["--trial", 2], "has trials 0-1; there is no trial 2"),
        (["--level", 1, "--trial", 5], "there is no trial 5"),
        (["--json", "there.json"], "there.json already exists"),
        (["--json", "."], "is a folder. Name a file in it"),
        (["--json", "/proc/nope/x.json"], "cannot write /proc/nope/x.json"),
    ],
)
def test_what_analyze_cannot_show_or_write_is_said_in_one_paragraph(
    arguments: list[object], fix: str, sparse: Run, cli: Cli
) -> None:
    Path("there.json").touch()
    result = cli("analyze", sparse.folder, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Error: ")
    assert fix in " ".join(result.err.split())


@pytest.mark.parametrize(
    ("json_file", "fix"), [("there.json", "there.json already exists"), ("own.graphml", "both name own.graphml")]
)
def test_analyze_writes_no_graph_if_it_cannot_write_the_json(json_file: str, fix: str, sparse: Run, cli: Cli) -> None:
    Path("there.json").touch()
    result = cli("analyze", sparse.folder, "--level", 1, "--graphml", "own.graphml", "--json", json_file)
    assert (result.code, result.out, fix in " ".join(result.err.split())) == (2, "", True)
    assert not Path("own.graphml").exists()


def test_analyze_writes_one_run_as_json_and_no_more(finished: Run, cli: Cli) -> None:
    result = cli("analyze", finished.folder, finished.folder, "--json", "-")
    assert (result.code, result.out) == (2, "")
    assert "--json writes one run, and 2 are named" in " ".join(result.err.split())


def test_analyze_of_a_run_without_a_finished_level_says_how_to_go_on(finished: Run, cli: Cli) -> None:
    folder = Path(shutil.copytree(finished.folder, "begun"))
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"finished": []}))
    result = cli("analyze", folder)
    assert (result.code, result.out) == (2, "")
    assert "resume with: lthprune resume begun" in " ".join(result.err.split())


def test_analyze_by_layer_shows_means_and_ranges_over_all_trials(sparse: Run, cli: Cli) -> None:
    result = cli("analyze", sparse.folder, "--by-layer")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    structures = [sparse.structure(trial) for trial in range(2)]
    printed = json.loads(cli("analyze", sparse.folder, "--by-layer", "--json", "-").out)
    assert printed["trials"] == 2
    for level, described in enumerate(printed["levels"]):
        for layer, states in described["neurons"].items():
            for state in NeuronState:
                counts = [int((own.levels[level].neurons[layer] == state).sum()) for own in structures]
                expected = {"mean": sum(counts) / 2, "low": min(counts), "high": max(counts)}
                assert states[state.name.lower()] == expected
        active = [own.levels[level].active for own in structures]
        assert (described["active"]["low"], described["active"]["high"]) == (min(active), max(active))
        assert described["left"] == structures[0].levels[level].left
    tables = result.out.split("dense1")[1].split("output")
    last = printed["levels"][-1]
    for table, layer in zip(tables, ("dense1", "output"), strict=False):
        (row,) = [line.split() for line in table.splitlines() if line.split()[:1] == ["2"]]
        shown = [last["active"], *last["neurons"][layer].values()]
        means = [f"{each['mean']:,.{0 if each['low'] == each['high'] else 1}f}" for each in shown]
        assert row == ["2", f"{last['left']:,}", *means]


@pytest.mark.parametrize("other", ["--level", "--trial"])
def test_by_layer_and_one_level_or_trial_exclude_one_another(other: str, sparse: Run, cli: Cli) -> None:
    result = cli("analyze", sparse.folder, "--by-layer", other, 1)
    assert (result.code, "shows all levels of all trials" in " ".join(result.err.split())) == (2, True)


def test_analyze_writes_the_network_of_a_level_as_graphml(sparse: Run, cli: Cli) -> None:
    import networkx

    result = cli("analyze", sparse.folder, "--level", 2, "--graphml", "own/network.graphml")
    assert (result.code, result.err, result.out.splitlines()[-1]) == (0, "", "Written to own/network.graphml")
    graph = networkx.read_graphml("own/network.graphml", node_type=int)
    ticket = sparse.tickets.ticket(2)
    weights = sum(count.left for name, count in ticket.counts.items() if name.endswith("weight"))
    assert graph.number_of_edges() == weights
    assert graph.number_of_nodes() == 64 + 8 + 10
    refused = cli("analyze", sparse.folder, "--graphml", "other.graphml")
    assert (refused.code, "--level N" in refused.err) == (2, True)
    assert not Path("other.graphml").exists()

"""The house's rooms: which file may import which, and what importing must not do."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lthprune
import lthprune_cli
from tests.tiny import environment

LIBRARY, CLI = (Path(str(package.__file__)).parent for package in (lthprune, lthprune_cli))

# A file imports only from lines above its own.
ROOMS = """
    errors
    arguments
    seeds
    section
    progress
    naming steps
    torch_form keeping
    projection
    kinds
    selection
    coverage
    files
    state
    masks
    scores
    schedules
    trajectories
    methods
    forms
    pruning
    rewinding
    tickets
    store
    verification
    descent
    findings
    search
    data.dataset
    data.npz data.toys data.joining data.shrinking
    data.sources
    data.spec
    data
    models.plan
    models.named
    models.build
    models.blueprint
    models
    training.plan training.stopping training.losses training.noise
    training.record training.batches training.engine training.optimizer training.graphs
    training.loop training.lowering
    training.stacked training.sparse
    training.perceptrons training.unhooked
    training.choice
    training.population
    training
    analysis.graph analysis.operations
    analysis.interpreter
    analysis.tracing
    analysis.neurons
    analysis.splitting
    analysis.levels
    analysis.lifetimes analysis.biases
    analysis
    compaction.survivors compaction.latency compaction.report compaction.csr
    compaction.shrinking
    compaction.compact
    compaction
    recipes
    overrides faults
    recipe
    layers histories
    runs
    experiment
    sweep
    structure
    summary export
    plots.curves plots.palette
    plots.states plots.lifetimes plots.biases plots.inputs plots.network plots.splitting
    plots.figures
    plots
    integrations.repeated
    integrations.lightning integrations.transformers
    integrations
"""
ABOVE = {f"lthprune.{room}": line for line, rooms in enumerate(ROOMS.split("\n")) for room in rooms.split()}
FILES = {
    ".".join([root.name, *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__"): path
    for root in (LIBRARY, CLI)
    for path in sorted(root.rglob("*.py"))
}
ROOMED = sorted(ABOVE)
NEUTRAL = ("lthprune_cli", "lthprune")  # __init__ files that stand over all rooms


def nodes(module: str) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.walk(ast.parse(FILES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def imports(module: str) -> set[str]:
    """The modules that a file imports, a name from a package being a module where there is one."""
    found = set()
    for node in nodes(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else str(node.module) for name in full}
    return found


def test_every_file_of_the_library_has_its_room_and_every_room_its_file() -> None:
    assert {name for name in FILES if name.startswith("lthprune.")} == set(ABOVE)


@pytest.mark.parametrize("room", ROOMED)
def test_a_file_imports_only_from_lines_above_its_own(room: str) -> None:
    own = {name for name in imports(room) if name.startswith("lthprune")}
    assert own <= set(ABOVE), f"{room} imports from the package's face or the command line: {own - set(ABOVE)}"
    package = f"{room}."
    upwards = {name for name in own if ABOVE[name] >= ABOVE[room] and not name.startswith(package)}
    assert not upwards, f"{room} imports {upwards}, which stand beside or below it"


def test_the_rules_would_notice_an_import_against_the_grain() -> None:
    assert "lthprune.recipe" in imports("lthprune.runs")
    assert ABOVE["lthprune.recipe"] < ABOVE["lthprune.runs"]
    assert "lthprune.data" in imports("lthprune.training.loop")
    assert "lthprune.experiment" in imports("lthprune_cli.running")


@pytest.mark.parametrize("module", FILES)
def test_imports_are_absolute_and_only_the_methods_touch_torchs_pruning(module: str) -> None:
    assert not [node for node in nodes(module) if isinstance(node, ast.ImportFrom) and node.level]
    touches = "torch.nn.utils" in FILES[module].read_text("utf-8") and any(
        name.startswith("torch.nn.utils") for name in imports(module)
    )
    assert touches == (module == "lthprune.methods")


def test_there_is_no_drawer_for_everything() -> None:
    parts = {part for path in FILES.values() for part in path.with_suffix("").parts[-2:]}
    assert not parts & {"utils", "util", "helpers", "misc", "common"}


def test_the_packages_faces_only_re_export() -> None:
    for module, path in FILES.items():
        if path.name == "__init__.py" and module not in NEUTRAL[:1]:
            kinds = {type(node) for node in ast.parse(path.read_text("utf-8")).body}
            assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}, module


def test_public_names_are_sorted_and_complete_and_each_says_what_it_is() -> None:
    public = list(lthprune.__all__)
    assert public == sorted(public)
    imported = {alias.name for node in nodes("lthprune") for alias in node.names}
    assert imported == set(public)
    for name in public:
        assert str(getattr(lthprune, name).__doc__).strip(), name


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


STATE = """
import random, sys, warnings, os
import matplotlib.figure, numpy, pydantic, rich.progress, socket, torch, typer
def state():
    return repr((torch.get_rng_state().sum(), numpy.random.get_state()[1].sum(), hash(random.getstate()),
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_device(),
        torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic, torch.backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision(),
        torch.is_anomaly_enabled(), socket.getdefaulttimeout(), sorted(os.environ.items()), warnings.filters,
        dict(matplotlib.rcParams)))
"""


def test_importing_all_of_lthprune_seeds_nothing_and_changes_no_flag() -> None:
    modules = ", ".join(name for name in FILES if not name.startswith("lthprune.integrations."))  # others' imports
    assert python(f"{STATE}\nbefore = state()\nimport {modules}\nprint(before == state())").strip() == "True"


def test_importing_lthprune_loads_no_plots_no_torchvision_and_no_command_line() -> None:
    heavy = "('matplotlib', 'torchvision', 'timm', 'sklearn', 'typer', 'lthprune_cli', 'lightning', 'transformers')"
    assert python(f"import sys, lthprune\nprint([name for name in {heavy} if name in sys.modules])").strip() == "[]"

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

# A file imports only from lines above its own; of another wing, only that wing's face (its ``__init__``).
ROOMS = """
    errors
    reading memory
    arguments files formats
    array_files seeds section parts lengths writing
    recipes
    pruning.naming pruning.steps
    pruning.masks
    pruning.ranking
    pruning.shuffling
    pruning.torch_form pruning.keeping
    pruning.zero_hooks
    pruning.plain_form pruning.kinds
    pruning.selection
    pruning.eligibility
    pruning.coverage pruning.prunable
    pruning.state
    pruning.scores
    pruning.sensitivity
    pruning.schedules
    pruning.trajectories
    pruning.methods
    pruning.forms
    pruning.pruner
    pruning.rounds
    pruning
    search.rewinding search.progress search.failures search.advice
    search.metrics
    search.ranks search.ticket_files search.manifest
    search.lazy_states
    search.tickets
    search.store search.collection
    search.settings search.own search.early_birds
    search.spec
    search.verification
    search.trainings
    search.descent search.retraining search.controls
    search.findings search.generators search.supermasks search.joining
    search.drivers
    search
    data.dataset
    data.arrays data.toys data.joining data.reducing
    data.npz data.own data.through_torchvision data.images
    data.folders
    data.tiny_imagenet
    data.sources
    data.spec
    data.loading
    data
    models.spec models.fitting
    models.narrowing
    models.named models.own models.residual
    models.build
    models.blueprint
    models
    kernels.compiling
    kernels.lanes kernels.activations
    kernels.losses kernels.optimisers kernels.teams kernels.turning
    kernels.inputs
    kernels.products
    kernels.perceptrons kernels.sparse_layers
    kernels
    training.learning_rate training.averages
    training.plan training.precision training.stopping training.losses training.noise training.sparse_product
    training.augmenting training.penalty training.checkpoint training.divergence
    training.module_state training.record training.batches training.engine training.optimizer training.cuda_graph
    training.sparse_linear
    training.histories training.loop training.lowering
    training.stacked_layer training.layout training.formed
    training.stacked training.unhooked training.compiled
    training.dispatch
    training.population
    training
    analysis.graph analysis.operations analysis.signals analysis.attention
    analysis.recorder analysis.following analysis.origins
    analysis.contraction analysis.recurrent
    analysis.effects
    analysis.weighted
    analysis.functions
    analysis.interpreter
    analysis.tracing
    analysis.neurons analysis.bounds analysis.costs analysis.interpolation analysis.activations
    analysis.separation analysis.digraph
    analysis.statistics_networks
    analysis.mine analysis.nearest_neighbours
    analysis.splitting analysis.stability analysis.information
    analysis.level_states
    analysis.lifetimes analysis.biases
    analysis
    compaction.survivors compaction.latency compaction.report compaction.csr compaction.equivalence
    compaction.cutting
    compaction.compacting
    compaction.export
    compaction
    plots.style
    plots.curves
    plots.controls plots.states plots.lifetimes plots.biases plots.inputs plots.network plots.splitting plots.stability
    plots.pruned_by_layer plots.steps_needed plots.weights plots.weight_histograms plots.untrained
    plots.information plots.sweeps
    plots
    experiments.spec experiments.overrides experiments.faults experiments.axes experiments.environment
    experiments.threads experiments.collapse
    experiments.recipe
    experiments.levels
    experiments.preview experiments.structure experiments.summary experiments.frames
    experiments.measurements experiments.run_entries
    experiments.stability_files experiments.information_files experiments.checkpoint_files
    experiments.subject experiments.run_folder experiments.comparison experiments.pretraining
    experiments.figures
    experiments.run
    experiments.folders experiments.matching experiments.layer_counts
    experiments.overlaps
    experiments.memory_needed
    experiments.experiment experiments.control_kinds
    experiments.before_training experiments.untrained
    experiments.early_birds
    experiments.execution
    experiments.merging
    experiments.sweep experiments.timing experiments.controls experiments.transfer experiments.stability
    experiments.training_states
    experiments.information
    experiments.jobs
    experiments.spreading
    experiments.clusters
    experiments.sweep_summary
    experiments.sweep_figures
    experiments
    testing.calling testing.cases
    testing.smallest
    testing.scores testing.methods
    testing.models
    testing
    integrations.repeated
    integrations.lightning integrations.transformers integrations.ray
    integrations
"""
CLI_ROOMS = """
    consoles stopping clusters failures
    options progress spreads
    recipes
    sweeping
    comparing
    results
    running merging listing analysing exporting controlling matching stability masking information
    main
"""
FILES = {
    ".".join([root.name, *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__"): path
    for root in (LIBRARY, CLI)
    for path in sorted(root.rglob("*.py"))
}
PLACES = [
    (f"{package}.{room}", line)
    for package, plan in (("lthprune", ROOMS), ("lthprune_cli", CLI_ROOMS))
    for line, rooms in enumerate(plan.split("\n"))
    for room in rooms.split()
]
ABOVE = dict(PLACES)
WINGS = {name for name in FILES if name.count(".") == 1 and FILES[name].name == "__init__.py"}
GROUND = {name for name in ABOVE if name.startswith("lthprune.") and name.count(".") == 1} - WINGS
OUTER = {name for name in ABOVE if name.startswith("lthprune.integrations.")}  # each is a face of its own
NEUTRAL = ("lthprune_cli", "lthprune", "lthprune.__main__")  # files that stand over all rooms


def wing(module: str) -> str:
    """Return the wing that a file is in, ``lthprune`` for the ground floor."""
    package, _, rest = module.partition(".")
    return package if package == "lthprune_cli" or f"{package}.{rest}" in GROUND else ".".join(module.split(".")[:2])


def nodes(module: str, *, at_once: bool = False) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements of a file, or only those that run when it is imported."""
    tree = ast.parse(FILES[module].read_text("utf-8"))
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def imports(module: str, *, at_once: bool = False) -> set[str]:
    """The modules that a file imports, a name from a package being a module where there is one."""
    found = set()
    for node in nodes(module, at_once=at_once):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else str(node.module) for name in full}
    return found


def test_every_file_has_its_room_and_every_room_its_file() -> None:
    assert set(FILES) - set(NEUTRAL) == set(ABOVE)
    assert len(PLACES) == len(ABOVE)


def test_the_root_holds_only_the_ground_floor_and_wings() -> None:
    assert {name.removeprefix("lthprune.") for name in GROUND} == {
        "errors",
        "arguments",
        "array_files",
        "files",
        "formats",
        "memory",
        "parts",
        "reading",
        "seeds",
        "section",
        "lengths",
        "writing",
    }


@pytest.mark.parametrize("room", sorted(ABOVE))
def test_a_file_imports_only_from_lines_above_its_own(room: str) -> None:
    package, own = room.partition(".")[0], imports(room)
    same = {name for name in own if name.partition(".")[0] == package}
    assert same <= set(ABOVE), f"{room} imports from the package's face: {same - set(ABOVE)}"
    upwards = {name for name in same if ABOVE[name] >= ABOVE[room] and not name.startswith(f"{room}.")}
    assert not upwards, f"{room} imports {upwards}, which stand beside or below it"


@pytest.mark.parametrize("room", sorted(ABOVE))
def test_a_file_imports_from_another_wing_only_by_its_face(room: str) -> None:
    inside = {
        name
        for name in imports(room)
        if name.startswith("lthprune.") and wing(name) != wing(room) and name not in WINGS | GROUND | OUTER
    }
    assert not inside, f"{room} looks into another wing: {inside}"


def test_pruning_needs_nothing_but_torch_and_numpy() -> None:
    used = {name for name in FILES if wing(name) == "lthprune.pruning"}
    used |= {ground for name in used for ground in imports(name) & GROUND}
    outside = {name.partition(".")[0] for module in used for name in imports(module, at_once=True)}
    assert outside - set(sys.stdlib_module_names) <= {"lthprune", "torch", "numpy"}


def test_the_rules_would_notice_an_import_against_the_grain() -> None:
    assert "lthprune.experiments.recipe" in imports("lthprune.experiments.run_folder")
    assert ABOVE["lthprune.experiments.recipe"] < ABOVE["lthprune.experiments.run_folder"]
    assert "lthprune.data" in imports("lthprune.training.loop")
    assert wing("lthprune.data.spec") == "lthprune.data" != wing("lthprune.training.loop")
    assert "lthprune.experiments" in imports("lthprune_cli.running")


@pytest.mark.parametrize("module", FILES)
def test_imports_are_absolute_and_only_the_methods_and_their_properties_touch_torchs_pruning(module: str) -> None:
    assert not [node for node in nodes(module) if isinstance(node, ast.ImportFrom) and node.level]
    touches = "torch.nn.utils" in FILES[module].read_text("utf-8") and any(
        name.startswith("torch.nn.utils") for name in imports(module)
    )
    assert touches == (module in ("lthprune.pruning.methods", "lthprune.testing.methods"))


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
import matplotlib.figure, numba, numpy, pydantic, rich.progress, socket, torch, typer
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
    heavy = (
        "numba",
        "matplotlib",
        "torchvision",
        "timm",
        "sklearn",
        "typer",
        "lthprune_cli",
        "lightning",
        "ray",
        "transformers",
    )
    assert python(f"import sys, lthprune\nprint([name for name in {heavy} if name in sys.modules])").strip() == "[]"

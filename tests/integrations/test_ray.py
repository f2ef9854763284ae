"""Runs, controls and sweeps on a Ray cluster of two nodes on this machine, whose workers and nodes are killed."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lthprune.errors import LthpruneError
from lthprune.experiments.clusters import resume_run_on, run_controls_on, run_recipe_on, run_sweep_on
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.run import Run
from lthprune.experiments.sweep import begin_sweep, run_sweep
from tests.tiny import SETTINGS, command, contents, environment, tiny

pytest.importorskip("ray", reason="needs ray")
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]  # Ray warns of its own

WORDS = ("train.steps=4000", "train.evaluate_every=200", "model.dense=[60]", "prune.levels=3")
MEMORY = {"object_store_memory": 80 << 20}


class Nodes:
    """A cluster of two nodes with a CPU each; the first, where this process is, trains as well."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **MEMORY}
        )
        self.address = str(self._cluster.address)
        self._other: Any = None
        self.need_both()

    def need_both(self) -> None:
        if self._other is None:
            self._other = self._cluster.add_node(num_cpus=1, **MEMORY)
            self._cluster.wait_for_nodes()

    def kill_the_other(self) -> None:
        """Kill all processes of the second node at once."""
        self._cluster.remove_node(self._other, allow_graceful=False)
        self._other = None

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def both() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.shutdown()


@pytest.fixture
def nodes(both: Nodes) -> Nodes:
    both.need_both()
    return both


def workers(*names: str) -> dict[str, int]:
    """The processes of the jobs whose names begin like this: Ray names a process after its task."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = re.match(r"ray::([\w-]+)", (folder / "cmdline").read_text())
        except (OSError, UnicodeDecodeError):
            continue
        if name is not None and name[1].startswith(names):
            found[name[1]] = int(folder.name)
    return found


def bits(run: Run) -> tuple[object, bytes]:
    return contents(run.folder), (run.folder / "manifest.json").read_bytes()


def once(go: Callable[[], object]) -> Callable[..., None]:
    done: list[object] = []

    def call(*_: object) -> None:
        if not done:
            done.append(None)
            go()

    return call


def test_a_run_whose_worker_and_node_are_killed_has_the_bits_of_a_local_run(nodes: Nodes, tmp_path: Path) -> None:
    from lthprune.integrations.ray import RayCluster

    recipe, killed = tiny("run.trials=3", *WORDS), []

    def kill_a_worker() -> None:
        name, process = next(iter(workers("trial-").items()))
        killed.append(name)
        os.kill(process, signal.SIGKILL)

    kill, switch_off = once(kill_a_worker), once(nodes.kill_the_other)

    def watch(level: int, trial: int, evaluation: object) -> None:
        if level == 1:
            kill()
        elif level == 2 and killed:
            switch_off()

    local = run_recipe(recipe, "tiny", out=tmp_path / "local", threads=1)
    with RayCluster(nodes.address) as cluster, pytest.warns(UserWarning, match="lost its worker") as warned:
        run = run_recipe_on(cluster, recipe, "tiny", out=tmp_path, watcher=Watcher(on_evaluation=watch))
    lost = [str(each.message) for each in warned if "lost its worker" in str(each.message)]
    assert killed
    assert any(text.startswith(killed[0]) for text in lost)
    assert len(lost) >= 2
    assert bits(run) == bits(local)
    assert {path.name for path in run.folder.iterdir()} == {path.name for path in local.folder.iterdir()}


def test_controls_of_which_a_worker_is_killed_have_the_bits_of_local_ones(nodes: Nodes, tmp_path: Path) -> None:
    from lthprune.integrations.ray import RayCluster

    run = run_recipe(tiny(*WORDS), "tiny", out=tmp_path / "here", threads=1)
    shutil.copytree(run.folder, tmp_path / "there")
    controls = [("shuffled", 0), ("reinitialised", 0), ("shuffled", 1)]
    kill = once(lambda: os.kill(max(workers("shuffled-", "reinitialised-").values()), signal.SIGKILL))
    with RayCluster(nodes.address) as cluster, pytest.warns(UserWarning, match="lost its worker"):
        done = run_controls_on(
            cluster, Run(tmp_path / "there"), controls, watch=lambda kind, repeat: Watcher(on_evaluation=kill)
        )
    for (kind, repeat), control in zip(controls, done, strict=True):
        assert bits(control) == bits(run_control(run, kind, repeat))


def test_a_sweep_of_which_a_node_is_killed_has_the_bits_of_a_local_one(nodes: Nodes, tmp_path: Path) -> None:
    from lthprune.integrations.ray import RayCluster

    axes, words = {"train.lr": [0.01, 0.02, 0.05]}, [*SETTINGS, *WORDS]
    here, there = (
        begin_sweep("lenet-digits", axes, words, out=tmp_path / name, threads=1) for name in ("here", "there")
    )
    kill = once(nodes.kill_the_other)
    with RayCluster(nodes.address) as cluster, pytest.warns(UserWarning, match="lost its worker"):
        run_sweep_on(cluster, there, watch=lambda cell: Watcher(on_level=kill))
    run_sweep(here)
    assert [bits(cell.run) for cell in there.cells()] == [bits(cell.run) for cell in here.cells()]


def test_ctrl_c_stops_the_workers_and_the_run_is_resumed(nodes: Nodes, tmp_path: Path) -> None:
    recipe = tiny("run.trials=2", *WORDS)
    (tmp_path / "own.toml").write_text(recipe.to_toml())
    words = command("run", "own.toml", "--engine", "ray", "--address", nodes.address, "--threads", 1)
    begun = subprocess.Popen(
        words,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/trial-1/level-00*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(begun.pid, signal.SIGINT)
    _, errors = begun.communicate(timeout=60)
    (folder,) = (tmp_path / "runs").iterdir()
    again = f"lthprune resume runs/{folder.name} --engine ray --address {nodes.address}"
    assert (begun.returncode, again in errors) == (130, True), errors
    run = Run(folder)
    assert run.state == "resumable"
    deadline = time.monotonic() + 30
    while workers("trial-") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers("trial-")
    from lthprune.integrations.ray import RayCluster

    with RayCluster(nodes.address) as cluster:
        resume_run_on(cluster, run)
    assert bits(run) == bits(run_recipe(recipe, "own", out=tmp_path / "local", threads=1))


def test_an_address_without_a_cluster_is_refused(tmp_path: Path) -> None:
    from lthprune.integrations.ray import RayCluster

    with pytest.raises(LthpruneError, match=r"there is no Ray cluster at 127\.0\.0\.1:1 .*`ray start --head`"):
        RayCluster("127.0.0.1:1")

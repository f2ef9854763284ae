"""bf16 is refused where PyTorch would emulate it, before anything is changed, unless the plan insists on it."""

import platform
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lthprune.data.dataset import Dataset
from lthprune.errors import RecipeError
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.sweep import begin_sweep
from lthprune.experiments.timing import estimate_time
from lthprune.pruning.state import snapshot
from lthprune.training import precision
from lthprune.training.loop import train
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from lthprune.training.precision import check_precision, multiplies_in_bf16, warn_of_emulation
from tests.nets import Architecture, all_bits
from tests.tiny import SETTINGS, contents, lthprune, noise, tiny

CPU, GPU = torch.device("cpu"), torch.device("cuda")
REFUSED = 'train.precision = "bf16": this processor has no bf16 arithmetic.*"bf16-anywhere"'
WARNED = 'train.precision = "bf16-anywhere": this processor has no bf16 arithmetic.*slower'


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Lets devices have bf16 arithmetic, or not."""
    return lambda has: monkeypatch.setattr(precision, "multiplies_in_bf16", lambda device: has)


def plan(precision: str, engine: str = "auto") -> TrainingPlan:
    words = {"optimizer": "adam", "lr": 0.01, "batch_size": 4, "steps": 3, "precision": precision, "engine": engine}
    return TrainingPlan.model_validate(words)


def orders(number: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(trial) for trial in range(number)]


def by_loop(model: nn.Module, data: Dataset, plan: TrainingPlan) -> None:
    train(model, data, plan, *orders(1))


def by_engine(model: nn.Module, data: Dataset, plan: TrainingPlan) -> None:
    train_population([model], data, plan, orders(1))


@pytest.mark.parametrize("go", [by_loop, by_engine])
def test_bf16_is_refused_without_bf16_arithmetic_and_the_model_is_unchanged(
    go: Callable[[nn.Module, Dataset, TrainingPlan], None], hardware: Callable[[bool], None]
) -> None:
    hardware(False)
    model = Architecture("convolutional").build()
    before = all_bits(snapshot(model))
    with pytest.raises(RecipeError, match=REFUSED):
        go(model, noise(), plan("bf16"))
    assert all_bits(snapshot(model)) == before
    go(model, noise(), plan("fp32"))


@pytest.mark.parametrize("go", [by_loop, by_engine])
def test_bf16_anywhere_computes_what_bf16_does_with_and_without_bf16_arithmetic(
    go: Callable[[nn.Module, Dataset, TrainingPlan], None], hardware: Callable[[bool], None]
) -> None:
    bits = {}
    for has, name in ((False, "bf16-anywhere"), (True, "bf16-anywhere"), (True, "bf16"), (True, "fp32")):
        hardware(has)
        model = Architecture("convolutional").build()
        go(model, noise(), plan(name))
        bits[has, name] = all_bits(snapshot(model))
    assert bits[False, "bf16-anywhere"] == bits[True, "bf16-anywhere"] == bits[True, "bf16"] != bits[True, "fp32"]


def test_a_run_in_bf16_anywhere_warns_once_without_bf16_arithmetic_and_not_with_it(
    tmp_path: Path, hardware: Callable[[bool], None]
) -> None:
    recipe = tiny("train.precision=bf16-anywhere")
    hardware(True)
    run_recipe(recipe, "tiny", out=tmp_path)  # a warning would be an error here
    hardware(False)
    with pytest.warns(UserWarning, match=WARNED) as caught:
        run = run_recipe(recipe, "tiny", out=tmp_path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=WARNED):
        resume_run(run)


def test_a_plan_is_in_fp32_unless_it_says_otherwise() -> None:
    assert TrainingPlan(optimizer="adam", lr=0.01, batch_size=4, steps=3, engine="auto").precision == "fp32"


def test_a_run_in_bf16_is_refused_before_its_directory_is_made(
    tmp_path: Path, hardware: Callable[[bool], None]
) -> None:
    hardware(False)
    short, over = [*SETTINGS, "train.precision=bf16"], {"train.lr": [0.1, 0.2]}
    with pytest.raises(RecipeError, match=REFUSED):
        run_recipe(tiny("train.precision=bf16"), "tiny", out=tmp_path)
    with pytest.raises(RecipeError, match=f"in the cell .*{REFUSED}"):
        begin_sweep("lenet-digits", over, short, out=tmp_path)
    with pytest.raises(RecipeError, match=REFUSED):
        estimate_time(tiny("train.precision=bf16"))
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_bf16_is_not_resumed_without_bf16_arithmetic_and_stays_as_it_is(
    tmp_path: Path, hardware: Callable[[bool], None]
) -> None:
    hardware(True)
    run = run_recipe(tiny("train.precision=bf16"), "tiny", out=tmp_path)
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    hardware(False)
    with pytest.raises(RecipeError, match=f"{REFUSED}.*resumed on a device that has bf16 arithmetic"):
        resume_run(Run(run.folder))
    assert before == {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    hardware(True)
    expected = contents(run.folder)
    assert contents(resume_run(Run(run.folder)).folder) == expected


@pytest.mark.parametrize(
    ("machine", "onednn", "avx512_bf16", "expected"),
    [
        ("x86_64", True, True, True),
        ("AMD64", True, True, True),
        ("x86_64", True, False, False),  # oneDNN emulates bf16 by AVX-512
        ("x86_64", False, False, False),
        ("aarch64", True, False, True),
        ("aarch64", False, False, False),
        ("arm64", True, False, True),
    ],
)
def test_a_cpu_multiplies_in_bf16_if_onednn_says_so_and_on_x86_only_with_avx512_bf16(
    machine: str, onednn: bool, avx512_bf16: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    assert multiplies_in_bf16(CPU) is expected
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert multiplies_in_bf16(CPU) is False


def test_this_cpu_is_known_by_the_instructions_that_the_system_lists() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.exists() or not torch.backends.mkldnn.is_available():
        pytest.skip("the instructions are listed by Linux on x86")
    assert multiplies_in_bf16(CPU) == ("avx512_bf16" in cpuinfo.read_text("utf-8").split())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN can be limited to older instructions on x86")
def test_a_processor_that_onednn_uses_like_an_older_one_is_refused(tmp_path: Path) -> None:
    words = [word for setting in (*SETTINGS, "train.precision=bf16") for word in ("--set", setting)]
    done = lthprune("run", "lenet-digits", *words, "--out", tmp_path / "runs", ONEDNN_MAX_CPU_ISA="AVX2")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(REFUSED, " ".join(done.stderr.split()))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("capability", "hip", "expected"),
    [((7, 5), None, False), ((8, 0), None, True), ((9, 0), None, True), ((9, 0), "6.2", True)],
)
def test_a_gpu_multiplies_in_bf16_from_compute_capability_8(
    capability: tuple[int, int], hip: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert multiplies_in_bf16(GPU) is expected


def test_a_refused_gpu_is_named(monkeypatch: pytest.MonkeyPatch, hardware: Callable[[bool], None]) -> None:
    hardware(False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(RecipeError, match='"bf16": Tesla T4 has no bf16 arithmetic'):
        check_precision("bf16", GPU)
    with pytest.warns(UserWarning, match="Tesla T4"):
        warn_of_emulation("bf16-anywhere", GPU)

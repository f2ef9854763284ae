"""Benchmarks print no figure from a machine that other programs use, unless they are told to."""

import argparse
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from tests.benchmarks import machine
from tests.benchmarks.machine import (
    Machine,
    Usage,
    add_busy,
    blas,
    caches,
    instructions,
    others,
    processor,
    usage,
    working_seconds,
)

OTHERS = ("machine", "test_machine", "silent_faults", "twin")  # the last two measure no times
BENCHMARKS = sorted(path for path in Path(__file__).parent.glob("*.py") if path.stem not in OTHERS)
REFUSED = r"Other programs use [\d.]+ of this machine's \d+ cores.*--busy"
IDLE = (Usage(0, 10, 5), Usage(2, 10.02, 5.01), Usage(12, 28, 22.8))  # ours: 17.79 of 17.98 s, in 10 s
BUSY_BEFORE = (Usage(0, 10, 5), Usage(2, 11, 5), Usage(12, 30, 24))
BUSY_MEANWHILE = (Usage(0, 10, 5), Usage(2, 10, 5), Usage(12, 28, 15))


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Usage | None]], None]:
    """Replaces what the clocks say, before, at the beginning and at the end of a benchmark."""

    def replace(usages: Sequence[Usage | None]) -> None:
        following: Iterator[Usage | None] = iter(usages)
        monkeypatch.setattr(machine, "usage", lambda: next(following))
        monkeypatch.setattr(machine, "_WINDOW", 0.0)

    return replace


@pytest.fixture
def busy_loop() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loop:
        yield
        loop.kill()


@pytest.mark.skipif(usage() is None, reason="the system does not count what other programs do")
def test_a_busy_loop_beside_it_ends_a_benchmark_with_exit_code_1(busy_loop: None) -> None:
    code = "from tests.benchmarks.machine import Machine; print(Machine(busy=False).describe())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Other programs use ")
    assert done.stderr.count("\n") == 1
    busy = subprocess.run(
        [sys.executable, "-c", code.replace("False", "True")], capture_output=True, text=True, check=True
    )
    assert busy.stdout.startswith("measured on a busy machine: ")


@pytest.mark.skipif(usage() is None, reason="the system does not count what other programs do")
def test_own_work_includes_that_of_children_that_have_ended_and_is_part_of_the_machines() -> None:
    before, begun = usage(), sum(os.times()[:2])
    subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"], check=True)
    sum(range(20_000_000))
    after, here = usage(), sum(os.times()[:2]) - begun
    assert before is not None
    assert after is not None
    own = after.own - before.own
    assert own > here > 0  # the rest is the child's
    assert after.machine - before.machine > 0.5 * own


def test_others_are_what_the_cores_did_beyond_ones_own_work_per_second() -> None:
    assert others(Usage(0, 100, 20), Usage(10, 115, 30)) == 0.5
    assert others(Usage(0, 100, 20), Usage(10, 109.9, 30)) == 0  # clocks of different grain


def test_an_idle_machine_is_described(readings: Callable[[Sequence[Usage | None]], None]) -> None:
    readings(IDLE)
    words = Machine(busy=False).describe()
    assert not words.startswith("measured on a busy machine")
    assert f"{os.cpu_count()} cores" in words
    assert f"torch {torch.__version__}" in words
    assert f"{torch.get_num_threads()} threads" in words


def test_load_before_a_benchmark_ends_it_at_once(readings: Callable[[Sequence[Usage | None]], None]) -> None:
    readings(BUSY_BEFORE)
    with pytest.raises(SystemExit, match=REFUSED):
        Machine(busy=False)


def test_load_during_a_benchmark_ends_it_before_its_figures(
    readings: Callable[[Sequence[Usage | None]], None],
) -> None:
    readings(BUSY_MEANWHILE)
    watched = Machine(busy=False)
    with pytest.raises(SystemExit, match=REFUSED):
        watched.describe()


@pytest.mark.parametrize(("usages", "busy"), [(IDLE, False), (BUSY_BEFORE, True), (BUSY_MEANWHILE, True)])
def test_with_busy_a_benchmark_is_described_as_such_if_other_programs_ran(
    usages: Sequence[Usage], busy: bool, readings: Callable[[Sequence[Usage | None]], None]
) -> None:
    readings(usages)
    assert Machine(busy=True).describe().startswith("measured on a busy machine: ") == busy


@pytest.mark.parametrize(("load", "refused"), [(0.05, False), (0.9, True)])
def test_without_a_count_the_average_load_decides(
    load: float,
    refused: bool,
    readings: Callable[[Sequence[Usage | None]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "load_average", lambda: load)
    readings([None] * 3)
    if refused:
        with pytest.raises(SystemExit, match=REFUSED):
            Machine(busy=False)
    else:
        assert "unknown" not in Machine(busy=False).describe()


def test_a_system_that_counts_nothing_says_so(
    readings: Callable[[Sequence[Usage | None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "load_average", lambda: None)
    readings([None] * 3)
    assert Machine(busy=False).describe().endswith("; the load by other programs is unknown")


def test_work_is_all_but_idle_and_waiting_time() -> None:
    stat = "cpu  200 10 30 5000 400 1 2 7 50 0\ncpu0 100 5 15 2500 200 0 1 3 25 0\nintr 1\n"
    assert working_seconds(stat, 100) == 2.5
    assert working_seconds("cpu  0 0 0 0 0 0 0 0 0 0\n", 100) is None  # as in some sandboxes


def test_a_processors_name_and_instructions_are_read() -> None:
    x86 = textwrap.dedent("""\
        processor\t: 0
        model name\t: AMD EPYC 9B14
        flags\t\t: fpu sse2 avx avx2 avx512f avx512_bf16 fsrm
        """)
    arm = "processor\t: 0\nFeatures\t: fp asimd bf16 sve sve2 sm4\nCPU part\t: 0xd4f\n"
    assert processor(x86) == "AMD EPYC 9B14"
    assert instructions(x86) == ["AVX2", "AVX-512", "AVX-512 BF16"]
    assert instructions(x86.replace("fsrm", "amx_bf16 amx_tile")) == ["AVX2", "AVX-512", "AVX-512 BF16", "AMX"]
    assert instructions(arm) == ["NEON", "SVE", "SVE2", "BF16"]
    assert processor(arm) == processor("") != ""
    assert instructions("") == []


def test_the_sizes_of_caches_are_read(tmp_path: Path) -> None:
    for place, words in enumerate(("1 Data 32K", "1 Instruction 32K", "2 Unified 1024K", "3 Unified 32768K")):
        folder = tmp_path / f"index{place}"
        folder.mkdir()
        for name, word in zip(("level", "type", "size"), words.split(), strict=True):
            (folder / name).write_text(f"{word}\n")
    assert caches(tmp_path) == ["L1 32K", "L2 1024K", "L3 32768K"]
    assert caches(tmp_path / "absent") == []


def test_the_blas_of_torch_is_read() -> None:
    assert blas("  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release, CUDA_FLAGS= -D") == "BLAS mkl"
    assert blas("PyTorch built with:") == "BLAS unknown"


def test_busy_is_an_option_and_off_by_default() -> None:
    parser = argparse.ArgumentParser()
    add_busy(parser)
    assert [parser.parse_args(words).busy for words in ([], ["--busy"])] == [False, True]


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.name)
def test_every_benchmark_watches_the_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    for call in ("add_busy(parser)", "Machine(busy=", ".describe("):
        assert call in text

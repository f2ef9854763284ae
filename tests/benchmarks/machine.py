"""The machine that a benchmark runs on: what it can do, and whether other programs use it meanwhile.

Every benchmark adds ``--busy`` to its options, makes a ``Machine`` before it measures, and puts what ``describe()``
returns over its figures. On a machine that other programs use, both end the benchmark with exit code 1.
"""

import argparse
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

_LIMIT = 0.1  # cores that other programs may use: an idle system needs less
_WINDOW = 2.0  # seconds for which they are observed before a benchmark begins
_INSTRUCTIONS = {  # by their names in /proc/cpuinfo: x86, then Arm
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 BF16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "sve": "SVE",
    "sve2": "SVE2",
    "bf16": "BF16",
}


class Usage(NamedTuple):
    """A reading of clocks, in seconds: the wall's, that of all cores at work, and that of this process's work."""

    wall: float
    machine: float
    own: float


def add_busy(parser: argparse.ArgumentParser) -> None:
    """Add the option with which a benchmark measures on a machine that other programs use."""
    parser.add_argument("--busy", action="store_true", help="print the figures even if other programs use the cores")


class Machine:
    """The machine, watched from now on.

    Args:
        busy: measure even if other programs use the cores; the description says so.

    Raises:
        SystemExit: they do, and ``busy`` is false.
    """

    def __init__(self, *, busy: bool) -> None:
        self._busy = busy
        before = usage()
        time.sleep(_WINDOW)
        self._begun = usage()
        self._others = load_average() if before is None or self._begun is None else others(before, self._begun)
        self._check()

    def describe(self, device: torch.device | str = "cpu") -> str:
        """Return what the processor (on a GPU, the GPU) and torch can do, in one line.

        Raises:
            SystemExit: other programs have used the cores meanwhile, and ``busy`` is false.
        """
        now = usage()
        if self._begun is not None and now is not None:
            self._others = max(self._others or 0.0, others(self._begun, now))
        self._check()
        unknown = "; the load by other programs is unknown" if self._others is None else ""
        prefix = "measured on a busy machine: " if (self._others or 0.0) > _LIMIT else ""
        return f"{prefix}{_describe(torch.device(device))}{unknown}"

    def _check(self) -> None:
        if not self._busy and self._others is not None and self._others > _LIMIT:
            sys.exit(
                f"Other programs use {self._others:.1f} of this machine's {os.cpu_count()} cores, so figures from it "
                "mean nothing. Stop them and start the benchmark again, or add --busy to print its figures all the "
                "same."
            )


def usage() -> Usage | None:
    """Return the present reading; None on systems without /proc/stat, or with an empty one.

    Children count as own work once they have ended.
    """
    stat = Path("/proc/stat")
    machine = working_seconds(stat.read_text("utf-8"), os.sysconf("SC_CLK_TCK")) if stat.exists() else None
    own = os.times()
    return None if machine is None else Usage(time.monotonic(), machine, sum(own[:4]))


def working_seconds(stat: str, ticks: int) -> float | None:
    """Return the seconds that all cores together have worked, from the text of /proc/stat; None if it counts nothing.

    What a hypervisor took away for other machines counts as work; waiting for disks does not.
    """
    user, nice, system, idle, waiting, interrupts, soft, stolen = map(int, stat.splitlines()[0].split()[1:9])
    worked = user + nice + system + interrupts + soft + stolen
    return worked / ticks if worked + idle + waiting else None


def others(before: Usage, after: Usage) -> float:
    """Return how many cores other programs used between two readings, on average."""
    worked, own = after.machine - before.machine, after.own - before.own
    return max(0.0, worked - own) / (after.wall - before.wall)


def load_average() -> float | None:
    """Return the system's average load of the last minute; None on systems without one."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def processor(cpuinfo: str) -> str:
    """Return the processor's name from the text of /proc/cpuinfo, else from Python."""
    name = re.search(r"^model name\s*: (.+)$", cpuinfo, flags=re.MULTILINE)
    return name[1].strip() if name else platform.processor() or platform.machine()


def instructions(cpuinfo: str) -> list[str]:
    """Return the instruction sets that matter here, from the text of /proc/cpuinfo."""
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", cpuinfo, flags=re.MULTILINE)
    there = flags[1].split() if flags else []
    return [name for flag, name in _INSTRUCTIONS.items() if flag in there]


def caches(folder: Path) -> list[str]:
    """Return the sizes of a core's data caches, from a folder like /sys/devices/system/cpu/cpu0/cache."""
    found = []
    for index in sorted(folder.glob("index*")):
        kind, level, size = ((index / name).read_text("utf-8").strip() for name in ("type", "level", "size"))
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return found


def blas(config: str) -> str:
    """Return the BLAS that torch was built with, from the text of ``torch.__config__.show()``."""
    name = re.search(r"BLAS_INFO=(\w+)", config)
    return f"BLAS {name[1]}" if name else "BLAS unknown"


def _describe(device: torch.device) -> str:
    file = Path("/proc/cpuinfo")
    cpuinfo = file.read_text("utf-8") if file.exists() else ""
    cores = f"{os.cpu_count()} cores"
    chip = ", ".join(
        [processor(cpuinfo), cores, *instructions(cpuinfo), *caches(Path("/sys/devices/system/cpu/cpu0/cache"))]
    )
    gpu = f"{torch.cuda.get_device_name(device)}; " if device.type == "cuda" else ""
    kernels = torch.backends.cpu.get_cpu_capability()
    return (
        f"{gpu}{chip}; torch {torch.__version__} ({kernels} kernels, {blas(torch.__config__.show())}), "
        f"{torch.get_num_threads()} threads"
    )

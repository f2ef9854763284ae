"""The environment of a run: device, versions, machine, memory, and the caller's git state."""

import os
import platform
import re
import subprocess
import sys
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from lthprune.data import data_root
from lthprune.errors import LthpruneError


def warn_of_other_roundings(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn if a run is resumed with another device, number of threads, lthprune, torch or numba than it began with."""
    differing = other_roundings(before, now)
    if differing:
        warnings.warn(
            f"{'; '.join(differing)}: the remaining levels may differ in their last bits from those of an "
            "uninterrupted run.",
            stacklevel=3,
        )


def other_roundings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each difference between two environments that makes results differ in their last bits."""
    differing = [
        f"{name} was {before[name]} and is {now[name]}"
        for name in ("device", "device_name", "threads")
        if name in before and before[name] != now[name]
    ]
    packages = before.get("packages", {})
    return differing + [
        f"{name} was {packages.get(name, 'not used')} and is {now['packages'][name]}"
        for name in ("lthprune", "torch", "numba")
        if packages and packages.get(name) != now["packages"][name]
    ]


def find_device(name: str) -> torch.device:
    """Return a device by name.

    Raises:
        LthpruneError: the name is unknown, or torch has no CUDA device here.
    """
    if name not in ("cpu", "cuda"):
        raise LthpruneError(f"unknown device {name!r}. Known: cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise LthpruneError("there is no CUDA device that torch can use here. Run with --device cpu.")
    return torch.device(name)


def describe_environment(
    device: torch.device, data_dir: str | Path | None, threads: int | None = None
) -> dict[str, Any]:
    """Return the contents of ``environment.json`` for a run that begins now; ``threads`` is the number asked for."""
    packages = ["lthprune", "torch", "torchvision", "numba", "numpy", "scikit-learn", "safetensors"]
    packages += ["timm"] if find_spec("timm") is not None else []
    return {
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in packages},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "threads_asked": threads,
        "data_dir": str(data_root(data_dir).resolve()),
        "git": _git_state(),
        "seconds_per_level": {},
        "peak_memory_mb": None,
    }


def peak_memory_mb(device: torch.device) -> int | None:
    """Return the peak memory of this process, on a GPU that of torch's tensors, in MB; None on Windows."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6)
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6)


def _git_state() -> dict[str, Any] | None:
    """Return the commit and cleanness of the git repository of the working directory, None outside of one.

    The repository may be a stranger's, and its settings can name commands that ``git status`` runs. Monitors, hooks and
    fetching are switched off; ``clean`` is None where the repository has filters of its own.
    """
    try:
        commit = _git("rev-parse", "HEAD").strip()
        settings = _git("config", "--list", "--show-scope", "--name-only").splitlines()
        if any(re.match(r"(local|worktree)\tfilter\.", each) for each in settings):
            return {"commit": commit, "clean": None}
        return {"commit": commit, "clean": not _git("status", "--porcelain", "--ignore-submodules=dirty")}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", *words]
    no_fetching = os.environ | {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
    done = subprocess.run(command, capture_output=True, check=True, timeout=10, env=no_fetching)
    return os.fsdecode(done.stdout)  # names need not be UTF-8

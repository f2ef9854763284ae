"""The machine that a benchmark runs on, in one line."""

import platform
from pathlib import Path

import torch


def describe_machine(device: torch.device | str = "cpu") -> str:
    """Return the processor (on a GPU its name), the number of threads and torch's version."""
    device = torch.device(device)
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return f"{chip}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _processor() -> str:
    """Return the processor's name; Linux has it in /proc/cpuinfo only."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

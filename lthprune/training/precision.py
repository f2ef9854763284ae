"""Whether a device has bf16 arithmetic; if PyTorch would emulate it, bf16 is refused and bf16-anywhere warns."""

import platform

import torch

from lthprune.errors import RecipeError, warn_caller


def check_precision(precision: str, device: torch.device) -> None:
    """Raise a RecipeError if the precision is ``bf16`` and the device has no bf16 arithmetic.

    ``bf16-anywhere`` is accepted on every device, as ``fp32`` is.

    Examples:
        >>> check_precision("fp32", torch.device("cpu"))
    """
    if precision == "bf16" and not multiplies_in_bf16(device):
        raise RecipeError(
            f'train.precision = "bf16": {_emulated(device)}. Use "fp32", or "bf16-anywhere" to train in bf16 all the '
            'same. A run that began with "bf16" is resumed on a device that has bf16 arithmetic.'
        )


def warn_of_emulation(precision: str, device: torch.device) -> None:
    """Warn the caller if the precision is ``bf16-anywhere`` and the device has no bf16 arithmetic."""
    if precision == "bf16-anywhere" and not multiplies_in_bf16(device):
        warn_caller(f'train.precision = "bf16-anywhere": {_emulated(device)}.', UserWarning)


def multiplies_in_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies bf16 numbers in hardware: CPUs with AVX-512 BF16, AMX or Arm's BF16, GPUs
    from compute capability 8.0.

    For devices other than CPUs and CUDA GPUs it returns True, because PyTorch refuses bf16 itself where they lack it.
    """
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type != "cpu" or _cpu_multiplies_in_bf16()


def _emulated(device: torch.device) -> str:
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "this processor"
    return f"{where} has no bf16 arithmetic, so PyTorch emulates it, which is usually much slower than fp32"


def _cpu_multiplies_in_bf16() -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # bf16 products are oneDNN's
        return False
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # On x86 oneDNN accepts bf16 from AVX-512 on, and emulates it without AVX-512 BF16. AMX comes with it.
    return platform.machine().lower() not in ("x86_64", "amd64") or torch.cpu._is_avx512_bf16_supported()

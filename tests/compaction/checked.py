"""What the tests of compaction share: networks in double precision, pruned by rows and columns, and one check."""

from typing import Any

import torch
from torch import Tensor, nn

from lthprune import compact
from lthprune.compaction import Compacted
from lthprune.pruning import write_mask
from tests.nets import anatomy

CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


def joined(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else torch.cat(outputs, dim=1)


def check(model: nn.Module, *inputs: Tensor, drop_inputs: bool = False, scale: float = 1) -> Compacted:
    """Compact a network, and compare the outputs with the original's on random inputs times ``scale``."""
    before = anatomy(model)
    compacted = compact(model, inputs, drop_inputs=drop_inputs)
    assert anatomy(model) == before
    generator = torch.Generator().manual_seed(1)
    several = [scale * torch.randn(7, *each.shape[1:], generator=generator).to(each) for each in inputs]
    with torch.no_grad():
        expected, computed = joined(model.eval()(*several)), joined(compacted(*several))
    tolerance = CLOSE if inputs[0].dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(computed, expected, **tolerance)
    return compacted


def double(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules).double().eval()


def mask(module: nn.Module, weight: list[list[int]]) -> nn.Module:
    """Prune a layer by rows and columns."""
    pattern = torch.tensor(weight)
    write_mask(
        module, "weight", pattern.reshape(*pattern.shape, *[1] * (module.weight.ndim - 2)).expand_as(module.weight)
    )
    return module


def sizes(compacted: Compacted) -> dict[str, int]:
    return {layer.name: layer.after.neurons for layer in compacted.report.layers}

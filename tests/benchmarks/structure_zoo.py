"""Neuron states and compaction of all classification models of torchvision: python tests/benchmarks/structure_zoo.py

Each model without trained weights gets random biases and statistics of batch norms. Of each prunable tensor, whole rows
and columns and then single weights are pruned at random, so that neurons of every state occur. Checked: the states can
be found, the compacted network computes the same, and it is smaller. On a machine that other programs use it prints no
figures, unless with ``--busy``.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

import lthprune
from lthprune.pruning import live_state, refresh, select
from tests.benchmarks.machine import Machine, add_busy
from tests.zoo.from_torchvision import LARGE, NAMES, specimen
from tests.zoo.specimen import Specimen


def pruned(specimen: Specimen, seed: int = 0) -> nn.Module:
    """Build a model and prune it at random: a third of its rows, a tenth of its columns, half of the other weights."""
    model = specimen.build(seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in live_state(model).items():
            if name.endswith(("bias", "running_mean")) or not (tensor.any() or name.endswith("tracked")):
                tensor.uniform_(-0.2, 0.2, generator=generator)
    masks = {}
    for each in select(model):
        shape = each.parameter.shape
        mask = torch.rand(shape, generator=generator) < 0.5
        mask[torch.rand(shape[0], generator=generator) < 1 / 3] = False
        if shape[1] > 1:  # not of depthwise convolutions, where a column is the whole layer
            mask[:, torch.rand(shape[1], generator=generator) < 0.1] = False
        masks[each.name] = mask
    with torch.no_grad():
        for name, tensor in live_state(model).items():
            if name in masks:
                tensor *= masks[name]
    refresh(model)
    return model


def outcome(action: Callable[[nn.Module, Tensor], str], model: nn.Module, inputs: Tensor) -> str:
    """Run an action; return what it returns, or the message that refuses it."""
    try:
        return action(model, inputs)
    except lthprune.PruningError as error:
        return f"no: {error}"


def states(model: nn.Module, inputs: Tensor) -> str:
    masks = {name: parameter != 0 for name, parameter in model.named_parameters() if parameter.ndim > 1}
    counts = lthprune.neuron_states(model, inputs, masks=masks).count_neurons()
    alive = sum(own[lthprune.analysis.NeuronState.ALIVE] for own in counts.values())
    return f"yes, {alive / sum(sum(own.values()) for own in counts.values()):.0%} alive"


def compaction(model: nn.Module, inputs: Tensor) -> str:
    compacted = lthprune.compact(model, inputs)
    before, after = compacted.report.before, compacted.report.after
    with torch.no_grad():
        expected, computed = model(inputs), compacted(inputs)
    assert torch.allclose(expected, computed, rtol=1e-3, atol=1e-4 * float(expected.abs().max())), "outputs differ"
    return f"{'yes' if after.weights < before.weights else 'nothing removed'}, {after.weights / before.weights:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="by default all but the largest")
    parser.add_argument("--large", action="store_true", help="the largest as well; they need more than 10 GB")
    add_busy(parser)
    arguments = parser.parse_args()
    machine = Machine(busy=arguments.busy)
    names = arguments.names or [name for name in NAMES if arguments.large or name not in LARGE]
    table = Table("model", "states", "compaction: weights left", "seconds")
    for name in names:
        own = specimen(name)
        model, inputs = pruned(own), own.inputs()[0][0]
        start = time.perf_counter()
        found = [outcome(action, model, inputs) for action in (states, compaction)]
        row = (name, *found, f"{time.perf_counter() - start:.0f}")
        print(*row, sep=" | ", flush=True)
        table.add_row(*row)
    for column, title in ((1, "states"), (2, "compaction")):
        works = sum(str(cell).startswith("yes") for cell in table.columns[column].cells)
        print(f"{title}: {works} of {len(names)}")
    Console().print(table)
    print(machine.describe())


if __name__ == "__main__":
    main()

"""Neuron states beside walks with networkx: python tests/benchmarks/neuron_states.py

Each walk must find the same states as ``lthprune.neuron_states`` and ``parameters``, or the benchmark fails. The first
walks up and down the graph once for every neuron and remembers the results; the second remembers nothing, and walks
from both ends of every weight. On a machine that other programs use it prints no figures, unless with ``--busy``.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune import neuron_states
from lthprune.pruning.methods import write_mask
from tests.benchmarks.machine import Machine, add_busy
from tests.walk import Node, Wiring, parameter_states, weight_state


def perceptron(sizes: Sequence[int], density: float) -> tuple[nn.Sequential, list[Tensor]]:
    """Return a perceptron pruned at random, and its masks."""
    generator = torch.Generator().manual_seed(0)
    modules: list[nn.Module] = []
    masks = []
    for of, to in pairwise(sizes):
        layer = nn.Linear(of, to)
        masks.append(torch.rand(to, of, generator=generator) < density)
        write_mask(layer, "weight", masks[-1])
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1]), masks


def wire(masks: Sequence[Tensor]) -> tuple[Wiring, list[str]]:
    """Return the same network for the walks, and the names of its layers."""
    wiring = Wiring()
    names = ["input", *(str(2 * place) for place in range(len(masks)))]
    nodes: list[Node] = wiring.read(names[0], masks[0].shape[1])
    for name, mask in zip(names[1:], masks, strict=True):
        nodes = wiring.connect(name, nodes, mask, torch.ones(len(mask)))
    wiring.end(nodes)
    return wiring, names


def walk_by_neuron(masks: Sequence[Tensor]) -> list[list[list[int]]]:
    wiring, names = wire(masks)
    return parameter_states(wiring, names, masks)


def walk_by_weight(masks: Sequence[Tensor]) -> list[list[list[int]]]:
    wiring, names = wire(masks)
    return [
        [
            [weight_state(wiring.state, (of, i), (to, o), bool(mask[o, i])) for i in range(mask.shape[1])]
            for o in range(len(mask))
        ]
        for (of, to), mask in zip(pairwise(names), masks, strict=True)
    ]


def ours(model: nn.Module) -> list[list[list[int]]]:
    return [states.tolist() for name, states in neuron_states(model).parameters().items() if name.endswith("weight")]


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Return the median time of an action."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--densities", type=float, nargs="+", default=[1.0, 0.1, 0.01])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--skip-walk-by-weight", action="store_true", help="it takes minutes")
    add_busy(parser)
    arguments = parser.parse_args()
    machine, table = Machine(busy=arguments.busy), Table()
    for column in ("network", "density", "neurons\nms", "and weights\nms", "walk by neuron\nratio", "by weight\nratio"):
        table.add_column(column, justify="right")
    for sizes in ((4, 410, 410, 2), (4, 1310, 1310, 2)):
        for density in arguments.densities:
            model, masks = perceptron(sizes, density)
            neurons = seconds(lambda model=model: neuron_states(model), arguments.repeats)
            weights = seconds(lambda model=model: neuron_states(model).parameters(), arguments.repeats)
            ratios = ["", ""]
            if sizes == (4, 410, 410, 2):
                walks = [walk_by_neuron] if arguments.skip_walk_by_weight else [walk_by_neuron, walk_by_weight]
                for place, walk in enumerate(walks):
                    start = time.perf_counter()
                    walked = walk(masks)
                    ratios[place] = f"{(time.perf_counter() - start) / weights:,.0f}x"
                    assert walked == ours(model), "the walk finds other states"
            table.add_row(
                "-".join(map(str, sizes)), f"{density:g}", f"{1e3 * neurons:.1f}", f"{1e3 * weights:.1f}", *ratios
            )
    table.title = f"Neuron states, {machine.describe()}; medians of {arguments.repeats}"
    Console().print(table)


if __name__ == "__main__":
    main()

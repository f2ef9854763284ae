"""A recipe whose trials diverge at levels that are known beforehand, alike on every machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lthprune.experiments.recipe import Recipe, load_recipe
from tests.own_parts import imports_restored, write_module
from tests.tiny import SETTINGS

FRAGILE = """
    import torch
    from torch import nn

    class Fragile(nn.Module):
        def __init__(self, features, outputs):
            super().__init__()
            self.dense, self.output = nn.Linear(features, 8), nn.Linear(8, outputs)
            self.breaks_at = (0.0, 0.1, 9.0, 9.0)[torch.randint(4, ())]

        def forward(self, x):
            outputs = self.output(self.dense(x.flatten(1)).tanh())
            if self.training and (self.dense.weight == 0).float().mean() >= self.breaks_at:
                return outputs * torch.inf
            return outputs

    def build(input_shape, outputs):
        return Fragile(input_shape[0] * input_shape[1] * input_shape[2], outputs)
"""


@contextmanager
def fragile(folder: Path, *settings: str, breaks: bool = True) -> Iterator[Recipe]:
    """A recipe of four trials: the first diverges at level 1, the second at level 0, the others never.

    With ``breaks=False`` none does, and the same numbers are drawn.
    """
    text = FRAGILE if breaks else FRAGILE.replace("(0.0, 0.1, 9.0, 9.0)", "(9.0, 9.0, 9.0, 9.0)")
    write_module(folder, "fragile_network", text)
    with imports_restored("fragile_network"):
        sys.path.insert(0, str(folder))
        common = [each for each in SETTINGS if not each.startswith("model.")]
        own = ('model.kind="fragile_network:build"', "run.trials=4", "run.seed=1", "prune.levels=3")
        yield load_recipe("lenet-digits", [*common, *own, *settings])

"""Write a run, a store, a sweep, a ticket and an export as this version writes them, to be kept as test data.

``python -m tests.formats.keep tests/formats/0.2.0``, with the release's version: every release adds a folder.
"""

import sys
from pathlib import Path

import lthprune
from lthprune.experiments import begin_sweep, run_sweep
from tests.nets import net, train
from tests.tiny import tiny

SMALL = ("model.dense=[4]", "data.validation=60", "run.trials=2")


def keep(folder: Path) -> None:
    """Write all of it into a new folder."""
    folder.mkdir()
    run = lthprune.run_recipe(tiny(*SMALL), "tiny", out=folder)
    run.folder.rename(folder / "run")
    run = lthprune.Run(folder / "run")
    run.tickets.ticket(1).save(folder / "ticket.safetensors")
    run.export(2, compact=True, out=folder / "export")
    sweep = begin_sweep(
        "lenet-digits",
        {"prune.rate": [0.2, 0.5]},
        [
            'model.kind="mlp"',
            "model.dense=[4]",
            "train.steps=4",
            "train.evaluate_every=2",
            "prune.levels=1",
            "run.trials=1",
        ],
        out=folder,
    )
    run_sweep(sweep)
    sweep.folder.rename(folder / "sweep")
    lthprune.imp(net(), train, levels=2, rate=0.5, store=folder / "store")
    for left in folder.rglob(".lock"):
        left.unlink()


if __name__ == "__main__":
    keep(Path(sys.argv[1]))

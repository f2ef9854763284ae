"""The verb ``untrained``: the networks of a run before any training."""

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from lthprune_cli.consoles import Console
from lthprune_cli.options import DataDir, RunArgument, RunDevice, Threads, TrustCode

if TYPE_CHECKING:
    from lthprune.experiments import Untrained


def untrained(
    run: RunArgument,
    data_dir: DataDir = None,
    device: RunDevice = None,
    threads: Threads = None,
    trust_code: TrustCode = False,
) -> None:
    """Test a run's masked networks before any training, with initial weights and with constant ones."""
    from lthprune.experiments import Run, save_untrained, untrained_accuracies

    whole = Run(run, trust_code=trust_code)
    found = untrained_accuracies(whole, data_dir=data_dir, device=device, threads=threads)
    _print(whole.name, found)
    for path in save_untrained(whole, found):
        Console().print(str(path), soft_wrap=True)


def _print(name: str, found: "Untrained") -> None:
    from lthprune.experiments import UNTRAINED_MASKS, UNTRAINED_WEIGHTS
    from lthprune.training import over_trials

    console = Console()
    console.print(name, soft_wrap=True)
    console.print("Test accuracy before training in %, mean over the trials.")
    for weights, what in UNTRAINED_WEIGHTS.items():
        table = Table(title=f"Weights: {what}", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
        for column in ("level", "density", *(mask.replace("_", "\n", 1).replace("_", " ") for mask in UNTRAINED_MASKS)):
            table.add_column(column, justify="right", vertical="bottom", no_wrap=True)
        for level, density in enumerate(found.density):
            means = (100 * over_trials(found.accuracies[mask, weights][:, level]).mean for mask in UNTRAINED_MASKS)
            table.add_row(str(level), f"{density:.2%}", *(f"{mean:.2f}" for mean in means))
        console.print(table)
    for mask, what in UNTRAINED_MASKS.items():
        console.print(f"{mask}: {what}.")

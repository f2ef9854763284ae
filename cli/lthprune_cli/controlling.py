"""The verb ``control``: controls of a run, trained and compared with it."""

from shlex import quote
from typing import Annotated

import typer

from lthprune_cli.consoles import Console
from lthprune_cli.options import DataDir, RunArgument, RunDevice, Threads, TrustCode

_KINDS = "reinitialised, signs-kept, constant, shuffled, shuffled-globally, random-uniform, random-erk, snip, "
_KINDS += "iterative-snip, grasp, synflow, early-bird, inverted, one-shot, small-dense, dense-longer; also "
_KINDS += "snip-layerwise, iterative-snip-layerwise, grasp-layerwise, synflow-layerwise, early-bird-layerwise"


def control(
    run: RunArgument,
    kind: Annotated[
        list[str],
        typer.Option(metavar="KIND", help=f"What to control for. Repeatable. KIND is all, or one of {_KINDS}."),
    ],
    repeats: Annotated[
        int, typer.Option(metavar="N", min=1, help="Controls per trial, for the kinds that draw at random.")
    ] = 1,
    data_dir: DataDir = None,
    device: RunDevice = None,
    threads: Threads = None,
    trust_code: TrustCode = False,
) -> None:
    """Train controls of a run, each with one thing replaced, and compare the tickets with them.

    Controls are kept in the run's directory. Those that exist are resumed or left as they are.
    """
    from lthprune.experiments import CONTROLS, Run, plan_controls, run_control
    from lthprune_cli.comparing import print_comparisons
    from lthprune_cli.progress import RunProgress

    whole = Run(run, trust_code=trust_code)
    console = Console()
    for each, repeat in plan_controls(whole, kind, repeats):
        console.print(f"{each} ({CONTROLS[each]})" + (f", repetition {repeat}" if repeat else ""))
        progress = RunProgress(whole.recipe(), 0)
        try:
            with progress:
                run_control(
                    whole, each, repeat, data_dir=data_dir, device=device, threads=threads, watcher=progress.watcher()
                )
        except KeyboardInterrupt:
            again = " ".join(f"--kind {each}" for each in kind) + (f" --repeats {repeats}" if repeats > 1 else "")
            errors = Console(stderr=True)
            errors.print("Stopped. Finished levels are saved; resume with:")
            errors.print(f"  lthprune control {quote(str(run))} {again}", soft_wrap=True)
            raise typer.Exit(130) from None
    print_comparisons(whole.comparisons())

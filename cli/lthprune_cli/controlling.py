"""The verb ``control``: controls of a run, trained and compared with it."""

from shlex import quote
from typing import Annotated, Any

import typer

from lthprune_cli.clusters import Address, OnCluster, check_cluster, connected, words_again
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
    engine: OnCluster = None,
    address: Address = None,
    trust_code: TrustCode = False,
) -> None:
    """Train controls of a run, each with one thing replaced, and compare the tickets with them.

    Controls are kept in the run's directory. Those that exist are resumed or left as they are.
    """
    from lthprune.experiments import CONTROLS, Run, plan_controls, run_control, run_controls_on
    from lthprune_cli.comparing import print_comparisons
    from lthprune_cli.progress import JobsProgress, RunProgress

    on_cluster = check_cluster(engine, address)
    whole = Run(run, trust_code=trust_code)
    console = Console()
    planned = plan_controls(whole, kind, repeats)
    words: dict[str, Any] = {"data_dir": data_dir, "device": device, "threads": threads}
    try:
        if on_cluster:
            with connected(address) as cluster, JobsProgress() as jobs:
                run_controls_on(
                    cluster,
                    whole,
                    planned,
                    watch=lambda each, repeat: jobs.watcher(f"{each}-{repeat}", whole.recipe()),
                    **words,
                )
        else:
            for each, repeat in planned:
                console.print(f"{each} ({CONTROLS[each]})" + (f", repetition {repeat}" if repeat else ""))
                with RunProgress(whole.recipe(), 0) as progress:
                    run_control(whole, each, repeat, watcher=progress.watcher(), **words)
    except KeyboardInterrupt:
        again = " ".join(f"--kind {each}" for each in kind) + (f" --repeats {repeats}" if repeats > 1 else "")
        errors = Console(stderr=True)
        errors.print("Stopped. Finished levels are saved; resume with:")
        cluster_again = words_again(address) if on_cluster else ""
        errors.print(f"  lthprune control {quote(str(run))} {again}{cluster_again}", soft_wrap=True)
        raise typer.Exit(130) from None
    print_comparisons(whole.comparisons())

"""The ``lthprune`` command: its verbs, and how errors become messages and exit codes.

Nothing here imports torch, so that ``lthprune --help`` answers at once; verbs import what they use.
"""

import errno
import io
import logging
import sys
import warnings
from typing import Annotated

import typer
from rich.text import Text

from lthprune_cli import (
    analysing,
    controlling,
    exporting,
    information,
    listing,
    masking,
    matching,
    merging,
    recipes,
    results,
    running,
    stability,
    sweeping,
)
from lthprune_cli.consoles import Console, ignore_broken_pipes
from lthprune_cli.stopping import signals_as_interruptions

app = typer.Typer(
    name="lthprune",
    help="Find, study and export lottery tickets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("ls")(recipes.ls)
app.command("show")(recipes.show)
app.command("run")(running.run)
app.command("sweep")(sweeping.sweep)
app.command("resume")(running.resume)
app.command("merge")(merging.merge)
app.command("control")(controlling.control)
app.command("transfer")(running.transfer)
app.command("runs")(listing.runs)
app.command("summary")(results.summary)
app.command("stability")(stability.stability)
app.command("compare")(matching.compare)
app.command("untrained")(masking.untrained)
app.command("plot")(results.plot)
app.command("analyze")(analysing.analyze)
app.command("information")(information.information)
app.command("export")(exporting.export)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"lthprune {version('lthprune')}")
        raise typer.Exit


@app.callback()
def _lthprune(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


# What the system says of paths and disks; of other errors, such as that of a missing file, lthprune should have known.
_REFUSALS = {
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "ELOOP", "ENOTDIR", "ENOSPC", "EDQUOT", "EIO", "ESTALE")
    if hasattr(errno, name)
}


def main() -> None:
    """Run the command line; bad input ends it with exit code 2 and one paragraph, with no traceback."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    for stream in (sys.stdout, sys.stderr):  # names of files need not be UTF-8; their bytes are printed as they are
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() == "utf-8":
            stream.reconfigure(errors="surrogateescape")
    ignore_broken_pipes()
    errors = Console(stderr=True)
    warnings.showwarning = lambda message, *rest: errors.print(Text.assemble(("Warning:", "yellow"), f" {message}"))
    library = logging.getLogger("lthprune")
    library.handlers = [_Printer(errors)]
    library.setLevel(logging.INFO)
    try:
        with signals_as_interruptions():
            app(arguments, prog_name="lthprune")
    except Exception as error:
        if debug:
            raise
        sys.exit(_explain(error, errors))


class _Printer(logging.Handler):
    """Prints what the library logs: what a user waits for."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(record.getMessage())


def _explain(error: Exception, errors: Console) -> int:
    from lthprune.errors import LthpruneError  # here, because importing the library imports torch

    if isinstance(error, LthpruneError):
        errors.print(Text.assemble(("Error:", "bold red"), f" {error}"))
        return 2
    if isinstance(error, OSError) and error.filename and error.errno in _REFUSALS:
        errors.print(
            Text.assemble(
                ("Error:", "bold red"), f" cannot open {error.filename}: {error.strerror}. Choose another path."
            )
        )
        return 2
    errors.print(Text.assemble(("lthprune failed:", "bold red"), f" {type(error).__name__}: {error}"))
    errors.print("This is a bug in lthprune. --debug shows where it happened; please report it.")
    return 1

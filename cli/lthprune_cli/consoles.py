"""The console that verbs print on."""

import os

from rich import console


class Console(console.Console):
    """Prints what it is given as it is: square brackets and colons in paths are neither markup nor emoji."""

    def __init__(self, *, stderr: bool = False) -> None:
        terminal = {name: value for name, value in os.environ.items() if (name, value) != ("COLUMNS", "0")}
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, _environ=terminal)


def ignore_broken_pipes() -> None:
    """Let all consoles, also that of typer's help, go on without output if nobody reads it, as after ``| head``."""

    def go_on(self: console.Console) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    console.Console.on_broken_pipe = go_on  # type: ignore[method-assign]

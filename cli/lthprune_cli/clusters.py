"""The option ``--engine ray`` of verbs that train: on a Ray cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lthprune.integrations.ray import RayCluster

RAY = "ray"

OnCluster = Annotated[
    str | None,
    typer.Option(
        "--engine", metavar=RAY, help="ray trains on a Ray cluster. The engine that trains a network is the recipe's."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The address of the Ray cluster. Without it RAY_ADDRESS, else a cluster that was started on this machine, "
        "else a new one on this machine.",
    ),
]


def check_cluster(engine: str | None, address: str | None, *, also: bool = False) -> bool:
    """Return whether to train on a cluster; ``also`` allows engines of recipes.

    Raises:
        LthpruneError: the engine is another one, or there is an address without a cluster.
    """
    from lthprune.errors import LthpruneError

    if engine not in (None, RAY) and not also:
        raise LthpruneError(
            f"--engine {engine}: here only {RAY} can be chosen, which trains on a Ray cluster. The engine that trains "
            "a network is train.engine of the recipe."
        )
    if address is not None and engine != RAY:
        raise LthpruneError(f"--address {address} is that of a Ray cluster. Add --engine {RAY}, or leave it out.")
    return engine == RAY


@contextmanager
def connected(address: str | None) -> "Iterator[RayCluster]":
    """Connect to a Ray cluster.

    Raises:
        LthpruneError: Ray is not installed, or there is no cluster.
    """
    from lthprune.errors import LthpruneError

    try:
        from lthprune.integrations.ray import RayCluster
    except ModuleNotFoundError as error:
        raise LthpruneError(f"{error}.") from error
    with RayCluster(address) as cluster:
        yield cluster


def words_again(address: str | None) -> str:
    """Return the options that use the same cluster again."""
    return f" --engine {RAY}" + (f" --address {quote(address)}" if address else "")

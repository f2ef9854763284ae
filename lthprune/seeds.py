"""One root seed, many named random streams: a control changes one of them and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from lthprune.arguments import whole_number
from lthprune.errors import PruningError, suggestion

Stream = Literal["init", "order", "mask", "noise", "split"]
DataStream = Literal["toy", "pairing"]
_STREAMS: tuple[str, ...] = get_args(Stream)  # a stream's place in here is part of its seed: never change the order
_DATA_STREAMS: tuple[str, ...] = get_args(DataStream)  # likewise
_DATA = 5  # the first number of every data stream's key; no place in _STREAMS may reach it


@dataclass(frozen=True)
class Seeds:
    """Independent random generators, derived from one root seed.

    Streams are told apart by name, trial and level, through numpy's ``SeedSequence``. Drawing more from one
    never shifts another, so the data order stays the same when the initialisation changes.

    Examples:
        >>> seeds = Seeds(0)
        >>> first = torch.rand(2, generator=seeds.generator("init", trial=3))
        >>> again = torch.rand(2, generator=seeds.generator("init", trial=3))
        >>> bool((first == again).all())
        True
        >>> seeds.seed("init", trial=3) == seeds.seed("order", trial=3)
        False
    """

    root: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", whole_number("seed", self.root))

    def seed(self, stream: Stream, *, trial: int = 0, level: int = 0) -> int:
        """Return the 63-bit seed of one stream."""
        if stream not in _STREAMS:
            raise PruningError(
                f"unknown random stream {stream!r}{suggestion(stream, _STREAMS)} Streams: {', '.join(_STREAMS)}."
            )
        return self._derived(_STREAMS.index(stream), trial, level)

    def data_seed(self, stream: DataStream, place: int) -> int:
        """Return the 63-bit seed of what is drawn for one of several data sets.

        Args:
            stream: ``toy`` for the samples of a toy, ``pairing`` for the order in which a data set is paired with
                the others.
            place: the data set's place in a recipe's ``data.name``, from 0.

        Examples:
            >>> Seeds(0).data_seed("toy", 0) == Seeds(0).data_seed("pairing", 0)
            False
        """
        return self._derived(_DATA, place, _DATA_STREAMS.index(stream))

    def _derived(self, *key: int) -> int:
        sequence = np.random.SeedSequence(self.root, spawn_key=key)
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))

    def generator(self, stream: Stream, *, trial: int = 0, level: int = 0) -> torch.Generator:
        """Return a fresh CPU generator at the start of one stream."""
        return torch.Generator().manual_seed(self.seed(stream, trial=trial, level=level))


@contextmanager
def seeded_by(generator: torch.Generator, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's default generators of the CPU and of a device by a generator, and restore them afterwards.

    For code that takes no generator: the constructors of other people's networks, dropout. Advances ``generator`` by
    one draw.

    Examples:
        >>> before = torch.get_rng_state()
        >>> with seeded_by(torch.Generator().manual_seed(0)):
        ...     first = torch.rand(2)
        >>> with seeded_by(torch.Generator().manual_seed(0)):
        ...     bool((torch.rand(2) == first).all())
        True
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield

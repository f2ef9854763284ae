"""Seeds: many named random streams from one root seed, so that a control changes one stream and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from lthprune.arguments import whole_number
from lthprune.errors import PruningError, suggestion

Stream = Literal["init", "order", "mask", "noise", "split", "data"]
_STREAMS: tuple[str, ...] = get_args(Stream)  # a stream's place in here is part of its seed: only ever append


@dataclass(frozen=True)
class Seeds:
    """Independent random generators, derived from one root seed.

    A stream is identified by name, trial and level, through numpy's ``SeedSequence``. Streams do not affect one
    another: the data order stays the same if the initialisation draws more numbers.

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
        sequence = np.random.SeedSequence(self.root, spawn_key=(_STREAMS.index(stream), trial, level))
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))

    def generator(self, stream: Stream, *, trial: int = 0, level: int = 0) -> torch.Generator:
        """Return a fresh CPU generator at the start of one stream."""
        return torch.Generator().manual_seed(self.seed(stream, trial=trial, level=level))


@contextmanager
def seeded_by(generator: torch.Generator, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's default generators of the CPU and of a device from a generator, and restore them afterwards.

    For code that takes no generator: constructors of third-party networks, dropout. Draws one number from
    ``generator``.

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

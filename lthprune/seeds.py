"""Seeds: many named random streams from one root seed, so that a control changes one stream and nothing else."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lthprune.arguments import whole_number
from lthprune.errors import PruningError, suggestion

Stream = Literal["init", "order", "mask", "noise", "split", "augment"]
DataStream = Literal["toy", "pairing"]
_STREAMS: tuple[str, ...] = get_args(Stream)
_DATA_STREAMS: tuple[str, ...] = get_args(DataStream)  # a stream's index is part of its seed: append only
# Likewise; "data" stands for all data streams.
_KEYS = ("init", "order", "mask", "noise", "split", "data", "control", "augment", "stability", "information")


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
        return self._derived(_KEYS.index(stream), trial, level)

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
        return self._derived(_KEYS.index("data"), place, _DATA_STREAMS.index(stream))

    def control(self, *, trial: int = 0, repeat: int = 0, level: int = 0) -> torch.Generator:
        """Return a fresh CPU generator at the start of the stream of a control, the only one that it changes.

        Args:
            trial: the trial that is controlled.
            repeat: the number of the repetition.
            level: the level, for draws that differ from level to level.
        """
        return torch.Generator().manual_seed(self._derived(_KEYS.index("control"), trial, repeat, level))

    def stability(self, stream: Stream, *, trial: int = 0, copy: int = 0) -> torch.Generator:
        """Return a fresh CPU generator at the start of a stream of one of several copies of a network.

        Copies that are trained from the same weights differ in these streams only.

        Args:
            stream: ``order`` for the order of the samples, ``augment`` for crops and flips, ``noise`` for dropout.
            trial: the trial whose network is copied.
            copy: the number of the copy.
        """
        return torch.Generator().manual_seed(self._derived(_KEYS.index("stability"), trial, copy, _KEYS.index(stream)))

    def information(self, pair: tuple[str, str], *, trial: int = 0, level: int = 0, step: int = 0) -> torch.Generator:
        """Return a fresh CPU generator at the start of the stream that estimates a mutual information.

        Args:
            pair: the names of both variables.
            trial: the trial that is analysed.
            level: the level.
            step: the step of its training.
        """
        number = zlib.crc32(":".join(pair).encode())
        return torch.Generator().manual_seed(self._derived(_KEYS.index("information"), trial, level, step, number))

    def _derived(self, *key: int) -> int:
        sequence = np.random.SeedSequence(self.root, spawn_key=key)
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


class OwnDraws:
    """A state of torch's default generators for one of several programs that take turns.

    Within ``with own.turn():``, code draws what it would draw within a single ``with seeded_by(generator):``.

    Args:
        generator: the seed is drawn from it, as by ``seeded_by``.
        device: whose default generator is used besides the CPU's.

    Attributes:
        states: what the next turn begins with, as ``default_states`` returns it.

    Examples:
        >>> with seeded_by(torch.Generator().manual_seed(0)):
        ...     both = torch.rand(4)
        >>> own = OwnDraws(torch.Generator().manual_seed(0))
        >>> with own.turn():
        ...     first = torch.rand(2)
        >>> _ = torch.rand(3)
        >>> with own.turn():
        ...     bool((torch.cat([first, torch.rand(2)]) == both).all())
        True
    """

    def __init__(self, generator: torch.Generator, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        with seeded_by(generator, device):
            self.states = default_states(self._device)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Draw from this state, and continue with it at the next turn."""
        before = default_states(self._device)
        set_default_states(self.states, self._device)
        try:
            yield
        finally:
            self.states = default_states(self._device)
            set_default_states(before, self._device)


def default_states(device: torch.device) -> list[Tensor]:
    """Return the states of torch's default generators of the CPU and, if it has one, of a device."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_default_states(states: Sequence[Tensor], device: torch.device) -> None:
    """Set the states of the generators of ``default_states``."""
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)

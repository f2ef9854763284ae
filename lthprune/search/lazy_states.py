"""States of tickets that are read or computed when they are asked for."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from lthprune.memory import copied
from lthprune.pruning import Masks, State, pack, set_zeros, unpack
from lthprune.search.ticket_files import Packed

Read = Callable[[], State]


class Reread:
    """Tensors by name, read when asked for; what was read is kept only while somebody uses it."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._last: Callable[[], State | None] = _nothing

    def __call__(self) -> State:
        """Return the tensors, read anew unless somebody still uses them."""
        state = self._last()
        if state is None:
            state = OrderedDict(self._read())  # a dict that can be referred to weakly
            self._last = weakref.ref(state)
        return state

    def __getstate__(self) -> dict[str, Any]:
        return {"_read": self._read, "_last": _nothing}


def _nothing() -> None:
    return None


class Continued(NamedTuple):
    """Weights that a training continued from: those of another ticket, pruned by the masks of the new one."""

    trained: State


class Pruned(Mapping[str, Tensor]):
    """The tensors of a state, in which packed masks prune entries; computed one by one when asked for."""

    def __init__(self, state: State, packed: Packed, tied: Mapping[str, str]) -> None:
        self._state, self._packed, self._tied = state, packed, tied

    def __getitem__(self, name: str) -> Tensor:
        tensor, masked = self._state[name], self._tied.get(name, name)
        if masked not in self._packed:
            return tensor
        pruned = copied(tensor)
        set_zeros(pruned, unpack(*self._packed[masked]).to(tensor.device))
        return pruned

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


def pack_all(masks: Masks) -> Packed:
    """Pack masks to one bit for each weight."""
    return {name: (pack(mask), tuple(mask.shape)) for name, mask in masks.items()}


def unpack_all(packed: Packed) -> Masks:
    """Undo ``pack_all``."""
    return {name: unpack(bits, shape) for name, (bits, shape) in packed.items()}

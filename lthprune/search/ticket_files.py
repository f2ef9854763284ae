"""The files of tickets: packed masks, weights and metrics, as safetensors.

The rewound weights of a ticket are mostly those that another file of its folder holds: the initial ones, those of the
dense ticket, or the trained ones of an earlier level, pruned. A store then writes a reference instead.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from lthprune.errors import StorageError
from lthprune.files import TensorFile, write_tensors
from lthprune.pruning import State, unpack
from lthprune.search.metrics import Metrics, with_arrays, without_arrays

Packed = Mapping[str, tuple[Tensor, tuple[int, ...]]]
"""Masks as bytes, eight weights each, with their shapes."""

Part = Literal["masks", "weights", "trained"]
_FORMAT, _WITH_REFERENCES = 1, 2  # of files with all of a ticket, and of those that refer to other files


class Source(NamedTuple):
    """Tensors that rewound weights may be equal to.

    Attributes:
        file: the name of a file in the same folder.
        prefix: what precedes the names of its tensors.
        pruned: whether the ticket's masks prune these tensors first.
    """

    file: str
    prefix: str
    pruned: bool = False


def write_ticket(
    path: Path,
    about: Mapping[str, Any],
    *,
    masks: Packed,
    weights: Mapping[str, Tensor],
    trained: State,
    metrics: Metrics,
    sources: Sequence[Source] = (),
) -> str:
    """Write the file of a ticket, and return its SHA-256.

    Args:
        path: the file.
        about: level, provenance, late_buffers and tied, as plain values.
        masks: packed masks by name.
        weights: the rewound weights.
        trained: the trained weights.
        metrics: what ``train`` returned.
        sources: tensors in other files, to which the file then refers; files that are missing are passed over.
    """
    arrays: dict[str, Tensor] = {}
    header = {**about, "masked": list(masks), "metrics": without_arrays(metrics, arrays)}
    present = [
        (source, TensorFile(path.parent / source.file)) for source in sources if (path.parent / source.file).is_file()
    ]
    shared = {}
    for name in sorted(weights):  # a resumed search may have them in another order
        tensor, masked = weights[name], about["tied"].get(name, name)
        for source, file in present:
            key, pruned = f"{source.prefix}{name}", source.pruned and masked in masks
            if file.holds(key, tensor, unpack(*masks[masked]) if pruned else None):
                shared[name] = {"file": source.file, "key": key, "pruned": pruned}
                break
    tensors = {f"masks/{name}": bits for name, (bits, _) in masks.items()}
    tensors |= {f"weights/{name}": weights[name] for name in weights if name not in shared}
    tensors |= {f"trained/{name}": tensor for name, tensor in trained.items()}
    tensors |= {f"metrics/{place}": array for place, array in arrays.items()}
    header |= {"format": _WITH_REFERENCES, "shared": shared} if shared else {"format": _FORMAT}
    return write_tensors(path, tensors, json.dumps(header))


class TicketFile:
    """The file of a ticket, of which parts are read when asked for.

    Attributes:
        about: level, provenance, late_buffers and tied.

    Raises:
        StorageError: the file is missing, damaged or no ticket.
    """

    def __init__(self, path: Path) -> None:
        self._file = TensorFile(path)
        try:
            header = json.loads(self._file.header)
            if header["format"] not in (_FORMAT, _WITH_REFERENCES):
                raise StorageError(
                    f"{path} is a ticket of format {header['format']}; this lthprune reads {_FORMAT} and "
                    f"{_WITH_REFERENCES}."
                )
            if header.get("initial"):
                raise StorageError(
                    f"{path} is not a ticket: it holds the initial weights of a trial. The tickets are beside it, one "
                    "for each level, as in level-00.safetensors."
                )
            self.about = {
                "level": header["level"],
                "provenance": header["provenance"],
                "late_buffers": tuple(header.get("late_buffers", ())),
                "tied": header.get("tied", {}),
            }
            self._masked, self._metrics = header["masked"], header["metrics"]
            self._shared = {name: dict(place) for name, place in header.get("shared", {}).items()}
            for name in self._masked:
                self._file.shapes[f"masks/{name}"], self._file.shapes[f"trained/{name}"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{path} is not a ticket: its header cannot be read ({error!r}).") from error

    @property
    def refers_to(self) -> frozenset[str]:
        """The names of the files in the same folder that hold the rest of its rewound weights."""
        return frozenset(place["file"] for place in self._shared.values())

    def read(self, part: Part) -> State:
        """Read the masks, the rewound weights or the trained ones.

        Raises:
            StorageError: a file that holds a part of the rewound weights is missing or damaged.
        """
        if part == "masks":
            packed = self._own("masks")
            return {name: unpack(packed[name], self._file.shapes[f"trained/{name}"]) for name in self._masked}
        return self._own(part) | (dict(self._read_shared()) if part == "weights" else {})

    def read_metrics(self) -> Metrics:
        """Read what ``train`` returned."""
        return with_arrays(self._metrics, self._own("metrics"))

    def _own(self, part: str) -> State:
        names = [name for name in self._file.shapes if name.startswith(f"{part}/")]
        return {name.removeprefix(f"{part}/"): tensor for name, tensor in self._file.read(names).items()}

    def _read_shared(self) -> Iterator[tuple[str, Tensor]]:
        path, files = self._file.path, {}
        for name in self.refers_to:
            if not (path.parent / name).is_file():
                raise StorageError(
                    f"{path.parent / name} is missing, which holds the rewound weights of {path.name}. Keep the files "
                    "of a run together; to take a ticket elsewhere, write it to a file of its own with ticket.save()."
                )
            files[name] = TensorFile(path.parent / name)
        masks = self.read("masks") if any(place["pruned"] for place in self._shared.values()) else {}
        for name, place in self._shared.items():
            if place["key"] not in files[place["file"]].shapes:
                raise StorageError(
                    f"{path.parent / place['file']} lacks {place['key']!r}, to which {path.name} refers."
                )
            (tensor,) = files[place["file"]].read([place["key"]]).values()
            if place["pruned"]:
                tensor.masked_fill_(~masks[self.about["tied"].get(name, name)], 0)
            yield name, tensor

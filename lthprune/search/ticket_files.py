"""The files of tickets: packed masks, weights and metrics, as safetensors.

The rewound weights of a ticket are mostly those that another file of its folder holds: the initial ones, those of the
dense ticket, or the trained ones of an earlier level, pruned. A store then writes a reference instead.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator
from pydantic_core import from_json
from torch import Tensor

from lthprune.errors import StorageError, listed, shown
from lthprune.files import TensorFile, write_tensors
from lthprune.formats import check_format
from lthprune.pruning import State, unpack
from lthprune.search.metrics import Metrics, with_arrays, without_arrays
from lthprune.section import first_fault

Packed = Mapping[str, tuple[Tensor, tuple[int, ...]]]
"""Masks as bytes, eight weights each, with their shapes."""

Part = Literal["masks", "weights", "trained"]
_MASKED = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64)  # types of masked tensors
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


class _Place(BaseModel, strict=True):
    """Where rewound weights are: in another file of the same folder."""

    file: Annotated[str, StringConstraints(pattern=r"^(initial|level-[0-9]{2,})\.safetensors$")]
    key: str
    pruned: bool


class _Header(BaseModel, strict=True):
    """The header of a ticket's file, whoever wrote it."""

    format: int
    level: Annotated[int, Field(ge=0)]
    provenance: dict[str, Any]
    late_buffers: list[str] = []
    tied: dict[str, str] = {}
    masked: Annotated[list[str], Field(min_length=1)]
    metrics: dict[str, Any]
    shared: dict[str, _Place] = {}

    @field_validator("provenance")
    @classmethod
    def _of_a_trial(cls, provenance: dict[str, Any]) -> dict[str, Any]:
        trial = provenance.get("trial", 0)
        if type(trial) is not int or trial < 0:
            raise ValueError(f"trial = {shown(trial)} is not a whole number, 0 or more")
        return provenance


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
            written = from_json(self._file.header)
            if isinstance(written, dict) and "format" in written:
                check_format(path, written["format"], _WITH_REFERENCES)
            if isinstance(written, dict) and written.get("initial"):
                raise StorageError(
                    f"{path} is not a ticket: it holds the initial weights of a trial. The tickets are beside it, one "
                    "for each level, as in level-00.safetensors."
                )
            header = _Header.model_validate(written)
        except ValueError as error:
            fault = first_fault(error) if isinstance(error, ValidationError) else error
            raise StorageError(f"{path} is not a ticket: its header cannot be read ({fault}).") from error
        self.about: dict[str, Any] = {
            "level": header.level,
            "provenance": header.provenance,
            "late_buffers": tuple(header.late_buffers),
            "tied": header.tied,
        }
        self._masked, self._metrics, self._shared = header.masked, header.metrics, header.shared
        faults = list(self._faults())
        if faults:
            raise StorageError(f"{path} is damaged: {listed(faults)}. Restore it from a copy.")

    def _faults(self) -> Iterator[str]:
        """Yield in what the masks, the weights and the header differ, by names and shapes alone."""
        shapes = self._file.shapes
        for name in self._masked:
            shape, bits = shapes.get(f"trained/{name}"), shapes.get(f"masks/{name}")
            if shape is None or bits is None:
                yield f"it lacks the {'trained weights' if shape is None else 'mask'} of {name!r}"
                continue
            if (bits, self._file.types[f"masks/{name}"]) != ((-(-math.prod(shape) // 8),), torch.uint8):
                yield f"the mask of {name!r} is no vector of bytes with a bit for each weight of the shape {shape}"
            if self._file.types[f"trained/{name}"] not in _MASKED:
                yield f"{name!r} has the type {self._file.types[f'trained/{name}']} and a mask"
            if shapes.get(f"weights/{name}", shape) != shape:
                yield f"{name!r} has the shape {shapes[f'weights/{name}']} at first and {shape} after training"
            if f"weights/{name}" not in shapes and name not in self._shared:
                yield f"it lacks the rewound weights of {name!r}"
        for name, own in self.about["tied"].items():
            if own not in self._masked:
                yield f"{name!r} is tied to {own!r}, which has no mask"

    @property
    def refers_to(self) -> frozenset[str]:
        """The names of the files in the same folder that hold the rest of its rewound weights."""
        return frozenset(place.file for place in self._shared.values())

    def read(self, part: Part) -> State:
        """Read the masks, the rewound weights or the trained ones.

        Raises:
            StorageError: a file that holds a part of the rewound weights is missing or damaged.
        """
        if part == "masks":
            return self._read_masks()
        if part == "weights":
            return self._own(part) | dict(self._read_shared())
        trained = self._own(part)
        for name, mask in self._read_masks().items():
            if trained[name][~mask].any():
                raise StorageError(
                    f"{self._file.path} is damaged: its mask prunes weights of {name!r} that are not zero. Restore it "
                    "from a copy."
                )
        return trained

    def read_metrics(self) -> Metrics:
        """Read what ``train`` returned.

        Raises:
            StorageError: arrays that the header names are missing, or of a type that numpy lacks.
        """
        try:
            return with_arrays(self._metrics, self._own("metrics"))
        except (KeyError, TypeError) as error:
            raise StorageError(
                f"{self._file.path} is damaged: its metrics refer to an array that it lacks ({error}). Restore it from "
                "a copy."
            ) from error

    def _read_masks(self) -> State:
        packed = self._own("masks")
        return {name: unpack(packed[name], self._file.shapes[f"trained/{name}"]) for name in self._masked}

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
        masks = self._read_masks() if any(place.pruned for place in self._shared.values()) else {}
        for name, place in self._shared.items():
            masked = self.about["tied"].get(name, name)
            other, own = files[place.file], f"trained/{masked}"
            if place.key not in other.shapes:
                raise StorageError(f"{other.path} lacks {place.key!r}, to which {path.name} refers.")
            found = (other.shapes[place.key], other.types[place.key])
            if masked in self._masked and found != (wanted := (self._file.shapes[own], self._file.types[own])):
                raise StorageError(
                    f"{place.key!r} in {other.path} has the shape and type {found}, and {path.name}, which refers to "
                    f"it, {wanted}. Restore both from a copy."
                )
            (tensor,) = other.read([place.key]).values()
            if place.pruned and masked in masks:
                tensor.masked_fill_(~masks[masked], 0)
            yield name, tensor

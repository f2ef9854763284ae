"""The ``[data]`` table of a recipe, and the data set that it names."""

import math
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from lthprune.data.dataset import Dataset, Raw, Task, split_and_normalise
from lthprune.data.joining import join, pair_at_random, side_by_side
from lthprune.data.npz import load_npz
from lthprune.data.reducing import keep_classes, resize_images
from lthprune.data.sources import SOURCES, data_root
from lthprune.data.toys import TOYS, draw_toy
from lthprune.errors import suggestion
from lthprune.section import Section
from lthprune.seeds import Seeds

_KNOWN = (*SOURCES, *TOYS)
_TOY_SAMPLES = 1_000  # to train on, after the validation part is held out, and as many to test on
_DRAWS = Seeds(0)  # toys and pairs are drawn alike in every run: like MNIST, they are what they are


class DataSpec(Section):
    """The ``[data]`` table of a recipe."""

    name: str
    """``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``moons``, ``circles``; several of them side by side, as
    in ``moons+circles``; or the path of an ``.npz`` file"""
    validation: int = Field(ge=1)
    """how many training samples are held out for validation"""
    size: int | None = Field(default=None, ge=1)
    """images are resized to ``size`` x ``size`` pixels"""
    classes: tuple[int, ...] | None = None
    """keep these classes alone, renumbered in this order; of every data set but ``moons`` and ``circles``"""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        for part in [] if name.endswith(".npz") else name.split("+"):
            if part not in _KNOWN:
                raise ValueError(
                    f"unknown data set {part!r}{suggestion(part, _KNOWN)} Known: {', '.join(_KNOWN)}, several of them "
                    "with + between, or the path of an .npz file"
                )
        return name

    @field_validator("classes")
    @classmethod
    def _two_or_more(cls, classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if classes is not None and (len(set(classes)) != len(classes) or len(classes) < 2 or min(classes) < 0):
            raise ValueError(f"{list(classes)} are not two or more different classes, counted from 0")
        return classes

    @model_validator(mode="after")
    def _reducible(self) -> "DataSpec":
        sources = [part for part in self.parts if part not in TOYS]
        for key in ("size", "classes"):
            if getattr(self, key) is not None and not sources:
                raise ValueError(f"{key} is for images; {self.name} has none")
        for part in sources:
            most = SOURCES[part].classes if part in SOURCES else math.inf
            if max(self.classes or (0,)) >= most:
                raise ValueError(f"classes = {list(self.classes or ())}, but those of {part} are 0 to {most - 1}")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the data sets that stand side by side, or of the only one."""
        return (self.name,) if self.name.endswith(".npz") else tuple(self.name.split("+"))


def load_data(spec: DataSpec, *, data_dir: str | Path | None = None, seed: int = 0) -> Dataset:
    """Load a data set into memory, split and normalised.

    Data sets that are named side by side are paired at random and joined: a sample has the flattened inputs of one
    sample of each, and a label of each; there are as many as the smallest has. Which samples make a pair, and what is
    drawn for toys, is the same in every run.

    Args:
        spec: which one, and how much of it is held out.
        data_dir: the data root; else the environment's ``LTHPRUNE_DATA``, else ``~/.cache/lthprune``.
        seed: the root seed; its ``split`` stream decides what is held out.

    Raises:
        DataError: the data are not there and cannot be downloaded, are damaged, or lack what is to be kept of them.

    Examples:
        >>> digits = load_data(DataSpec(name="digits", validation=237))
        >>> digits.x_train.shape, digits.x_val.shape, digits.x_test.shape
        (torch.Size([1200, 1, 8, 8]), torch.Size([237, 1, 8, 8]), torch.Size([360, 1, 8, 8]))
        >>> two = load_data(DataSpec(name="moons+circles", validation=500))
        >>> two.x_train.shape, two.y_train.shape, [task.name for task in two.tasks]
        (torch.Size([1000, 4]), torch.Size([1000, 2]), ['moons', 'circles'])
    """
    raws = [_load_part(spec, place, data_root(data_dir)) for place in range(len(spec.parts))]
    if len(raws) > 1:
        raws = pair_at_random(raws, [_DRAWS.generator("data", trial=place, level=1) for place in range(len(raws))])
    parts = [
        split_and_normalise(
            raw,
            spec.validation,
            Seeds(seed).generator("split"),
            name=Path(name).stem if name.endswith(".npz") else name,
            binary=name in TOYS,
        )
        for name, raw in zip(spec.parts, raws, strict=True)
    ]
    return join(parts) if len(parts) > 1 else parts[0]


def tasks_of(spec: DataSpec) -> tuple[Task, ...]:
    """Return the tasks that a data set sets; named data sets need not be there for it.

    Examples:
        >>> moons, circles = tasks_of(DataSpec(name="moons+circles", validation=500))
        >>> moons
        Task(name='moons', inputs=range(0, 2), outputs=range(0, 1))
        >>> circles
        Task(name='circles', inputs=range(2, 4), outputs=range(1, 2))
    """
    if spec.name.endswith(".npz"):
        return load_data(spec).tasks
    return side_by_side(
        [Task(part, range(math.prod(_shape(spec, part))), range(_outputs(spec, part))) for part in spec.parts]
    )


def shape_of_data(spec: DataSpec) -> tuple[tuple[int, ...], int]:
    """Return the shape of one input and the number of outputs; named data sets need not be there for it.

    Examples:
        >>> shape_of_data(DataSpec(name="cifar10", validation=5000))
        ((3, 32, 32), 10)
        >>> shape_of_data(DataSpec(name="mnist+fashion-mnist", validation=5000, size=14, classes=(0, 1, 2)))
        ((392,), 6)
    """
    if spec.name.endswith(".npz"):
        data = load_data(spec)
        return data.input_shape, data.outputs
    last, shapes = tasks_of(spec)[-1], shapes_of_parts(spec)
    return shapes[0] if len(shapes) == 1 else (last.inputs.stop,), last.outputs.stop


def shapes_of_parts(spec: DataSpec) -> list[tuple[int, ...]]:
    """Return the shapes, (C, H, W) or (features,), of data sets side by side; named ones need not be there.

    Examples:
        >>> shapes_of_parts(DataSpec(name="mnist+moons", validation=500))
        [(1, 28, 28), (2,)]
    """
    return [load_data(spec).input_shape] if spec.name.endswith(".npz") else [_shape(spec, part) for part in spec.parts]


def _load_part(spec: DataSpec, place: int, root: Path) -> Raw:
    """Load the data set at one place of the name, reduced as the table says."""
    name = spec.parts[place]
    if name in TOYS:
        drawn = _DRAWS.seed("data", trial=place)  # anew at every place
        return draw_toy(name, train=_TOY_SAMPLES + spec.validation, test=_TOY_SAMPLES, seed=drawn)
    raw = SOURCES[name].load(root) if name in SOURCES else load_npz(Path(name).expanduser())
    if spec.classes is not None:
        raw = keep_classes(raw, spec.classes, name)
    return raw if spec.size is None else resize_images(raw, spec.size, name)


def _shape(spec: DataSpec, part: str) -> tuple[int, ...]:
    if part in TOYS:
        return (2,)
    channels, *image = SOURCES[part].input_shape
    return (channels, *(image if spec.size is None else (spec.size, spec.size)))


def _outputs(spec: DataSpec, part: str) -> int:
    if part in TOYS:
        return 1
    return SOURCES[part].classes if spec.classes is None else len(spec.classes)

"""From the ``[data]`` table to tensors in memory."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from lthprune.data.dataset import Dataset, Raw, Task, classes_of, split_and_normalise
from lthprune.data.folders import load_folder
from lthprune.data.joining import join, pair_at_random, side_by_side
from lthprune.data.npz import load_npz
from lthprune.data.own import load_own
from lthprune.data.reducing import keep_classes, resize_images
from lthprune.data.sources import SOURCES, data_root, load_source
from lthprune.data.spec import DataSpec, is_folder, is_path
from lthprune.data.toys import TOYS, draw_toy
from lthprune.reading import expanded
from lthprune.seeds import Seeds

_TOY_SAMPLES = 1_000  # by default, for training, after the validation part is held out; as many for testing
_DRAWS = Seeds(0)  # toys and pairs are the same in every run, as MNIST is


def load_data(
    spec: DataSpec, *, data_dir: str | Path | None = None, seed: int = 0, trust_code: bool = False
) -> Dataset:
    """Load a data set into memory, split and normalised.

    Several data sets are paired at random and joined: a sample has the flattened inputs of one sample of each, and a
    label of each; there are as many samples as the smallest data set has. Pairs and toys are the same in every run.

    Args:
        spec: which data set, and how much of it is held out.
        data_dir: the data root; by default the environment's ``LTHPRUNE_DATA``, else ``~/.cache/lthprune``.
        seed: the root seed; its ``split`` stream decides which samples are held out.
        trust_code: whether a function of your own that ``spec`` names may be imported.

    Raises:
        DataError: the data are missing and cannot be downloaded, are damaged, or lack a class or images.
        RecipeError: a function of your own cannot be imported or called, or there is no consent to import it.

    Examples:
        >>> digits = load_data(DataSpec(name="digits", validation=237))
        >>> digits.x_train.shape, digits.x_val.shape, digits.x_test.shape
        (torch.Size([1200, 1, 8, 8]), torch.Size([237, 1, 8, 8]), torch.Size([360, 1, 8, 8]))
        >>> two = load_data(DataSpec(name="moons+circles", validation=500))
        >>> two.x_train.shape, two.y_train.shape, [task.name for task in two.tasks]
        (torch.Size([1000, 4]), torch.Size([1000, 2]), ['moons', 'circles'])
    """
    raws = _load_parts(spec, data_dir, trust_code)
    outputs = [1 if name in TOYS else classes_of(raw) for name, raw in zip(spec.parts, raws, strict=True)]
    if len(raws) > 1:
        seeds = [_DRAWS.data_seed("pairing", place) for place in range(len(raws))]
        raws = pair_at_random(raws, [torch.Generator().manual_seed(each) for each in seeds])
    parts = [
        split_and_normalise(
            raw, spec.validation, Seeds(seed).generator("split"), name=_task_name(part), outputs=answers
        )
        for part, raw, answers in zip(spec.parts, raws, outputs, strict=True)
    ]
    return join(parts) if len(parts) > 1 else parts[0]


def tasks_of(spec: DataSpec, *, data_dir: str | Path | None = None, trust_code: bool = False) -> tuple[Task, ...]:
    """Return the tasks that a data set sets; loads data only from files and functions of your own.

    Examples:
        >>> moons, circles = tasks_of(DataSpec(name="moons+circles", validation=500))
        >>> moons
        Task(name='moons', inputs=range(0, 2), outputs=range(0, 1))
        >>> circles
        Task(name='circles', inputs=range(2, 4), outputs=range(1, 2))
    """
    return _tasks(spec, _described(spec, data_dir, trust_code))


def shape_of_data(
    spec: DataSpec, *, data_dir: str | Path | None = None, trust_code: bool = False
) -> tuple[tuple[int, ...], int]:
    """Return the shape of one input and the number of outputs, as ``tasks_of`` returns the tasks.

    Examples:
        >>> shape_of_data(DataSpec(name="cifar10", validation=5000))
        ((3, 32, 32), 10)
        >>> shape_of_data(DataSpec(name="mnist+fashion-mnist", validation=5000, size=14, classes=(0, 1, 2)))
        ((392,), 6)
    """
    described = _described(spec, data_dir, trust_code)
    last = _tasks(spec, described)[-1]
    return described[0][0] if len(described) == 1 else (last.inputs.stop,), last.outputs.stop


def shapes_of_parts(
    spec: DataSpec, *, data_dir: str | Path | None = None, trust_code: bool = False
) -> list[tuple[int, ...]]:
    """Return the shapes, (C, H, W) or (features,), of joined data sets, as ``tasks_of`` returns the tasks.

    Examples:
        >>> shapes_of_parts(DataSpec(name="mnist+moons", validation=500))
        [(1, 28, 28), (2,)]
    """
    return [shape for shape, _ in _described(spec, data_dir, trust_code)]


def _load_parts(spec: DataSpec, data_dir: str | Path | None, trust_code: bool) -> list[Raw]:
    return [_load_part(spec, place, data_root(data_dir), trust_code) for place in range(len(spec.parts))]


def _load_part(spec: DataSpec, place: int, root: Path, trust_code: bool) -> Raw:
    """Load the data set at one place of the name, with the images and classes that the table asks for."""
    name = spec.parts[place]
    if name in TOYS:
        drawn = _DRAWS.data_seed("toy", place)  # a toy that is named twice is drawn twice
        samples = spec.samples or _TOY_SAMPLES
        settings = {key: value for key in ("noise", "factor") if (value := getattr(spec, key)) is not None}
        return draw_toy(name, train=samples + spec.validation, test=samples, seed=drawn, **settings)
    if name in SOURCES:
        raw = load_source(name, root)
    elif is_folder(name):
        raw = load_folder(expanded(name), spec.size)
    elif is_path(name):
        raw = load_npz(expanded(name))
    else:
        raw = load_own(name, spec.settings, root, trust_code=trust_code)
    if spec.classes is not None:
        raw = keep_classes(raw, spec.classes, name)
    return raw if spec.size is None or is_folder(name) else resize_images(raw, spec.size, name)


def _described(spec: DataSpec, data_dir: str | Path | None, trust_code: bool) -> list[tuple[tuple[int, ...], int]]:
    """Return the input shape and the number of outputs of every part."""
    described: list[tuple[tuple[int, ...], int]] = []
    for place, part in enumerate(spec.parts):
        if part in TOYS:
            described.append(((2,), 1))
        elif part in SOURCES:
            channels, *image = SOURCES[part].input_shape
            shape = (channels, *(image if spec.size is None else (spec.size, spec.size)))
            described.append((shape, SOURCES[part].classes if spec.classes is None else len(spec.classes)))
        else:
            raw = _load_part(spec, place, data_root(data_dir), trust_code)
            described.append((tuple(raw.x_train.shape[1:]), classes_of(raw)))
    return described


def _tasks(spec: DataSpec, described: Sequence[tuple[tuple[int, ...], int]]) -> tuple[Task, ...]:
    return side_by_side(
        [
            Task(_task_name(part), range(math.prod(shape)), range(outputs))
            for part, (shape, outputs) in zip(spec.parts, described, strict=True)
        ]
    )


def _task_name(part: str) -> str:
    """Return the name of a part's task: a path's last name, a function's name without its module."""
    return Path(part).name.removesuffix(".npz") if is_path(part) else part.rpartition(":")[2]

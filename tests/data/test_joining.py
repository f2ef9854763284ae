import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.data.dataset import Dataset, Raw, Task, split_and_normalise
from lthprune.data.joining import join, pair_at_random, side_by_side
from tests.strategies import seeds


def numbered(train: int, test: int, shape: tuple[int, ...] = (2,), start: int = 0) -> Raw:
    """Samples that tell their own number, and labels that tell it, too."""
    numbers = torch.arange(start, start + train + test)
    x = numbers.float().view(-1, *[1] * len(shape)).expand(-1, *shape).contiguous()
    return Raw(x[:train], numbers[:train], x[train:], numbers[train:])


def generators(seed: int, count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + place) for place in range(count)]


def one(name: str = "one", shape: tuple[int, ...] = (2,), *, outputs: int | None = None, seed: int = 0) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(30, *shape, generator=generator)
    y = torch.arange(30) % 3
    return split_and_normalise(Raw(x[:20], y[:20], x[20:], y[20:]), 5, generator, name=name, outputs=outputs)


@given(sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=2, max_size=4), seed=seeds)
def test_pairs_are_as_many_as_the_smallest_has_and_every_sample_keeps_its_label_and_its_split(
    sizes: list[tuple[int, int]], seed: int
) -> None:
    raws = [numbered(*size) for size in sizes]
    train, test = (min(size[at] for size in sizes) for at in (0, 1))
    for (own_train, own_test), paired in zip(sizes, pair_at_random(raws, generators(seed, len(raws))), strict=True):
        assert (paired.x_train.shape, paired.x_test.shape) == ((train, 2), (test, 2))
        assert torch.equal(paired.x_train[:, 0].long(), paired.y_train)
        assert torch.equal(paired.x_test[:, 0].long(), paired.y_test)
        assert set(paired.y_train.tolist()) <= set(range(own_train))
        assert set(paired.y_test.tolist()) <= set(range(own_train, own_train + own_test))
        assert len(set(paired.y_train.tolist())) == train


def test_what_stands_side_by_side_came_together_by_chance() -> None:
    first, second = pair_at_random([numbered(2_000, 2_000)] * 2, generators(0, 2))
    for one_half, other_half in ((first.y_train, second.y_train), (first.y_test, second.y_test)):
        assert (one_half == other_half).sum() < 10
        assert abs(torch.corrcoef(torch.stack([one_half, other_half]).float())[0, 1]) < 0.1


def test_a_joined_set_has_the_inputs_and_the_labels_of_each_side_by_side() -> None:
    images, points = one("images", (2, 3, 3)), one("points", (4,), outputs=1, seed=1)
    joined = join([images, points])
    assert joined.tasks == (
        Task("images", range(0, 18), range(0, 3)),
        Task("points", range(18, 22), range(3, 4)),
    )
    assert (joined.input_shape, joined.outputs) == ((22,), 4)
    for split in ("train", "val", "test"):
        x, y = getattr(joined, f"x_{split}"), getattr(joined, f"y_{split}")
        for place, (task, part) in enumerate(zip(joined.tasks, (images, points), strict=True)):
            own = x[:, task.inputs.start : task.inputs.stop]
            assert torch.equal(own, getattr(part, f"x_{split}").flatten(1))  # row-major
            assert torch.equal(y[:, place], getattr(part, f"y_{split}"))


def test_the_fingerprint_is_that_of_all_parts_in_their_order() -> None:
    parts = [one(seed=seed) for seed in range(3)]
    orders = ((0, 1), (1, 0), (0, 2), (0, 1, 2))
    assert len({join([parts[place] for place in order]).fingerprint for order in orders}) == len(orders)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=6))
def test_tasks_side_by_side_cover_inputs_and_outputs_without_gap_or_overlap_and_have_names_of_their_own(
    drawn: list[tuple[str, int, int]],
) -> None:
    tasks = side_by_side([Task(name, range(inputs), range(outputs)) for name, inputs, outputs in drawn])
    assert [at for task in tasks for at in task.inputs] == list(range(sum(inputs for _, inputs, _ in drawn)))
    assert [at for task in tasks for at in task.outputs] == list(range(sum(outputs for *_, outputs in drawn)))
    assert len({task.name for task in tasks}) == len(tasks)
    for task, (name, inputs, outputs) in zip(tasks, drawn, strict=True):
        assert (task.name.rstrip("0123456789"), len(task.inputs), len(task.outputs)) == (name, inputs, outputs)


@pytest.mark.parametrize(
    ("names", "unique"),
    [(("moons",), ["moons"]), (("moons", "circles", "moons"), ["moons1", "circles", "moons2"])],
)
def test_only_repeated_names_are_numbered(names: tuple[str, ...], unique: list[str]) -> None:
    assert [task.name for task in side_by_side([Task(name, range(2), range(1)) for name in names])] == unique

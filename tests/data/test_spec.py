"""The data table of a recipe: what is loaded for it, and what is known of it beforehand."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lthprune.data.dataset import Task
from lthprune.data.loading import load_data, shape_of_data, shapes_of_parts, tasks_of
from lthprune.data.spec import DataSpec
from lthprune.errors import DataError
from tests.nets import bits
from tests.tiny import write_npz

EMBEDDED = ("digits", "moons", "circles", "random")  # there without a data root


def spec(name: str, validation: int = 100, **words: object) -> DataSpec:
    return DataSpec.model_validate({"name": name, "validation": validation} | words)


@given(
    parts=st.lists(st.sampled_from(EMBEDDED), min_size=1, max_size=3),
    size=st.none() | st.integers(1, 9),
    classes=st.none() | st.permutations(range(10)).map(lambda each: tuple(each[:3])),
)
def test_what_is_known_of_data_before_they_are_loaded_is_so_when_they_are(
    parts: list[str], size: int | None, classes: tuple[int, ...] | None
) -> None:
    words = {"size": size, "classes": classes} if "digits" in parts else {}
    chosen = spec("+".join(parts), **words)
    data = load_data(chosen)
    assert data.tasks == tasks_of(chosen)
    assert (data.input_shape, data.outputs) == shape_of_data(chosen)
    assert sum(len(task.inputs) for task in data.tasks) == data.x_train[0].numel()
    for y in (data.y_train, data.y_val, data.y_test):
        assert y.shape == ((len(y), len(parts)) if len(parts) > 1 else (len(y),))
        for labels, task in zip(y.view(len(y), -1).unbind(1), data.tasks, strict=True):
            assert labels.max() == max(1, len(task.outputs) - 1)
            assert labels.min() == 0


@pytest.mark.parametrize("name", ["moons", "circles", "moons+circles", "moons+moons+moons"])
@pytest.mark.parametrize("validation", [1, 500])
def test_toys_have_a_thousand_samples_to_train_on_and_as_many_for_testing(name: str, validation: int) -> None:
    data = load_data(spec(name, validation))
    assert [len(x) for x in (data.x_train, data.x_val, data.x_test)] == [1_000, validation, 1_000]
    torch.testing.assert_close(data.x_train.mean(0), torch.zeros(data.input_shape), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.x_train.std(0, correction=0), torch.ones(data.input_shape), atol=1e-5, rtol=0)


def test_a_toy_has_a_single_output() -> None:
    assert tasks_of(spec("moons")) == (Task("moons", range(2), range(1)),)
    assert shape_of_data(spec("moons")) == ((2,), 1)


def test_a_toy_that_appears_twice_is_drawn_twice() -> None:
    data = load_data(spec("moons+moons"))
    assert [task.name for task in data.tasks] == ["moons1", "moons2"]
    alike = torch.corrcoef(data.x_test.double().sort(dim=0).values.t())  # 1 for the same points, scaled and shuffled
    assert 1 - alike[0, 2] > 1e-5 < 1 - alike[1, 3]
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        agreeing = (y[:, 0] == y[:, 1]).double().mean()
        assert 0.4 < agreeing < 0.6
        assert abs(torch.corrcoef(x.t())[:2, 2:]).max() < 0.1


def test_all_runs_share_their_toys_and_pairs_and_the_seed_decides_what_is_held_out() -> None:
    for name in ("moons", "moons+digits"):
        first, again, other = (load_data(spec(name), seed=seed) for seed in (0, 0, 1))
        assert bits(first.x_train) == bits(again.x_train) != bits(other.x_train)
        assert torch.equal(first.y_test, other.y_test)
        assert first.fingerprint == other.fingerprint


def test_images_that_are_joined_are_scaled_as_they_are_alone() -> None:
    digits, task = load_data(spec("digits+moons")), tasks_of(spec("digits+moons"))[0]
    images = digits.x_train[:, task.inputs.start : task.inputs.stop]
    assert images.mean() == pytest.approx(0, abs=1e-4)
    assert images.std() == pytest.approx(1, abs=1e-3)  # all pixels by one deviation: rare ones do not blow up
    assert images.abs().max() < 3


def test_an_image_set_that_is_there_twice_is_paired_at_random() -> None:
    data = load_data(spec("digits+digits"))
    assert [task.name for task in data.tasks] == ["digits1", "digits2"]
    assert (data.y_train[:, 0] == data.y_train[:, 1]).double().mean() < 0.2
    assert (data.x_train[:, :64] == data.x_train[:, 64:]).all(dim=1).double().mean() < 0.05


@pytest.mark.skipif(not os.environ.get("LTHPRUNE_DATA"), reason="LTHPRUNE_DATA is not set: no MNIST to join")
def test_mnist_and_fashion_mnist_are_joined_at_a_smaller_size() -> None:
    chosen = spec("mnist+fashion-mnist", 3_000, size=14, classes=(0, 1))
    data = load_data(chosen)
    assert (data.input_shape, data.outputs) == ((392,), 4) == shape_of_data(chosen)
    assert data.tasks == (
        Task("mnist", range(0, 196), range(0, 2)),
        Task("fashion-mnist", range(196, 392), range(2, 4)),
    )
    assert len(data.x_train) == 12_000 - 3_000  # Fashion-MNIST has 6,000 of each class, MNIST more of 0 and 1
    assert len(data.x_test) == 2_000
    agreeing = (data.y_train[:, 0] == data.y_train[:, 1]).double().mean()
    assert 0.45 < agreeing < 0.55


def test_a_data_set_of_ones_own_is_made_smaller_and_has_one_task(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own+strange.npz")
    chosen = spec(str(path), 10, size=2, classes=[2, 0])
    assert shape_of_data(chosen) == ((1, 2, 2), 2)
    assert tasks_of(chosen) == (Task("own+strange", range(4), range(2)),)
    with pytest.raises(DataError, match=r"classes = \[0, 8\]"):
        load_data(spec(str(path), 10, classes=[0, 8]))


def test_a_file_is_one_of_several_tasks_and_its_path_may_hold_a_plus(tmp_path: Path) -> None:
    (tmp_path / "a+b").mkdir()
    path = write_npz(tmp_path / "a+b" / "own+strange.npz")
    chosen = spec(f"moons+circles+{path}+digits", 10)
    assert chosen.parts == ("moons", "circles", str(path), "digits")
    data = load_data(chosen)
    assert [task.name for task in data.tasks] == ["moons", "circles", "own+strange", "digits"]
    assert data.tasks == tasks_of(chosen)
    assert shapes_of_parts(chosen) == [(2,), (2,), (1, 4, 4), (1, 8, 8)]
    assert (data.input_shape, data.outputs) == shape_of_data(chosen) == ((2 + 2 + 16 + 64,), 1 + 1 + 3 + 10)


def test_a_file_keeps_the_outputs_of_its_rarest_class_when_it_is_paired_with_fewer_samples(tmp_path: Path) -> None:
    labels = np.arange(60)
    chosen = spec(f"{write_npz(tmp_path / 'many.npz', y_train=labels)}+{write_npz(tmp_path / 'few.npz')}", 10)
    cut = write_npz(tmp_path / "cut.npz", x_train=np.zeros((20, 4, 4), np.uint8), y_train=np.zeros(20, int))
    assert load_data(spec(f"{chosen.parts[0]}+{cut}", 10)).tasks[0].outputs == range(60)
    assert load_data(chosen).tasks == tasks_of(chosen)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.npz+b.npz", ("a.npz", "b.npz")),
        ("a+b.npz", ("a+b.npz",)),
        ("moons+b.npz", ("moons", "b.npz")),
        ("./moons+b.npz", ("./moons+b.npz",)),
        ("moons+~/x+y/z.npz", ("moons", "~/x+y/z.npz")),
        ("my_module:load+moons", ("my_module:load", "moons")),
    ],
)
def test_a_name_is_split_into_data_sets_and_whole_paths(name: str, parts: tuple[str, ...]) -> None:
    assert spec(name).parts == parts


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"name": "moons+"}, "unknown data set ''"),
        ({"name": "moons+circels"}, "did you mean 'circles'"),
        ({"name": "moons", "settings": {"noise": 0.2}}, "settings are for a function of your own; moons takes none"),
        ({"name": "moons + circles"}, "did you mean 'moons'"),
        ({"name": "moons", "size": 3}, "size is for images; moons has none"),
        ({"name": "moons+circles", "classes": [0, 1]}, "classes is for images"),
        ({"name": "digits", "size": 0}, "greater than or equal to 1"),
        ({"name": "digits", "classes": [3]}, "two or more different classes"),
        ({"name": "digits", "classes": [3, 3]}, "two or more different classes"),
        ({"name": "digits", "classes": [3, -1]}, "two or more different classes"),
        ({"name": "moons+digits", "classes": [3, 10]}, "those of digits are 0 to 9"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(words: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DataSpec.model_validate({"validation": 100} | words)


def test_toys_are_drawn_with_the_settings_of_the_table_and_stay_as_they_were_without() -> None:
    usual, set_alike = load_data(spec("moons+circles")), load_data(spec("moons+circles", noise=0.1, factor=0.35))
    assert usual.fingerprint == set_alike.fingerprint
    fewer = load_data(spec("moons+circles", samples=80, validation=20))
    assert [len(each) for each in (fewer.x_train, fewer.x_val, fewer.x_test)] == [80, 20, 80]
    for changed in ({"noise": 0.2}, {"factor": 0.5}):
        other = load_data(spec("moons+circles", **changed))
        assert other.fingerprint != usual.fingerprint
        moons_alike = bool((other.x_test[:, :2] == usual.x_test[:, :2]).all())
        assert moons_alike == ("factor" in changed)
    assert not {"samples", "noise", "factor"} & spec("moons").model_dump().keys()
    assert spec("moons", noise=0.0).model_dump()["noise"] == 0.0


@pytest.mark.parametrize(
    ("name", "key", "says"),
    [
        ("digits", "samples", "of moons and circles and random"),
        ("random", "noise", "of moons and circles; random"),
        ("moons", "factor", "of circles; moons takes none"),
    ],
)
def test_settings_of_toys_that_are_not_there_are_refused(name: str, key: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        spec(name, **{key: 2 if key == "samples" else 0.5})


def test_random_inputs_are_a_task_beside_others() -> None:
    data = load_data(spec("moons+random"))
    assert [(task.name, task.inputs, task.outputs) for task in data.tasks] == [
        ("moons", range(2), range(1)),
        ("random", range(2, 4), range(1, 2)),
    ]

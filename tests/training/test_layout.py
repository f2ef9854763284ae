"""Data sets are laid out for the kernels as they are used, and those that the kernels would read beyond are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lthprune.data import Dataset, Task
from lthprune.errors import DataError
from lthprune.kernels import LANES
from lthprune.training.layout import Split, lay_out
from tests.tiny import noise


def sparse(background: float, seed: int = 0) -> Dataset:
    """Data of which a tenth differs from a background."""
    data, random = noise(sizes=(60, 70, 80), seed=seed), torch.Generator().manual_seed(seed)
    splits = {name: getattr(data, name) for name in ("x_train", "x_val", "x_test")}
    kept = {name: torch.rand(x.shape, generator=random) < 0.1 for name, x in splits.items()}
    return replace(data, **{name: torch.where(kept[name], x, torch.tensor(background)) for name, x in splits.items()})


def whole(split: Split) -> np.ndarray:
    """Inputs (samples, features) from what the kernels read."""
    inputs = split.inputs
    if not inputs.sparse:
        return inputs.panels.transpose(0, 2, 1).reshape(-1, inputs.dense.shape[1])[: len(inputs.dense)]
    dense = np.tile(inputs.background, (len(inputs.dense), 1))
    rows = np.repeat(np.arange(len(dense)), np.diff(inputs.starts))
    dense[rows, inputs.columns] += inputs.numbers
    return dense


def test_a_tensor_that_is_two_splits_is_laid_out_for_both() -> None:
    data = noise(sizes=(100, 10, 10))
    both = replace(data, x_val=data.x_train, y_val=data.y_train, x_test=data.x_train, y_test=data.y_train)
    laid = lay_out(both)
    assert len(laid.train.inputs.panels) == 0
    for split in (laid.val, laid.test):
        assert split.inputs.panels.shape == (2, 16, LANES)
        assert (whole(split) == data.x_train.flatten(1).numpy()).all()


@pytest.mark.parametrize("other", [sparse(2.0, seed=1), noise(seed=1)], ids=["another background", "dense"])
def test_a_tensor_of_two_data_sets_is_laid_out_for_each(other: Dataset) -> None:
    first = sparse(-1.0)
    shared = replace(other, x_test=first.x_test, y_test=first.y_test)
    for data in (first, shared, first):
        np.testing.assert_allclose(whole(lay_out(data).test), first.x_test.flatten(1).numpy(), atol=1e-6)


def test_a_data_set_is_laid_out_once() -> None:
    for data in (sparse(0.5), noise()):
        first, second = lay_out(data).test.inputs, lay_out(data).test.inputs
        assert first.numbers is second.numbers
        assert first.panels is second.panels


@pytest.mark.parametrize("inference", [False, True], ids=["", "inference tensors"])
@pytest.mark.parametrize("data", [sparse(0.5), noise()], ids=["sparse", "dense"])
def test_a_tensor_that_changes_in_place_is_laid_out_anew(data: Dataset, inference: bool) -> None:
    with torch.inference_mode(inference):
        changing = replace(data, x_test=data.x_test.clone())
        lay_out(changing)
        changing.x_test.mul_(2)
        expected = 2 * data.x_test.flatten(1).numpy()
        np.testing.assert_allclose(whole(lay_out(changing).test), expected, atol=1e-6)


@pytest.mark.parametrize("label", [-100, -1, 3])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_label_that_is_no_class_is_refused(label: int, split: str) -> None:
    data = noise()
    labels = getattr(data, f"y_{split}").clone()
    labels[-1] = label
    with pytest.raises(DataError, match=f"in the {split} split run from .* the classes 0 to 2"):
        lay_out(replace(data, **{f"y_{split}": labels}))


def test_a_task_with_one_output_has_two_classes() -> None:
    data = noise(tasks=(Task("one", range(16), range(1)), Task("two", range(16), range(1, 4))))
    assert lay_out(data).heads.tolist() == [[0, 1], [1, 4]]
    labels = data.y_val.clone()
    labels[3, 0] = 2
    with pytest.raises(DataError, match="'one' in the val split run from 0 to 2"):
        lay_out(replace(data, y_val=labels))


def test_splits_whose_samples_labels_or_features_do_not_fit_are_refused() -> None:
    data = noise()
    for wrong in (
        {"y_val": data.y_val[:-1]},
        {"x_test": data.x_test[..., :-1]},
        {"y_train": data.y_train[:, None].repeat(1, 2)},
    ):
        with pytest.raises(DataError, match="one label for each task"):
            lay_out(replace(data, **wrong))

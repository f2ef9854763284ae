"""Folders of images and Tiny ImageNet, read from small files in the same formats."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from lthprune.data import images
from lthprune.data.loading import load_data, shape_of_data, tasks_of
from lthprune.data.spec import DataSpec, is_path
from lthprune.errors import DataError
from lthprune.experiments.recipe import absolute_name, load_recipe
from lthprune.memory import available_memory


def paint(path: Path, colour: Sequence[int] = (200, 10, 60), size: tuple[int, int] = (8, 8), mode: str = "RGB") -> None:
    """Write an image of one colour; ``size`` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, tuple(colour)).convert(mode).save(path)


def classes(folder: Path, *, number: int = 5, names: Sequence[str] = ("ant", "bee"), size: int = 8) -> Path:
    """Write folders of classes; the images of each have a red of their own."""
    for label, name in enumerate(names):
        for index in range(number):
            paint(folder / name / f"{index}.png", (100 * label + index, 10, 60), (size, size))
    return folder


def spec(folder: Path, **words: object) -> DataSpec:
    return DataSpec.model_validate({"name": f"{folder}/", "validation": 2, **words})


def test_a_folder_of_classes_is_split_into_four_fifths_and_one_of_every_class(tmp_path: Path) -> None:
    data = load_data(spec(classes(tmp_path, number=10)))
    assert (data.x_train.shape, data.x_val.shape, data.x_test.shape) == ((14, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))
    assert data.y_test.bincount().tolist() == [2, 2]
    again = load_data(spec(tmp_path), seed=1)
    assert torch.equal(again.y_test, data.y_test)
    assert again.fingerprint == data.fingerprint
    red = [part[:, 0, 0, 0] for part in (data.x_train, data.x_val, data.x_test)]
    assert len(torch.cat([each.unique() for each in red]).unique()) >= 20 - 1  # no image is in two parts


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [(("train", "test"), (10, 10)), (("train", "val"), (10, 10)), (("train", "val", "test"), (20, 10))],
)
def test_train_val_and_test_folders_are_the_parts(
    splits: tuple[str, ...], sizes: tuple[int, int], tmp_path: Path
) -> None:
    for name in splits:
        classes(tmp_path / name)
    data = load_data(spec(tmp_path))
    assert (len(data.x_train) + len(data.x_val), len(data.x_test)) == sizes
    assert shape_of_data(spec(tmp_path)) == ((3, 8, 8), 2)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = load_data(spec(classes(tmp_path, names=("plane", "train"))))
    assert data.y_test.tolist() == [0, 1]


def test_images_of_other_sizes_and_modes_are_brought_to_one_size_by_their_middle_squares(tmp_path: Path) -> None:
    classes(tmp_path)
    paint(tmp_path / "ant" / "wide.jpg", size=(30, 10), mode="L")
    picture = np.zeros((4, 12, 3), np.uint8)
    picture[:, 4:8] = 200  # the middle square; the black beside it is cut off
    picture[::2, 4:8] = 100
    Image.fromarray(picture).save(tmp_path / "bee" / "middle.png")
    read = images.read_images([tmp_path / "bee" / "middle.png"], (2, 2), fit=True)
    assert read.flatten().tolist() == [150] * 12
    assert load_data(spec(tmp_path, size=4)).input_shape == (3, 4, 4)


def test_images_of_several_sizes_need_one(tmp_path: Path) -> None:
    paint(classes(tmp_path) / "bee" / "large.png", size=(9, 8))
    with pytest.raises(DataError, match=r"large.png has 8x9 pixels, where 8x8 are needed.*\[data\] size = 64"):
        load_data(spec(tmp_path))


@pytest.mark.parametrize("damage", ["text", "cut", "empty"])
def test_a_damaged_image_is_named(damage: str, tmp_path: Path) -> None:
    path = classes(tmp_path, size=32) / "bee" / "0.png"
    path.write_bytes({"text": b"no image", "cut": path.read_bytes()[:60], "empty": b""}[damage])
    with pytest.raises(DataError, match=r"bee/0.png cannot be read as an image .* Replace or remove it"):
        load_data(spec(tmp_path))


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ({}, "there is no folder"),
        ({"notes.txt": 1}, "Couldn't find any class folder.*has a folder for each class"),
        ({"ant/0.png": 1, "bee/notes.txt": 1}, "no valid file for the classes bee"),
        ({"ant/0.png": 1, "bee/0.png": 1}, "ant has a single image"),
        ({"train/ant/0.png": 1, "train/bee/0.png": 1}, "neither test/ nor val/"),
        (
            {"train/ant/0.png": 1, "train/bee/0.png": 1, "test/ant/0.png": 1},
            "different classes; only one of them has bee",
        ),
    ],
)
def test_a_folder_that_is_laid_out_otherwise_is_refused(layout: dict[str, int], says: str, tmp_path: Path) -> None:
    for name in layout:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        paint(path) if path.suffix == ".png" else path.write_text("none")
    with pytest.raises(DataError, match=says):
        load_data(spec(tmp_path / "images"))


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(classes(tmp_path) / "bee" / "0.png", size=(3000, 3000))
    monkeypatch.setattr(images, "available_memory", lambda: 10**9)
    with pytest.raises(DataError, match=r"has 10 images. Loading them at 3000x3000 pixels takes about 3.5 GB"):
        images.check_memory(10, (3000, 3000), tmp_path)
    with pytest.raises(DataError, match=r"1.0 GB are available. Choose smaller images, as in \[data\] size = 14"):
        load_data(spec(tmp_path, size=2000))
    monkeypatch.setattr(images, "available_memory", lambda: None)
    images.check_memory(10**9, (3000, 3000), tmp_path)


def test_the_available_memory_is_a_number_of_bytes_where_linux_tells_it() -> None:
    available = available_memory()
    assert available is None or available > 10**6


def test_a_folder_is_found_from_any_other_folder_and_joins_other_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes(tmp_path / "in+sects", number=10)
    monkeypatch.chdir(tmp_path)
    name = absolute_name("moons+in+sects/")
    assert name == f"moons+{tmp_path}/in+sects/"
    assert load_recipe("lenet-digits", ['data.name="in+sects/"']).data.name == f"{tmp_path}/in+sects/"
    joined = DataSpec(name=name, validation=2)
    assert [task.name for task in tasks_of(joined)] == ["moons", "in+sects"]
    assert load_data(joined).input_shape == (2 + 3 * 8 * 8,)
    assert not is_path("in+sects")


def test_a_folder_without_the_slash_is_unknown_and_the_message_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="of a folder of images with / at its end"):
        DataSpec(name=str(tmp_path), validation=2)


def tiny_imagenet(root: Path, *, number: int = 200) -> Path:
    """Lay out Tiny ImageNet with one training and one validation image for each class."""
    folder, rows = root / "tiny-imagenet-200", []
    for label in range(number):
        name = f"n{label:08}"
        image = folder / "train" / name / "images" / f"{name}_0.JPEG"
        paint(image, (label, 0, 90), (64, 64), "L" if label % 2 else "RGB")
        (folder / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t63\t63\n")
        paint(folder / "val" / "images" / f"val_{label}.JPEG", (label, 0, 90), (64, 64))
        rows.append(f"val_{label}.JPEG\tn{number - 1 - label:08}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(rows))
    paint(folder / "test" / "images" / "test_0.JPEG", size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_imagenet(tmp_path_factory.mktemp("root"))


def test_tiny_imagenet_is_read_from_its_folder_and_tested_on_its_validation_images(unpacked: Path) -> None:
    words = {"name": "tiny-imagenet", "validation": 20}
    data = load_data(DataSpec.model_validate(words), data_dir=unpacked.parent)
    assert (data.x_train.shape, data.x_test.shape) == ((180, 3, 64, 64), (200, 3, 64, 64))
    assert data.y_test.tolist() == list(range(199, -1, -1))
    assert shape_of_data(DataSpec.model_validate(words)) == ((3, 64, 64), 200)
    small = DataSpec.model_validate(words | {"size": 32, "classes": [7, 3], "validation": 1})
    assert load_data(small, data_dir=unpacked.parent).x_test.shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("no annotations", "cannot read .*val_annotations.txt"),
        ("empty annotations", "val_annotations.txt is empty"),
        ("unknown class", "line 2 of .*val_annotations.txt names no file and one of the 200 classes"),
        ("missing image", "there is no file .*val_5.JPEG"),
        ("small image", "val_5.JPEG has 8x8 pixels, where 64x64 are needed"),
        ("missing class", "has folders of 199 classes, not 200"),
    ],
)
def test_a_damaged_tiny_imagenet_is_refused(damage: str, says: str, tmp_path: Path) -> None:
    folder = tiny_imagenet(tmp_path, number=199 if damage == "missing class" else 200)
    annotations, image = folder / "val" / "val_annotations.txt", folder / "val" / "images" / "val_5.JPEG"
    if damage == "no annotations":
        annotations.unlink()
    elif damage == "empty annotations":
        annotations.write_text("\n")
    elif damage == "unknown class":
        annotations.write_text("val_0.JPEG\tn00000000\t0\nval_1.JPEG\tx\n")
    elif damage == "missing image":
        image.unlink()
    elif damage == "small image":
        paint(image)
    with pytest.raises(DataError, match=says):
        load_data(DataSpec(name="tiny-imagenet", validation=20), data_dir=tmp_path)

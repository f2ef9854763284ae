"""Images from files: decoded, brought to one size, and kept as bytes in memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthprune.errors import DataError
from lthprune.memory import available_memory

_BYTES = 13  # per value at the peak of loading: the byte itself, and three copies in single precision


def check_memory(images: int, size: tuple[int, int], where: Path) -> None:
    """Raise a DataError if images of this size (height, width), in colour, do not fit into the available memory."""
    available, needed = available_memory(), images * 3 * size[0] * size[1] * _BYTES
    if available is not None and needed > available:
        raise DataError(
            f"{where} has {images:,} images. Loading them at {size[0]}x{size[1]} pixels takes about "
            f"{needed / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are available. Choose smaller images, as "
            f"in [data] size = {max(1, int((available / (images * 3 * _BYTES)) ** 0.5 * 0.9))}, or use fewer."
        )


def image_size(path: Path) -> tuple[int, int]:
    """Return the height and width of an image; reads no more than the beginning of its file.

    Raises:
        DataError: the file cannot be read as an image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError) as error:
        raise _unreadable(path, error) from error


def read_images(paths: Sequence[Path], size: tuple[int, int], *, fit: bool) -> Tensor:
    """Return images in colour as bytes, (N, 3, height, width).

    Args:
        paths: the files.
        size: height and width of the images that are returned.
        fit: whether to cut the largest part of that shape out of the middle of every image and to resize it, each
            pixel being the mean of the area that it covers. Otherwise all images must have this size.

    Raises:
        DataError: a file is missing, is no image that can be read, or has another size.
    """
    from PIL import Image, ImageOps

    height, width = size
    images = torch.empty(len(paths), 3, height, width, dtype=torch.uint8)
    for place, path in enumerate(paths):
        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:  # PIL's decoders raise all of these for damaged files
            raise _unreadable(path, error) from error
        if fit:
            image = ImageOps.fit(image, (width, height), method=Image.Resampling.BOX)
        elif (image.height, image.width) != size:
            raise DataError(
                f"{path} has {image.height}x{image.width} pixels, where {height}x{width} are needed, as the other "
                "images have. Give one size to all images of a folder, as in [data] size = 64."
            )
        images[place] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return images


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"there is no file {path}.")
    reason = " ".join(str(error).split()).rstrip(".")
    return DataError(f"{path} cannot be read as an image ({reason}). Replace or remove it.")

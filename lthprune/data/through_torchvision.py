"""Data sets that torchvision reads: from its own files in the data root, into which they are downloaded once."""

import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lthprune.data.dataset import Raw
from lthprune.errors import DataError

_TIMEOUT = 30  # seconds without an answer before a download fails


class Files(NamedTuple):
    """Where the files of a data set of torchvision are.

    Attributes:
        name: of the class in ``torchvision.datasets``.
        entries: names of the files or of the folder in the data root, each with the keywords that download it.
        listed: the files, for messages.
        parts: the keywords for the training and the test part.
    """

    name: str
    entries: Mapping[str, Mapping[str, Any]]
    listed: str
    parts: tuple[Mapping[str, Any], Mapping[str, Any]] = ({"train": True}, {"train": False})


def read_torchvision(files: Files, root: Path) -> Raw:
    """Return a data set from torchvision's files in the data root, downloaded if they are missing.

    Raises:
        DataError: torchvision cannot be imported, or the files are missing and cannot be downloaded, or are damaged.
    """
    make = getattr(import_datasets(files.name), files.name)
    missing = [entry for entry in files.entries if not (root / entry).exists()]
    if missing:
        _download(make, files, root, missing)
    (first, *others), where = files.entries, root
    if not others:
        where = root / first
    remove = "remove them to have them downloaded" if others else "remove the folder to have it downloaded"
    try:
        train, test = (make(root, **part) for part in files.parts)
    except Exception as error:  # torchvision's parsers raise errors of many types
        raise DataError(
            f"the {files.name} files in {where} are incomplete or damaged ({error}). Put {files.listed} there, "
            f"or {remove}."
        ) from error
    raw = Raw(*_tensors(train), *_tensors(test))
    if len(raw.x_train) != len(raw.y_train) or len(raw.x_test) != len(raw.y_test):
        raise DataError(
            f"the {files.name} files in {where} do not belong together: {len(raw.x_train):,} and {len(raw.x_test):,} "
            f"images, {len(raw.y_train):,} and {len(raw.y_test):,} labels. Put {files.listed} there, or {remove}."
        )
    return raw


def import_datasets(what: str) -> Any:
    """Return ``torchvision.datasets``, which is to read ``what``.

    Raises:
        DataError: torchvision cannot be imported.
    """
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:  # a torchvision that was built for another torch
        raise DataError(
            f"torchvision, which reads {what}, cannot be imported ({' '.join(str(error).split())}). Install torch and "
            "torchvision together, from one index: pip install --force-reinstall torch torchvision."
        ) from error
    return datasets


def _tensors(dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.as_tensor(dataset.data)
    labels = torch.as_tensor(dataset.targets if hasattr(dataset, "targets") else dataset.labels)
    if images.ndim == 3:
        return images[:, None], labels
    return (images.permute(0, 3, 1, 2) if images.shape[3] == 3 else images).contiguous(), labels


def _download(make: Any, files: Files, root: Path, missing: list[str]) -> None:
    """Download into a temporary folder beside the target, and move what is missing once it is complete."""
    made = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary, _socket_timeout(_TIMEOUT):
            for entry in missing:
                make(temporary, **files.entries[entry], download=True)
            for entry in missing:
                shutil.move(Path(temporary) / entry, root / entry)
    except Exception as error:  # the network, the server and the disk raise errors of many types
        for empty in made:
            with suppress(OSError):
                empty.rmdir()
        reason = " ".join(str(error).split())
        raise DataError(
            f"{files.name} is not in {root} and could not be downloaded ({reason}). Put {files.listed} into that "
            "folder, or point --data-dir or LTHPRUNE_DATA at a folder that has them."
        ) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

"""Your own data set in a file: an ``.npz`` with x_train, y_train, x_test and y_test."""

from pathlib import Path

import numpy as np

from lthprune.array_files import check_sizes
from lthprune.data.arrays import NAMES, raw_from
from lthprune.data.dataset import Raw
from lthprune.errors import DataError
from lthprune.reading import open_regular

_FURTHER = 12  # bytes of each value at the peak of loading: three copies in single precision


def load_npz(path: Path) -> Raw:
    """Read a data set from an ``.npz`` file; nothing in it is ever unpickled.

    Inputs are vectors (N, features), grey images (N, H, W) or images (N, H, W, C) or (N, C, H, W), where C is 1 to 4;
    an array that fits both is read as (N, H, W, C). Bytes are scaled to [0, 1]. Labels are whole numbers from 0.

    Raises:
        DataError: there is no such file, or it has faults; the message names all of them.
    """
    try:
        with open_regular(path) as stream:
            check_sizes(stream, NAMES, further=_FURTHER)
            file = np.load(stream, allow_pickle=False)
            missing = [name for name in NAMES if name not in file]
            if missing:
                raise DataError(f"{path} lacks {', '.join(missing)}; it has {', '.join(list(file)[:10]) or 'nothing'}.")
            arrays = {name: np.asarray(file[name]) for name in NAMES}  # other files in it are bytes to numpy
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.") from None
    except Exception as error:  # numpy, zipfile and its decoders raise errors of many types
        raise DataError(
            f"{path} is not a readable .npz file of plain arrays ({error}). Write it with numpy.savez; arrays of "
            "Python objects are refused, because reading them would run code."
        ) from error
    return raw_from(arrays, str(path))

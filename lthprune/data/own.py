"""Your own data set from a function that a recipe names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lthprune.data.arrays import NAMES, raw_from
from lthprune.data.dataset import Raw
from lthprune.errors import DataError
from lthprune.parts import DATA, import_part


def load_own(name: str, settings: Mapping[str, Any] | None, root: Path, *, trust_code: bool) -> Raw:
    """Call your own function for a data set, and check what it returns.

    The function gets the folder of data sets and the recipe's settings. It returns x_train, y_train, x_test and
    y_test, as numpy arrays or tensors of the shapes that an ``.npz`` file may hold. It must return the same data in
    every call: a run keeps their fingerprint, and is resumed only with the same data.

    Raises:
        RecipeError: the function is not there or does not take these arguments, or there is no consent to import it.
        DataError: the function fails, or returns something else; the message names all faults.
    """
    what = DATA.named(name)
    function = import_part(DATA, name, settings, trust_code=trust_code)
    try:
        returned = function(root, **(settings or {}))
    except Exception as error:  # other people's code fails in any way there is
        message = " ".join(str(error).split())
        raise DataError(f"{what}: the function failed with {type(error).__name__}: {message}.") from error
    parts = list(returned) if isinstance(returned, tuple | list) else [returned]
    if len(parts) != len(NAMES) or not all(isinstance(part, Tensor | np.ndarray) for part in parts):
        got = ", ".join(type(part).__name__ for part in parts[:6])
        raise DataError(
            f"{what}: the function returned {got}; it must return four arrays or tensors: {', '.join(NAMES)}."
        )
    arrays = [part.detach().cpu().numpy() if isinstance(part, Tensor) else part for part in parts]
    return raw_from(dict(zip(NAMES, arrays, strict=True)), f"the data that {what} returned")

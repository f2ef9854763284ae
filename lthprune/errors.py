"""What can go wrong, in words for the person who has to mend it."""

import difflib
from collections.abc import Iterable


class LthpruneError(Exception):
    """Anything lthprune refuses to do: one paragraph that says what, where and how to mend it."""


class PruningError(LthpruneError, ValueError):
    """What a model, schedule, score or search cannot do as asked; refused before anything is changed."""


class RecipeError(LthpruneError, ValueError):
    """A recipe that cannot be read or does not make sense; all its faults are named at once."""


class DataError(LthpruneError):
    """A data set that is missing, damaged or of the wrong shape."""


class StorageError(LthpruneError):
    """A ticket or run on disk that is missing, damaged or does not fit what it is used for."""


class LayerCollapseWarning(UserWarning):
    """Pruning has taken the last weight of a layer: no signal passes through it any more."""


class NothingPrunedWarning(UserWarning):
    """A positive fraction of so few weights that it rounds to none."""


class UnmovedWarning(UserWarning):
    """A training has left a tensor exactly as it was, though the dense training moved it."""


class CoverageWarning(UserWarning):
    """Much of a model's weight matrices is left out of pruning."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: the nearest known one, or a full stop.

    Examples:
        >>> suggestion("geometirc", ["geometric", "target"])
        "; did you mean 'geometric'?"
        >>> suggestion("zebra", ["geometric", "target"])
        '.'
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."

"""Failed trainings in words: trials that diverged, collapsed or are dead."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lthprune.search import Failure

_KINDS = ("diverged", "collapsed", "dead")


def count_failures(failures: "Sequence[Failure]") -> str:
    """Return the number of trials by kind, as in ``1 diverged, 2 collapsed``; empty without any."""
    trials = {kind: len({each.trial for each in failures if each.kind == kind}) for kind in _KINDS}
    return ", ".join(f"{number} {kind}" for kind, number in trials.items() if number)


def describe_failures(failures: "Sequence[Failure]") -> list[str]:
    """Return a sentence for each trial and kind; of a network that stays dead, the first level gives the reason."""
    from lthprune.experiments import level_ranges

    sentences = []
    ordered = sorted(failures, key=lambda each: (each.trial, _KINDS.index(each.kind), each.level))
    for (trial, kind), own in groupby(ordered, key=lambda each: (each.trial, each.kind)):
        first, *others = own
        if not others:
            sentences.append(first.sentence)
            continue
        levels = level_ranges([first.level, *(each.level for each in others)])
        verb = "is dead" if kind == "dead" else kind
        where = "" if all(each.reason == first.reason for each in others) else "at first "
        sentences.append(f"Trial {trial} {verb} at {levels}: {where}{first.reason}.")
    return sentences

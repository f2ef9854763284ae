"""The smallest case at which a property fails, found by hypothesis, and the message about it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from lthprune.errors import PruningError
from lthprune.testing.calling import PropertyError, generators_restored

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Case = TypeVar("Case")


def require_hypothesis() -> None:
    """Raise a PruningError unless hypothesis can be imported."""
    try:
        import hypothesis  # noqa: F401
    except ModuleNotFoundError as error:
        raise PruningError(
            "property tests need hypothesis, which this Python does not have. Install it: "
            "pip install 'lthprune[testing]'"
        ) from error


def check_cases(
    name: str, cases: "SearchStrategy[Case]", examine: Callable[[Case], None], *, examples: int = 100
) -> None:
    """Examine many cases; raise an AssertionError about the smallest at which ``examine`` raises a PropertyError.

    The same function meets the same cases in every call. Nothing is stored, and the global generators are restored.

    Args:
        name: the name of the function under test, for the message.
        cases: a strategy; ``str`` of a case describes it in the message.
        examine: checks the properties of the function on a case.
        examples: how many cases.
    """
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings
    from hypothesis.errors import Flaky

    found: list[tuple[Case, PropertyError]] = []

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def examine_all(case: Case) -> None:
        try:
            examine(case)
        except PropertyError as fault:
            found.append((case, fault))
            raise

    try:
        with generators_restored():
            examine_all()
    except (PropertyError, Flaky) as error:
        case, fault = found[-1]  # the smallest
        message = f"{name} {fault.what}\nSmallest failing case: {case}"
        if fault.seen:
            message += f"\nSeen: {fault.seen}"
        if isinstance(error, Flaky):
            message += "\nThis case does not fail every time: the result depends on more than the arguments."
        raise AssertionError(message) from fault.__cause__

"""The time that calls take, compared with each other."""

import statistics
from collections.abc import Callable, Mapping
from timeit import Timer

import torch

_SECONDS = 0.02  # of one measurement, long compared with the overhead of the clock and the loop


def measure_latency(calls: Mapping[str, Callable[[], object]], *, rounds: int = 11) -> dict[str, float]:
    """Measure the seconds that calls take: medians over rounds in which they take turns, in one process.

    Other load on the machine affects all calls alike, so ratios are steadier than the times themselves. Gradients are
    off, and each call waits until the GPU has finished.

    Args:
        calls: the functions to measure, by name; each should do the same work every time.
        rounds: how often to measure each; a measurement repeats the call for 20 ms, and at least once.

    Examples:
        >>> model, inputs = torch.nn.Linear(784, 10), torch.zeros(1000, 784)
        >>> seconds = measure_latency({"one": lambda: model(inputs[:1]), "many": lambda: model(inputs)}, rounds=1)
        >>> sorted(seconds)
        ['many', 'one']
    """
    timers = {name: Timer(_finished(call)) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        repeats = {}
        for name, timer in timers.items():
            timer.timeit(3)  # a warm-up: caches, and work that is done only once
            repeats[name] = max(1, round(_SECONDS / (timer.timeit(3) / 3)))
        for _ in range(rounds):
            for name, timer in timers.items():
                taken[name].append(timer.timeit(repeats[name]) / repeats[name])
    return {name: statistics.median(times) for name, times in taken.items()}


def _finished(call: Callable[[], object]) -> Callable[[], object]:
    """Return a call that waits until the GPU has finished, if there is one."""
    if not torch.cuda.is_available():
        return call

    def waited() -> None:
        call()
        torch.cuda.synchronize()

    return waited

"""How long something takes, side by side with other things."""

import statistics
from collections.abc import Callable, Mapping
from timeit import Timer

import torch

_SECONDS = 0.02  # of one measurement, long beside what the clock and the loop take


def measure_latency(calls: Mapping[str, Callable[[], object]], *, rounds: int = 11) -> dict[str, float]:
    """Measure how long calls take, in seconds: medians over rounds in which they take turns, all in one process.

    What else a machine does disturbs all calls alike, so ratios are steadier than the times themselves. Nothing is
    recorded for gradients, and a GPU is waited for.

    Args:
        calls: what to measure, by name; every call should do the same work each time.
        rounds: how often each is measured; every measurement repeats the call for 20 ms, and at least once.

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
            timer.timeit(3)  # what is done once only, and caches
            repeats[name] = max(1, round(_SECONDS / (timer.timeit(3) / 3)))
        for _ in range(rounds):
            for name, timer in timers.items():
                taken[name].append(timer.timeit(repeats[name]) / repeats[name])
    return {name: statistics.median(times) for name, times in taken.items()}


def _finished(call: Callable[[], object]) -> Callable[[], object]:
    """Return a call that waits for the GPU, if there is one."""
    if not torch.cuda.is_available():
        return call

    def waited() -> None:
        call()
        torch.cuda.synchronize()

    return waited

"""A training step as a CUDA graph: recorded once, then started in one call, with no word between it and the CPU."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_REHEARSALS = 3  # torch's documentation warms up so often before it captures


def recorded(step: Callable[[], None], tensors: Sequence[Tensor]) -> Callable[[], None]:
    """Return a function that does what ``step`` does; on a GPU it replays the graph of it.

    On a CPU, where tests go this way, the step is rehearsed all the same.

    Args:
        step: reads its inputs from tensors that stay where they are, and waits for nothing.
        tensors: all that outlives the step; they are as they were when this returns.
    """
    rehearse(step, tensors)
    if not tensors[0].is_cuda:
        return step
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def rehearse(step: Callable[[], None], tensors: Sequence[Tensor]) -> None:
    """Make a few steps, so that libraries and optimisers set up what they need, and take them back."""
    before = [tensor.detach().clone() for tensor in tensors]
    if tensors[0].is_cuda:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_REHEARSALS):
                step()
        torch.cuda.current_stream().wait_stream(stream)
    else:
        for _ in range(_REHEARSALS):
            step()
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)

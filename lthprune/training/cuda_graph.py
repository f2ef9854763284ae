"""A training step as a CUDA graph: recorded once, then replayed in one call, without round trips to the CPU."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_REHEARSALS = 3  # the number of warm-up steps in torch's documentation


def recorded(step: Callable[[], None], tensors: Sequence[Tensor]) -> Callable[[], None]:
    """Return a function that does what ``step`` does; on a GPU, it replays a CUDA graph of the step.

    On a CPU, where tests use this function, the step is rehearsed, too, but not recorded.

    Args:
        step: a function that reads its inputs from tensors at fixed addresses and does not synchronise with the CPU.
        tensors: all tensors that outlive the step; their values are restored before this returns.
    """
    rehearse(step, tensors)
    if not tensors[0].is_cuda:
        return step
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def rehearse(step: Callable[[], None], tensors: Sequence[Tensor]) -> None:
    """Make a few steps, so that libraries and optimisers allocate their state, then restore the tensors."""
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

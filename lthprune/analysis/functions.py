"""The functions of layers with weights, with the arguments that torch gives them."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lthprune.analysis import weighted
from lthprune.analysis.attention import attend, multi_head
from lthprune.analysis.effects import lateral
from lthprune.analysis.recorder import Recorder
from lthprune.analysis.signals import Signal
from lthprune.errors import PruningError

Handler = Callable[..., Any]


def handler_of(function: Any) -> Handler | None:
    """Return what records a call of a function or method on a signal; None if it has no weights.

    The handler takes the recorder, the function, and the function's arguments with a signal in the first place, and
    none in others. It returns None if the call is not supported.
    """
    return _HANDLERS.get(function)


def written_out(function: Any) -> Callable[..., Any] | None:
    """Return a function that computes the same from supported operations, and takes the same arguments."""
    return _WRITTEN_OUT.get(function) if callable(function) else None


def _linear(recorder: Recorder, run: Handler, input: Signal, weight: Any, bias: Tensor | None = None) -> Any:
    return weighted.dense(recorder, input, weight, bias) if isinstance(weight, Tensor) and weight.ndim == 2 else None


def _product(recorder: Recorder, run: Handler, input: Signal, other: Any) -> Any:
    return weighted.dense(recorder, input, other.t(), None) if isinstance(other, Tensor) and other.ndim == 2 else None


def _convolution(*names: str, transposed: bool) -> Handler:
    """Return the handler of a convolution whose arguments after the bias have these names."""

    def handle(
        recorder: Recorder,
        run: Handler,
        input: Signal,
        weight: Any,
        bias: Tensor | None = None,
        *args: Any,
        **words: Any,
    ) -> Any:
        if not isinstance(weight, Tensor) or input.value.ndim != weight.ndim:
            return None
        words |= dict(zip(names, args, strict=False))
        return weighted.convolution(
            recorder,
            input,
            weight,
            bias,
            groups=words.get("groups", 1),
            transposed=transposed,
            run=lambda value: run(value, weight, bias, **words),
        )

    return handle


def _batch_norm(
    recorder: Recorder,
    run: Handler,
    input: Signal,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    *rest: Any,
    **words: Any,
) -> Any:
    def norm(value: Tensor) -> Tensor:
        return run(value, running_mean, running_var, weight, bias, training, *rest, **words)  # type: ignore[no-any-return]

    return weighted.batch_norm(recorder, input, weight, bias, norm)


def _instance_norm(
    recorder: Recorder,
    run: Handler,
    input: Signal,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *rest: Any,
    **words: Any,
) -> Any:
    def norm(value: Tensor) -> Tensor:
        return run(value, running_mean, running_var, weight, bias, *rest, **words)  # type: ignore[no-any-return]

    return weighted.batch_norm(recorder, input, weight, bias, norm)


def _layer_norm(
    recorder: Recorder,
    run: Handler,
    input: Signal,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *rest: Any,
    **words: Any,
) -> Any:
    value = run(input.value, normalized_shape, weight, bias, *rest, **words)
    return weighted.layer_norm(recorder, input, normalized_shape, weight, bias, value)


def _rms_norm(
    recorder: Recorder,
    run: Handler,
    input: Signal,
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Any:
    value = run(input.value, normalized_shape, weight, eps)
    return weighted.rms_norm(recorder, input, normalized_shape, weight, value)


def _group_norm(
    recorder: Recorder,
    run: Handler,
    input: Signal,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *rest: Any,
    **words: Any,
) -> Any:
    value = run(input.value, num_groups, weight, bias, *rest, **words)
    return weighted.group_norm(recorder, input, num_groups, weight, bias, value)


def _local_response_norm(recorder: Recorder, run: Handler, input: Signal, size: int, *rest: Any, **words: Any) -> Any:
    return lateral(recorder, input, size, run(input.value, size, *rest, **words))


def _embedding(
    recorder: Recorder,
    run: Handler,
    input: Signal,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    *rest: Any,
    **words: Any,
) -> Any:
    if max_norm is not None:
        raise PruningError(
            "the analysis of neurons does not support an embedding with max_norm, which scales a token's dimensions by "
            "the norm of all of them. Set max_norm=None."
        )
    return weighted.embedding(recorder, input, weight, run(input.value, weight, padding_idx, None, *rest, **words))


_CONV = ("stride", "padding", "dilation", "groups")
_TRANSPOSED = ("stride", "padding", "output_padding", "groups", "dilation")
_HANDLERS: dict[Any, Handler] = {
    F.linear: _linear,
    **dict.fromkeys((torch.matmul, operator.matmul, "matmul"), _product),
    **{each: _convolution(*_CONV, transposed=False) for each in (F.conv1d, F.conv2d, F.conv3d)},
    **{
        each: _convolution(*_TRANSPOSED, transposed=True)
        for each in (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
    },
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    F.local_response_norm: _local_response_norm,
    F.embedding: _embedding,
}
_WRITTEN_OUT: dict[Any, Callable[..., Any]] = {
    F.multi_head_attention_forward: multi_head,
    F.scaled_dot_product_attention: attend,
}

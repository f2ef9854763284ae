"""A network run once, operation by operation, to find which neurons read which.

Every tensor is accompanied by one of the same shape with the neuron that each element comes from; operations that only
move elements are applied to both. Modules and functions without a rule of their own are run on such pairs.
"""

import operator
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn

from lthprune.analysis.effects import Call, effect
from lthprune.analysis.following import followed, following
from lthprune.analysis.functions import handler_of, written_out
from lthprune.analysis.graph import Graph, Operation
from lthprune.analysis.operations import rule_of, writes_in_place
from lthprune.analysis.origins import Origins
from lthprune.analysis.recorder import NO_COLUMNS, Recorder, names_of
from lthprune.analysis.recurrent import check_time, recurrent
from lthprune.analysis.signals import Signal, collapsed, constants_in, signals_in
from lthprune.errors import PruningError


class NeuronInterpreter(fx.Interpreter):
    """Runs a traced network on examples and records its layers, parameters and operations.

    Args:
        network: as ``torch.fx`` traced it, in evaluation mode.
        masks: which elements of parameters are unpruned, by plain name.
    """

    def __init__(self, network: fx.GraphModule, masks: Mapping[str, Tensor]) -> None:
        super().__init__(network)
        self.extra_traceback = False  # it would add the node's source to our messages
        names = names_of(network.named_parameters(remove_duplicate=False))
        self.recorder = Recorder(masks, names)
        self._origins = Origins(names)
        self._unknown: dict[str, list[str]] = {}  # names of unsupported operations, and where they are called
        self._depth = 0  # of functions that are run on followers
        self._node: fx.Node  # that is run

    def traced(self) -> Graph:
        """Return the graph of what was run."""
        return self.recorder.graph()

    def run(self, *args: Any, **words: Any) -> Any:
        """Run the network.

        Raises:
            PruningError: the network has unsupported operations; the error names them all.
        """
        try:
            result = super().run(*args, **words)
        except Exception:  # an operation can fail on the result of an unsupported one
            if not self._unknown:
                raise
        if self._unknown:
            raise PruningError(_refusal(self._unknown))
        return result

    def run_node(self, n: fx.Node) -> Any:
        """Run a node."""
        self._node, self.recorder.operation = n, n.name
        return super().run_node(n)

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Record an input."""
        value = super().placeholder(target, args, kwargs)
        if not isinstance(value, Tensor):
            return value
        signal = self.recorder.add_layer("input", value, torch.arange(value.numel()).view(value.shape), NO_COLUMNS)
        self._record(target, (), signal)
        return signal

    def output(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Record the outputs."""
        for signal in signals_in(args):
            (small,) = collapsed(signal.neurons)
            numbers = torch.arange(small.numel()).view(small.shape)
            self.recorder.add_layer("output", signal.value, numbers, self.recorder.read(signal, numbers, small.numel()))
        self._record(target, constants_in(args, kwargs), ())

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a module."""
        module = self.fetch_attr(target)
        return self._apply(module, f"{type(module).__name__} {target!r}", module, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a function."""
        return self._apply(target, getattr(target, "__name__", str(target)), target, args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a tensor's method."""

        def method(tensor: Any, *rest: Any, **words: Any) -> Any:
            return getattr(tensor, target)(*rest, **words)

        return self._apply(target, f"Tensor.{target}", method, args, kwargs)

    def _apply(self, operation: Any, name: str, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run an operation on signals, and record it."""
        signals = signals_in((args, kwargs))
        if not signals or (operation is operator.getitem and isinstance(args[0], tuple | list | dict)):
            with self._origins:
                return run(*args, **kwargs)  # on no tensor of neurons, or one of several
        if writes_in_place(operation) and isinstance(args[0], Signal | Tensor):
            args = (self._overwritten(args[0], name, len(signals)), *args[1:])
        constants: tuple[Any, ...] = ()
        tensors = [each for each in constants_in(args, kwargs) if isinstance(each, Tensor)]
        handler, first = handler_of(operation), args[0] if args else kwargs.get("input")
        if handler and len(signals) == 1 and isinstance(first, Signal):
            result = handler(self.recorder, run, *args, **kwargs)
            tensors = [each for each in tensors if self.recorder.part_of(each) is None]  # others have a place
            constants = tuple(each for each in tensors if self._origins.of(each))
        elif isinstance(operation, nn.RNNBase):
            result = recurrent(self.recorder, operation, [*args, *kwargs.values()])
        elif handler and rule_of(operation) is None:
            result = None  # with weights that come from neurons
        elif other := written_out(operation) or _code_of(operation):
            if isinstance(operation, nn.Module) and _attends_over_first_axis(operation, signals[0]):
                check_time(operation, signals[0])
            return self._follow(other, args, kwargs)
        else:
            call = Call(operation, run, args, kwargs)
            value = call.apply(lambda signal: signal.value)
            result = effect(self.recorder, call, value)
            constants = () if rule_of(call.kind) == "move" else constants_in(args, kwargs)
        if result is None:
            shape = f"shape {tuple(signals[0].value.shape)}"
            self._unknown.setdefault(name, []).append(f"at {self._node.name!r}, on {shape}")
            return self._stand_in(run, args, kwargs)
        self.recorder.computed |= self._origins.of(tensors)
        self._record(operation if isinstance(operation, str) else name, constants, signals_in(result))
        return result

    def _follow(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run code on tensors that hand their operations to this interpreter."""
        own, words = following((args, kwargs), self._apply_followed)
        self._depth += 1
        try:
            with self._origins:
                return followed(function(*own, **words))
        finally:
            self._depth -= 1

    def _apply_followed(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Run a function that code calls on a follower."""
        name = function.__name__
        if name == "__get__":  # as in x.shape
            name = function.__self__.__name__
            operation: Any = "transpose" if name in ("T", "mT") else getattr
        elif getattr(function, "__objclass__", None) is torch._C.TensorBase or function.__module__ == "torch._tensor":
            operation = _OPERATORS.get(name, name)
        else:
            return self._apply(function, name, function, args, kwargs)
        return self._apply(operation, f"Tensor.{name}", function, args, kwargs)

    def _record(self, target: Any, constants: tuple[Any, ...], signals: Any) -> None:
        returned = [signals] if isinstance(signals, Signal) else signals
        if returned or self._node.op == "output":
            neurons = tuple(signal.neurons for signal in returned)
            self.recorder.operations.append(Operation(self.recorder.operation, target, constants, neurons))

    def _stand_in(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return something with which the network runs on, so that all unsupported operations are found."""
        value = Call(run, run, args, kwargs).apply(lambda signal: signal.value)
        start = self.recorder.add_neurons("mix", 1, NO_COLUMNS)

        def signal(each: Any) -> Any:
            return self.recorder.leaf(each, torch.full(each.shape, start)) if isinstance(each, Tensor) else each

        return fx.node.map_aggregate(value, signal)

    def _overwritten(self, first: Any, name: str, signals: int) -> Any:
        """Return an operand to overwrite in its place: a copy, or itself if it or a view of its memory is read again.

        Then its neurons have to stay the same; a sum or product of two signals is refused.
        """
        if not self._depth and not self._is_read_again(first):
            return Signal(first.value.clone(), first.neurons) if isinstance(first, Signal) else first.clone()
        if signals > 1 or not isinstance(first, Signal):
            raise PruningError(
                f"{name} overwrites a tensor (at {self._node.name!r}) that is read again, or may be. Assign the sum or "
                "product to a new name, as in y = y + x."
            )
        return first

    def _is_read_again(self, first: Any) -> bool:
        """Return whether a later node reads a tensor with the memory of this one."""
        last = self.user_to_last_uses.get(self._node, [])
        later: list[Any] = []
        for each in (value for node, value in self.env.items() if node.users and node not in last):
            fx.node.map_aggregate(each, later.append)
        return _memory(first) in map(_memory, later)


def _memory(value: Any) -> int | None:
    """Return the address of the memory behind a tensor or a signal; None of other values."""
    tensor = value.value if isinstance(value, Signal) else value
    return tensor.untyped_storage().data_ptr() if isinstance(tensor, Tensor) else None


_OPERATORS = {"__getitem__": operator.getitem, "__rsub__": "sub", "__rdiv__": "div", "__rpow__": "pow"}


def _code_of(operation: Any) -> Callable[..., Any] | None:
    """Return the Python code of a module or a function that has no rule; None if torch hides it."""
    if isinstance(operation, nn.Module):
        return operation if rule_of(type(operation)) is None else None
    hidden = not isinstance(operation, FunctionType) or operation.__module__.partition(".")[0] == "torch"
    return None if hidden or rule_of(operation) is not None else operation


def _attends_over_first_axis(module: nn.Module, signal: Signal) -> bool:
    attentions = [each for each in module.modules() if isinstance(each, nn.MultiheadAttention)]
    return any(not each.batch_first or signal.value.ndim == 2 for each in attentions)


def _refusal(unknown: Mapping[str, list[str]]) -> str:
    named = [
        f"{name} ({places[0]}{f', and {len(places) - 1} more' if len(places) > 1 else ''})"
        for name, places in unknown.items()
    ]
    return (
        f"the effect of {'; of '.join(named)} on neurons is unknown. Supported are dense, convolutional and recurrent "
        "layers, embeddings, attention, norms, activations, pooling, dropout, reshaping, sums, products and "
        "concatenations. To follow only a sequence of modules, name them: layers=(...)."
    )

"""Which parameters the tensors that code computes depend on."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary


class Origins(TorchFunctionMode):
    """While it is active, remembers which parameters the results of torch's functions depend on, detached or not.

    Args:
        names: the plain names of parameters.

    Examples:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(2, 3))
        >>> with (origins := Origins({weight: "0.weight"})):
        ...     half = 0.5 * weight.detach().t()
        >>> origins.of(half), origins.of(torch.ones(2))
        ({'0.weight'}, set())
    """

    def __init__(self, names: Mapping[Tensor, str]) -> None:
        super().__init__()
        self._names: Any = WeakTensorKeyDictionary({tensor: {name} for tensor, name in names.items()})

    def of(self, values: Any) -> set[str]:
        """Return the names of the parameters that nested values depend on."""
        found: set[str] = set()
        fx.node.map_aggregate(values, lambda each: found.update(self._of(each)))
        return found

    def _of(self, value: Any) -> set[str]:
        return self._names.get(value, set()) if isinstance(value, Tensor) else set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, and remember what its results depend on."""
        result = func(*args, **(kwargs or {}))
        if names := self.of((tuple(args), dict(kwargs or {}))):

            def remember(each: Any) -> None:
                if isinstance(each, Tensor):
                    self._names[each] = names | self._of(each)

            fx.node.map_aggregate(result, remember)
        return result

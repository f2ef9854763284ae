"""Tensors that follow neurons through code that is run rather than traced."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from lthprune.analysis.signals import Signal

Apply = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


class Follower(Tensor):
    """A tensor that hands every operation on it to a function, with the signals behind it."""

    signal: Signal
    apply: Apply

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Apply an operation to signals."""
        apply: list[Apply] = []

        def plain(each: Any) -> Any:
            if isinstance(each, Follower):
                apply.append(each.apply)
                return each.signal
            return each

        arguments, keywords = fx.node.map_aggregate((tuple(args), dict(kwargs or {})), plain)
        return following(apply[0](func, arguments, keywords), apply[0])


def following(results: Any, apply: Apply) -> Any:
    """Return nested results with followers in place of signals."""

    def wrap(each: Any) -> Any:
        if not isinstance(each, Signal):
            return each
        follower = each.value.as_subclass(Follower)
        follower.signal, follower.apply = each, apply
        return follower

    return fx.node.map_aggregate(results, wrap)


def followed(results: Any) -> Any:
    """Return nested results with signals in place of followers."""

    def unwrap(each: Any) -> Any:
        return each.signal if isinstance(each, Follower) else each

    return fx.node.map_aggregate(results, unwrap)

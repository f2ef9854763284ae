"""Narrower networks: the same layers with fewer channels and units."""

from collections.abc import Callable

from lthprune.errors import RecipeError
from lthprune.models.spec import ModelSpec, parse_item


def narrow(spec: ModelSpec, factor: float) -> ModelSpec:
    """Return the network with ``factor`` times as many channels and units in every layer but the output.

    Sizes are rounded to whole numbers, and at least 1.

    Raises:
        RecipeError: lthprune does not build the network layer by layer.

    Examples:
        >>> narrow(ModelSpec(kind="lenet"), 0.1).dense
        (30, 10)
    """
    if not spec.listed:
        raise RecipeError(
            f"a narrower {spec.name or spec.kind} cannot be built: lthprune does not list its layers. Networks of the "
            'kinds "mlp" and "plan" and the named ones, such as "lenet" and "resnet", can be narrowed.'
        )
    if spec.kind == "resnet":
        return spec.model_copy(update={"width": _size(spec.width or 16, factor)})
    if spec.kind == "wide-resnet":
        return spec.model_copy(update={"widen": _size(spec.widen or 1, factor)})
    whole = spec.architecture
    settings = spec.model_dump(exclude={"kind", "conv", "dense", "hidden", "depth"})
    return ModelSpec(
        **settings | {"kernel_size": whole.kernel_size, "padding": whole.padding},
        kind="plan",
        conv=tuple(_narrower(item, factor) for item in whole.conv),
        dense=tuple(_size(size, factor) for size in whole.dense),
    )


def narrow_to(spec: ModelSpec, weights: int, count: Callable[[ModelSpec], int]) -> ModelSpec:
    """Return the narrower network whose number of weights is nearest to ``weights``.

    Args:
        spec: the whole network.
        weights: the number to come near to.
        count: returns the number of weights of a network.

    Raises:
        RecipeError: lthprune does not build the network layer by layer.

    Examples:
        >>> def count(spec):
        ...     first, second = spec.dense
        ...     return 784 * first + first * second + second * 10
        >>> small = narrow_to(ModelSpec(kind="lenet"), 9526, count)
        >>> small.dense, count(small)
        ((12, 4), 9496)
    """
    low, high = 0.0, 1.0
    smaller, larger = narrow(spec, low), narrow(spec, high)
    while high - low > 1e-4 and smaller != larger:
        middle = narrow(spec, (low + high) / 2)
        if count(middle) <= weights:
            low, smaller = (low + high) / 2, middle
        else:
            high, larger = (low + high) / 2, middle
    return min((smaller, larger), key=lambda each: abs(count(each) - weights))


def _narrower(item: int | str, factor: float) -> int | str:
    parsed = parse_item(item)
    if isinstance(parsed, str):
        return parsed
    return f"{_size(parsed.channels, factor)}{'B' if parsed.batch_norm else ''}"


def _size(size: int, factor: float) -> int:
    return max(1, round(factor * size))

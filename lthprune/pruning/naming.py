"""Plain names: the names of modules and tensors in a model, without those that wrappers add."""

from collections.abc import Iterator

from torch import nn

# Classes of wrappers, and the component that each adds to every name inside it.
_WRAPPERS = {
    "OptimizedModule": "_orig_mod",  # torch.compile
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of a model by plain name, each once, in the order of registration.

    Names are those of ``model.named_modules()`` without the components that ``torch.compile``, data-parallel wrappers
    and activation checkpointing add, so that a ticket of a wrapped model fits the unwrapped one.

    Examples:
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> [name for name, _ in named_modules(nn.DataParallel(net))]
        ['', '', '0']
    """
    seen: set[int] = set()

    def walk(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        yield prefix, module
        transparent = _wrapped_name(module)
        for name, child in module._modules.items():
            if child is not None:
                yield from walk(prefix if name == transparent else join(prefix, name), child)

    return walk("", model)


def further_names(model: nn.Module) -> dict[int, list[str]]:
    """Return the further names of every module that is registered more than once, by ``id``.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> further_names(nn.Sequential(layer, layer)) == {id(layer): ["1"]}
        True
    """
    first = {id(module): name for name, module in named_modules(model)}
    further: dict[int, list[str]] = {}
    for name, module in unwrapped(model).named_modules(remove_duplicate=False):
        if name != first.get(id(module), name):
            further.setdefault(id(module), []).append(name)
    return further


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``torch.compile`` and data-parallel wrappers."""
    while (name := _wrapped_name(model)) is not None:
        inner = model._modules[name]
        assert inner is not None
        model = inner
    return model


def join(prefix: str, name: str) -> str:
    """Join the name of a module and that of a part of it.

    Examples:
        >>> join("0", "weight"), join("", "weight")
        ('0.weight', 'weight')
    """
    return f"{prefix}.{name}" if prefix else name


def _wrapped_name(module: nn.Module) -> str | None:
    """Return the name under which a wrapper keeps its module; None for any other module."""
    for base in type(module).__mro__:  # by name: importing torch._dynamo takes a second
        name = _WRAPPERS.get(base.__name__)
        if name is not None and name in module._modules and base.__module__.startswith("torch."):
            return name
    return None

"""The classification networks of torchvision and timm, built by their names."""

import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import nn

from lthprune.errors import RecipeError, suggestion
from lthprune.models.fitting import check_training
from lthprune.models.spec import ModelSpec
from lthprune.seeds import seeded_by


class _Library(NamedTuple):
    """A library's classification networks.

    Attributes:
        names: of the networks.
        listed: how to list them, for error messages.
        build: builds one by its name.
        entry: returns the function or class behind a name.
        given: keywords of ``build`` that follow from the data.
        reserved: keywords of ``build`` that a recipe may not set.
    """

    names: Sequence[str]
    listed: str
    build: Callable[..., nn.Module]
    entry: Callable[[str], Callable[..., Any]]
    given: dict[str, object]
    reserved: tuple[str, ...]


def build_named(
    spec: ModelSpec, input_shape: tuple[int, ...], outputs: int, generator: torch.Generator, *, samples: int = 2
) -> nn.Module:
    """Build a network of torchvision or timm with random weights, and try it in training mode.

    The network draws its initial weights as its library does, from the generator and nothing else. torch's default
    generator stays as it is.

    Args:
        spec: a ``[model]`` table of ``kind = "torchvision"`` or ``"timm"``.
        input_shape: of one image, (C, H, W).
        outputs: the size of the output layer.
        generator: decides the weights.
        samples: the size of the batch that the network is tried on; BatchNorm may need more than one.

    Raises:
        RecipeError: the library is missing, has no such network or the network no such setting, or the network
            cannot be trained on images of this shape.

    Examples:
        >>> spec = ModelSpec(kind="torchvision", name="resnet18", settings={"zero_init_residual": True})
        >>> model = build_named(spec, (3, 32, 32), 10, torch.Generator())
        >>> model.fc
        Linear(in_features=512, out_features=10, bias=True)
    """
    name, settings = spec.name or "", spec.settings or {}
    library = (_torchvision if spec.kind == "torchvision" else _timm)(input_shape, outputs)
    if name not in library.names:
        raise RecipeError(
            f"{spec.kind} has no classification network {name!r}{suggestion(name, library.names)} Its "
            f"{len(library.names):,} networks are listed by {library.listed}."
        )
    for key in library.reserved:
        if key in settings:
            raise RecipeError(
                f"settings.{key} cannot be set: lthprune trains networks from random weights, and their numbers of "
                "inputs and outputs follow from the data."
            )
    what = f"{spec.kind}'s {name}"
    _check_images(spec, what, input_shape)
    with seeded_by(generator):
        model = _constructed(library, what, name, settings)
        check_training(
            model,
            what,
            (samples, *input_shape),
            outputs,
            misfit="choose an image size that it takes, as in [data] size = 224, or change the network with its "
            "settings.",
            wrong_output="Turn auxiliary outputs off with its settings, as in settings = { aux_logits = false }.",
        )
    return model


def _torchvision(input_shape: tuple[int, ...], outputs: int) -> _Library:
    models: Any = import_module("torchvision.models")
    return _Library(
        models.list_models(module=models),
        "torchvision.models.list_models(module=torchvision.models)",
        models.get_model,
        models.get_model_builder,
        {"weights": None, "num_classes": outputs},
        ("weights", "weights_backbone", "progress", "num_classes"),
    )


def _timm(input_shape: tuple[int, ...], outputs: int) -> _Library:
    try:
        timm: Any = import_module("timm")
    except ImportError as error:
        raise RecipeError(
            f'kind = "timm" needs the package timm, which cannot be imported ({error}). Install it: '
            "pip install 'lthprune[timm]'"
        ) from error
    return _Library(
        timm.list_models(),
        "timm.list_models()",
        timm.create_model,
        timm.model_entrypoint,
        {"pretrained": False, "num_classes": outputs, "in_chans": input_shape[0]},
        (
            *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
            *("num_classes", "in_chans"),
        ),
    )


def _check_images(spec: ModelSpec, what: str, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 3:
        raise RecipeError(f"{what} needs images (C, H, W); the data have the shape {input_shape}.")
    if spec.kind == "torchvision" and input_shape[0] != 3:
        channels = "1 channel" if input_shape[0] == 1 else f"{input_shape[0]} channels"
        raise RecipeError(
            f"{what} needs images with 3 channels, and the data have {channels}. Use images in colour, or "
            f'kind = "timm", whose networks take any number of channels.'
        )


def _constructed(library: _Library, what: str, name: str, settings: dict[str, Any]) -> nn.Module:
    try:
        with _without_warnings_of_changes(), torch.device("cpu"):
            return library.build(name, **library.given, **settings)
    except Exception as error:  # constructors check little, and fail in any way there is
        message = " ".join(str(error).split()) or type(error).__name__
        unknown = re.search(r"unexpected keyword argument '(\w+)'", message)
        if unknown is not None and unknown[1] in settings:
            known = _keywords(library.entry(name), message)
            raise RecipeError(
                f"settings.{unknown[1]}: {what} has no such setting{suggestion(unknown[1], known)}"
            ) from error
        given = f" with the settings {settings}" if settings else ""
        raise RecipeError(f"{what} cannot be built{given}: {message}.") from error


def _keywords(entry: Callable[..., Any], message: str) -> list[str]:
    """Return the keyword arguments of the class or function that a TypeError's message names, if they can be found."""
    owner = re.match(r"(\w+)(?:\.__init__)?\(\)", message)
    found = getattr(sys.modules[entry.__module__], owner[1], entry) if owner is not None else entry
    return list(inspect.signature(found).parameters)


@contextmanager
def _without_warnings_of_changes() -> Iterator[None]:
    """Ignore warnings of other libraries about changes in their own future versions."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        yield

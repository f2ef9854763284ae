"""Exports: a ticket's network in a folder, with a description of its architecture that replaces recipe and code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Len
from pydantic import BaseModel, Field, ValidationError
from torch import nn

from lthprune.compaction.compacting import Compacted
from lthprune.compaction.compacting import compact as compact_network
from lthprune.errors import PruningError, RecipeError, StorageError, listed, suggestion
from lthprune.files import read_tensors, write_atomically, write_tensors
from lthprune.formats import check_format
from lthprune.models import ModelSpec, build_from, build_model, describe
from lthprune.pruning import without_pruning
from lthprune.reading import expanded, read_json
from lthprune.search import Ticket
from lthprune.section import first_fault
from lthprune.training import use_dense_layers

_FORMAT = 1
_WEIGHTS, _ARCHITECTURE, _ONNX = "model.safetensors", "architecture.json", "model.onnx"
_MOST_OUTPUTS = 10**6  # as many as classes; see data/arrays.py
_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class _Architecture(BaseModel):
    """The entries of a description that a network is built from, whoever wrote it."""

    input: Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=10**8)], ...], Len(1, 3)]
    outputs: Annotated[int, Field(strict=True, ge=1, le=_MOST_OUTPUTS)]
    layers: list[dict[str, Any]] = []
    model: dict[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Export:
    """An exported network, and the folder that it is in.

    Attributes:
        folder: the folder.
        files: the names of its files, in the order in which they were written.
        ticket: where the network comes from, as in ``architecture.json``: ``level``, ``weights``, ``density``,
            ``provenance`` and, of a run, ``recipe``, ``run`` and ``trial``.
        input_shape: the shape of one sample, before inputs are dropped.
        dense: the network in full size, with zeros in place of pruned weights.
        compacted: the smaller network; None without compaction.
    """

    folder: Path
    files: tuple[str, ...]
    ticket: Mapping[str, Any]
    input_shape: tuple[int, ...]
    dense: nn.Module
    compacted: Compacted | None


def export_ticket(
    ticket: Ticket,
    model: nn.Module,
    input_shape: Sequence[int],
    folder: str | Path,
    *,
    weights: Literal["trained", "rewound"] = "trained",
    compact: bool = False,
    drop_inputs: bool = False,
    onnx: bool = False,
    spec: ModelSpec | None = None,
    source: Mapping[str, Any] | None = None,
) -> Export:
    """Write the network of a ticket into a folder: safetensors, a description of its architecture, ONNX on request.

    ``load_export`` reads the folder. ``architecture.json`` is written last. No file is overwritten.

    Args:
        ticket: the ticket.
        model: a model that the ticket fits; it becomes the ticket. An ``nn.Sequential`` of the layers that
            recipes build (dense, conv, batch_norm, max_pool, avg_pool, flatten, activations), or another network
            that a recipe builds (of torchvision, timm or your own function), which needs ``spec``.
        input_shape: the shape of one sample.
        folder: where the files are written; made if it does not exist.
        weights: ``"trained"`` for the weights after training, ``"rewound"`` for those that training starts from.
        compact: make the network smaller; see ``compact``.
        drop_inputs: with ``compact``, drop the unused inputs too. The exported network then reads (batch, features
            kept); ``kept_inputs`` in the description lists them.
        onnx: write ``model.onnx`` too. Needs the packages ``onnx`` and ``onnxscript``.
        spec: the ``[model]`` table of the recipe that built the model.
        source: entries to add to the description of the ticket, such as the name of the run.

    Raises:
        PruningError: an argument is unknown or does not fit the others or the network, ONNX cannot hold the network,
            or a package is missing; nothing is written then.
        StorageError: the ticket does not fit the model, or the folder contains an export or cannot be written.

    Examples:
        >>> import tempfile
        >>> from lthprune import imp
        >>> def build():
        ...     return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
        >>> tickets = imp(build(), lambda model: None, levels=1, rate=0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export = export_ticket(tickets[1], build(), (1, 8, 8), folder, compact=True)
        ...     model = load_export(folder)
        >>> export.files
        ('model.safetensors', 'architecture.json')
        >>> model(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """
    _check_options(spec, compact, drop_inputs, onnx)
    folder = expanded(folder)
    for file in (_WEIGHTS, _ONNX, _ARCHITECTURE):
        if (folder / file).exists():
            raise StorageError(f"{folder / file} already exists. Remove it, or choose another folder: --out FOLDER")

    example = torch.zeros(2, *input_shape)
    dense = without_pruning(ticket.apply(model, weights)).eval()
    use_dense_layers(dense)
    compacted = compact_network(dense, example, drop_inputs=drop_inputs) if compact else None
    exported = dense if compacted is None else compacted.model
    (kept,) = (None,) if compacted is None else compacted.kept_inputs
    (read,) = (example,) if compacted is None else compacted.select(example)
    description = {
        **(source or {}),
        "level": ticket.level,
        "weights": weights,
        "density": ticket.density,
        "provenance": ticket.provenance,
    }
    architecture = {
        "format": _FORMAT,
        "input": list(input_shape),
        "kept_inputs": None if kept is None else kept.tolist(),
        **_describe_architecture(spec, exported, read),
        "ticket": description,
        "compaction": None if compacted is None else _describe_compaction(compacted),
    }
    contents = _to_onnx(exported, read) if onnx else b""
    write_tensors(folder / _WEIGHTS, exported.state_dict(), json.dumps({"format": _FORMAT}))
    if onnx:
        write_atomically(folder / _ONNX, contents)
    write_atomically(folder / _ARCHITECTURE, json.dumps(architecture, indent=1).encode())
    files = (_WEIGHTS, *((_ONNX,) if onnx else ()), _ARCHITECTURE)
    return Export(folder, files, description, tuple(input_shape), dense, compacted)


def load_export(folder: str | Path, *, trust_code: bool = False) -> nn.Module:
    """Build the network of a folder that ``export_ticket`` wrote, in evaluation mode, on the CPU.

    If inputs were dropped, the network reads (batch, features kept): ``x.flatten(1)[:, kept_inputs]``, with
    ``kept_inputs`` from ``architecture.json``. A function of your own that builds the network is imported only with
    ``trust_code``.

    Raises:
        StorageError: the folder is no export, or a file is missing or damaged.
        RecipeError: the network is unknown here, or a function of your own builds it and ``trust_code`` is missing.
    """
    folder = expanded(folder)
    path = folder / _ARCHITECTURE
    try:
        written = read_json(path)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot read {path}: {error}. An export is a folder with {_ARCHITECTURE} and {_WEIGHTS}, as `lthprune "
            "export` writes it."
        ) from error
    if isinstance(written, dict):
        check_format(path, written.get("format"), _FORMAT)
    try:
        architecture = _Architecture.model_validate(written)
    except ValidationError as error:
        raise StorageError(f"{path} is damaged ({first_fault(error)}). Export the ticket again.") from error
    tensors, _ = read_tensors(folder / _WEIGHTS)
    model = _build(architecture, path, trust_code)
    expected = model.state_dict()
    faults = [f"{name!r} is missing{suggestion(name, tensors).rstrip('.')}" for name in expected if name not in tensors]
    faults += [f"{name!r} belongs to no layer" for name in tensors if name not in expected]
    faults += [
        f"{name!r} has the shape {tuple(tensors[name].shape)} and not {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    faults += [
        f"{name!r} has the type {tensors[name].dtype}, where {expected[name].dtype} is built"
        for name in expected
        if name in tensors and tensors[name].dtype != expected[name].dtype
        if not {tensors[name].dtype, expected[name].dtype} <= set(_FLOATING)
    ]
    if faults:
        raise StorageError(
            f"{path} is not the description of {folder / _WEIGHTS}: {listed(faults)}. Export the ticket again."
        )
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def _check_options(spec: ModelSpec | None, compact: bool, drop_inputs: bool, onnx: bool) -> None:
    """Refuse options that do not go together or need a missing package."""
    if drop_inputs and not compact:
        raise PruningError("inputs are dropped as a part of compaction: ask for compact (--compact) too.")
    if compact and spec is not None and not spec.listed:
        raise PruningError(
            f"a compacted {spec.name or 'network'} has layers of other sizes than {spec.kind} builds, so it cannot be "
            "loaded again. Export it without compact (--compact), or make it smaller in Python: "
            "lthprune.compact(model, inputs)."
        )
    missing = [package for package in ("onnx", "onnxscript") if onnx and find_spec(package) is None]
    if missing:
        raise PruningError(
            f"ONNX files need {' and '.join(missing)}, which this Python does not have. Install the missing packages: "
            "pip install 'lthprune[onnx]'"
        )


def _describe_architecture(spec: ModelSpec | None, model: nn.Module, example: torch.Tensor) -> dict[str, Any]:
    """Return the entries that the network is built again from: its layers, or the ``[model]`` table that builds it."""
    inputs = torch.randn(example.shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            expected = model(inputs)
    except RuntimeError as error:
        raise PruningError(
            f"the model cannot read a sample of the shape {tuple(example.shape[1:])} ({' '.join(str(error).split())})."
        ) from error
    if spec is not None and not spec.listed:
        return {"outputs": expected.shape[1], "model": spec.model_dump(mode="json", exclude_none=True)}
    if not isinstance(model, nn.Sequential):
        raise _indescribable(type(model).__name__)
    try:
        layers = describe(model)
    except KeyError as error:
        raise _indescribable(error.args[0].__name__) from None
    built = build_from(layers)
    built.load_state_dict(model.state_dict(), assign=True)
    try:  # a description has sizes, but no stride or slope other than those of recipes
        with torch.no_grad():
            same = torch.equal(built.eval()(inputs), expected)
    except RuntimeError:  # shapes that do not fit
        same = False
    if not same:
        raise _indescribable("a layer with other settings")
    return {"outputs": expected.shape[1], "layers": layers}


def _indescribable(what: str) -> PruningError:
    return PruningError(
        f"an export describes an nn.Sequential of the layers that recipes build; this model is or has {what}. Save the "
        "ticket instead, and apply it to a model that your own code builds: ticket.save('ticket.safetensors')."
    )


def _build(architecture: _Architecture, path: Path, trust_code: bool) -> nn.Module:
    """Build the network of a description; its weights are to be replaced."""
    if architecture.model is None:
        try:
            return build_from(architecture.layers)
        except (TypeError, ValueError, RuntimeError) as error:  # arguments that torch's layers refuse
            reason = " ".join(str(error).split())
            raise StorageError(f"{path} is damaged ({reason}). Export the ticket again.") from error
    try:
        spec = ModelSpec.model_validate(architecture.model)
    except ValidationError as error:  # of a package that is not installed, or of a later version
        raise RecipeError(
            f"{path} names a network that is unknown here: {error.errors()[0]['msg']}. Install the package that builds "
            "it."
        ) from error
    return build_model(spec, architecture.input, architecture.outputs, torch.Generator(), trust_code=trust_code)


def _describe_compaction(compacted: Compacted) -> Mapping[str, Any]:
    report = compacted.report
    layers = [
        {"name": layer.name, "before": layer.before._asdict(), "after": layer.after._asdict()}
        for layer in report.layers
    ]
    return asdict(report) | {"layers": layers}


def _to_onnx(model: nn.Module, example: torch.Tensor) -> bytes:
    """Return a model as an ONNX file for batches of any size."""
    batch = torch.export.Dim("batch")
    try:
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    except Exception as error:  # tracing runs the model's own code on stand-ins, which can raise anything
        raise PruningError(
            f"this {type(model).__name__} cannot be written as ONNX ({' '.join(str(error).split())}). Export it "
            "without onnx (--onnx)."
        ) from error
    assert program is not None
    contents: bytes = program.model_proto.SerializeToString()
    return contents

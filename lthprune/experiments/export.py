"""A ticket out of its run: weights and an architecture that need no recipe."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lthprune.compaction import Compacted
from lthprune.compaction import compact as compact_network
from lthprune.data import shape_of_data
from lthprune.errors import PruningError, RecipeError, StorageError
from lthprune.experiments.run import Run
from lthprune.files import read_tensors, write_atomically, write_tensors
from lthprune.models import ModelSpec, build_from, build_model, describe
from lthprune.pruning import without_pruning

_FORMAT = 1
_WEIGHTS, _ARCHITECTURE, _ONNX = "model.safetensors", "architecture.json", "model.onnx"


@dataclass(frozen=True, eq=False)
class Export:
    """What was exported, and where to.

    Attributes:
        folder: where the files are.
        files: their names, in the order in which they were written.
        level: the level of the ticket.
        input_shape: of one sample, before any input is dropped.
        dense: the network as it was: dense, zero where it is pruned.
        compacted: the smaller network; None where it was not asked for.
    """

    folder: Path
    files: tuple[str, ...]
    level: int
    input_shape: tuple[int, ...]
    dense: nn.Module
    compacted: Compacted | None


def export_ticket(
    run: Run,
    level: int | None = None,
    *,
    trial: int = 0,
    weights: Literal["trained", "rewound"] = "trained",
    compact: bool = False,
    drop_inputs: bool = False,
    onnx: bool = False,
    out: str | Path | None = None,
) -> Export:
    """Write the network of a ticket into a folder: safetensors, a description of its architecture, ONNX on request.

    ``architecture.json`` is written last. ``load_export`` reads the folder.

    Args:
        run: where the ticket is.
        level: which; the last one that is finished where nothing is said.
        trial: of which seed.
        weights: those after training, or those that training starts from.
        compact: whether to make the network smaller; see ``compact``.
        drop_inputs: whether to drop the inputs that nobody listens to as well. What is exported then reads (batch,
            features kept), and ``kept_inputs`` in the description says which.
        onnx: whether to write ``model.onnx`` too; needs the packages ``onnx`` and ``onnxscript``.
        out: the folder; ``exports/level-NN-trial-N`` in that of the run where nothing is said.

    Raises:
        StorageError: the ticket is not there or damaged, the folder cannot be written, or has an export already.
        PruningError: ``weights`` is an unknown word, ``drop_inputs`` goes without ``compact`` or does not fit the
            network, ``compact`` is asked for a network of torchvision or timm, or ONNX cannot hold the network or its
            package is missing. Nothing is written then.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=1"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export = export_ticket(run_recipe(recipe, "short", out=folder), compact=True)
        ...     model = load_export(export.folder)
        >>> export.files
        ('model.safetensors', 'architecture.json')
        >>> model(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """
    if drop_inputs and not compact:
        raise PruningError("inputs are dropped as a part of compaction: ask for compact (--compact) too.")
    spec = run.recipe().model
    if compact and not spec.listed:
        raise PruningError(
            f"a compacted {spec.name or 'network'} has layers of other sizes than {spec.kind} builds, so it cannot be "
            "loaded again. Export it without compact (--compact), or make it smaller in Python: "
            "lthprune.compact(model, inputs)."
        )
    missing = [package for package in ("onnx", "onnxscript") if onnx and find_spec(package) is None]
    if missing:
        raise PruningError(
            f"ONNX files need {' and '.join(missing)}, which this Python does not have. Install what is missing: "
            "pip install 'lthprune[onnx]'"
        )
    if level is None:
        level = max(0, run.tickets.finished - 1)
    tickets = run.tickets.level(level)
    if not 0 <= trial < len(tickets):
        raise StorageError(f"{run.folder} has no trial {trial}; its trials are 0 to {len(tickets) - 1}.")
    ticket = tickets[trial]
    folder = run.folder / "exports" / f"level-{level:02d}-trial-{trial}" if out is None else Path(out).expanduser()
    files = (_WEIGHTS, *((_ONNX,) if onnx else ()), _ARCHITECTURE)
    for file in (_WEIGHTS, _ONNX, _ARCHITECTURE):
        if (folder / file).exists():
            raise StorageError(f"{folder / file} is there already. Remove it, or choose another folder: --out FOLDER")

    shape, outputs = shape_of_data(run.recipe().data, trust_code=run.trust_code)
    example = torch.zeros(2, *shape)
    dense = without_pruning(ticket.apply(run.model(trial), weights)).eval()
    compacted = compact_network(dense, example, drop_inputs=drop_inputs) if compact else None
    model = dense if compacted is None else compacted.model
    (kept,) = (None,) if compacted is None else compacted.kept_inputs
    (read,) = (example,) if compacted is None else compacted.select(example)
    architecture = {
        "format": _FORMAT,
        "input": list(shape),
        "kept_inputs": None if kept is None else kept.tolist(),
        "outputs": outputs,
        **_described(spec, model),
        "ticket": {
            "recipe": run.recipe_name,
            "run": run.name,
            "level": level,
            "trial": trial,
            "weights": weights,
            "density": ticket.density,
            "provenance": ticket.provenance,
        },
        "compaction": None if compacted is None else _compaction(compacted),
    }
    contents = _to_onnx(model, read) if onnx else b""
    write_tensors(folder / _WEIGHTS, model.state_dict(), json.dumps({"format": _FORMAT}))
    if onnx:
        write_atomically(folder / _ONNX, contents)
    write_atomically(folder / _ARCHITECTURE, json.dumps(architecture, indent=1).encode())
    return Export(folder, files, level, shape, dense, compacted)


def load_export(folder: str | Path, *, trust_code: bool = False) -> nn.Module:
    """Build the network of a folder that ``export_ticket`` wrote, in evaluation mode, on the CPU.

    Where inputs were dropped it reads (batch, features kept): ``x.flatten(1)[:, kept_inputs]``, with ``kept_inputs`` as
    in ``architecture.json``. A function of your own that builds the network is imported only with ``trust_code``.

    Raises:
        StorageError: the folder is no export, or a file is missing or damaged.
    """
    folder = Path(folder).expanduser()
    path = folder / _ARCHITECTURE
    try:
        architecture = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot read {path}: {error}. An export is a folder with {_ARCHITECTURE} and {_WEIGHTS}, as `lthprune "
            "export` writes it."
        ) from error
    tensors, _ = read_tensors(folder / _WEIGHTS)
    try:
        if architecture["format"] != _FORMAT:
            raise StorageError(f"{path} has the format {architecture['format']}; this lthprune reads {_FORMAT}.")
        model = _built(architecture, trust_code)
        model.load_state_dict(tensors, assign=True)
    except RecipeError:  # its library is missing, or does not know the network
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StorageError(
            f"{path} is damaged, or not the description of {folder / _WEIGHTS} ({' '.join(str(error).split())}). "
            "Export the ticket again."
        ) from error
    return model.eval()


def _described(spec: ModelSpec, model: nn.Module) -> dict[str, Any]:
    """Return the entry of a description that the network is built again from: its layers, or its library and name."""
    if not spec.listed:
        return {"model": spec.model_dump(mode="json", exclude_none=True)}
    assert isinstance(model, nn.Sequential)
    return {"layers": describe(model)}


def _built(architecture: Mapping[str, Any], trust_code: bool) -> nn.Module:
    """Build the network of a description; its weights mean nothing yet."""
    if "model" not in architecture:
        return build_from(architecture["layers"])
    spec = ModelSpec.model_validate(architecture["model"])
    shape, outputs = tuple(architecture["input"]), architecture["outputs"]
    return build_model(spec, shape, outputs, torch.Generator(), trust_code=trust_code)


def _compaction(compacted: Compacted) -> Mapping[str, Any]:
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
    except Exception as error:  # tracing runs the model's own code on stand-ins, which fails in any way there is
        raise PruningError(
            f"this {type(model).__name__} cannot be written as ONNX ({' '.join(str(error).split())}). Export it "
            "without onnx (--onnx)."
        ) from error
    assert program is not None
    contents: bytes = program.model_proto.SerializeToString()
    return contents

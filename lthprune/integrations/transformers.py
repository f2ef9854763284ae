"""Lottery tickets with Hugging Face transformers: a callback under which every ``trainer.train()`` trains one level."""

from typing import Any

import torch.distributed as dist
from torch import nn

try:
    from accelerate.state import AcceleratorState
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "this callback needs transformers and accelerate: pip install 'lthprune[transformers]'"
    ) from error

from lthprune.errors import PruningError
from lthprune.integrations.repeated import RepeatedTraining
from lthprune.search import Ranks

__all__ = ["IterativePruning", "OneShotPruning"]

_SHARDING = {"fsdp_plugin": "FSDP", "deepspeed_plugin": "DeepSpeed"}  # in the state of accelerate
_TIMINGS = ("_runtime", "_per_second", "_preparation_time", "_compilation_time")  # of the machine, not of the model


class IterativePruning(RepeatedTraining, TrainerCallback):
    """Iterative magnitude pruning over repeated calls of ``trainer.train()``; each call trains one level.

    Before the first step of a training, the callback sets the level's masks and rewound weights, biases and buffers.
    A Trainer keeps its optimiser from one training to the next; the callback resets it to its first state. At the end
    of the training the callback adds the ticket. Its metrics are those of the last evaluation, or with
    ``load_best_model_at_end`` those of the checkpoint that was loaded, and ``train_loss``. Parameters keep their
    names and identities, so checkpoints fit an unpruned model. If a training fails or is interrupted, the next
    one trains the same level from its start.

    Args:
        levels: the number of pruning rounds after the dense training; this and all other arguments are those of
            [`imp`][lthprune.imp]. With ``rewind=Rewinder(at=1000)`` the callback counts the steps, so do not call
            ``rewinder.step()`` yourself.

    Raises:
        PruningError: an option is refused; or, before anything is trained, a training: the search is finished, the
            model is not that of the first training, or the training resumes from a checkpoint.
        StorageError: the store holds another search or is damaged.

    Examples:
        ```python
        from transformers import Trainer, TrainingArguments
        from lthprune.integrations.transformers import IterativePruning

        pruning = IterativePruning(levels=12, rate=0.2)
        arguments = TrainingArguments("checkpoints", num_train_epochs=2, eval_strategy="epoch")
        trainer = Trainer(model, arguments, train_dataset=train, eval_dataset=val, callbacks=[pruning])
        while not pruning.finished:
            trainer.train()
        pruning.tickets[-1].save("ticket.safetensors")
        ```
    """

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        **kwargs: Any,
    ) -> None:
        """Set masks and rewound weights, and reset the optimiser."""
        if state.global_step:
            raise PruningError(
                f"trainer.train(resume_from_checkpoint=...) continues a training at step {state.global_step}, and a "
                "level is trained from its start. Leave it out. To continue a search after its last finished level, "
                'give the callback a folder, as in IterativePruning(levels=12, store="search-1").'
            )
        for plugin, name in _SHARDING.items():
            if getattr(AcceleratorState(), plugin, None) is not None:
                raise PruningError(
                    f"{name} replaces the parameters of the model by shards, which masks cannot follow. Train on one "
                    "device or with DistributedDataParallel."
                )
        together = AcceleratorState().num_processes > 1  # accelerate then wraps by DistributedDataParallel
        self._prepare(model, Ranks(dist.group.WORLD if together else None))
        scaler = getattr(optimizer, "scaler", None)
        optimizer = getattr(optimizer, "optimizer", optimizer)  # inside accelerate's wrapper
        self._restart([optimizer], [lr_scheduler], [] if scaler is None else [scaler])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count optimiser steps for late rewinding."""
        self._count(1)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Verify the training of this level and keep its ticket."""
        if not state.global_step:
            raise PruningError(
                f"the training of level {self.level} made no step, so the level is not trained. Check "
                "num_train_epochs, max_steps and the size of the training dataset."
            )
        self._finish(_metrics(args, state))


class OneShotPruning(IterativePruning):
    """One-shot pruning over repeated calls of ``trainer.train()``: every level prunes the trained dense network.

    Takes the options of [`IterativePruning`][lthprune.integrations.transformers.IterativePruning] and prunes to the
    counts that it reaches at each level; see [`osp`][lthprune.osp].

    Examples:
        ```python
        pruning = OneShotPruning(levels=3, schedule=[0.5, 0.2, 0.1])
        trainer = Trainer(model, arguments, train_dataset=train, callbacks=[pruning])
        while not pruning.finished:
            trainer.train()
        ```
    """

    driver = "osp"


def _metrics(args: TrainingArguments, state: TrainerState) -> dict[str, Any]:
    """Return the evaluation of the final weights, and the mean training loss."""
    evaluations = [entry for entry in state.log_history if any(name.startswith("eval_") for name in entry)]
    step = evaluations[-1]["step"] if evaluations else None
    if args.load_best_model_at_end and state.best_model_checkpoint is not None:
        step = int(state.best_model_checkpoint.rpartition("-")[2])
    metrics: dict[str, Any] = {}
    for entry in evaluations:  # one for each evaluation dataset
        if entry["step"] == step:
            metrics |= {name: value for name, value in entry.items() if not name.endswith(_TIMINGS)}
    return metrics | {name: entry[name] for entry in state.log_history for name in ("train_loss",) if name in entry}

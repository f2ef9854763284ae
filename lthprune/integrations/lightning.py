"""Lottery tickets with Lightning: a callback under which every ``trainer.fit`` trains one level."""

from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
    from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
    from lightning.pytorch.trainer.states import TrainerFn
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("this callback needs Lightning: pip install 'lthprune[lightning]'") from error

from lthprune.errors import PruningError
from lthprune.integrations.repeated import RepeatedTraining
from lthprune.search import Rewinder, ranks_of

__all__ = ["IterativePruning", "OneShotPruning"]


class IterativePruning(RepeatedTraining, Callback):
    """Iterative magnitude pruning over repeated calls of ``trainer.fit``; each call trains one level.

    Before the first step of a fit, the callback sets the level's masks and rewound weights, biases and buffers. At
    the end of the fit it adds the ticket, with ``trainer.callback_metrics`` as metrics. Parameters keep their names and
    identities, so checkpoints fit an unpruned module. If a fit fails or is interrupted, the next one trains
    the same level from its start.

    Args:
        levels: the number of pruning rounds after the dense training; this and all other arguments are those of
            [`imp`][lthprune.imp]. With ``rewind=Rewinder(at=1000)`` the callback counts ``trainer.global_step``, so do
            not call ``rewinder.step()`` yourself.

    Raises:
        PruningError: an option is refused; or, before anything is trained, a fit: the search is finished, the module
            is not that of the first fit, or the trainer cannot train a level.
        StorageError: the store holds another search or is damaged.

    Examples:
        ```python
        from lightning.pytorch import Trainer
        from lthprune.integrations.lightning import IterativePruning

        pruning = IterativePruning(levels=12, rate=0.2)
        while not pruning.finished:
            trainer = Trainer(max_epochs=2, callbacks=[pruning])
            trainer.fit(module, datamodule)
        pruning.tickets[-1].save("ticket.safetensors")
        ```
    """

    training = "fit"

    _start_step = _last_step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the fit can train the next level, and rewind before ``configure_optimizers`` is called."""
        if stage == TrainerFn.FITTING:
            self._check(pl_module)
            self._check_trainer(trainer)
            if self._descent is not None:
                self._descent.prepare()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to continue a training from a checkpoint."""
        if (
            trainer.state.fn == TrainerFn.FITTING and checkpoint["global_step"]
        ):  # 0 when Lightning searches for a learning rate
            raise PruningError(
                "trainer.fit(ckpt_path=...) would replace the rewound weights of this level by those of a checkpoint. "
                "Leave ckpt_path out: a level is trained from its start. To continue a search after its last finished "
                'level, give the callback a folder, as in IterativePruning(levels=12, store="search-1").'
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set masks and rewound weights, now that all parameters exist on their device."""
        self._prepare(pl_module, ranks_of([trainer.model]))
        self._restart(trainer.optimizers, [config.scheduler for config in trainer.lr_scheduler_configs])
        self._start_step = self._last_step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Count optimiser steps for late rewinding."""
        before, self._last_step = self._last_step - self._start_step, trainer.global_step
        after = trainer.global_step - self._start_step
        rewind = self._search.rewind
        if self.level == 0 and isinstance(rewind, Rewinder) and before < rewind.at < after:
            raise PruningError(
                f"one batch took trainer.global_step from {before} to {after}, past the rewind point at {rewind.at}. "
                "Weights are captured at the end of a batch: choose a step of the Rewinder that ends one."
            )
        self._count(after - before)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Verify the training of this level and keep its ticket."""
        if trainer.global_step == self._start_step:
            raise PruningError(
                f"the fit of level {self.level} made no optimiser step, so the level is not trained. Are there batches "
                "to train on, and does the training step return a loss?"
            )
        self._finish({name: float(value) for name, value in trainer.callback_metrics.items()})

    def _check_trainer(self, trainer: Trainer) -> None:
        if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
            raise PruningError(
                f"{type(trainer.strategy).__name__} replaces the parameters of the module by shards, which masks "
                'cannot follow. Train on one device or with Trainer(strategy="ddp").'
            )
        if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
            raise PruningError(
                "this strategy trains in processes that end with the fit, and the tickets would end with them. Use "
                'Trainer(strategy="ddp"), whose processes are kept from fit to fit.'
            )
        if trainer.fast_dev_run and self._stores:
            raise PruningError(
                "fast_dev_run trains a few batches, and the store would keep that as a trained level. Leave store out "
                "while trying the code."
            )
        if trainer.fit_loop.done:
            raise PruningError(
                f"this Trainer has already reached its max_epochs or max_steps, so the fit of level {self.level} would "
                "make no step. Make a new Trainer for each level, inside the loop: "
                "Trainer(max_epochs=..., callbacks=[pruning])."
            )


class OneShotPruning(IterativePruning):
    """One-shot pruning over repeated calls of ``trainer.fit``: every level prunes the trained dense network.

    Takes the options of [`IterativePruning`][lthprune.integrations.lightning.IterativePruning] and prunes to the
    counts that it reaches at each level; see [`osp`][lthprune.osp].

    Examples:
        ```python
        pruning = OneShotPruning(levels=3, schedule=[0.5, 0.2, 0.1])
        while not pruning.finished:
            Trainer(max_epochs=2, callbacks=[pruning]).fit(module, datamodule)
        ```
    """

    driver = "osp"

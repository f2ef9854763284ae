"""A small LightningModule with buffers, its data in memory, and trainers that print nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

L = pytest.importorskip("lightning.pytorch")  # pytest looks into every file for doctests


class Digits(L.LightningModule):
    """A convolution, batch-norm and two dense layers, trained by SGD with momentum and a scheduler."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = build()

    def training_step(self, batch: list[Tensor]) -> Tensor:
        inputs, labels = batch
        return cross_entropy(self.net(inputs), labels)

    def validation_step(self, batch: list[Tensor]) -> None:
        inputs, labels = batch
        self.log("val_acc", (self.net(inputs).argmax(dim=1) == labels).float().mean())

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class ByHand(Digits):
    """The same, stepping by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor]) -> None:  # type: ignore[override]
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch))
        optimizer.step()


def build() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)
    )


def loader(seed: int = 0, size: int = 32) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    data = TensorDataset(
        torch.randn(size, 1, 4, 4, generator=generator), torch.randint(3, (size,), generator=generator)
    )
    return DataLoader(data, batch_size=8, shuffle=seed == 0, generator=torch.Generator().manual_seed(0))


def quiet(*callbacks: L.Callback, **words: Any) -> L.Trainer:
    words = {"max_epochs": 2, "enable_checkpointing": False} | words
    return L.Trainer(
        accelerator="cpu",
        devices=words.pop("devices", 1),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **words,
    )


def fit(module: L.LightningModule, *callbacks: L.Callback, **words: Any) -> dict[str, float]:
    """Train a module by a Trainer of its own, with the same batches every time."""
    trainer = quiet(*callbacks, **words)
    torch.manual_seed(0)
    trainer.fit(module, loader(), loader(1))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}

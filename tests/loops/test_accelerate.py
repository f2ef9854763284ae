"""A loop that Hugging Face's accelerate prepares."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tests.loops.checked import batch_of, search
from tests.nets import net

accelerate = pytest.importorskip("accelerate")


@pytest.mark.parametrize("steps_per_update", [1, 2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_loop_that_accelerate_prepares_keeps_masks_with_and_without_accumulation(steps_per_update: int) -> None:
    inputs, labels = batch_of(0)

    def train(model: nn.Module) -> None:
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=steps_per_update)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
        loader = DataLoader(TensorDataset(inputs, labels), batch_size=len(inputs))
        prepared, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        for _ in range(4):
            for x, y in loader:
                with accelerator.accumulate(prepared):
                    optimizer.zero_grad()
                    accelerator.backward(cross_entropy(prepared(x), y))
                    accelerator.clip_grad_norm_(prepared.parameters(), 1.0)
                    optimizer.step()

    tickets = search(net(), train)
    assert len(tickets) == 3

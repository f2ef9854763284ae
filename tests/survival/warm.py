"""What the server of children has imported and compiled before it forks them; checkpoints follow every evaluation."""

import tempfile

import matplotlib
import torch
from torch import nn

torch.set_num_threads(1)
matplotlib.use("Agg")

import lthprune  # noqa: E402
import lthprune.analysis  # noqa: E402
import lthprune.compaction  # noqa: E402
import lthprune.experiments  # noqa: E402
import lthprune.plots  # noqa: E402
import lthprune_cli.main  # noqa: E402, F401
from lthprune.experiments import run_recipe  # noqa: E402
from lthprune.training import checkpoint  # noqa: E402
from tests.tiny import tiny  # noqa: E402

checkpoint.EVERY = 0.0


def search(store: str) -> None:
    """A search with a loop of one's own: two small networks, four levels, as many steps as take a moment."""
    torch.manual_seed(0)
    inputs, labels = torch.randn(256, 16), torch.randint(4, (256,))
    models = [nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)) for _ in range(2)]

    def train(models: list[nn.Module]) -> list[dict[str, float]]:
        losses = []
        for model in models:
            optimizer = torch.optim.Adam(model.parameters())
            for _ in range(30):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), labels)
                loss.backward()
                optimizer.step()
            losses.append({"loss": loss.item()})
        return losses

    lthprune.imp(models, train, levels=4, store=store, progress=False)


with tempfile.TemporaryDirectory() as _folder:
    _run = run_recipe(tiny("prune.levels=1"), "warm", out=_folder)
    _run.save_figures()
    search(f"{_folder}/store")

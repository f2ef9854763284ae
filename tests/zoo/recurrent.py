"""Recurrent layers, alone and in a model; cells, stepped through a sequence in Python."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from tests.zoo.specimen import Inputs, Specimen, classification, normal, tokens

WIDTH, HIDDEN, LENGTH, VOCABULARY = 5, 6, 7, 50

Cell = nn.RNNCell | nn.LSTMCell | nn.GRUCell


class Stepped(nn.Module):
    """A cell that reads a sequence step by step, and a dense layer on its last state."""

    def __init__(self, cell: Callable[[int, int], Cell]) -> None:
        super().__init__()
        self.cell, self.out = cell(WIDTH, HIDDEN), nn.Linear(HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:  # x: (batch, length, width)
        state: Any = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        output: Tensor = self.out(state[0] if isinstance(state, tuple) else state)
        return output


class Classifier(nn.Module):
    """An embedding, a two-layer recurrent network, a dense layer on its last output."""

    def __init__(self, layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.recurrent = layer(WIDTH, HIDDEN, num_layers=2, batch_first=True)
        self.out = nn.Linear(HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(self.recurrent(self.embedding(x))[0][:, -1])
        return output


class LanguageModel(nn.Module):
    """An embedding, an LSTM, and a decoder that shares its weight with the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.decoder = nn.Linear(HIDDEN, VOCABULARY)
        self.decoder.weight = self.embedding.weight

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores: Tensor = self.decoder(self.lstm(self.embedding(x))[0])
        return {"logits": scores, "loss": cross_entropy(scores[:, :-1].flatten(0, 1), x[:, 1:].flatten())}


def sentences(generator: Generator) -> Inputs:
    return (tokens(VOCABULARY, LENGTH, generator),), {}


def packed(generator: Generator) -> Inputs:
    x = torch.randn(2, LENGTH, WIDTH, generator=generator)
    return (nn.utils.rnn.pack_padded_sequence(x, torch.tensor([LENGTH, LENGTH - 3]), batch_first=True),), {}


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "rnn": lambda: nn.RNN(WIDTH, HIDDEN, batch_first=True),
    "rnn-relu-without-bias": lambda: nn.RNN(WIDTH, HIDDEN, nonlinearity="relu", bias=False, batch_first=True),
    "lstm": lambda: nn.LSTM(WIDTH, HIDDEN, batch_first=True),
    "lstm-2-layers": lambda: nn.LSTM(WIDTH, HIDDEN, num_layers=2, batch_first=True),
    "lstm-bidirectional": lambda: nn.LSTM(WIDTH, HIDDEN, bidirectional=True, batch_first=True),
    "gru": lambda: nn.GRU(WIDTH, HIDDEN, batch_first=True),
    "gru-2-layers-bidirectional": lambda: nn.GRU(WIDTH, HIDDEN, num_layers=2, bidirectional=True, batch_first=True),
    "rnn-cell": lambda: Stepped(nn.RNNCell),
    "lstm-cell": lambda: Stepped(nn.LSTMCell),
    "gru-cell": lambda: Stepped(nn.GRUCell),
}

PROJECTED: dict[str, Callable[[], nn.Module]] = {
    "lstm-projected": lambda: nn.LSTM(WIDTH, HIDDEN, proj_size=4, batch_first=True),
    "lstm-2-layers-bidirectional-projected": lambda: nn.LSTM(
        WIDTH, HIDDEN, num_layers=2, bidirectional=True, proj_size=4, batch_first=True
    ),
}

SPECIMENS = [
    *(Specimen(f"recurrent/{name}", make, normal(LENGTH, WIDTH)) for name, make in LAYERS.items()),
    *(
        Specimen(f"recurrent/{name}", make, normal(LENGTH, WIDTH), warning="LSTM with projections is not supported")
        for name, make in PROJECTED.items()
    ),
    Specimen("recurrent/gru-packed", lambda: nn.GRU(WIDTH, HIDDEN, batch_first=True), packed),
    Specimen("recurrent/lstm-classifier", lambda: Classifier(nn.LSTM), sentences, classification),
    Specimen("recurrent/gru-classifier", lambda: Classifier(nn.GRU), sentences, classification),
    Specimen("recurrent/language-model-tied", LanguageModel, sentences, lambda output: output["loss"]),
]

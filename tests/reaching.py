"""Small networks with products, norms, attention, recurrent layers and tokens, pruned at random."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F


class Squeezed(nn.Module):
    """Convolutions with squeeze-and-excitation, a group norm, a local response norm and an instance norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(3, 6)
        self.shrink, self.grow = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.inner, self.outer, self.last = nn.Conv2d(6, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 3)
        self.lateral, self.instance = nn.LocalResponseNorm(3), nn.InstanceNorm2d(4, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = x * self.grow(self.shrink(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        x = self.lateral(self.inner(self.norm(x)).relu())
        return self.last(self.instance(self.outer(x)).relu()).mean((2, 3))  # type: ignore[no-any-return]


class Gates(nn.Module):
    """Products of two branches that can both be zero, and of a branch with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Linear(4, 6)
        self.after, self.norm, self.last = nn.Linear(6, 5), nn.RMSNorm(5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.left(x).relu(), self.right(x).relu()
        x = self.after(left * right)
        return self.last(self.norm(x * x.tanh()))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A transformer on vectors, with torch's attention and one written by hand, and a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(3, 8), nn.Parameter(torch.randn(1, 1, 8))
        self.first, self.second, self.third = (nn.LayerNorm(8) for _ in range(3))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.qkv, self.project = nn.Linear(8, 24), nn.Linear(8, 8)
        self.inner, self.outer, self.head = nn.Linear(8, 7), nn.Linear(7, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), self.embed(x)], dim=1)
        y = self.first(x)
        x = x + self.attention(y, y, y)[0]
        heads = self.qkv(self.second(x)).reshape(x.shape[0], x.shape[1], 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(heads[0], heads[1], heads[2])
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        x = x + self.outer(F.gelu(self.inner(self.third(x))))
        return self.head(x[:, 0])  # type: ignore[no-any-return]


class Reader(nn.Module):
    """An embedding, a recurrent layer, and a dense layer over its last output."""

    def __init__(self, kind: type[nn.RNNBase], **words: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 5)
        self.widen = nn.Linear(5, 6)
        self.recurrent = kind(6, 4, num_layers=2, batch_first=True, **words)  # type: ignore[arg-type]
        self.head = nn.Linear(8 if words else 4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        output, _ = self.recurrent(self.widen(self.embed(tokens)).relu())
        return self.head(output[:, -1])  # type: ignore[no-any-return]


class Scaled(nn.Linear):
    """A dense layer of a class of one's own."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(2 * input, self.weight, self.bias)


class Tied(nn.Module):
    """Layers of classes of one's own; the decoder has the weights of the encoder, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.middle, self.inner = Scaled(5, 6), Scaled(6, 7), Scaled(7, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(self.middle(self.encoder(x).relu()).relu()).relu()
        return F.linear(x, self.encoder.weight.t())


class SameWeights(nn.Module):
    """Tokens in, tokens out, with one matrix for both; and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.twice, self.inner = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 6)
        self.outer, self.decode = nn.Linear(6, 4), nn.Linear(4, 7)
        self.decode.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.twice(self.twice(self.embed(tokens)).relu()).relu()
        return self.decode(self.outer(self.inner(x).relu()))  # type: ignore[no-any-return]


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, dim_feedforward=5, batch_first=True)
    return nn.Sequential(nn.Linear(3, 6), layer, nn.Flatten(), nn.Linear(24, 2))


FORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "squeezed": (Squeezed, (2, 4, 4)),
    "gates": (Gates, (4,)),
    "attention": (Block, (3, 3)),
    "encoder": (encoder, (4, 3)),
    "rnn": (lambda: Reader(nn.RNN), (4,)),
    "lstm": (lambda: Reader(nn.LSTM, bidirectional=True), (4,)),
    "gru": (lambda: Reader(nn.GRU), (4,)),
    "tied": (Tied, (5,)),
    "same weights": (SameWeights, (4,)),
}
TOKENS = {"rnn": 9, "lstm": 9, "gru": 9, "same weights": 7}


@dataclass(frozen=True)
class Reaching:
    """The settings of a random network."""

    form: str
    density: float
    seed: int

    def build(self) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return a network in double precision with zeros for pruned weights, and its masks."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model = FORMS[self.form][0]().double().eval()
            masks = {}
            for name, parameter in model.named_parameters():
                parameter.data += 0.5 * torch.randn_like(parameter)
                masks[name] = torch.rand_like(parameter) < (self.density if parameter.ndim > 1 else 0.5)
                if parameter.ndim > 1 and self.density < 1:
                    masks[name] &= (torch.rand(len(parameter)) < 0.8).view(-1, *[1] * (parameter.ndim - 1))
                if (parameter.ndim == 1 and name.endswith("weight")) or name == "token":  # of a norm
                    masks[name] = torch.ones_like(masks[name])
            masks.pop("token", None)
            for name, mask in masks.items():
                model.get_parameter(name).data *= mask
        return model, masks

    def inputs(self, samples: int = 6) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1)
        shape = (samples, *FORMS[self.form][1])
        if self.form in TOKENS:
            return torch.randint(TOKENS[self.form], shape, generator=generator)
        return 2 * torch.randn(shape, generator=generator).double()


def reaching(*forms: str) -> st.SearchStrategy[Reaching]:
    return st.builds(
        Reaching,
        form=st.sampled_from(forms or tuple(FORMS)),
        density=st.sampled_from([0.1, 0.2, 0.4, 0.7]),
        seed=st.integers(0, 2**31),
    )

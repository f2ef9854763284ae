"""Models that own parameters, or read those of others, in ways that no layer of torch.nn does."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tests.zoo.specimen import Draw, Inputs, Specimen, normal

WIDTH, HIDDEN = 6, 8


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    return nn.Parameter(0.3 * torch.randn(*shape, dtype=dtype))


class ListOfParameters(nn.Module):
    """A multilayer perceptron whose weights and biases are in two lists."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(HIDDEN, WIDTH), (HIDDEN, HIDDEN), (3, HIDDEN)]
        self.weights = nn.ParameterList([drawn(*size) for size in sizes])
        self.biases = nn.ParameterList([drawn(size[0]) for size in sizes])

    def forward(self, x: Tensor) -> Tensor:
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.linear(x, weight, bias).tanh()
        return x


class DictOfParameters(nn.Module):
    """The same with one dictionary; a parameter of the model itself scales the output."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors = nn.ParameterDict({"in": drawn(WIDTH, HIDDEN), "out": drawn(HIDDEN, 3)})
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.scale * ((x @ self.tensors["in"]).relu() @ self.tensors["out"])
        return output


class ExpertMixture(nn.Module):
    """Four experts in two parameters of shapes (experts, in, out), each weighted by a router."""

    def __init__(self, experts: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, experts)
        self.up, self.down = drawn(experts, WIDTH, HIDDEN), drawn(experts, HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.einsum("bi,eih->beh", x, self.up).relu()
        outputs = torch.einsum("beh,eho->beo", hidden, self.down)
        output: Tensor = (self.router(x).softmax(1).unsqueeze(2) * outputs).sum(1)
        return output


class FunctionalReader(nn.Module):
    """Reads the weight of a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(F.linear(x, self.fc.weight, self.fc.bias).relu())
        return output


class ComplexFilter(nn.Module):
    """Multiplies the spectrum of its input by a complex matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = drawn(WIDTH, WIDTH, dtype=torch.complex64)
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(torch.fft.ifft(torch.fft.fft(x) @ self.filter).real)
        return output


class LowRankAdapter(nn.Module):
    """A frozen layer and a trained product of two small ones, with the names that peft gives them."""

    def __init__(self, base_layer: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base_layer = base_layer.requires_grad_(False)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base_layer.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, base_layer.out_features, bias=False)})
        nn.init.zeros_(self.lora_B.get_parameter("default.weight"))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.base_layer(x) + 2 * self.lora_B["default"](self.lora_A["default"](x))
        return output


class Bilinear(nn.Module):
    """A bilinear form of two inputs, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.form, self.out = nn.Bilinear(WIDTH, 4, HIDDEN), nn.Linear(HIDDEN, 3)

    def forward(self, first: Tensor, *, second: Tensor) -> Tensor:
        output: Tensor = self.out(self.form(first, second).tanh())
        return output


class Bag(nn.Module):
    """Means of embeddings, and a dense layer; the embeddings' gradient is a sparse tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings, self.out = nn.EmbeddingBag(20, HIDDEN, sparse=True), nn.Linear(HIDDEN, 3)

    def forward(self, indices: Tensor, offsets: Tensor) -> Tensor:
        output: Tensor = self.out(self.embeddings(indices, offsets))
        return output


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 3))


def adapted() -> nn.Sequential:
    return nn.Sequential(
        LowRankAdapter(nn.Linear(WIDTH, HIDDEN)), nn.Tanh(), LowRankAdapter(nn.Linear(HIDDEN, HIDDEN)), nn.Tanh()
    )


def transposed_in_memory() -> nn.Sequential:
    """A perceptron whose first weight is stored by columns."""
    model = perceptron()
    model[0].weight = nn.Parameter(torch.randn(WIDTH, HIDDEN).t())
    return model


def channels_last() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten())
    return model.to(memory_format=torch.channels_last)


def two(generator: Generator) -> Inputs:
    return (torch.randn(2, WIDTH, generator=generator),), {"second": torch.randn(2, 4, generator=generator)}


def bags(generator: Generator) -> Inputs:
    return (torch.randint(20, (7,), generator=generator), torch.tensor([0, 3])), {}


def in_precision(dtype: torch.dtype) -> Draw:
    return lambda generator: ((torch.randn(2, WIDTH, generator=generator).to(dtype),), {})


SPECIMENS = [
    Specimen("own/perceptron", perceptron, normal(WIDTH)),
    Specimen("own/perceptron-double", lambda: perceptron().double(), in_precision(torch.float64)),
    Specimen("own/perceptron-bfloat16", lambda: perceptron().bfloat16(), in_precision(torch.bfloat16)),
    Specimen("own/transposed-in-memory", transposed_in_memory, normal(WIDTH)),
    Specimen("own/channels-last", channels_last, normal(3, 6, 6)),
    Specimen("own/parameter-list", ListOfParameters, normal(WIDTH)),
    Specimen("own/parameter-dict", DictOfParameters, normal(WIDTH)),
    Specimen("own/expert-mixture", ExpertMixture, normal(WIDTH)),
    Specimen("own/functional-reader", FunctionalReader, normal(WIDTH)),
    Specimen("own/complex-filter", ComplexFilter, normal(WIDTH)),
    Specimen("own/low-rank-adapter", adapted, normal(WIDTH)),
    Specimen("own/bilinear", Bilinear, two),
    Specimen("own/embedding-bag-sparse", Bag, bags),
]

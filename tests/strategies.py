"""Strategies of hypothesis: models, scores and masks, schedules, seeds."""

import torch
from hypothesis import strategies as st

from lthprune.pruning.masks import Masks
from lthprune.pruning.schedules import Explicit, Geometric, Pool, Schedule, Target
from lthprune.pruning.state import State
from tests.nets import FORMS, Architecture

seeds = st.integers(0, 2**31)
scopes = st.sampled_from(["global", "layerwise"])
biases = st.sampled_from([False, "separate", "together"])
floats = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16])
rates = st.floats(0, 0.95).map(lambda rate: round(rate, 3))


def architectures(forms: tuple[str, ...] = tuple(FORMS)) -> st.SearchStrategy[Architecture]:
    return st.builds(
        Architecture,
        form=st.sampled_from(forms),
        width=st.integers(2, 8),
        bias=st.booleans(),
        dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    )


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, ...]) -> torch.Tensor:
    density = draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    return torch.rand(shape, generator=torch.Generator().manual_seed(draw(seeds))) < density


@st.composite
def scores(draw: st.DrawFn, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Scores with many ties or none, constant ones, infinite ones, and ones whose memory is not in row-major order."""
    generator = torch.Generator().manual_seed(draw(seeds))
    scale = draw(st.sampled_from([0, 1, 3, 1000]))
    values = (torch.randn(shape, generator=generator) * scale).round() / 10
    if draw(st.booleans()):
        chance = torch.rand(shape, generator=generator)
        values = values.masked_fill(chance < 0.2, -torch.inf).masked_fill(chance > 0.8, torch.inf)
    order = draw(st.permutations(range(len(shape))))
    backwards = [order.index(axis) for axis in range(len(shape))]
    return values.to(dtype).permute(order).contiguous().permute(backwards)


@st.composite
def competitions(draw: st.DrawFn) -> tuple[State, Masks, int]:
    """Scores and masks of the tensors in one pool, and the number of weights to keep."""
    shapes = draw(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple), min_size=1, max_size=4))
    names = [f"layer{index}.weight" for index in range(len(shapes))]
    dtypes = draw(st.lists(floats, min_size=len(shapes), max_size=len(shapes)))
    drawn = zip(names, shapes, dtypes, strict=True)
    scored = {name: draw(scores(shape, dtype)) for name, shape, dtype in drawn}
    held = {name: draw(masks(shape)) for name, shape in zip(names, shapes, strict=True)}
    return scored, held, draw(st.integers(0, sum(int(mask.sum()) for mask in held.values())))


@st.composite
def pools(draw: st.DrawFn) -> list[Pool]:
    sizes = draw(st.lists(st.integers(1, 400), min_size=1, max_size=5))
    kinds = draw(st.lists(st.sampled_from(["conv", "dense", "output"]), min_size=len(sizes), max_size=len(sizes)))
    return [
        Pool((f"layer{index}.weight",), (kind,), draw(st.integers(1, size)), size)
        for index, (size, kind) in enumerate(zip(sizes, kinds, strict=True))
    ]


@st.composite
def schedules(draw: st.DrawFn, left: int, levels: int, *, one_rate: bool = False) -> Schedule:
    """Schedules of every kind that a model with this number of weights can follow."""
    counts = st.integers(1, left)
    by_kind = st.fixed_dictionaries(dict.fromkeys(("conv", "dense", "output"), rates))
    explicit = st.lists(counts, min_size=levels, max_size=levels).map(lambda each: Explicit(sorted(each, reverse=True)))
    return draw(
        st.one_of(st.builds(Geometric, rates if one_rate else rates | by_kind), st.builds(Target, counts), explicit)
    )

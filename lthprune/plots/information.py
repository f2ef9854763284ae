"""A figure of mutual information: the information plane, and pairs of layers over the levels."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lthprune.analysis import INPUT, LABELS, Information, LevelInformation
from lthprune.plots.style import FULL_WIDTH, MARKERS, QUALITATIVE, evenly, percent, shades, styled

_ESTIMATES = {"mine": "MINE", "neighbours": "nearest neighbours"}
_MOST_TICKS = 9


@styled
def plot_information(found: Sequence[LevelInformation], title: str = "") -> Figure:
    """Plot the mutual information of layers, in nats, by MINE (left) and by nearest neighbours (right).

    The upper panels are the information plane: for each layer the information about the inputs and about the labels,
    from the first level (dark) to the last (light). The lower panels show all other pairs, level by level.

    Args:
        found: the estimates at some levels, or at some steps of their training, all of the same pairs.
        title: of the figure.
    """
    pairs = list(found[0].pairs)
    layers = list(dict.fromkeys(name for pair in pairs for name in pair if name not in (INPUT, LABELS)))
    planes = [layer for layer in layers if {(INPUT, layer), (layer, LABELS)} <= set(pairs)]
    others = [pair for pair in pairs if not set(pair) & {INPUT, LABELS}] or pairs
    figure = Figure(figsize=(FULL_WIDTH, 5.4 if planes else 3.0))
    figure.suptitle(title)
    panels = figure.subplots(1 + bool(planes), 2, squeeze=False)
    for column, (name, words) in enumerate(_ESTIMATES.items()):
        if planes:
            _draw_plane(panels[0, column], found, planes, name)
        _draw_pairs(panels[-1, column], found, others, name)
        panels[0, column].set_title(words)
    panels[-1, 0].legend()
    if planes:
        panels[0, 0].legend(title="dark: first, light: last")
    return figure


def _draw_plane(axes: Axes, found: Sequence[LevelInformation], layers: Sequence[str], estimate: str) -> None:
    colours = shades(len(found))
    for layer, marker in zip(layers, _cycled(MARKERS, len(layers)), strict=True):
        x = [_value(own.pairs, (INPUT, layer), estimate) for own in found]
        y = [_value(own.pairs, (layer, LABELS), estimate) for own in found]
        axes.plot(x, y, color="#888888", lw=0.6, zorder=1)
        axes.scatter(x, y, c=colours, marker=marker, s=18, zorder=2)
        axes.plot([], [], color="#888888", marker=marker, lw=0, label=layer)
    axes.set_xlabel("with the inputs (nats)")
    axes.set_ylabel("with the labels (nats)")
    axes.grid()


def _draw_pairs(axes: Axes, found: Sequence[LevelInformation], pairs: Sequence[tuple[str, str]], estimate: str) -> None:
    looks = zip(_cycled(QUALITATIVE, len(pairs)), _cycled(MARKERS, len(pairs)), strict=True)
    for pair, (colour, marker) in zip(pairs, looks, strict=True):
        values = [_value(own.pairs, pair, estimate) for own in found]
        axes.plot(values, color=colour, marker=marker, label=" and ".join(pair))
    shown = evenly(len(found), _MOST_TICKS)
    axes.set_xticks(shown, [_place(found[place]) for place in shown])
    axes.set_xlabel("density" if all(own.step is None for own in found) else "step, or density after the training")
    axes.set_ylabel("mutual information (nats)")
    axes.grid()


def _place(own: LevelInformation) -> str:
    return percent(own.density).replace(" ", "") if own.step is None else f"{own.step:,}"


def _value(pairs: Mapping[tuple[str, str], Information], pair: tuple[str, str], estimate: str) -> float:
    return float(getattr(pairs[pair], estimate))


def _cycled(values: Sequence[str], number: int) -> list[str]:
    return [values[place % len(values)] for place in range(number)]

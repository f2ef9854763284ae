"""The style of all figures: sizes and fonts for a thesis or a paper, and colours that are distinct in greyscale too."""

import io
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lthprune.analysis import NeuronState
from lthprune.files import write_atomically

ONE_COLUMN = 3.3  # inches: one of two columns of a page
FULL_WIDTH = 6.3  # inches: both columns, or the text of an A4 page (16 cm)

# Of Okabe and Ito's palette (https://jfly.uni-koeln.de/color), and grey for pruned.
COLOURS: dict[NeuronState, str] = {
    NeuronState.ALIVE: "#009E73",
    NeuronState.AUDIENCE: "#56B4E9",
    NeuronState.ZOMBIE: "#D55E00",
    NeuronState.UNPRODUCTIVE: "#F0E442",
    NeuronState.COMATOSE: "#CC79A7",
    NeuronState.PRUNED: "#C8C8C8",
}
# In greyscale, hatches and markers tell the states apart.
HATCHES = dict(zip(COLOURS, ("", "....", "/////", "xxxxx", "\\\\\\\\\\", ""), strict=True))
STATE_MARKERS = dict(zip(COLOURS, "oD^sv>", strict=True))
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#888888"  # of curves; markers or line styles tell them apart in grey
MARKERS = "osD^vPX*"
QUALITATIVE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888")  # Okabe and Ito's, and grey
RANGE = "minimum to maximum"

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 9,
    "figure.labelsize": 8,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.4,
    "hatch.linewidth": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "errorbar.capsize": 1.8,
    "figure.dpi": 200,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # TrueType: the text of a PDF can be searched and edited
    "svg.hashsalt": "lthprune",  # the same names within the file every time
}
_TICKS: dict[str, Any] = {"labelsize": 7, "width": 0.6, "length": 2.5}

Look = dict[str, Any]  # keyword arguments of matplotlib's artists

_Words = ParamSpec("_Words")


def styled(draw: Callable[_Words, Figure]) -> Callable[_Words, Figure]:
    """Let a function draw its figure in this style; matplotlib's own settings stay as they are."""

    @wraps(draw)
    def drawn(*args: _Words.args, **kwargs: _Words.kwargs) -> Figure:
        with rc_context(_STYLE):
            figure = draw(*args, **kwargs)
            for axes in figure.axes:  # which make their ticks when the figure is saved, perhaps in another style
                axes.tick_params(which="major", **_TICKS)
        return figure

    return drawn


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure in this style, in the format that the path's ending names; an earlier file is replaced at the end.

    Raises:
        StorageError: the file cannot be written.
    """
    drawn = io.BytesIO()
    with rc_context(_STYLE):
        figure.savefig(drawn, format=Path(path).suffix.removeprefix("."))
    write_atomically(Path(path), drawn.getvalue())


def shades(number: int) -> list[str]:
    """Return colours from dark to light for quantities in order, such as densities or the layers of a network."""
    return [to_hex(colour) for colour in colormaps["plasma"](np.linspace(0.02, 0.84, number))]


def evenly(number: int, most: int) -> list[int]:
    """Return at most so many of the first ``number`` integers at even distances, the first and the last among them.

    Examples:
        >>> evenly(4, 12), evenly(30, 4)
        ([0, 1, 2, 3], [0, 10, 19, 29])
    """
    return [int(place) for place in np.unique(np.linspace(0, number - 1, min(most, number)).round())]


def percent(density: float) -> str:
    """Return a density in percent, with three significant digits.

    Examples:
        >>> percent(0.80042), percent(0.0022)
        ('80 %', '0.22 %')
    """
    return f"{100 * density:.3g} %"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples:
        >>> counted(1, "trial"), counted(4000, "weight")
        ('1 trial', '4,000 weights')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def bar_look(state: NeuronState) -> Look:
    """Return how bars and patches of a state look."""
    return {"facecolor": COLOURS[state], "hatch": HATCHES[state], "edgecolor": "#333333", "lw": 0.2}


def explain_states(figure: Figure) -> None:
    """Add a legend of the states below a figure of bars."""
    handles = [Patch(label=state.name.lower(), **bar_look(state)) for state in NeuronState]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))

"""The ``[model]`` table of a recipe: layers listed or named, networks of other libraries, functions of your own."""

from typing import Any, Literal, NamedTuple

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from lthprune.errors import RecipeError, shown, suggestion
from lthprune.parts import MODEL, check_part_name
from lthprune.section import Section, Single

Activation = Literal["relu", "tanh", "sigmoid", "elu", "gelu", "leaky_relu"]
BiasInit = Literal["zeros", "uniform"]
Init = Literal["glorot_normal", "glorot_uniform", "kaiming_normal", "kaiming_uniform", "normal"]

MOST_UNITS = 10**8  # of a layer; more are a mistake, or would ask for weights that no memory holds
_MOST_LAYERS = 2_000
_MOST_PIXELS = 1_000  # of kernels and their padding

LIBRARIES = ("torchvision", "timm")
RESIDUAL = {"resnet": 2, "wide-resnet": 4}  # three stages of n blocks: the depth is 6n + 2, or 6n + 4


class Architecture(NamedTuple):
    """The layers before the output layer, and the kernel size and padding of the convolutions."""

    conv: tuple[int | str, ...]
    dense: tuple[int, ...]
    kernel_size: int = 3
    padding: int = 1


ARCHITECTURES: dict[str, Architecture] = {
    "lenet": Architecture((), (300, 100)),
    "lenet5": Architecture((6, "M", 16, "M"), (300, 100), kernel_size=5, padding=0),
    "conv2": Architecture((64, 64, "M"), (256, 256)),
    "conv4": Architecture((64, 64, "M", 128, 128, "M"), (256, 256)),
    "conv6": Architecture((64, 64, "M", 128, 128, "M", 256, 256, "M"), (256, 256)),
    "tiny": Architecture((8, 8, "M", 8, "M"), (300, 100)),
}


def _vgg(*convolutions: int) -> tuple[int | str, ...]:
    """Return the layers of a VGG by the number of convolutions in each stage, with a mean after the last stage."""
    items: list[str] = []
    for channels, number in zip((64, 128, 256, 512, 512), convolutions, strict=True):
        items += [*[f"{channels}B"] * number, "M"]
    return (*items[:-1], "G")


# Simonyan & Zisserman (2015), table 1, with batch norm, and a single dense layer after a mean over all positions: as in
# open_lth and in Frankle & Carbin (2019), figure 2.
VGG = {
    11: _vgg(1, 1, 2, 2, 2),
    13: _vgg(2, 2, 2, 2, 2),
    16: _vgg(2, 2, 3, 3, 3),
    19: _vgg(2, 2, 4, 4, 4),
}

_LISTED = (*ARCHITECTURES, "mlp", "plan", "vgg", *RESIDUAL)  # kinds that lthprune builds, layer by layer
_INITIAL = frozenset({"kind", "init", "init_std", "bias_init"})  # keys of all of these
_OF_DEPTH = {"vgg": {"depth", "activation"}, "resnet": {"depth", "width"}, "wide-resnet": {"depth", "widen"}}


class ModelSpec(Section):
    """The ``[model]`` table of a recipe."""

    kind: str
    """``lenet``, ``lenet5``, ``conv2``, ``conv4``, ``conv6``, ``tiny``; ``mlp`` needs ``dense``, ``plan`` needs
    ``conv``, ``dense`` or both; ``resnet``, ``wide-resnet`` and ``vgg`` need ``depth``; ``torchvision`` and ``timm``
    need ``name`` and take only ``settings`` besides; or your own function, as in ``my_module:build``, which takes only
    ``settings``"""
    depth: int | None = Field(default=None, le=_MOST_LAYERS)
    """the number of layers with weights: of ``resnet`` 20, 32, 44, 56, 110 or another 6n + 2, of ``wide-resnet`` 16,
    22, 28, 40 or another 6n + 4, of ``vgg`` 11, 13, 16 or 19"""
    width: int | None = Field(default=None, ge=1, le=MOST_UNITS)
    """the channels of the first stage of ``resnet``, 16 by default; the later stages have 2 and 4 times as many"""
    widen: int | None = Field(default=None, ge=1, le=MOST_UNITS)
    """how many times the channels of ``wide-resnet`` are those of a ``resnet``: 8 in WRN-16-8; 1 by default"""
    name: str | None = None
    """a classification network of torchvision or timm, as in ``resnet18``"""
    settings: dict[str, JsonValue] | None = None
    """keyword arguments for that network's constructor, as in ``{ zero_init_residual = true }``, or for your own
    function; see [Extending](extending.md)"""
    conv: tuple[int | str, ...] | None = Field(default=None, max_length=_MOST_LAYERS)
    """convolutional layers: ``64`` channels, ``"64B"`` with batch norm, ``"M"`` max-pooling, ``"A"`` average-pooling,
    ``"G"`` the mean over all positions"""
    dense: tuple[int, ...] | None = Field(default=None, max_length=_MOST_LAYERS)
    """sizes of the dense layers; the output layer is added, with the size that the data need"""
    hidden: int | None = Field(default=None, ge=1, le=MOST_UNITS)
    """one size for all dense layers but the output; it replaces every size that ``dense`` lists"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """the probability with which a training step sets an output of a hidden dense layer to zero, after the activation
    (the others are scaled up); evaluations use all outputs"""
    activation: Activation = "relu"
    """after every layer but the output: ``relu``, ``tanh``, ``sigmoid``, ``elu``, ``gelu`` or ``leaky_relu``"""
    init: Init = "glorot_normal"
    """of the weights: ``glorot_normal``, ``glorot_uniform``, ``kaiming_normal``, ``kaiming_uniform`` or ``normal``"""
    init_std: Single = Field(default=0.1, gt=0)
    """the standard deviation for ``init = "normal"``"""
    bias_init: BiasInit = "zeros"
    """of the biases: ``zeros``, or ``uniform`` within 1/sqrt(fan-in) of zero, which is PyTorch's default"""
    kernel_size: int | None = Field(default=None, ge=1, le=_MOST_PIXELS)
    """of the convolutions, in pixels; by default that of the named network, or 3"""
    padding: int | None = Field(default=None, ge=0, le=_MOST_PIXELS)
    """of the convolutions, in pixels; by default that of the named network, or 1"""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        check_part_name(MODEL, kind, (*_LISTED, *LIBRARIES), what="kind of network")
        return kind

    @field_validator("conv")
    @classmethod
    def _readable(cls, conv: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        for item in conv or ():
            parse_item(item)
        return conv

    @field_validator("dense")
    @classmethod
    def _positive(cls, dense: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if not all(1 <= size <= MOST_UNITS for size in dense or ()):
            raise ValueError(
                f"dense layers have at least one unit and at most {MOST_UNITS:,}; this says {shown(list(dense or ()))}"
            )
        return dense

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> "ModelSpec":
        given = [
            key for key in type(self).model_fields if key in self.model_fields_set and getattr(self, key) is not None
        ]
        foreign = [key for key in given if key not in keys_of(self.kind)]
        if foreign and self.kind in LIBRARIES:
            raise ValueError(f'kind = "{self.kind}" takes name and settings, and no {", no ".join(foreign)}')
        if foreign and self.own:
            raise ValueError(
                f'kind = "{self.kind}", a function of your own, takes settings and no {", no ".join(foreign)}'
            )
        if {"name", "settings"} & set(foreign):
            raise ValueError(
                f'kind = "{self.kind}" takes no {", no ".join(foreign)}; name and settings are for '
                'kind = "torchvision" and kind = "timm", settings for a function of your own'
            )
        if foreign:
            *takes, last = (key for key in type(self).model_fields if key in keys_of(self.kind) - {"kind"})
            raise ValueError(
                f'kind = "{self.kind}" takes no {", no ".join(foreign)}; it takes {", ".join(takes)} and {last}'
            )
        if self.kind in LIBRARIES and self.name is None:
            raise ValueError(f'kind = "{self.kind}" needs the name of a network, as in name = "resnet18"')
        return self

    @model_validator(mode="after")
    def _of_a_depth(self) -> "ModelSpec":
        if self.kind not in _OF_DEPTH:
            return self
        if self.kind == "vgg":
            fits, depths = self.depth in VGG, f"{', '.join(map(str, tuple(VGG)[:-1]))} or {max(VGG)}"
        else:
            rest = RESIDUAL[self.kind]
            fits = self.depth is not None and self.depth > 6 and self.depth % 6 == rest
            depths = f"{rest + 6}, {rest + 12}, {rest + 18}, {rest + 24} or another 6n + {rest}"
        if not fits:
            given = "none is given" if self.depth is None else f"not {self.depth}"
            raise ValueError(f'kind = "{self.kind}" needs a depth of {depths}; {given}')
        return self

    @model_validator(mode="after")
    def _complete(self) -> "ModelSpec":
        if self.kind == "mlp" and (self.dense is None or self.conv):
            raise ValueError('kind = "mlp" takes dense = [...] and no conv')
        if self.kind == "plan" and self.dense is None and self.conv is None:
            raise ValueError('kind = "plan" takes conv = [...], dense = [...] or both')
        if self.hidden is not None and not self.architecture.dense:
            raise ValueError(
                f"hidden = {self.hidden} is the size of dense layers, and there are none; list some in dense"
            )
        if self.dropout and not self.architecture.dense:
            raise ValueError(
                f"dropout = {self.dropout} follows hidden dense layers, and there are none; list some in dense"
            )
        return self

    @model_serializer(mode="wrap")
    def _keys_that_apply(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in keys_of(self.kind)}

    @property
    def listed(self) -> bool:
        """Whether lthprune itself builds the network, layer by layer."""
        return self.kind in _LISTED

    @property
    def own(self) -> bool:
        """Whether a function of your own, or of an installed package, builds the network."""
        return not self.listed and self.kind not in LIBRARIES

    @property
    def architecture(self) -> Architecture:
        """The layers of a network that lthprune builds: those of the named one, replaced by what the table lists.

        Those of ``resnet`` and ``wide-resnet`` are no such list, and left out.
        """
        plan = VGG[self.depth] if self.kind == "vgg" and self.depth is not None else ()
        named = ARCHITECTURES.get(self.kind, Architecture(plan, ()))
        dense = named.dense if self.dense is None else self.dense
        return Architecture(
            conv=named.conv if self.conv is None else self.conv,
            dense=dense if self.hidden is None else (self.hidden,) * len(dense),
            kernel_size=self.kernel_size or named.kernel_size,
            padding=named.padding if self.padding is None else self.padding,
        )


def keys_of(kind: object) -> frozenset[str]:
    """Return the keys of the ``[model]`` table that a kind of network takes.

    Examples:
        >>> sorted(keys_of("torchvision"))
        ['kind', 'name', 'settings']
        >>> sorted(keys_of("my_module:build"))
        ['kind', 'settings']
        >>> "activation" in keys_of("lenet")
        True
        >>> sorted(keys_of("resnet"))
        ['bias_init', 'depth', 'init', 'init_std', 'kind', 'width']
    """
    if kind in _OF_DEPTH:
        return _INITIAL | _OF_DEPTH[str(kind)]
    if kind in _LISTED:
        return frozenset(ModelSpec.model_fields) - {"name", "settings", "depth", "width", "widen"}
    return frozenset({"kind", "name", "settings"} if kind in LIBRARIES else {"kind", "settings"})


class ConvItem(NamedTuple):
    """A convolution in the list ``conv``."""

    channels: int
    batch_norm: bool


def parse_item(item: int | str) -> ConvItem | Literal["M", "A", "G"]:
    """Read one item of the list ``conv``.

    Examples:
        >>> parse_item(64), parse_item("8B"), parse_item("M")
        (ConvItem(channels=64, batch_norm=False), ConvItem(channels=8, batch_norm=True), 'M')
    """
    text = str(item).strip()
    if text in ("M", "A", "G"):
        return text  # type: ignore[return-value]
    digits = text.removesuffix("B")
    if not digits.isdecimal() or len(digits) > 9 or not 1 <= int(digits) <= MOST_UNITS:
        raise RecipeError(
            f"conv lists channel numbers (64; at most {MOST_UNITS:,}), channels with batch norm ('64B'), 'M', 'A' "
            f"and 'G'; not {shown(item)}"
            f"{suggestion(text, ('M', 'A', 'G', '64B'))}"
        )
    return ConvItem(int(digits), batch_norm=text.endswith("B"))

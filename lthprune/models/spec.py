"""The ``[model]`` table of a recipe: the plan language, its named plans, and the networks of other libraries."""

from typing import Any, Literal, NamedTuple

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from lthprune.errors import RecipeError, suggestion
from lthprune.section import Section

ModelKind = Literal["lenet", "lenet5", "conv2", "conv4", "conv6", "tiny", "mlp", "plan", "torchvision", "timm"]
Activation = Literal["relu", "tanh", "sigmoid", "elu", "gelu", "leaky_relu"]
BiasInit = Literal["zeros", "uniform"]
Init = Literal["glorot_normal", "glorot_uniform", "kaiming_normal", "kaiming_uniform", "normal"]

LIBRARIES: tuple[ModelKind, ...] = ("torchvision", "timm")


class Plan(NamedTuple):
    """Layers before the output layer, and the shape of the convolutions' kernels."""

    conv: tuple[int | str, ...]
    dense: tuple[int, ...]
    kernel_size: int = 3
    padding: int = 1


PLANS: dict[str, Plan] = {
    "lenet": Plan((), (300, 100)),
    "lenet5": Plan((6, "M", 16, "M"), (300, 100), kernel_size=5, padding=0),
    "conv2": Plan((64, 64, "M"), (256, 256)),
    "conv4": Plan((64, 64, "M", 128, 128, "M"), (256, 256)),
    "conv6": Plan((64, 64, "M", 128, 128, "M", 256, 256, "M"), (256, 256)),
    "tiny": Plan((8, 8, "M", 8, "M"), (300, 100)),
}


class ModelSpec(Section):
    """The ``[model]`` table of a recipe."""

    kind: ModelKind
    """``lenet``, ``lenet5``, ``conv2``, ``conv4``, ``conv6``, ``tiny``; ``mlp`` needs ``dense``, ``plan`` needs
    ``conv``, ``dense`` or both; ``torchvision`` and ``timm`` need ``name``, and take ``settings`` and no other key"""
    name: str | None = None
    """a classification network of torchvision or timm, as in ``resnet18``"""
    settings: dict[str, JsonValue] | None = None
    """keywords for that network's constructor, as in ``{ zero_init_residual = true }``"""
    conv: tuple[int | str, ...] | None = None
    """convolutional layers: ``64`` channels, ``"64B"`` with batch norm, ``"M"`` max-pooling, ``"A"`` average-pooling"""
    dense: tuple[int, ...] | None = None
    """sizes of the dense layers; the output layer follows by itself, as the data ask for"""
    hidden: int | None = Field(default=None, ge=1)
    """one size for all dense layers but the output, whatever sizes ``dense`` lists; how many it lists stays"""
    activation: Activation = "relu"
    """after every layer but the output: ``relu``, ``tanh``, ``sigmoid``, ``elu``, ``gelu`` or ``leaky_relu``"""
    init: Init = "glorot_normal"
    """of the weights: ``glorot_normal``, ``glorot_uniform``, ``kaiming_normal``, ``kaiming_uniform`` or ``normal``"""
    init_std: float = Field(default=0.1, gt=0)
    """the standard deviation for ``init = "normal"``"""
    bias_init: BiasInit = "zeros"
    """of the biases: ``zeros``, or ``uniform`` within 1/sqrt(fan-in) of zero, which is PyTorch's default"""
    kernel_size: int | None = Field(default=None, ge=1)
    """of the convolutions, in pixels; the named network's own where nothing is said, else 3"""
    padding: int | None = Field(default=None, ge=0)
    """of the convolutions, in pixels; the named network's own where nothing is said, else 1"""

    @field_validator("conv")
    @classmethod
    def _readable(cls, conv: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        for item in conv or ():
            parse_item(item)
        return conv

    @field_validator("dense")
    @classmethod
    def _positive(cls, dense: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if any(size < 1 for size in dense or ()):
            raise ValueError(f"dense layers have at least one unit; this says {list(dense or ())}")
        return dense

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> "ModelSpec":
        given = [
            key for key in type(self).model_fields if key in self.model_fields_set and getattr(self, key) is not None
        ]
        foreign = [key for key in given if key not in keys_of(self.kind)]
        if foreign and self.kind in LIBRARIES:
            raise ValueError(f'kind = "{self.kind}" takes name and settings, and no {", no ".join(foreign)}')
        if foreign:
            raise ValueError(
                f'kind = "{self.kind}" takes no {", no ".join(foreign)}; name and settings are for '
                'kind = "torchvision" and kind = "timm"'
            )
        if self.kind in LIBRARIES and self.name is None:
            raise ValueError(f'kind = "{self.kind}" needs the name of a network, as in name = "resnet18"')
        return self

    @model_validator(mode="after")
    def _complete(self) -> "ModelSpec":
        if self.kind == "mlp" and (self.dense is None or self.conv):
            raise ValueError('kind = "mlp" takes dense = [...] and no conv')
        if self.kind == "plan" and self.dense is None and self.conv is None:
            raise ValueError('kind = "plan" takes conv = [...], dense = [...] or both')
        if self.hidden is not None and not self.plan.dense:
            raise ValueError(
                f"hidden = {self.hidden} is the size of dense layers, and there are none; list some in dense"
            )
        return self

    @model_serializer(mode="wrap")
    def _keys_that_apply(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in keys_of(self.kind)}

    @property
    def plan(self) -> Plan:
        """The named plan, with what the recipe says instead; empty for the networks of other libraries."""
        named = PLANS.get(self.kind, Plan((), ()))
        dense = named.dense if self.dense is None else self.dense
        return Plan(
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
        >>> "activation" in keys_of("lenet")
        True
    """
    own = frozenset({"name", "settings"})
    return own | {"kind"} if kind in LIBRARIES else frozenset(ModelSpec.model_fields) - own


class ConvItem(NamedTuple):
    """A convolution of a plan."""

    channels: int
    batch_norm: bool


def parse_item(item: int | str) -> ConvItem | Literal["M", "A"]:
    """Read one item of a convolutional plan.

    Examples:
        >>> parse_item(64), parse_item("8B"), parse_item("M")
        (ConvItem(channels=64, batch_norm=False), ConvItem(channels=8, batch_norm=True), 'M')
    """
    text = str(item).strip()
    if text in ("M", "A"):
        return text  # type: ignore[return-value]
    digits = text.removesuffix("B")
    if not digits.isdecimal() or int(digits) < 1:
        raise RecipeError(
            f"a convolutional plan is made of channel numbers (64), channels with batch norm ('64B'), 'M' and 'A'; "
            f"not {item!r}{suggestion(text, ('M', 'A', '64B'))}"
        )
    return ConvItem(int(digits), batch_norm=text.endswith("B"))

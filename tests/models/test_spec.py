import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lthprune.errors import RecipeError
from lthprune.models.spec import ARCHITECTURES, ConvItem, ModelSpec, parse_item


@given(st.integers(1, 4096), st.booleans(), st.booleans())
def test_channel_numbers_are_read_as_numbers_and_as_text_with_batch_norm_or_without(
    channels: int, batch_norm: bool, as_text: bool
) -> None:
    item = f"{channels}B" if batch_norm else str(channels) if as_text else channels
    assert parse_item(item) == ConvItem(channels, batch_norm)


@pytest.mark.parametrize("pooling", ["M", "A", "G"])
def test_pooling_letters_stand_for_themselves(pooling: str) -> None:
    assert parse_item(pooling) == pooling


@pytest.mark.parametrize("item", [0, -3, "0B", "B", "m", "", "8b", "B8", "8.5", "²", "8 8"])
def test_anything_else_in_the_list_of_convolutions_is_refused_and_quoted(item: int | str) -> None:
    with pytest.raises(RecipeError, match="channel numbers") as caught:
        parse_item(item)
    assert repr(item) in str(caught.value)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ({"kind": "mlp"}, "takes dense"),
        ({"kind": "mlp", "dense": [4], "conv": [8]}, "no conv"),
        ({"kind": "plan"}, "takes conv"),
        ({"kind": "mlp", "dense": [4, 0]}, "at least one unit"),
        ({"kind": "plan", "conv": [8, "Q"]}, "'Q'"),
        ({"kind": "lenett"}, "lenet"),
        ({"kind": "lenet", "activation": "swish"}, "relu"),
        ({"kind": "lenet", "init": "glorot"}, "glorot_normal"),
        ({"kind": "lenet", "init_std": 0}, "greater than 0"),
        ({"kind": "conv2", "kernel_size": 0}, "greater than or equal to 1"),
        ({"kind": "conv2", "padding": -1}, "greater than or equal to 0"),
        ({"kind": "lenet", "width": 3}, "width"),
        ({"kind": "lenet", "hidden": 0}, "greater than or equal to 1"),
        ({"kind": "lenet", "dropout": 1}, "less than 1"),
        ({"kind": "plan", "conv": [8], "dropout": 0.5}, "dropout = 0.5 follows hidden dense layers"),
        ({"kind": "lenet", "dense": [], "hidden": 3}, "there are none"),
        ({"kind": "torchvision"}, 'needs the name of a network, as in name = "resnet18"'),
        ({"kind": "torchvision", "name": "resnet18", "init": "normal", "dense": [4]}, "and no dense, no init"),
        ({"kind": "timm", "name": "resnet18", "activation": "relu"}, "takes name and settings, and no activation"),
        ({"kind": "timm", "name": "resnet18", "settings": [1]}, "valid dictionary"),
        ({"kind": "lenet", "name": "resnet18"}, 'takes no name; name and settings are for kind = "torchvision"'),
        ({"kind": "mlp", "dense": [4], "settings": {"drop_rate": 0.1}}, "takes no settings"),
        (
            {"kind": "my_nets:build", "dense": [4]},
            'kind = "my_nets:build", a function of your own, takes settings and no',
        ),
        ({"kind": "my_nets:"}, "unknown kind of network 'my_nets:'"),
        ({"kind": "resnet"}, "needs a depth of 8, 14, 20, 26 or another 6n [+] 2; none is given"),
        ({"kind": "resnet", "depth": 18}, "another 6n [+] 2; not 18"),
        ({"kind": "resnet", "depth": 2}, "not 2"),
        ({"kind": "resnet", "depth": -4}, "not -4"),
        ({"kind": "resnet", "depth": 20, "width": 0}, "greater than or equal to 1"),
        ({"kind": "resnet", "depth": 20, "widen": 8}, "takes no widen; it takes depth, width, init"),
        ({"kind": "resnet", "depth": 20, "conv": [4], "activation": "tanh"}, "takes no conv, no activation"),
        ({"kind": "wide-resnet", "depth": 20}, "10, 16, 22, 28 or another 6n [+] 4; not 20"),
        ({"kind": "wide-resnet", "depth": 16, "width": 8}, "takes no width; it takes depth, widen"),
        ({"kind": "vgg", "depth": 17}, "needs a depth of 11, 13, 16 or 19; not 17"),
        ({"kind": "vgg", "depth": 16, "dense": [4]}, "takes no dense; it takes depth, activation"),
        ({"kind": "lenet", "depth": 5}, "takes no depth; it takes conv, dense"),
    ],
)
def test_a_table_that_declares_no_network_is_refused(words: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        ModelSpec.model_validate(words)


@pytest.mark.parametrize(("dense", "layers"), [(None, 2), ([7], 1), ([7, 8, 9], 3)])
def test_one_hidden_size_is_that_of_all_dense_layers_however_many_there_are(dense: object, layers: int) -> None:
    spec = ModelSpec.model_validate({"kind": "conv2", "dense": dense, "hidden": 38}, strict=False)
    assert spec.architecture == ARCHITECTURES["conv2"]._replace(dense=(38,) * layers)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_named_network_has_its_architecture_and_a_recipe_may_replace_each_part_of_it(kind: str) -> None:
    named = ARCHITECTURES[kind]
    assert ModelSpec(kind=kind).architecture == named
    assert ModelSpec(kind=kind, dense=()).architecture == named._replace(dense=())
    assert ModelSpec(kind=kind, conv=(4, "A")).architecture == named._replace(conv=(4, "A"))
    changed = ModelSpec(kind=kind, kernel_size=7, padding=0).architecture
    assert changed == named._replace(kernel_size=7, padding=0)


def test_a_listed_network_has_three_by_three_kernels_with_padding() -> None:
    assert ModelSpec(kind="plan", conv=(8, "M")).architecture == ((8, "M"), (), 3, 1)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ({"kind": "lenet"}, {"activation", "init", "dense", "kernel_size"}),
        ({"kind": "timm", "name": "resnet18", "settings": {"drop_rate": 0.1}}, {"name", "settings"}),
        ({"kind": "my_nets:build", "settings": {"width": 4}}, {"kind", "settings"}),
        ({"kind": "resnet", "depth": 20}, {"kind", "depth", "width", "init"}),
        ({"kind": "wide-resnet", "depth": 16, "widen": 8}, {"kind", "depth", "widen", "init"}),
        ({"kind": "vgg", "depth": 16}, {"kind", "depth", "activation", "init"}),
    ],
)
def test_a_table_is_written_with_the_keys_that_its_kind_takes_and_read_again(
    words: dict[str, object], keys: set[str]
) -> None:
    spec = ModelSpec.model_validate(words)
    written = spec.model_dump()
    assert written.keys() >= keys
    assert ("init" in written) != ("settings" in written)
    assert ModelSpec.model_validate(written) == spec

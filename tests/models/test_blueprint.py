"""Architectures as data: what is built from a description is what was described."""

import json

import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import StorageError
from lthprune.models.blueprint import build_from, describe
from lthprune.models.build import ACTIVATIONS, build_model
from lthprune.models.spec import ModelSpec
from tests.nets import refused

items = st.sampled_from([4, "4B", "M", "A"])
plans = st.builds(
    ModelSpec,
    kind=st.just("plan"),
    conv=st.tuples(st.lists(items, max_size=4), st.sampled_from([(), ("G",)])).map(lambda both: (*both[0], *both[1])),
    dense=st.lists(st.integers(1, 5), max_size=2).map(tuple),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    kernel_size=st.sampled_from([1, 3]),
    padding=st.sampled_from([0, 1]),
)
residual = st.builds(ModelSpec, kind=st.just("resnet"), depth=st.sampled_from([8, 14]), width=st.integers(1, 4))
wide = st.builds(ModelSpec, kind=st.just("wide-resnet"), depth=st.just(10), widen=st.integers(1, 2))


@given(plans | residual | wide)
def test_every_network_that_lthprune_lists_is_built_again_from_its_description(spec):
    model = build_model(spec, (3, 40, 40), 2, torch.Generator().manual_seed(0)).eval()
    again = build_from(json.loads(json.dumps(describe(model))))
    again.load_state_dict(model.state_dict(), assign=True)
    inputs = torch.randn(2, 3, 40, 40)
    assert repr(again) == repr(model)
    assert torch.equal(again.eval()(inputs), model(inputs))


def test_a_description_with_an_unknown_kind_of_layer_is_refused():
    with refused("layer 0: its kind 'densse' is unknown; did you mean 'dense'", error=StorageError):
        build_from([{"name": "gate", "kind": "densse"}])

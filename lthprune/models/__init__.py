"""The networks of recipes: listed layer by layer, named, from other libraries, or from functions of your own."""

from lthprune.models.blueprint import build_from, describe
from lthprune.models.build import build_model, initialise
from lthprune.models.narrowing import narrow, narrow_to
from lthprune.models.spec import ARCHITECTURES, LIBRARIES, ModelSpec, keys_of

__all__ = [
    "ARCHITECTURES",
    "LIBRARIES",
    "ModelSpec",
    "build_from",
    "build_model",
    "describe",
    "initialise",
    "keys_of",
    "narrow",
    "narrow_to",
]

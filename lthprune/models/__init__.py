"""The networks of the recipes, and the language that plans them."""

from lthprune.models.blueprint import build_from, describe
from lthprune.models.build import build_model, initialise
from lthprune.models.spec import LIBRARIES, PLANS, ModelSpec, keys_of

__all__ = [
    "LIBRARIES",
    "PLANS",
    "ModelSpec",
    "build_from",
    "build_model",
    "describe",
    "initialise",
    "keys_of",
]

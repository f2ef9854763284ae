"""The networks of the recipes, and the language that plans them."""

from lthprune.models.blueprint import build_from, describe
from lthprune.models.build import build_model, initialise
from lthprune.models.plan import PLANS, ModelSpec

__all__ = ["PLANS", "ModelSpec", "build_from", "build_model", "describe", "initialise"]

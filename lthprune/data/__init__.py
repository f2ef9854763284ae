"""Data sets as tensors in memory."""

from lthprune.data.dataset import Dataset
from lthprune.data.sources import SOURCES, DataSpec, load_data, shape_of_data

__all__ = ["SOURCES", "DataSpec", "Dataset", "load_data", "shape_of_data"]

"""Data sets as tensors in memory."""

from lthprune.data.dataset import Dataset
from lthprune.data.sources import SOURCES, DataSpec, data_root, load_data, shape_of_data

__all__ = ["SOURCES", "DataSpec", "Dataset", "data_root", "load_data", "shape_of_data"]

"""Data sets as tensors in memory."""

from lthprune.data.dataset import Dataset, Task
from lthprune.data.sources import SOURCES, data_root
from lthprune.data.spec import DataSpec, load_data, shape_of_data, shapes_of_parts, tasks_of
from lthprune.data.toys import TOYS

__all__ = [
    "SOURCES",
    "TOYS",
    "DataSpec",
    "Dataset",
    "Task",
    "data_root",
    "load_data",
    "shape_of_data",
    "shapes_of_parts",
    "tasks_of",
]

"""Data sets as tensors in memory."""

from lthprune.data.dataset import Dataset, Raw, Task
from lthprune.data.loading import load_data, shape_of_data, shapes_of_parts, tasks_of
from lthprune.data.sources import SOURCES, data_root
from lthprune.data.spec import DataSpec, absolute_part, is_path, split_name
from lthprune.data.toys import TOYS

__all__ = [
    "SOURCES",
    "TOYS",
    "DataSpec",
    "Dataset",
    "Raw",
    "Task",
    "absolute_part",
    "data_root",
    "is_path",
    "load_data",
    "shape_of_data",
    "shapes_of_parts",
    "split_name",
    "tasks_of",
]

"""Smaller and faster networks with the same outputs as pruned ones."""

from lthprune.compaction.compacting import Compacted, compact
from lthprune.compaction.csr import to_csr
from lthprune.compaction.export import Export, export_ticket, load_export
from lthprune.compaction.latency import measure_latency
from lthprune.compaction.report import CompactionReport, LayerChange, Size
from lthprune.training import SparseLinear

__all__ = [
    "Compacted",
    "CompactionReport",
    "Export",
    "LayerChange",
    "Size",
    "SparseLinear",
    "compact",
    "export_ticket",
    "load_export",
    "measure_latency",
    "to_csr",
]

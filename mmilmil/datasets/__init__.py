"""The stage filter on VOC-style and COCO-style sets."""

from .. import compat  # noqa: F401  isort: skip  (tells what of the stack is missing, before it is imported)
from .incremental_coco import IncrementalCocoDataset
from .incremental_voc import IncrementalVOCDataset
from .report import StageReport

__all__ = ['IncrementalCocoDataset', 'IncrementalVOCDataset', 'StageReport']

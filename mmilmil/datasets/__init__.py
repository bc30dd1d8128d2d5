"""The stage filter on VOC-style and COCO-style sets."""

from .incremental_coco import IncrementalCocoDataset
from .incremental_voc import IncrementalVOCDataset
from .report import StageReport

__all__ = ['IncrementalCocoDataset', 'IncrementalVOCDataset', 'StageReport']

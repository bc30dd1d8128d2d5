from .incremental_faster_rcnn import IncrementalFasterRCNN

__all__ = ['IncrementalFasterRCNN']

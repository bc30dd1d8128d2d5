from .incremental_faster_rcnn import IncrementalFasterRCNN
from .pruned_faster_rcnn import PrunedFasterRCNN

__all__ = ['IncrementalFasterRCNN', 'PrunedFasterRCNN']

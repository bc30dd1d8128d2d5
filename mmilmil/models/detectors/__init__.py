from .incremental import IncrementalDetector
from .pruned import PrunedDetector, PrunedFasterRCNN
from .students import (
    IncrementalATSS,
    IncrementalCascadeRCNN,
    IncrementalFasterRCNN,
    IncrementalGFL,
    IncrementalMaskRCNN,
    IncrementalRetinaNet,
    IncrementalRTMDet,
)

__all__ = [
    'IncrementalATSS', 'IncrementalCascadeRCNN', 'IncrementalDetector', 'IncrementalFasterRCNN', 'IncrementalGFL',
    'IncrementalMaskRCNN', 'IncrementalRTMDet', 'IncrementalRetinaNet', 'PrunedDetector', 'PrunedFasterRCNN'
]

from .. import compat  # noqa: F401  isort: skip  (tells what of the stack is missing, before it is imported)
from . import backbones, losses, necks, roi_heads  # noqa: F401
from .detectors import (
    IncrementalATSS,
    IncrementalCascadeRCNN,
    IncrementalDetector,
    IncrementalFasterRCNN,
    IncrementalGFL,
    IncrementalMaskRCNN,
    IncrementalRetinaNet,
    IncrementalRTMDet,
)
from .distillers import DenseDistiller, MFRRKDistiller
from .heads import num_classes
from .teacher import Teacher
from .views import view_of

__all__ = [
    'DenseDistiller', 'IncrementalATSS', 'IncrementalCascadeRCNN', 'IncrementalDetector', 'IncrementalFasterRCNN',
    'IncrementalGFL', 'IncrementalMaskRCNN', 'IncrementalRTMDet', 'IncrementalRetinaNet', 'MFRRKDistiller', 'Teacher',
    'num_classes', 'view_of'
]

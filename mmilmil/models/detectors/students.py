"""The students: each a stock detector with a teacher at its side."""

from mmdet.models.detectors import ATSS, GFL, CascadeRCNN, FasterRCNN, MaskRCNN, RetinaNet, RTMDet

from ...registry import MODELS
from .incremental import IncrementalDetector


@MODELS.register_module()
class IncrementalFasterRCNN(IncrementalDetector, FasterRCNN):
    """A Faster R-CNN that learns new classes, see :class:`IncrementalDetector`."""


@MODELS.register_module()
class IncrementalCascadeRCNN(IncrementalDetector, CascadeRCNN):
    """A Cascade R-CNN that learns new classes, see :class:`IncrementalDetector`."""


@MODELS.register_module()
class IncrementalMaskRCNN(IncrementalDetector, MaskRCNN):
    """A Mask R-CNN that learns new classes, see :class:`IncrementalDetector`."""


@MODELS.register_module()
class IncrementalRetinaNet(IncrementalDetector, RetinaNet):
    """A RetinaNet that learns new classes, see :class:`IncrementalDetector`."""


@MODELS.register_module()
class IncrementalATSS(IncrementalDetector, ATSS):
    """An ATSS that learns new classes, see :class:`IncrementalDetector`."""


@MODELS.register_module()
class IncrementalGFL(IncrementalDetector, GFL):
    """A GFL that learns new classes, see :class:`IncrementalDetector`."""


@MODELS.register_module()
class IncrementalRTMDet(IncrementalDetector, RTMDet):
    """An RTMDet that learns new classes, see :class:`IncrementalDetector`."""

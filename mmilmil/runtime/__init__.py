"""Running an exported model where there is no torch: ONNX Runtime (or OpenVINO), NumPy and Pillow are all that this
room needs.

``Detector('DIR')('street.jpg')`` in a program, ``python -m mmilmil.runtime DIR street.jpg`` in a shell. OpenCV is imported for
videos and cameras alone.
"""

from .detections import Detections
from .detector import Detector
from .metadata import Metadata

__all__ = ['Detections', 'Detector', 'Metadata']

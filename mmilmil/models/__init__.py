from . import backbones, losses, necks, roi_heads  # noqa: F401
from .detectors import IncrementalFasterRCNN
from .distillers import MFRRKDistiller
from .teacher import Teacher, TeacherKnowledge

__all__ = ['IncrementalFasterRCNN', 'MFRRKDistiller', 'Teacher', 'TeacherKnowledge']

from mmdet.models import TwoStageDetector
from torch import nn

from .base import Outputs, View, box_heads
from .dense import DenseOutputs, DenseView, flat
from .two_stage import DistillationRoIs, HeadKnowledge, HeadOutputs, TwoStageOutputs, TwoStageView


def view_of(detector: nn.Module) -> View:
    """The view of a detector's family."""
    return (TwoStageView if isinstance(detector, TwoStageDetector) else DenseView)(detector)


__all__ = [
    'DenseOutputs', 'DenseView', 'DistillationRoIs', 'HeadKnowledge', 'HeadOutputs', 'Outputs', 'TwoStageOutputs',
    'TwoStageView', 'View', 'box_heads', 'flat', 'view_of'
]

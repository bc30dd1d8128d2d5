"""What a detector says of a batch, for teacher and student alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional

from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..heads import class_heads
from ..precision import keep_full_precision


@dataclass
class Outputs:
    """What a detector computed for a batch of N images. What was not asked for is empty.

    Attributes:
        backbone_levels: Backbone outputs, each (N, C, H, W).
        neck_levels: Neck outputs, each (N, C, H, W); without a neck the backbone's.
        strides: By neck level, (height, width) of a cell in pixels, as the head has them.
        detections: A teacher's, by image: ``bboxes`` (D, 4), ``labels`` (D,), ``scores`` (D,), after non-maximum suppression;
            with masks ``masks`` (D, H, W), bool, of the input's size.
    """

    backbone_levels: tuple[Tensor, ...] = ()
    neck_levels: tuple[Tensor, ...] = ()
    strides: list[tuple[float, float]] = field(default_factory=list)
    detections: list[InstanceData] = field(default_factory=list)


class View(ABC):
    """How to read a family of detectors: one code for teacher and student.

    Args:
        detector: The built detector.
    """

    def __init__(self, detector: nn.Module) -> None:
        self.detector = detector

    @abstractmethod
    def observe(self, inputs: Tensor, metas: list[dict], score_thr: float, heads: bool, detect: bool, **kwargs) -> Outputs:
        """One pass of a teacher over a batch; see :meth:`mmilmil.models.teacher.Teacher.observe`."""

    @contextmanager
    def watch(self, join: Optional[Callable] = None) -> Iterator[Outputs]:
        """Note what passes while the detector's own ``loss`` runs inside this context, once.

        Args:
            join: What a distiller puts into that pass, see the views.

        Yields:
            The outputs, with gradient, complete when the context ends.
        """
        with ExitStack() as stack:
            for handle in (*keep_full_precision(self.detector), *self._watch(outputs := self._empty(), join)):
                stack.callback(handle.remove)
            yield outputs

    @abstractmethod
    def _empty(self) -> Outputs:
        """Outputs to be filled."""

    def _watch(self, outputs: Outputs, join: Optional[Callable]) -> Iterator[Any]:
        """Handles of the hooks that fill ``outputs``."""

        def note(name: str) -> Callable:
            return lambda module, args, found: setattr(outputs, name, tuple(found))

        detector = self.detector
        yield detector.backbone.register_forward_hook(note('backbone_levels'))
        if detector.with_neck:
            yield detector.neck.register_forward_hook(note('neck_levels'))
        else:
            yield detector.backbone.register_forward_hook(note('neck_levels'))

    def _levels(self, inputs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Backbone and neck levels of an input."""
        backbone_levels = self.detector.backbone(inputs)
        return tuple(backbone_levels), tuple(self.detector.neck(backbone_levels) if self.detector.with_neck
                                             else backbone_levels)


def cell_strides(head: nn.Module) -> list[tuple[float, float]]:
    """By level, (height, width) of a cell in pixels; MMDetection has them as (width, height)."""
    return [tuple(stride[::-1]) for stride in head.prior_generator.strides]


def box_heads(detector: nn.Module) -> list[nn.Module]:
    """Its box heads: of a cascade one a cascade stage."""
    return [head for name, head in class_heads(detector).items() if 'bbox_head' in name]

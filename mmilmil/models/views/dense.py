"""One-stage detectors: a score for every old and new class and a box at every anchor or point."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

from mmdet.models.dense_heads import RTMDetHead
from mmengine.config import ConfigDict
from torch import Tensor, cat

from ..precision import full_precision
from .base import Outputs, View, cell_strides


@dataclass
class DenseOutputs(Outputs):
    """What a one-stage detector computed; A anchors or points a cell, C classes.

    Attributes:
        num_classes: C.
        logits: Before the sigmoid, by level, each (N, A * C, H, W), the classes of one anchor beside each other.
        boxes: By level, each (N, A * D, H, W): D = 4 deltas, or distances from the point to the sides in strides; of a
            detector with box distributions (GFL) D = 4 * bins, before the softmax.
        selected: Of a teacher, what a distiller has found of it: the anchors that are compared, (N, K), bool.
    """

    num_classes: int = 0
    logits: list[Tensor] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)
    selected: Optional[Tensor] = None


class DenseView(View):
    """Of RetinaNet, ATSS, GFL and RTMDet.

    ``watch(join)`` hands ``join`` the student's :class:`DenseOutputs`, and the loss sees the logits that it returns in their
    place, by level.
    """

    def _empty(self) -> DenseOutputs:
        return DenseOutputs(strides=cell_strides(self.detector.bbox_head), num_classes=self.detector.bbox_head.num_classes)

    def observe(self, inputs: Tensor, metas: list[dict], score_thr: float = 0.5, heads: bool = True,
                detect: bool = True) -> DenseOutputs:
        """See :meth:`mmilmil.models.teacher.Teacher.observe`; ``heads`` is not used, as there is but one."""
        head = self.detector.bbox_head
        known = self._empty()
        known.backbone_levels, known.neck_levels = self._levels(inputs)
        outputs = tuple(map(full_precision, head(known.neck_levels)))
        known.logits, known.boxes = list(outputs[0]), self._boxes(outputs[1])
        if detect:
            known.detections = head.predict_by_feat(
                *outputs, batch_img_metas=metas, cfg=ConfigDict(self.detector.test_cfg, score_thr=score_thr), rescale=False)
            # Again, as soft-NMS lowers scores, and so do centerness and objectness.
            known.detections = [found[found.scores > score_thr] for found in known.detections]
        return known

    def _boxes(self, levels: list[Tensor]) -> list[Tensor]:
        if isinstance(self.detector.bbox_head, RTMDetHead):  # in pixels there
            return [level / stride[0] for level, stride in zip(levels, cell_strides(self.detector.bbox_head), strict=True)]
        return list(levels)

    def _watch(self, outputs: DenseOutputs, join: Optional[Callable]) -> Iterator[Any]:
        yield from super()._watch(outputs, join)

        def note(head, args, found: tuple) -> Optional[tuple]:
            outputs.logits, outputs.boxes = list(found[0]), self._boxes(found[1])
            return None if join is None else (join(outputs), *found[1:])

        yield self.detector.bbox_head.register_forward_hook(note)


def flat(levels: list[Tensor], size: int) -> Tensor:
    """Maps by level, each (N, A * size, H, W), as one tensor (N, K, size); the anchors' order is the same for every map."""
    return cat([level.permute(0, 2, 3, 1).reshape(len(level), -1, size) for level in levels], dim=1)

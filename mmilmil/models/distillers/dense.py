"""Distillation of one-stage detectors: feature maps, class logits and boxes where the teacher responds."""

from collections.abc import Callable
from typing import Optional

import torch
from mmdet.models.dense_heads import GFLHead
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS
from ..annotation import Annotation
from ..losses.dense import DenseDeltaKDLoss, DistributionKDLoss, elastic_selection
from ..settings import check_number, check_switch
from ..views import DenseOutputs, DenseView, flat
from .base import Distiller


@MODELS.register_module()
class DenseDistiller(Distiller):
    """Distillation of RetinaNet, ATSS, GFL and RTMDet. Its values stand in ``configs/_base_/distillers/dense.py``.

    Source: elastic response distillation, ERD (Feng et al. 2022): logits and boxes are compared at the anchors whose response,
    the teacher's highest probability of an old class, stands out of the image's others. Hints as in MFRRK (Fang et al. 2022).

    Every term looks at the cells of each image whose centre lies in it, not at the padding of the batch, and is the mean over
    the images of the batch.

    Args:
        feature: Loss on backbone and neck levels (hints).
        backbone_levels: Indices into the backbone's outputs that are compared.
        neck_levels: Indices into the neck's outputs that are compared.
        spare_new: Leave the cells inside annotated or ignored boxes, where the student has new things to see, out of all
            terms.
        cls: Loss on the logits of the old classes.
        reg: Loss on the boxes: deltas, distances, or box distributions (GFL).
        alpha: Standard deviations by which a response stands out of the mean of an image's responses to be selected.
        keep_old: Whether the detector's own loss may not lower an old class's logit at a selected anchor where the teacher's
            probability of that class stands out: its annotation leaves old objects out, so it takes them for background.
    """

    view = DenseView
    asked = dict(feature=(3, ()), cls=(3, ()), reg=(3, ()))

    def __init__(self,
                 feature: Optional[dict] = None,
                 backbone_levels: tuple[int, ...] = (),
                 neck_levels: tuple[int, ...] = (0, 1, 2),
                 spare_new: bool = True,
                 cls: Optional[dict] = None,
                 reg: Optional[dict] = None,
                 alpha: float = 2.0,
                 keep_old: bool = True) -> None:
        super().__init__(dict(feature=feature, cls=cls, reg=reg), backbone_levels, neck_levels, spare_new)
        check_number(alpha, 'model.distiller.alpha', 0)
        self.alpha = alpha
        self.keep_old = check_switch(keep_old, 'model.distiller.keep_old')

    def check(self, student: nn.Module) -> None:
        """See :class:`Distiller`.

        Raises:
            InputError: the box term is for boxes of another form than the head gives.
        """
        super().check(student)
        distributions = isinstance(student.bbox_head, GFLHead)
        if isinstance(self.reg, DenseDeltaKDLoss if distributions else DistributionKDLoss):
            form = 'distributions of the sides' if distributions else 'four numbers'
            raise InputError(f'model.distiller.reg is a {type(self.reg).__name__}, but a {type(student).__name__} tells a box '
                             f'by {form}: take the distiller of configs/_base_/distillers/'
                             f'{"dense_distribution.py" if distributions else "dense.py"}')

    @property
    def needs_teacher(self) -> bool:
        """Whether a term looks at what the teacher sees in the batch."""
        return self.keep_old or not all(term is None for term in (self.feature, self.cls, self.reg))

    def join(self, knowledge: Optional[DenseOutputs], annotation: Annotation) -> Optional[Callable]:
        """Old logits that the loss cannot lower; see :class:`Distiller`."""
        return (lambda student: self.kept(student, knowledge, annotation)) if self.keep_old else None

    def kept(self, student: DenseOutputs, knowledge: DenseOutputs, annotation: Annotation) -> list[Tensor]:
        """The student's logits by level, through which no gradient lowers the class that the teacher sees at an anchor."""
        selected = self.selected(knowledge, annotation)
        best = flat(knowledge.logits, knowledge.num_classes).argmax(dim=2)
        columns = torch.arange(student.num_classes, device=best.device)
        seen = selected[:, :, None] & (best[:, :, None] == columns)
        logits, start = [], 0
        for level in student.logits:
            batch, channels, height, width = level.shape
            anchors = height * width * channels // student.num_classes
            mine = seen[:, start:start + anchors].reshape(batch, height, width, channels).permute(0, 3, 1, 2)
            logits.append(_never_lowered(level, mine))
            start += anchors
        return logits

    def selected(self, knowledge: DenseOutputs, annotation: Annotation) -> Tensor:
        """The anchors at which the teacher responds to an old object, (N, K), bool; worked out once a batch."""
        if knowledge.selected is not None:
            return knowledge.selected
        cells = self.cells(annotation, knowledge.logits[0].device)
        mask = flat([cells(level.shape[-2:], stride).expand(-1, level.size(1) // knowledge.num_classes, -1, -1)
                     for level, stride in zip(knowledge.logits, knowledge.strides, strict=True)], 1).squeeze(2)
        knowledge.selected = elastic_selection(flat(knowledge.logits, knowledge.num_classes), mask, self.alpha)
        return knowledge.selected

    def forward(self, student: DenseOutputs, knowledge: Optional[DenseOutputs], annotation: Annotation) -> dict[str, Tensor]:
        """See :class:`Distiller`."""
        losses = {}
        if self.feature is not None:
            cells = self.cells(annotation, student.neck_levels[0].device)
            losses['loss_kd_feature'] = self.feature_loss(student, knowledge, annotation, cells)
        if self.cls is not None or self.reg is not None:
            selected = self.selected(knowledge, annotation)
        if self.cls is not None:
            losses['loss_kd_cls'] = self.cls(
                flat(student.logits, student.num_classes), flat(knowledge.logits, knowledge.num_classes), selected)
        if self.reg is not None:
            anchors = student.logits[0].size(1) // student.num_classes
            size = student.boxes[0].size(1) // anchors
            losses['loss_kd_reg'] = self.reg(flat(student.boxes, size), flat(knowledge.boxes, size), selected)
        return losses


def _never_lowered(logits: Tensor, where: Tensor) -> Tensor:
    """The same values, whose gradient is zero where it would lower those in ``where`` (same shape, bool)."""
    through = logits.clone()
    if through.requires_grad:
        through.register_hook(lambda gradient: gradient.masked_fill(where & (gradient > 0), 0.0))
    return through

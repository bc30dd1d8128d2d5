"""Dense knowledge: class logits z and boxes of all anchors of a one-stage detector, the student against the teacher.

K counts the anchors (or points) of an image, levels concatenated. Logits are before the sigmoid, (N, K, C) of the student and
(N, K, C_o) of the teacher, old classes first, no background. Boxes are deltas (N, K, 4), or logits of box distributions
(N, K, 4 * B) with the B = reg_max + 1 bins of a side together, as GFL's head gives them. ``selected`` (N, K), bool, tells which
anchors are compared, see :func:`elastic_selection`.

The loss of a batch is the mean over its N images of the mean over an image's selected anchors; one without any counts as zero.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from ...registry import MODELS
from ..settings import check_number
from .base import WeightedLoss, anchor_mean, bernoulli_kl, check_columns, check_same_shape, check_temperature

SAME_BOXES = 'student and teacher must describe the boxes of the same anchors, with deltas or with the same reg_max'


def _check_anchors(chosen: Tensor, outputs: Tensor, name: str) -> None:
    if chosen.dtype != torch.bool or chosen.shape != outputs.shape[:2]:
        raise InputError(f'{name} must be bool (N, K), one for each anchor: it is {chosen.dtype} {tuple(chosen.shape)} beside '
                         f'outputs {tuple(outputs.shape)}')


def elastic_selection(teacher_logits: Tensor, mask: Tensor | None = None, alpha: float = 2.0) -> Tensor:
    """The anchors that the teacher responds to: elastic response selection of ERD (Feng et al. 2022).

    An anchor's response is its highest sigmoid over the old classes. Selected are those of an image whose response exceeds
    ``mean + alpha * std`` over the image's anchors, with the standard deviation of the population.

    Args:
        teacher_logits (Tensor): (N, K, C_o).
        mask (Tensor, optional): Anchors that may be compared (N, K), bool; all others count in neither figure.
        alpha (float): How many standard deviations above the mean.

    Returns:
        Tensor: Bool (N, K).

    Raises:
        InputError: The shapes do not fit, or there is no class.
    """
    if teacher_logits.dim() != 3 or teacher_logits.size(-1) == 0:
        raise InputError(f'elastic selection needs logits (N, K, C_o) of one old class at least, got '
                         f'{tuple(teacher_logits.shape)}')
    response = teacher_logits.detach().amax(dim=-1).float().sigmoid()
    mask = torch.ones_like(response, dtype=torch.bool) if mask is None else mask
    _check_anchors(mask, teacher_logits, 'mask')
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    mean = torch.where(mask, response, 0.).sum(dim=1, keepdim=True) / count
    variance = torch.where(mask, (response - mean).square(), 0.).sum(dim=1, keepdim=True) / count
    return mask & (response > mean + alpha * variance.sqrt())


class _ResponseLoss(WeightedLoss):

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, selected: Tensor) -> Tensor:
        """Compare logits of the old classes, (N, K, C) with the teacher's (N, K, C_o), at ``selected`` anchors (N, K)."""
        check_columns(student_logits, teacher_logits, 'logits', ('images', 'anchors'), 'num_classes and anchors')
        _check_anchors(selected, student_logits, 'selected')
        student, teacher = student_logits[..., :teacher_logits.size(-1)].float(), teacher_logits.detach().float()
        return self.loss_weight * anchor_mean(self.by_anchor(student, teacher), selected)


@MODELS.register_module()
class ResponseMSELoss(_ResponseLoss):
    """``mean_old (z_S - z_T)^2`` where the teacher responds: the classification term of ERD (Feng et al. 2022)."""

    def by_anchor(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean(dim=-1)


@MODELS.register_module()
class ResponseBCELoss(_ResponseLoss):
    """``sum_old`` of the binary cross entropy with soft target ``sigmoid(z_T)``, less the target's own entropy.

    It is the KL divergence of two Bernoulli variables a class: zero where both agree. Not from ERD's paper: a difference of
    logits that hardly moves a probability, far below zero, hardly costs.
    """

    def by_anchor(self, student: Tensor, teacher: Tensor) -> Tensor:
        return bernoulli_kl(student, teacher).sum(dim=-1)


@MODELS.register_module()
class DistributionKDLoss(WeightedLoss):
    """Localisation distillation (Zheng et al. 2022), with which ERD (Feng et al. 2022) keeps the boxes of GFL.

    ``T^2 KL(softmax(t / T) || softmax(s / T))`` over the bins of a side, mean over the four sides.

    Args:
        temperature (float): T.
    """

    def __init__(self, temperature: float = 10.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_temperature(self, temperature)
        self.temperature = temperature

    def forward(self, student_boxes: Tensor, teacher_boxes: Tensor, selected: Tensor) -> Tensor:
        """Compare logits of box distributions (N, K, 4 * B) at ``selected`` anchors (N, K)."""
        check_same_shape(student_boxes, teacher_boxes, SAME_BOXES)
        _check_anchors(selected, student_boxes, 'selected')
        if student_boxes.dim() != 3 or student_boxes.size(-1) % 4 or student_boxes.size(-1) < 8:
            raise InputError(f'DistributionKDLoss compares distributions of box sides, (N, K, 4 * bins) with two bins or more, '
                             f'got {tuple(student_boxes.shape)}: for a detector that predicts deltas use DenseDeltaKDLoss')
        log_p, log_q = (F.log_softmax(boxes.float().unflatten(-1, (4, -1)) / self.temperature, dim=-1)
                        for boxes in (student_boxes, teacher_boxes.detach()))
        by_side = (log_q.exp() * (log_q - log_p)).sum(dim=-1)
        return self.loss_weight * anchor_mean(self.temperature**2 * by_side.mean(dim=-1), selected)


@MODELS.register_module()
class DenseDeltaKDLoss(WeightedLoss):
    """Smooth-L1 of the teacher's deltas, summed over the four: for heads that predict deltas or distances, not distributions.

    Args:
        beta (float): Where smooth-L1 turns from quadratic to linear.
    """

    def __init__(self, beta: float = 1 / 9, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_number(beta, 'beta of DenseDeltaKDLoss', 0)
        self.beta = beta

    def forward(self, student_boxes: Tensor, teacher_boxes: Tensor, selected: Tensor) -> Tensor:
        """Compare deltas (N, K, 4) at ``selected`` anchors (N, K)."""
        check_same_shape(student_boxes, teacher_boxes, SAME_BOXES)
        _check_anchors(selected, student_boxes, 'selected')
        if student_boxes.dim() != 3 or student_boxes.size(-1) != 4:
            raise InputError(f'DenseDeltaKDLoss compares four deltas an anchor, (N, K, 4), got {tuple(student_boxes.shape)}: '
                             'for a detector that predicts distributions of box sides use DistributionKDLoss')
        error = F.smooth_l1_loss(student_boxes.float(), teacher_boxes.detach().float(), reduction='none', beta=self.beta)
        return self.loss_weight * anchor_mean(error.sum(dim=-1), selected)

"""RoI knowledge: class logits z and box deltas of R proposals, the student against the teacher.

Columns are in MMDetection's order: old classes, new classes, background LAST. The teacher has C_o + 1 logits, the student
C + 1 = C_o + C_n + 1; of deltas C_o and C times 4, or 4 each of class-agnostic heads. Every loss is a mean over the RoIs of the
batch, weighted by ``weight`` (R,) where it is given.
"""

import torch
import torch.nn.functional as F
from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor

from ...errors import InputError
from ...registry import MODELS
from ..settings import check_number, check_switch
from .base import WeightedLoss, check_columns, check_temperature, roi_mean


class _LogitLoss(WeightedLoss):

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compare logits, (R, C + 1) with the teacher's (R, C_o + 1)."""
        check_columns(student_logits, teacher_logits, 'logits', ('rows', ), 'num_classes')
        return self.loss_weight * roi_mean(self.by_roi(student_logits.float(), teacher_logits.detach().float()), weight)


@MODELS.register_module()
class UnbiasedKDLoss(_LogitLoss):
    """Unbiased knowledge distillation of MMA (Cermelli 2022), its distillation term on RoI logits.

    ``-(1 / (C_o + 1)) [q_b log(p_b + sum_new p_c) + sum_old q_c log p_c]`` with ``q = softmax(z_T / T)`` over old classes and
    background and ``p = softmax(z_S / T)`` over all: what the teacher calls background may be a new object by now.

    Args:
        temperature (float): T; no factor T^2 is applied.
        normalize (bool): Whether to divide by C_o + 1 as MMA does.
        subtract_entropy (bool): Whether to subtract the teacher's entropy: the KL divergence, zero at a perfect match, same
            gradient.
    """

    def __init__(self, temperature: float = 1.0, normalize: bool = True, subtract_entropy: bool = False,
                 loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_temperature(self, temperature)
        self.temperature = temperature
        self.normalize = check_switch(normalize, f'normalize of {type(self).__name__}')
        self.subtract_entropy = check_switch(subtract_entropy, f'subtract_entropy of {type(self).__name__}')

    def by_roi(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = student / self.temperature, teacher / self.temperature
        if self.subtract_entropy:
            loss = unbiased_kl(student, teacher)
        else:
            loss = -(teacher.softmax(dim=1) * _in_old_terms(student, teacher.size(1) - 1)).sum(dim=1)
        return loss / teacher.size(1) if self.normalize else loss


def unbiased_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL divergence from ``softmax(teacher)`` to the student's distribution with new classes and background summed, (R,).

    Args:
        student: Logits (R, C + 1), float32.
        teacher: Logits (R, C_o + 1), float32.
    """
    log_q, log_p = F.log_softmax(teacher, dim=1), _in_old_terms(student, teacher.size(1) - 1)
    return (log_q.exp() * (log_q - log_p)).sum(dim=1)


def _in_old_terms(student: Tensor, num_old: int) -> Tensor:
    """Log probabilities of old classes and background, (R, C_o + 1): the teacher calls new classes background."""
    log_p = F.log_softmax(student, dim=1)
    # New classes and background are neighbours.
    return torch.cat([log_p[:, :num_old], log_p[:, num_old:].logsumexp(dim=1, keepdim=True)], dim=1)


def old_conditional_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``t^2 KL(softmax(u_T / t) || softmax(u_S / t))``, (R,), u the logits of the old classes alone.

    Args:
        student: Logits (R, C + 1), float32.
        teacher: Logits (R, C_o + 1), float32.
        temperature: t; the factor t^2 keeps the size of the gradient.
    """
    num_old = teacher.size(1) - 1
    log_p, log_q = (F.log_softmax(logits[:, :num_old] / temperature, dim=1) for logits in (student, teacher))
    return temperature**2 * (log_q.exp() * (log_q - log_p)).sum(dim=1)


@MODELS.register_module()
class OldConditionalKDLoss(_LogitLoss):
    """``t^2 KL(softmax(u_T / t) || softmax(u_S / t))``, u the logits of the old classes alone: which old class it would be.

    Learning without forgetting (Li and Hoiem 2016) within the old classes, as SS-IL's task-wise distillation (Ahn et al.
    2021). The logits of new classes and background take no part, so it holds on a new object as well: nothing in it contradicts
    the label there. With one old class it is zero.

    Args:
        temperature (float): t.
    """

    def __init__(self, temperature: float = 2.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_temperature(self, temperature)
        self.temperature = temperature

    def by_roi(self, student: Tensor, teacher: Tensor) -> Tensor:
        return old_conditional_kl(student, teacher, self.temperature)


@MODELS.register_module()
class MixedKDLoss(_LogitLoss):
    """Old classes among themselves on every RoI, and the whole distribution where the teacher sees background.

    ``a t^2 KL_old(t) + b q_b KL``: KL_old is that of :class:`OldConditionalKDLoss`, KL that of :class:`UnbiasedKDLoss` less the
    teacher's entropy, at temperature 1 and not normalised, and q_b the teacher's background probability. Not from a paper:
    where the teacher calls a RoI an old class its background logit says nothing about a new object there, so that only the
    order of the old classes is asked for; where it sees background, no old class may rise.

    Args:
        temperature (float): t, of the first part alone.
        old_weight (float): a.
        background_weight (float): b.
    """

    def __init__(self, temperature: float = 2.0, old_weight: float = 2.0, background_weight: float = 2.0,
                 loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_temperature(self, temperature)
        check_number(old_weight, 'old_weight of MixedKDLoss', 0)
        check_number(background_weight, 'background_weight of MixedKDLoss', 0)
        self.temperature = temperature
        self.old_weight = old_weight
        self.background_weight = background_weight

    def by_roi(self, student: Tensor, teacher: Tensor) -> Tensor:
        background = teacher.softmax(dim=1)[:, -1]
        return (self.old_weight * old_conditional_kl(student, teacher, self.temperature)
                + self.background_weight * background * unbiased_kl(student, teacher))


@MODELS.register_module()
class LogitMSELoss(_LogitLoss):
    """``mean((z^_S - z^_T)^2)`` over old classes and background, ILOD (Shmelkov 2017) and Faster-ILOD (Peng 2020).

    ``z^`` are the logits minus their mean over the old classes and background.
    """

    def by_roi(self, student: Tensor, teacher: Tensor) -> Tensor:
        student = torch.cat([student[:, :teacher.size(1) - 1], student[:, -1:]], dim=1)
        gap = (student - student.mean(dim=1, keepdim=True)) - (teacher - teacher.mean(dim=1, keepdim=True))
        return gap.square().mean(dim=1)


@MODELS.register_module()
class RoIDeltaLoss(WeightedLoss):
    """Smooth-L1 (ILOD, Shmelkov 2017) or squared error (Faster-ILOD, MMA) of the old classes' deltas.

    Mean over RoIs of the sum over the 4 deltas and the mean over the old classes. With ``by_probability`` the classes are
    summed with the teacher's softmax probability instead, so a box matters where the teacher believes in its class. The four
    deltas of a class-agnostic head (``reg_class_agnostic=True``) are those of every class: they count with the probability of
    all old classes together, 1 less that of the background.

    Args:
        beta (float): Where smooth-L1 turns from quadratic to linear.
        squared (bool): Whether to use the squared error instead.
        by_probability (bool): Whether to weight classes by the teacher's probability; ``teacher_logits`` is needed then.
    """

    def __init__(self, beta: float = 1.0, squared: bool = False, by_probability: bool = False,
                 loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_number(beta, 'beta of RoIDeltaLoss', 0)
        self.beta = beta
        self.squared = check_switch(squared, 'squared of RoIDeltaLoss')
        self.by_probability = check_switch(by_probability, 'by_probability of RoIDeltaLoss')

    def forward(self, student_deltas: Tensor, teacher_deltas: Tensor, weight: Tensor | None = None,
                teacher_logits: Tensor | None = None) -> Tensor:
        """Compare deltas; the teacher's logits (R, C_o + 1) are used, and needed, only with ``by_probability``."""
        probability = self._probability(student_deltas, teacher_deltas, teacher_logits) if self.by_probability else None
        check_columns(student_deltas, teacher_deltas, 'deltas', ('rows', ), 'num_classes')
        student, teacher = student_deltas[:, :teacher_deltas.size(1)].float(), teacher_deltas.detach().float()
        error = (student - teacher).square() if self.squared else F.smooth_l1_loss(student, teacher, reduction='none',
                                                                                   beta=self.beta)
        error = error.unflatten(1, (-1, 4)).sum(dim=2)
        by_roi = error.mean(dim=1) if probability is None else (error * probability).sum(dim=1)
        return self.loss_weight * roi_mean(by_roi, weight)

    def _probability(self, student_deltas: Tensor, teacher_deltas: Tensor, teacher_logits: Tensor | None) -> Tensor:
        """The teacher's, of each old class (R, C_o), or of all of them (R, 1) beside class-agnostic deltas."""
        # Four columns are a class-agnostic head's: a student has two classes at least.
        agnostic = student_deltas.size(1) == teacher_deltas.size(1) == 4
        if teacher_logits is None or not agnostic and 4 * (teacher_logits.size(1) - 1) != teacher_deltas.size(1):
            found = None if teacher_logits is None else tuple(teacher_logits.shape)
            raise InputError(f'RoIDeltaLoss(by_probability=True) needs teacher_logits (R, C_o + 1) beside deltas of C_o '
                             f"classes, or of class-agnostic heads on both sides; got {found} beside the teacher's "
                             f"{tuple(teacher_deltas.shape)} and the student's {tuple(student_deltas.shape)}")
        probability = teacher_logits.detach().float().softmax(dim=1)[:, :-1]
        return probability.sum(dim=1, keepdim=True) if agnostic else probability


class _ScoreLoss(WeightedLoss):

    def forward(self, student_logits: Tensor, target_scores: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compare the student's logits (R, C + 1) with ``target_scores`` (R,) in [0, 1], without gradient.

        ``labels`` (R,), int64 and below C, are those of the boxes; only :class:`MatchedScoreL1Loss` needs and uses them.
        """
        for targets in (target_scores, labels) if self.by_label else (target_scores, ):
            if targets.shape != student_logits.shape[:1]:
                raise InputError(f'one target a RoI is needed: {tuple(targets.shape)} targets for '
                                 f'{tuple(student_logits.shape)} logits')
        score = student_logits.float().softmax(dim=1)
        score = score.gather(1, labels[:, None]).squeeze(1) if self.by_label else score[:, :-1].amax(dim=1)
        return self.loss_weight * roi_mean((score - target_scores.detach().float()).abs())


@MODELS.register_module()
class ScoreL1Loss(_ScoreLoss):
    """Score knowledge of ILMIL: ``mean |max_c p_c - s|``, c over the foreground, p the softmax over all classes.

    s is the score of the merged box that the RoI is matched to (1 for ground truth). Unlike in the paper's released code
    the logits get a gradient. Where the highest class is not that of the box, the wrong class's logit is pulled towards s:
    :class:`MatchedScoreL1Loss` looks at the box's own class.
    """

    by_label = False


@MODELS.register_module()
class MatchedScoreL1Loss(_ScoreLoss):
    """``mean |p_y - s|``, y the class and s the score of the merged box that the RoI is matched to.

    Not from the paper, whose form, :class:`ScoreL1Loss`, makes the student surer of whatever class it takes the object for,
    be it an old class on a new object.
    """

    by_label = True


@MODELS.register_module()
class UnbiasedCrossEntropyLoss(WeightedLoss):
    """Unbiased cross entropy of MMA (Cermelli 2022), its classification term, for ``bbox_head.loss_cls``.

    A RoI labelled background costs ``-log(p_b + sum_old p_c)``, since an old object is background in the new annotation;
    any other RoI ``-log p_c``; softmax over all. With ``num_old_classes=0`` it is the ordinary cross entropy. In a config:
    ``roi_head=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type='UnbiasedCrossEntropyLoss')))``.

    Args:
        num_old_classes (int, optional): C_o, the number of classes before this stage; None: the student tells it by
            :meth:`set_num_old_classes`.
        reduction (str): 'none', 'mean' or 'sum'.
    """

    # What MMDetection's box heads ask their classification loss: a plain softmax over num_classes + 1 columns.
    use_sigmoid = custom_cls_channels = custom_activation = custom_accuracy = False

    def __init__(self, num_old_classes: int | None = None, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        if num_old_classes is not None:
            check_number(num_old_classes, 'num_old_classes of UnbiasedCrossEntropyLoss', 0, whole=True)
        self.num_old_classes = num_old_classes
        self.reduction = reduction

    def set_num_old_classes(self, num_old_classes: int) -> None:
        """Learn C_o, the number of classes that the teacher knows; an :class:`InputError` where the config says another."""
        if self.num_old_classes not in (None, num_old_classes):
            raise InputError(f'num_old_classes = {self.num_old_classes} in model.roi_head.bbox_head.loss_cls, but the teacher '
                             f'knows {num_old_classes} classes, the old ones of this stage: leave num_old_classes out')
        self.num_old_classes = num_old_classes

    def forward(self, cls_score: Tensor, label: Tensor, weight: Tensor | None = None, avg_factor: float | None = None,
                reduction_override: str | None = None) -> Tensor:
        """Cost of logits (R, C + 1) with ``label`` (R,), background C; ``weight`` (R,) and the rest as in MMDetection's losses.

        ``avg_factor`` divides the sum instead of R; reduction 'none' gives (R,).
        """
        if self.num_old_classes is None:
            raise InputError('UnbiasedCrossEntropyLoss does not know num_old_classes, as this detector has no teacher that '
                             'tells it: set it to the number of classes before this stage')
        background = cls_score.size(1) - 1
        if self.num_old_classes > background:
            raise InputError(f'UnbiasedCrossEntropyLoss: num_old_classes={self.num_old_classes} leaves no class of '
                             f'{background}; set it to the number of classes before this stage')
        log_p = F.log_softmax(cls_score.float(), dim=1)
        old_or_background = torch.cat([log_p[:, :self.num_old_classes], log_p[:, -1:]], dim=1).logsumexp(dim=1)
        loss = -torch.where(label == background, old_or_background, log_p.gather(1, label[:, None]).squeeze(1))
        reduction = reduction_override or self.reduction
        if len(loss) == 0 and reduction != 'none':
            return loss.sum()
        weight = None if weight is None else weight.float()
        return self.loss_weight * weight_reduce_loss(loss, weight, reduction, avg_factor)

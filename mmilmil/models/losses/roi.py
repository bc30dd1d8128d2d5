"""RoI knowledge: class logits and box deltas of proposals, the student against the teacher.

Columns are in MMDetection's order: old classes, new classes, background LAST. The teacher has C_o + 1 logits, the student
C + 1 = C_o + C_n + 1. All formulas run in float32 (no matrix product follows the cast, so autocast leaves them alone) and
detach the teacher. No RoI: zero that still belongs to the student's graph.
"""

import torch
import torch.nn.functional as F
from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS

EPS = 1e-6


def _check_width(student: Tensor, teacher: Tensor, what: str) -> None:
    if student.dim() != 2 or teacher.dim() != 2 or len(student) != len(teacher) or student.size(1) < teacher.size(1):
        raise InputError(f'{what} of the student {tuple(student.shape)} must have the rows of the teacher '
                         f'{tuple(teacher.shape)} and at least its columns; the student knows the old classes first, '
                         'then the new ones: check num_classes of both')


def _roi_mean(value: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of ``value`` (R,), weighted by ``weight`` (R,) if given."""
    if weight is None:
        return value.mean()
    weight = weight.detach().float()
    return (value * weight).sum() / weight.sum().clamp(min=EPS)


def unbiased_kd(student_logits: Tensor,
                teacher_logits: Tensor,
                weight: Tensor | None = None,
                temperature: float = 1.0,
                normalize: bool = True,
                subtract_entropy: bool = False) -> Tensor:
    """Cross entropy of old classes and "background or new"; see :class:`UnbiasedKDLoss`."""
    _check_width(student_logits, teacher_logits, 'logits')
    if len(student_logits) == 0:
        return student_logits.float().sum() * 0
    num_old = teacher_logits.size(1) - 1
    log_q = F.log_softmax(teacher_logits.detach().float() / temperature, dim=1)
    log_p = F.log_softmax(student_logits.float() / temperature, dim=1)
    # New classes and background are neighbours, and the teacher calls both background.
    log_p = torch.cat([log_p[:, :num_old], log_p[:, num_old:].logsumexp(dim=1, keepdim=True)], dim=1)
    target = log_q.exp()
    loss = -(target * ((log_p - log_q) if subtract_entropy else log_p)).sum(dim=1)
    return _roi_mean(loss / (num_old + 1) if normalize else loss, weight)


def logit_mse(student_logits: Tensor, teacher_logits: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error of centred logits; see :class:`LogitMSELoss`."""
    _check_width(student_logits, teacher_logits, 'logits')
    if len(student_logits) == 0:
        return student_logits.float().sum() * 0
    num_old = teacher_logits.size(1) - 1
    student = torch.cat([student_logits[:, :num_old], student_logits[:, -1:]], dim=1).float()
    teacher = teacher_logits.detach().float()
    gap = (student - student.mean(dim=1, keepdim=True)) - (teacher - teacher.mean(dim=1, keepdim=True))
    return _roi_mean(gap.square().mean(dim=1), weight)


def roi_delta(student_deltas: Tensor,
              teacher_deltas: Tensor,
              weight: Tensor | None = None,
              class_weights: Tensor | None = None,
              beta: float = 1.0,
              squared: bool = False) -> Tensor:
    """Error of the old classes' deltas, mean over classes or summed with ``class_weights`` (R, C_o).

    See :class:`RoIDeltaLoss`.
    """
    _check_width(student_deltas, teacher_deltas, 'deltas')
    if len(student_deltas) == 0:
        return student_deltas.float().sum() * 0
    student, teacher = student_deltas[:, :teacher_deltas.size(1)].float(), teacher_deltas.detach().float()
    error = (student - teacher).square() if squared else F.smooth_l1_loss(student, teacher, reduction='none', beta=beta)
    error = error.view(len(error), -1, 4).sum(dim=2)
    per_roi = error.mean(dim=1) if class_weights is None else (error * class_weights).sum(dim=1)
    return _roi_mean(per_roi, weight)


def _check_targets(student_logits: Tensor, targets: Tensor) -> None:
    if targets.shape != student_logits.shape[:1]:
        raise ValueError(f'one target a RoI is needed: {tuple(targets.shape)} targets for {tuple(student_logits.shape)} logits')


def score_l1(student_logits: Tensor, target_scores: Tensor) -> Tensor:
    """Mean of ``|max_c p_c - s|``; see :class:`ScoreL1Loss`."""
    _check_targets(student_logits, target_scores)
    if len(student_logits) == 0:
        return student_logits.float().sum() * 0
    best = student_logits.float().softmax(dim=1)[:, :-1].amax(dim=1)
    return (best - target_scores.detach().float()).abs().mean()


def matched_score_l1(student_logits: Tensor, target_scores: Tensor, labels: Tensor) -> Tensor:
    """Mean of ``|p_y - s|``; see :class:`MatchedScoreL1Loss`."""
    _check_targets(student_logits, target_scores)
    _check_targets(student_logits, labels)
    if len(student_logits) == 0:
        return student_logits.float().sum() * 0
    own = student_logits.float().softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    return (own - target_scores.detach().float()).abs().mean()


def unbiased_cross_entropy(cls_score: Tensor, label: Tensor, num_old_classes: int) -> Tensor:
    """Cost of each RoI (R,), old classes counting as background; see :class:`UnbiasedCrossEntropyLoss`."""
    background = cls_score.size(1) - 1
    log_p = F.log_softmax(cls_score.float(), dim=1)
    old_or_background = torch.cat([log_p[:, :num_old_classes], log_p[:, -1:]], dim=1).logsumexp(dim=1)
    own = log_p.gather(1, label[:, None]).squeeze(1)
    return -torch.where(label == background, old_or_background, own)


@MODELS.register_module()
class UnbiasedKDLoss(nn.Module):
    """Unbiased knowledge distillation of MMA (Cermelli 2022), its distillation term on RoI logits.

    ``-(1 / (C_o + 1)) [q_b log(p_b + sum_new p_c) + sum_old q_c log p_c]`` with ``q = softmax(z_T / T)`` over old classes and
    background and ``p = softmax(z_S / T)`` over all: what the teacher calls background may be a new object by now.

    Args:
        temperature (float): T; no factor T^2 is applied.
        normalize (bool): Whether to divide by C_o + 1 as MMA does.
        subtract_entropy (bool): Whether to subtract the teacher's entropy: the KL divergence, zero at a perfect match, same
            gradient.
        loss_weight (float): Factor of the result.
    """

    def __init__(self,
                 temperature: float = 1.0,
                 normalize: bool = True,
                 subtract_entropy: bool = False,
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise InputError(f'UnbiasedKDLoss: temperature={temperature} must be greater than 0')
        self.temperature = temperature
        self.normalize = normalize
        self.subtract_entropy = subtract_entropy
        self.loss_weight = loss_weight

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student_logits (Tensor): Student's logits (R, C + 1).
            teacher_logits (Tensor): Teacher's logits (R, C_o + 1); get no gradient.
            weight (Tensor, optional): Weight of each RoI (R,); the mean is weighted by it.

        Returns:
            Tensor: Scalar, float32; zero without RoIs.

        Raises:
            InputError: The shapes do not fit.
        """
        return self.loss_weight * unbiased_kd(student_logits, teacher_logits, weight, self.temperature, self.normalize,
                                              self.subtract_entropy)

    def extra_repr(self) -> str:
        return (f'temperature={self.temperature}, normalize={self.normalize}, '
                f'subtract_entropy={self.subtract_entropy}, loss_weight={self.loss_weight}')


@MODELS.register_module()
class LogitMSELoss(nn.Module):
    """``mean((z^_S - z^_T)^2)`` over old classes and background, ILOD (Shmelkov 2017) and Faster-ILOD (Peng 2020).

    ``z^`` are the logits minus their mean over the old classes and background.

    Args:
        loss_weight (float): Factor of the result.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student_logits (Tensor): Student's logits (R, C + 1).
            teacher_logits (Tensor): Teacher's logits (R, C_o + 1); get no gradient.
            weight (Tensor, optional): Weight of each RoI (R,); the mean is weighted by it.

        Returns:
            Tensor: Scalar, float32; zero without RoIs.

        Raises:
            InputError: The shapes do not fit.
        """
        return self.loss_weight * logit_mse(student_logits, teacher_logits, weight)

    def extra_repr(self) -> str:
        return f'loss_weight={self.loss_weight}'


@MODELS.register_module()
class RoIDeltaLoss(nn.Module):
    """Smooth-L1 (ILOD, Shmelkov 2017) or squared error (Faster-ILOD, MMA) of the old classes' deltas.

    Mean over RoIs of the sum over the 4 deltas and the mean over the old classes. With ``by_probability`` the classes are
    summed with the teacher's softmax probability instead, so a box matters where the teacher believes in its class. The four
    deltas of a class-agnostic head (``reg_class_agnostic=True``) are those of every class: they count with the probability of
    all old classes together, 1 less that of the background.

    Args:
        beta (float): Where smooth-L1 turns from quadratic to linear.
        squared (bool): Whether to use the squared error instead.
        by_probability (bool): Whether to weight classes by the teacher's probability; ``teacher_logits`` is needed then.
        loss_weight (float): Factor of the result.
    """

    def __init__(self,
                 beta: float = 1.0,
                 squared: bool = False,
                 by_probability: bool = False,
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        self.beta = beta
        self.squared = squared
        self.by_probability = by_probability
        self.loss_weight = loss_weight

    def forward(self,
                student_deltas: Tensor,
                teacher_deltas: Tensor,
                weight: Tensor | None = None,
                teacher_logits: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student_deltas (Tensor): Student's deltas (R, 4 * C), or (R, 4) of a class-agnostic head.
            teacher_deltas (Tensor): Teacher's deltas (R, 4 * C_o), or (R, 4) beside a class-agnostic student; get no gradient.
            weight (Tensor, optional): Weight of each RoI (R,); the mean is weighted by it.
            teacher_logits (Tensor, optional): Teacher's logits (R, C_o + 1); used only with ``by_probability``.

        Returns:
            Tensor: Scalar, float32; zero without RoIs.

        Raises:
            InputError: The shapes do not fit, or ``teacher_logits`` is missing.
        """
        class_weights = None
        if self.by_probability:
            # Four columns are a class-agnostic head's: a student has two classes at least.
            agnostic = student_deltas.size(1) == teacher_deltas.size(1) == 4
            if teacher_logits is None or not agnostic and 4 * (teacher_logits.size(1) - 1) != teacher_deltas.size(1):
                found = None if teacher_logits is None else tuple(teacher_logits.shape)
                raise InputError(f'RoIDeltaLoss(by_probability=True) needs teacher_logits (R, C_o + 1) beside deltas of C_o '
                                 f"classes, or of class-agnostic heads on both sides; got {found} beside the teacher's "
                                 f"{tuple(teacher_deltas.shape)} and the student's {tuple(student_deltas.shape)}")
            class_weights = teacher_logits.detach().float().softmax(dim=1)[:, :-1]
            if agnostic:
                class_weights = class_weights.sum(dim=1, keepdim=True)
        return self.loss_weight * roi_delta(student_deltas, teacher_deltas, weight, class_weights, self.beta,
                                            self.squared)

    def extra_repr(self) -> str:
        return (f'beta={self.beta}, squared={self.squared}, by_probability={self.by_probability}, '
                f'loss_weight={self.loss_weight}')


@MODELS.register_module()
class ScoreL1Loss(nn.Module):
    """Score knowledge of ILMIL: ``mean |max_c p_c - s|``, c over the foreground, p the softmax over all classes.

    s is the score of the merged box that the RoI is matched to (1 for ground truth). Unlike in the paper's released code
    the logits get a gradient. Where the highest class is not that of the box, the wrong class's logit is pulled towards s:
    :class:`MatchedScoreL1Loss` looks at the box's own class.

    Args:
        loss_weight (float): Factor of the result.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student_logits: Tensor, target_scores: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student_logits (Tensor): Student's logits (R, C + 1).
            target_scores (Tensor): Score of each RoI's box (R,), in [0, 1]; get no gradient.
            labels (Tensor, optional): Not used; kept so that this loss and :class:`MatchedScoreL1Loss` can be exchanged.

        Returns:
            Tensor: Scalar, float32; zero without RoIs.

        Raises:
            ValueError: Not one score a RoI.
        """
        return self.loss_weight * score_l1(student_logits, target_scores)

    def extra_repr(self) -> str:
        return f'loss_weight={self.loss_weight}'


@MODELS.register_module()
class MatchedScoreL1Loss(nn.Module):
    """``mean |p_y - s|``, y the class and s the score of the merged box that the RoI is matched to.

    Not from the paper, whose form, :class:`ScoreL1Loss`, makes the student surer of whatever class it takes the object for,
    be it an old class on a new object.

    Args:
        loss_weight (float): Factor of the result.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student_logits: Tensor, target_scores: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            student_logits (Tensor): Student's logits (R, C + 1).
            target_scores (Tensor): Score of each RoI's box (R,), in [0, 1]; get no gradient.
            labels (Tensor): Label of each RoI's box (R,), int64, below C.

        Returns:
            Tensor: Scalar, float32; zero without RoIs.

        Raises:
            ValueError: Not one score and one label a RoI.
        """
        return self.loss_weight * matched_score_l1(student_logits, target_scores, labels)

    def extra_repr(self) -> str:
        return f'loss_weight={self.loss_weight}'


@MODELS.register_module()
class UnbiasedCrossEntropyLoss(nn.Module):
    """Unbiased cross entropy of MMA (Cermelli 2022), its classification term, for ``bbox_head.loss_cls``.

    A RoI labelled background costs ``-log(p_b + sum_old p_c)``, since an old object is background in the new annotation;
    any other RoI ``-log p_c``; softmax over all. With ``num_old_classes=0`` it is the ordinary cross entropy. In a config:
    ``roi_head=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type='UnbiasedCrossEntropyLoss')))``.

    Args:
        num_old_classes (int, optional): C_o, the number of classes before this stage; None: the student tells it, see
            :meth:`set_num_old_classes`.
        reduction (str): 'none', 'mean' or 'sum'.
        loss_weight (float): Factor of the result.

    Raises:
        InputError: ``num_old_classes`` is negative.
    """

    # What MMDetection's box heads ask their classification loss: a plain softmax over num_classes + 1 columns.
    use_sigmoid = False
    custom_cls_channels = False
    custom_activation = False
    custom_accuracy = False

    def __init__(self, num_old_classes: int | None = None, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        if num_old_classes is not None and num_old_classes < 0:
            raise InputError(f'UnbiasedCrossEntropyLoss: num_old_classes={num_old_classes} must be 0 or more')
        self.num_old_classes = num_old_classes
        self.reduction = reduction
        self.loss_weight = loss_weight

    def set_num_old_classes(self, num_old_classes: int) -> None:
        """Learn C_o from who knows it.

        Args:
            num_old_classes (int): The number of classes that the teacher knows.

        Raises:
            InputError: The config says another number.
        """
        if self.num_old_classes not in (None, num_old_classes):
            raise InputError(f'num_old_classes = {self.num_old_classes} in model.roi_head.bbox_head.loss_cls, but the teacher '
                             f'knows {num_old_classes} classes, the old ones of this stage: leave num_old_classes out')
        self.num_old_classes = num_old_classes

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> Tensor:
        """Compute the loss.

        Args:
            cls_score (Tensor): Student's logits (R, C + 1).
            label (Tensor): Label of each RoI (R,), background C.
            weight (Tensor, optional): Weight of each RoI (R,).
            avg_factor (float, optional): Divisor of the sum instead of R.
            reduction_override (str, optional): 'none', 'mean' or 'sum' instead of ``reduction``.

        Returns:
            Tensor: Scalar, or (R,) with reduction 'none'; float32; zero without RoIs.

        Raises:
            InputError: ``num_old_classes`` is not known, or not below the width of the logits.
        """
        if self.num_old_classes is None:
            raise InputError('UnbiasedCrossEntropyLoss does not know num_old_classes, as this detector has no teacher that '
                             'tells it: set it to the number of classes before this stage')
        if self.num_old_classes >= cls_score.size(1):
            raise InputError(f'UnbiasedCrossEntropyLoss: num_old_classes={self.num_old_classes} leaves no class of '
                             f'{cls_score.size(1) - 1}; set it to the number of classes before this stage')
        reduction = reduction_override or self.reduction
        loss = unbiased_cross_entropy(cls_score, label, self.num_old_classes)
        if len(loss) == 0 and reduction != 'none':
            return cls_score.float().sum() * 0
        weight = None if weight is None else weight.float()
        return self.loss_weight * weight_reduce_loss(loss, weight, reduction, avg_factor)

    def extra_repr(self) -> str:
        return (f'num_old_classes={self.num_old_classes}, reduction={self.reduction!r}, '
                f'loss_weight={self.loss_weight}')

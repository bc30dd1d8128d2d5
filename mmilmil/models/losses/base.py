"""What the losses share: their weight, checks of shapes, and means.

Every formula runs in float32 whatever comes in: only element-wise operations and reductions follow the cast, and autocast
leaves those in float32, so nothing has to be shielded from it. The teacher's side is detached here, not by the caller. The
result is a float32 scalar; without anything to compare it is a zero of the student's graph. Shapes that do not fit are an
:class:`InputError` that tells both.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InputError
from ..settings import check_number, settings_of

EPS = 1e-6  # least divisor of a weighted mean
SAME_ANCHORS = 'student and teacher must list the same anchors in the same order'


class WeightedLoss(nn.Module):
    """A loss that is multiplied by ``loss_weight`` (float) and printed with its settings."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_number(loss_weight, f'loss_weight of {type(self).__name__}', 0)
        self.loss_weight = loss_weight

    def extra_repr(self) -> str:
        return ', '.join(f'{name}={getattr(self, name)!r}' for name in settings_of(type(self)))


def check_same_shape(student: Tensor, teacher: Tensor, rule: str) -> None:
    if student.shape != teacher.shape:
        raise InputError(f'{rule}: the student has {tuple(student.shape)}, the teacher {tuple(teacher.shape)}')


def check_columns(student: Tensor, teacher: Tensor, what: str, rows: tuple[str, ...], settings: str) -> None:
    """Both have the same ``rows``, a dimension each, and the student at least the teacher's columns, the last dimension."""
    same = student.dim() == teacher.dim() == len(rows) + 1 and student.shape[:-1] == teacher.shape[:-1]
    if not same or student.size(-1) < teacher.size(-1):
        raise InputError(f'{what} of the student {tuple(student.shape)} must have the {" and ".join(rows)} of the teacher '
                         f'{tuple(teacher.shape)} and at least its columns; the student knows the old classes first, then '
                         f'the new ones: check {settings} of both')


def check_temperature(loss: nn.Module, temperature: float) -> None:
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 < temperature < math.inf:
        raise InputError(f'{type(loss).__name__}: temperature={temperature} must be greater than 0, a number')


def roi_mean(value: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of ``value`` (R,), weighted by ``weight`` (R,) if given; zero without RoIs."""
    if len(value) == 0:
        return value.sum()
    if weight is None:
        return value.mean()
    weight = weight.detach().float()
    return (value * weight).sum() / weight.sum().clamp(min=EPS)


def anchor_mean(value: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over images of the mean of ``value`` (N, K) over all anchors of an image or, with ``mask`` (N, K), the masked ones.

    An image without any counts as zero. A mask, not indexing: a GPU needs no synchronisation to learn how many were kept.
    """
    if mask is None:
        return (value.sum(dim=-1) / max(value.size(-1), 1)).mean()
    return (torch.where(mask, value, 0.).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)).mean()


def bernoulli_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL divergence from ``sigmoid(teacher)`` to ``sigmoid(student)``, element by element."""
    # BCE(z, q) = softplus(z) - q z; the difference to BCE(z_T, q) is written so that equal logits give exactly 0.
    return F.softplus(student) - F.softplus(teacher) - teacher.sigmoid() * (student - teacher)

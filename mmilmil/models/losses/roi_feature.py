"""Pooled features of RoIs: the student's F_S against the teacher's F_T, both (R, C, h, w) of the same R RoIs."""

import torch
from torch import Tensor

from ...registry import MODELS
from ..settings import check_number
from .base import WeightedLoss, check_same_shape


@MODELS.register_module()
class AttentiveRoILoss(WeightedLoss):
    """Attentive RoI distillation of ABR (Liu et al. 2023).

    ``mean(S_T (F_S - F_T)^2) + gamma mean |S_S - S_T|`` with the spatial attention ``S = h w softmax_hw(mean_c F^2)`` of a RoI,
    which is 1 on average: places that the teacher's features stress weigh more, and the student is to stress the same ones.
    The first mean is over RoIs, channels and places, the second over RoIs and places.

    Args:
        gamma (float): Weight of the second part.
    """

    def __init__(self, gamma: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_number(gamma, 'gamma of AttentiveRoILoss', 0)
        self.gamma = gamma

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare pooled features (R, C, h, w)."""
        check_same_shape(student, teacher, 'RoI features are compared channel by channel on the same RoIs')
        student, teacher = student.float(), teacher.detach().float()
        if student.numel() == 0:
            return student.sum()
        mine, theirs = attention(student), attention(teacher)
        error = (theirs[:, None] * (student - teacher).square()).mean()
        return self.loss_weight * (error + self.gamma * (mine - theirs).abs().mean())


def attention(features: Tensor) -> Tensor:
    """``h w softmax_hw(mean_c F^2)`` of each RoI, (R, h, w), from its features (R, C, h, w)."""
    strength = features.square().mean(dim=1)
    return strength[0].numel() * torch.softmax(strength.flatten(1), dim=1).view_as(strength)

"""Feature hints: the student's maps follow the teacher's, one level at a time.

The loss of a batch is the mean over its images of each image's own loss, every mean and ratio in it taken over that image
alone: what an image costs does not depend on what it is batched with. ``weight`` tells which locations are an image's own.

Every formula runs in float32 whatever comes in: only element-wise operations and reductions follow the cast, and autocast
leaves those in float32, so nothing has to be shielded from it. The teacher's side is detached here, not by the caller.
"""

from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS

EPS = 1e-6


def _same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise InputError(f'a feature hint compares maps of one shape, got student {tuple(student.shape)} and teacher '
                         f'{tuple(teacher.shape)}; choose a level where both agree, or select the surviving channels first')


def _image_mean(value: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of ``value`` (N, C, H, W) by image, (N,): over C and the locations, these weighted by ``weight`` (N, 1, H, W)."""
    if weight is None:
        return value.mean(dim=(1, 2, 3))
    weight = weight.detach().float()
    return (value.mean(dim=1, keepdim=True) * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3)).clamp(min=EPS)


def feature_mse(student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of ``(F_S - F_T)^2``; see :class:`FeatureMSELoss`."""
    _same_shape(student, teacher)
    if student.numel() == 0:
        return student.float().sum() * 0
    return _image_mean((student.float() - teacher.detach().float()).square(), weight).mean()


def feature_hinge(student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of ``max(F^_T - F^_S, 0)``; see :class:`FeatureHingeLoss`."""
    _same_shape(student, teacher)
    if student.numel() == 0:
        return student.float().sum() * 0
    student, teacher = student.float(), teacher.detach().float()
    gap = teacher - student
    return _image_mean((gap - _image_mean(gap, weight)[:, None, None, None]).clamp(min=0), weight).mean()


def feature_norm_mse(student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """``sum w (F_S - F_T)^2 / sum w F_T^2``; see :class:`FeatureNormMSELoss`."""
    _same_shape(student, teacher)
    if student.numel() == 0:
        return student.float().sum() * 0
    student, teacher = student.float(), teacher.detach().float()
    # Both means share one denominator, which cancels: the ratio is that of the weighted sums.
    error = _image_mean((student - teacher).square(), weight)
    return (error / _image_mean(teacher.square(), weight).clamp(min=EPS)).mean()


class _FeatureLoss(nn.Module):

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def extra_repr(self) -> str:
        return f'loss_weight={self.loss_weight}'


@MODELS.register_module()
class FeatureMSELoss(_FeatureLoss):
    """Mean squared error between two feature maps, the hint of ILMIL (its paper's feature term).

    With a weight map: ``sum(w * mean_c (F_S - F_T)^2) / sum(w)`` by image.

    Args:
        loss_weight (float): Factor of the result.
    """

    def forward(self, student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student (Tensor): Student's map (N, C, H, W).
            teacher (Tensor): Teacher's map (N, C, H, W); gets no gradient.
            weight (Tensor, optional): Weight of each location (N, 1, H, W).

        Returns:
            Tensor: Scalar, float32; zero for an empty map or an all-zero weight.

        Raises:
            InputError: The maps differ in shape.
        """
        return self.loss_weight * feature_mse(student, teacher, weight)


@MODELS.register_module()
class FeatureHingeLoss(_FeatureLoss):
    """One-sided feature distillation of Faster-ILOD (Peng 2020): only activations that got weaker cost.

    ``mean(max(F^_T - F^_S, 0))`` with ``F^ = F - mean(F)``, both means taken over an image's map of the level.

    Args:
        loss_weight (float): Factor of the result.
    """

    def forward(self, student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student (Tensor): Student's map (N, C, H, W).
            teacher (Tensor): Teacher's map (N, C, H, W); gets no gradient.
            weight (Tensor, optional): Weight of each location (N, 1, H, W), in the means of F as well.

        Returns:
            Tensor: Scalar, float32; zero for an empty map or an all-zero weight.

        Raises:
            InputError: The maps differ in shape.
        """
        return self.loss_weight * feature_hinge(student, teacher, weight)


@MODELS.register_module()
class FeatureNormMSELoss(_FeatureLoss):
    """Mean squared error relative to the teacher's mean square, ``sum w (F_S - F_T)^2 / sum w F_T^2`` by image.

    Not from the paper: it makes one weight fit every level and backbone, since the scale of the features cancels.

    Args:
        loss_weight (float): Factor of the result.
    """

    def forward(self, student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student (Tensor): Student's map (N, C, H, W).
            teacher (Tensor): Teacher's map (N, C, H, W); gets no gradient.
            weight (Tensor, optional): Weight of each location (N, 1, H, W).

        Returns:
            Tensor: Scalar, float32; zero for an empty map or an all-zero weight.

        Raises:
            InputError: The maps differ in shape.
        """
        return self.loss_weight * feature_norm_mse(student, teacher, weight)

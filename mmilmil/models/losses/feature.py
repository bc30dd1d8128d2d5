"""Feature hints: the student's maps F_S follow the teacher's F_T, both (N, C, H, W), one level at a time.

The loss of a batch is the mean over its images of each image's own loss, every mean and ratio in it taken over that image
alone: what an image costs does not depend on what it is batched with. ``weight`` (N, 1, H, W), if given, tells which locations
are an image's own; all zero, the image costs nothing.
"""

from torch import Tensor

from ...registry import MODELS
from .base import EPS, WeightedLoss, check_same_shape


def _image_mean(value: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of ``value`` (N, C, H, W) by image, (N,): over C and the locations, these weighted by ``weight`` (N, 1, H, W)."""
    if weight is None:
        return value.mean(dim=(1, 2, 3))
    weight = weight.detach().float()
    return (value.mean(dim=1, keepdim=True) * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3)).clamp(min=EPS)


class _FeatureLoss(WeightedLoss):

    def forward(self, student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compare two maps (N, C, H, W)."""
        check_same_shape(student, teacher, 'a feature hint compares maps of one shape; choose a level where both agree, or '
                         'select the surviving channels first')
        if student.numel() == 0:
            return self.loss_weight * student.float().sum()
        return self.loss_weight * self.by_image(student.float(), teacher.detach().float(), weight).mean()


@MODELS.register_module()
class FeatureMSELoss(_FeatureLoss):
    """Mean squared error between two feature maps, the hint of ILMIL (its paper's feature term).

    With a weight map: ``sum(w * mean_c (F_S - F_T)^2) / sum(w)`` by image.
    """

    def by_image(self, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        return _image_mean((student - teacher).square(), weight)


@MODELS.register_module()
class FeatureHingeLoss(_FeatureLoss):
    """One-sided feature distillation of Faster-ILOD (Peng 2020): only activations that got weaker cost.

    ``mean(max(F^_T - F^_S, 0))`` with ``F^ = F - mean(F)``, both (weighted) means taken over an image's map of the level.
    """

    def by_image(self, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        gap = teacher - student
        return _image_mean((gap - _image_mean(gap, weight)[:, None, None, None]).clamp(min=0), weight)


@MODELS.register_module()
class FeatureNormMSELoss(_FeatureLoss):
    """Mean squared error relative to the teacher's mean square, ``sum w (F_S - F_T)^2 / sum w F_T^2`` by image.

    Not from the paper: it makes one weight fit every level and backbone, since the scale of the features cancels.
    """

    def by_image(self, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        # Both means share one denominator, which cancels: the ratio is that of the weighted sums.
        error = _image_mean((student - teacher).square(), weight)
        return error / _image_mean(teacher.square(), weight).clamp(min=EPS)

"""What all distillers share: terms that are switches, hints on feature maps, and the cells that are compared."""

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS
from ..annotation import Annotation
from ..meaning import count_levels
from ..settings import built, check_indices, check_switch
from ..views import Outputs, View

Cells = Callable[[tuple[int, int], tuple[float, float]], Tensor]
"""From a map's shape and the stride of its cells to those that are compared, (N, 1, height, width), bool."""


class Distiller(BaseModule):
    """Terms of a distillation, each a registered loss and each a switch: ``None`` is off.

    Hints look at the cells of each image whose centre lies in it, not at the padding of the batch, and are the mean over the
    images of the batch.

    Args:
        terms: Config of each term's loss by its name, or ``None``.
        backbone_levels: Indices into the backbone's outputs that hints compare.
        neck_levels: Indices into the neck's outputs that hints compare.
        spare_new: Leave the cells inside annotated or ignored boxes, where the student has new things to see, out of the
            dense terms.
    """

    view: type[View]
    """The detectors that it has terms for."""
    asked: Mapping[str, tuple[int, tuple[str, ...]]]
    """By term, how its loss is called: with how many tensors, and which more by name."""
    needs_rois = False
    """Whether a term compares RoI heads, so that RoIs must be chosen and pass the student's head."""

    def __init__(self, terms: Mapping[str, Optional[dict]], backbone_levels: tuple[int, ...], neck_levels: tuple[int, ...],
                 spare_new: bool) -> None:
        super().__init__()
        for name, cfg in terms.items():
            setattr(self, name, _term(cfg, f'model.distiller.{name}', *self.asked[name]))
        self.backbone_levels = check_indices(backbone_levels, 'model.distiller.backbone_levels')
        self.neck_levels = check_indices(neck_levels, 'model.distiller.neck_levels')
        if self.feature is not None and not self.backbone_levels and not self.neck_levels:
            raise InputError('model.distiller.neck_levels and model.distiller.backbone_levels are empty, so the feature term '
                             'has no map to compare: name some, or switch it off by model.distiller.feature=None')
        self.spare_new = check_switch(spare_new, 'model.distiller.spare_new')

    def check(self, student: nn.Module) -> None:
        """The student has what the terms compare.

        Args:
            student: The built detector.

        Raises:
            InputError: the feature term names a level beyond those of backbone or neck.
        """
        for name, count in zip(('backbone_levels', 'neck_levels'), count_levels(student)):
            chosen = getattr(self, name)
            beyond = [index for index in chosen if not -count <= index < count]
            if self.feature is not None and beyond:
                raise InputError(f'model.distiller.{name} = {list(chosen)}: the {name.partition("_")[0]} gives {count} maps, '
                                 f'so {beyond[0]} is none of them. Choose from 0 to {count - 1}')

    @property
    @abstractmethod
    def needs_teacher(self) -> bool:
        """Whether a term looks at what the teacher sees in the batch."""

    def join(self, knowledge: Optional[Outputs], annotation: Annotation) -> Optional[Callable]:
        """What joins the student's pass; see :meth:`mmilmil.models.views.View.watch`. By default nothing."""

    @abstractmethod
    def forward(self, student: Outputs, knowledge: Optional[Outputs], annotation: Annotation) -> dict[str, Tensor]:
        """The distillation losses, by name; a term that is switched off is absent.

        Args:
            student: The student's outputs.
            knowledge: The teacher's; ``None`` where :attr:`needs_teacher` is false.
            annotation: The batch's, without what is merged into it.
        """

    def cells(self, annotation: Annotation, device: torch.device) -> Cells:
        """The cells that are compared; cached, as several terms look at maps of the same sizes."""
        spared = annotation.all_bboxes if self.spare_new else None
        return functools.cache(lambda shape, stride: compared_cells(shape, stride, annotation.img_shapes, spared, device))

    def feature_loss(self, student: Outputs, knowledge: Outputs, annotation: Annotation, cells: Cells) -> Tensor:
        """The hint, mean over the chosen maps."""
        # A backbone tells no strides. Theirs divide the size that the data preprocessor pads to.
        triples = [(student.backbone_levels[i], knowledge.backbone_levels[i],
                    _stride(student.backbone_levels[i], annotation.input_shape)) for i in self.backbone_levels]
        triples += [(student.neck_levels[i], knowledge.neck_levels[i], student.strides[i]) for i in self.neck_levels]
        terms = [self.feature(mine, theirs, cells(mine.shape[-2:], stride).float()) for mine, theirs, stride in triples]
        return sum(terms) / len(terms)


def _term(cfg: Optional[dict], where: str, tensors: int, named: tuple[str, ...]) -> Optional[nn.Module]:
    if cfg is None:
        return None
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise InputError(f'{where} = {cfg!r}: give the loss as dict(type=..., loss_weight=...), or None to switch the term off')
    loss = built(MODELS.build, cfg, f'{where} = {cfg}')
    try:
        inspect.signature(loss.forward).bind(*[None] * tensors, **dict.fromkeys(named))
    except TypeError as error:
        more = f' and {", ".join(named)} by name' if named else ''
        raise InputError(f'{where} is a {type(loss).__name__}, which is no loss of this term: it is called with {tensors} '
                         f'tensors{more} ({error}); docs/method.md lists those that fit') from error
    return loss


def _stride(level: Tensor, input_shape: tuple[int, int]) -> tuple[float, float]:
    return input_shape[0] / level.size(-2), input_shape[1] / level.size(-1)


def compared_cells(shape: tuple[int, int],
                   stride: tuple[float, float],
                   img_shapes: list[tuple[int, int]],
                   spared: Optional[list[Tensor]] = None,
                   device: Optional[torch.device] = None) -> Tensor:
    """Mark the cells of a feature map whose centre lies in the image and in no spared box.

    Args:
        shape: (height, width) of the feature map in cells.
        stride: (height, width) of a cell in pixels of the input.
        img_shapes: By image, (height, width) in pixels; its upper left corner is the input's.
        spared: By image, boxes (G, 4) in pixels of the input, edges included; ``None`` spares nothing.
        device: Of the result.

    Returns:
        (N, 1, height, width), bool.
    """
    y, x = ((torch.arange(cells, device=device) + 0.5) * pixels for cells, pixels in zip(shape, stride))
    y, x = y[:, None], x[None, :]
    masks = [(y < height) & (x < width) for height, width in img_shapes]
    if spared is not None:
        for mask, boxes in zip(masks, spared, strict=True):
            x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
            mask &= ~((x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)).any(dim=0)
    return torch.stack(masks)[:, None]

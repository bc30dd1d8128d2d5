"""The teacher: a frozen stock detector that tells in one pass what it knows of a batch."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Optional, Union

import torch
from mmdet.structures import SampleList
from torch import Tensor, nn

from ..class_names import given_classes
from ..errors import InputError
from .hashes import weights_hash
from .heads import num_classes
from .loading import load_detector
from .settings import check_names, check_number
from .views import Outputs, TwoStageView, view_of


class Teacher(nn.Module):
    """A detector that is never trained: always in eval mode, without gradient (docs/protocol.md, rule 6).

    The student keeps it beside itself, not as a submodule, so that it enters neither the student's parameters and checkpoint
    nor the copies that an EMA hook makes.

    Args:
        detector: A stock detector with its weights loaded.
        classes: The names of its classes, in label order.
        max_proposals: Of a two-stage detector, proposals an image that its RoI head sees, at most; the training step pays for
            each. On DeepPCB, 128 find nearly all of what the teacher's own 200 find (docs/results.md).
    """

    def __init__(self, detector: nn.Module, classes: tuple[str, ...], max_proposals: int = 128) -> None:
        super().__init__()
        self.detector = detector.requires_grad_(False)
        self.view = view_of(detector)
        self.classes = tuple(classes)
        self.max_proposals = max_proposals
        self.eval()

    @classmethod
    def load(cls, checkpoint: str, config: Optional[Union[str, dict]] = None,
             classes: Optional[Union[str, Sequence[str]]] = None, **kwargs) -> 'Teacher':
        """Build the teacher from its checkpoint, and its config where that is given.

        Args:
            checkpoint, config, classes: See :func:`mmilmil.models.loading.load_detector`.
            **kwargs: Further arguments of the teacher.

        Raises:
            InputError: a file is missing or unreadable, nobody tells the classes, or config and checkpoint do not fit.
        """
        return cls(*load_detector(checkpoint, config, classes=classes), **kwargs)

    @property
    def num_classes(self) -> int:
        """Number of classes that it knows, C_o."""
        return num_classes(self.detector)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of its weights, by which the same teacher is known again; see :func:`weights_hash`."""
        return weights_hash(self.detector.state_dict())

    def to(self, *args, **kwargs) -> 'Teacher':
        """Move the detector, its data preprocessor too, which learns of a device by its detector's ``to`` alone."""
        self.detector.to(*args, **kwargs)
        return self

    def train(self, mode: bool = True) -> 'Teacher':
        """Stay in eval mode, whatever the runner asks for."""
        return super().train(False)

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        # Frozen, so one teacher serves a student and every copy of it.
        return self

    @torch.no_grad()
    def observe(self, inputs: Tensor, samples: SampleList, score_thr: float = 0.5, heads: bool = True,
                detect: bool = True) -> Outputs:
        """One pass over a batch.

        Args:
            inputs: The student's own input tensor, (N, 3, H, W), augmented and normalised.
            samples: N data samples; only their meta information (image shapes) is read.
            score_thr: Detections with a lower score are left out.
            heads: Whether proposals and what the RoI head says of them are asked for; without, these are empty. Of a
                one-stage detector not used.
            detect: Whether detections are asked for, which needs ``heads``; without, they are empty.

        Returns:
            The outputs of the detector's view (:mod:`mmilmil.models.views`). Nothing in them has a gradient.
        """
        more = dict(max_proposals=self.max_proposals) if isinstance(self.view, TwoStageView) else {}
        return self.view.observe(inputs, [sample.metainfo for sample in samples], score_thr, heads, detect, **more)


def teacher_settings(teacher: Mapping) -> dict:
    """``model.teacher`` as the arguments of :meth:`Teacher.load`.

    Raises:
        InputError: a setting is unknown or out of range, or ``checkpoint`` is missing.
    """
    if not isinstance(teacher, Mapping):
        raise InputError(f'model.teacher = {teacher!r}: give dict(checkpoint=PATH), and config=PATH where that file holds none')
    check_names(teacher, ('checkpoint', 'config', 'classes', 'max_proposals'), 'model.teacher')
    if not isinstance(teacher.get('checkpoint'), (str, os.PathLike)):
        raise InputError(f"model.teacher.checkpoint = {teacher.get('checkpoint')!r}: name the .pth file of the stage before "
                         'this one')
    if teacher.get('classes') is not None:
        given_classes(teacher['classes'], 'model.teacher.classes')
    if 'max_proposals' in teacher:
        check_number(teacher['max_proposals'], 'model.teacher.max_proposals', 1, whole=True)
    return dict(teacher)

"""The teacher: a frozen stock detector that tells in one pass what it knows of a batch."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Optional, Union

import torch
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..checkpoint import config_values, load_checkpoint_file
from ..config import load_config
from ..errors import InputError
from ..registry import MODELS
from ..stock import full_model_cfg
from ..weights import may_exist
from .precision import for_roi_align, full_precision
from .settings import built, check_names, check_number
from .structure import cut, read_structure
from .supported import check_supported


@dataclass
class TeacherKnowledge:
    """What the teacher saw in one batch of N images; C_o is the number of classes it knows. Nothing here has a gradient.

    What was not asked for is empty.

    Attributes:
        stages: Backbone outputs, each (N, C, H, W).
        levels: Neck outputs, each (N, C, H, W).
        rpn_logits: Objectness by level, each (N, A, H, W).
        rpn_deltas: Box deltas by level, each (N, 4 * A, H, W).
        proposals: By image, ``bboxes`` (P, 4) in pixels of the input tensor, best objectness first.
        roi_logits: By image, (P, C_o + 1), background last.
        roi_deltas: By image, (P, 4 * C_o), or (P, 4) of a class-agnostic head.
        detections: By image, ``bboxes`` (D, 4), ``labels`` (D,), ``scores`` (D,), after non-maximum suppression.
    """

    stages: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]
    rpn_logits: list[Tensor]
    rpn_deltas: list[Tensor]
    proposals: list[InstanceData] = field(default_factory=list)
    roi_logits: tuple[Tensor, ...] = ()
    roi_deltas: tuple[Tensor, ...] = ()
    detections: list[InstanceData] = field(default_factory=list)


class Teacher(nn.Module):
    """A detector that is never trained: always in eval mode, without gradient (protocol 6).

    The student keeps it beside itself, not as a submodule, so that it enters neither the student's parameters and checkpoint
    nor the copies that an EMA hook makes.

    Args:
        detector: A stock two-stage detector with its weights loaded.
        classes: The names of its classes, in label order.
        max_proposals: Proposals an image that its RoI head sees, at most; the training step pays for each. On DeepPCB, 128
            find nearly all of what the teacher's own 200 find (docs/results.md).
    """

    def __init__(self, detector: nn.Module, classes: tuple[str, ...], max_proposals: int = 128) -> None:
        super().__init__()
        self.detector = detector.requires_grad_(False)
        self.classes = tuple(classes)
        self.max_proposals = max_proposals
        self.eval()

    @classmethod
    def load(cls, checkpoint: str, config: Optional[Union[str, dict]] = None, **kwargs) -> 'Teacher':
        """Build the teacher from its checkpoint, and its config where that is given.

        Args:
            checkpoint: File written by a training run; its ``meta.dataset_meta.classes`` names the classes.
            config: Config file or dict of the run that made it. Without one, the config inside the checkpoint is used.

        Raises:
            InputError: a file is missing or unreadable, tells no classes, or config and checkpoint do not fit.
        """
        return cls(*load_detector(checkpoint, config), **kwargs)

    @property
    def num_classes(self) -> int:
        """Number of classes that it knows, C_o."""
        return self.detector.roi_head.bbox_head.num_classes

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
                detect: bool = True) -> TeacherKnowledge:
        """One pass over a batch.

        Args:
            inputs: The student's own input tensor, (N, 3, H, W), augmented and normalised.
            samples: N data samples; only their meta information (image shapes) is read.
            score_thr: Detections with a lower score are left out.
            heads: Whether proposals and what the RoI head says of them are asked for; without, these are empty.
            detect: Whether detections are asked for, which needs ``heads``; without, they are empty.
        """
        detector = self.detector
        stages = detector.backbone(inputs)
        levels = detector.neck(stages) if detector.with_neck else stages
        rpn_logits, rpn_deltas = map(full_precision, detector.rpn_head(levels))
        known = TeacherKnowledge(tuple(stages), tuple(levels), rpn_logits, rpn_deltas)
        if not heads:
            return known
        metas = [sample.metainfo for sample in samples]
        rpn_cfg = ConfigDict(detector.test_cfg.rpn, max_per_img=min(self.max_proposals, detector.test_cfg.rpn.max_per_img))
        known.proposals = detector.rpn_head.predict_by_feat(rpn_logits, rpn_deltas, batch_img_metas=metas, cfg=rpn_cfg)
        counts = [len(found) for found in known.proposals]
        rois = bbox2roi([found.bboxes for found in known.proposals])
        outputs = detector.roi_head._bbox_forward(for_roi_align(levels), rois)
        known.roi_logits, known.roi_deltas = (
            full_precision(outputs[name]).split(counts) for name in ('cls_score', 'bbox_pred'))
        if detect:
            known.detections = detector.roi_head.bbox_head.predict_by_feat(
                rois.split(counts), known.roi_logits, known.roi_deltas, batch_img_metas=metas,
                rcnn_test_cfg=ConfigDict(detector.test_cfg.rcnn, score_thr=score_thr), rescale=False)
            # Again, as soft-NMS lowers scores. Its boxes of lower scores never lower those of higher ones.
            known.detections = [found[found.scores > score_thr] for found in known.detections]
        return known


def teacher_settings(teacher: Mapping) -> dict:
    """``model.teacher`` as the arguments of :meth:`Teacher.load`.

    Raises:
        InputError: a setting is unknown or out of range, or ``checkpoint`` is missing.
    """
    if not isinstance(teacher, Mapping):
        raise InputError(f'model.teacher = {teacher!r}: give dict(checkpoint=PATH), and config=PATH where that file holds none')
    check_names(teacher, ('checkpoint', 'config', 'max_proposals'), 'model.teacher')
    if not isinstance(teacher.get('checkpoint'), (str, os.PathLike)):
        raise InputError(f"model.teacher.checkpoint = {teacher.get('checkpoint')!r}: name the .pth file of the stage before "
                         'this one')
    if 'max_proposals' in teacher:
        check_number(teacher['max_proposals'], 'model.teacher.max_proposals', 1, whole=True)
    return dict(teacher)


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of a state dict, in hexadecimal digits; the order does not count.

    Args:
        weights: State dict, on any device. A checkpoint and the detector that it was loaded into have the same hash.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load_detector(checkpoint: str, config: Optional[Union[str, dict]] = None, whose: str = "the teacher's ",
                  where: str = 'model.teacher.') -> tuple[nn.Module, tuple[str, ...]]:
    """Build a detector from its checkpoint, cut where that is pruned.

    Args:
        checkpoint: File written by a training run, or its URL; its ``meta.dataset_meta.classes`` names the classes.
        config: Config file or dict of the run that made it. Without one, the config inside the checkpoint is used.
        whose: Whose checkpoint and config it is, for messages.
        where: What stands before ``config`` and ``checkpoint`` where a user sets them, for messages.

    Returns:
        The full or pruned detector with its weights, and the names of its classes in label order.

    Raises:
        InputError: a file is missing or unreadable, tells no classes, config and checkpoint do not fit, or the detector is
            not supported (:mod:`mmilmil.models.supported`).
    """
    file = f'{whose}checkpoint {checkpoint}'
    if not may_exist(checkpoint):
        raise InputError(f'{file} does not exist: {_remedy(checkpoint, config, where)}')
    content = load_checkpoint_file(checkpoint)
    meta = content.get('meta') or {}
    dataset_meta = {key.lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    classes = dataset_meta.get('classes')
    if not classes:
        raise InputError(f'{file} does not name its classes (meta.dataset_meta.classes): use a checkpoint written by '
                         'MMDetection 3 or later')
    model = full_model_cfg(_model_cfg(file, config, meta, whose, where))
    check_supported(model, f'the model of {file}')
    detector = built(MODELS.build, model, f'the model of {file}')
    check_supported(detector, f'the model of {file}')
    structure = read_structure(meta, checkpoint)
    if structure is not None:
        cut(detector, structure, checkpoint)
    try:
        detector.load_state_dict(content.get('state_dict', content))
    except RuntimeError as error:
        source = config if isinstance(config, str) else 'the given one' if config else 'the one in the checkpoint'
        raise InputError(f'{file} does not fit its config ({source}): give {where}config the config that this checkpoint was '
                         f'trained with. {_first_lines(str(error))}') from error
    num_classes = detector.roi_head.bbox_head.num_classes
    if len(classes) != num_classes:
        raise InputError(f'{file} names {len(classes)} classes, {list(classes)}, but its head has num_classes = {num_classes}: '
                         'use a checkpoint of a run in which the two agree')
    return detector, tuple(classes)


def carries_config(checkpoint: str) -> bool:
    """Whether a checkpoint file tells the config that it was trained with."""
    return isinstance((load_checkpoint_file(checkpoint).get('meta') or {}).get('cfg'), str)


def _model_cfg(file: str, config: Optional[Union[str, dict]], meta: dict, whose: str, where: str) -> dict:
    if isinstance(config, dict):
        return config.get('model', config)
    if config is not None:
        if not Path(config).is_file():
            raise InputError(f'{whose}config {config} does not exist: correct {where}config')
        return load_config(config).model
    remedy = f'name the config that it was trained with in {where}config'
    if not isinstance(meta.get('cfg'), str):
        raise InputError(f'{file} carries no config: {remedy}')
    try:
        return ConfigDict(config_values(meta['cfg'])['model'])
    except (ValueError, KeyError) as error:
        raise InputError(f'the config inside {file} cannot be used without running it ({error}): {remedy}') from error


def _remedy(checkpoint: str, config: Optional[Union[str, dict]], where: str) -> str:
    path = f'--cfg-options {where}checkpoint=PATH' if where else 'its path'
    if isinstance(config, str):
        return (f'train it with `python tools/train.py {config} --work-dir {Path(checkpoint).parent}`, or train the whole '
                f'chain with `python tools/train_chain.py` and this config; where it is elsewhere, give {path}')
    return f'give {path}'


def _first_lines(message: str, count: int = 3) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return ' '.join(lines[:count]) + (f' (and {len(lines) - count} more)' if len(lines) > count else '')

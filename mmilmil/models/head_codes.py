"""Codes: what a box head gives its classifier, of a memory's tensors and of a stage's RoIs."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn

from .heads import as_list
from .memory import FeatureMemory
from .precision import for_roi_align
from .views.base import box_heads


@dataclass
class StageCodes:
    """Codes of a stage's RoIs by one box head.

    Attributes:
        before, after: (N, D), of the teacher's proposals by teacher and student.
        objects: (G, D), of the annotated boxes by the student.
        labels: (G,), theirs.
    """

    before: Tensor
    after: Tensor
    objects: Tensor
    labels: Tensor


def codes_of(head: nn.Module, features: Tensor) -> Tensor:
    """What a box head gives its classifier, (R, D), of pooled features (R, C, h, w)."""
    codes: list[Tensor] = []
    handle = head.fc_cls.register_forward_pre_hook(lambda layer, args: codes.append(args[0]))
    try:
        head(features)
    finally:
        handle.remove()
    return codes[0].float()


@torch.no_grad()
def codes_of_memory(memory: FeatureMemory, detector: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """By box head, codes (M, D) of the memory's tensors and their labels (M,), on CPU.

    Args:
        memory: Of this detector.
        detector: In eval mode.
    """
    device = next(detector.parameters()).device
    return [(torch.cat([codes_of(head, part.to(device)).cpu() for part in memory.features.split(256)]), memory.labels)
            for head in box_heads(detector)]


@torch.no_grad()
def codes_of_stage(student: nn.Module, teacher: nn.Module, batches: Iterable[dict]) -> list[StageCodes]:
    """By box head, the codes of a stage's RoIs, on CPU. Every box head of a cascade is asked about the same boxes.

    Args:
        student, teacher: Of the same channels, in eval mode.
        batches: As a training loader gives them.
    """
    found: list[list[tuple[Tensor, ...]]] = [[] for _ in box_heads(student)]
    for batch in batches:
        data = teacher.data_preprocessor(batch)
        inputs, samples = data['inputs'], data['data_samples']
        levels = teacher.extract_feat(inputs), student.extract_feat(inputs)
        proposals = teacher.rpn_head.predict(levels[0], samples, rescale=False)
        rois = bbox2roi([boxes.bboxes for boxes in proposals])
        objects, _, _ = unpack_gt_instances(samples)
        annotated, labels = bbox2roi([gt.bboxes for gt in objects]), torch.cat([gt.labels for gt in objects])
        for index, codes in enumerate(found):
            before, after = (_codes(model, maps, index, rois) for model, maps in zip((teacher, student), levels))
            codes.append((before, after, _codes(student, levels[1], index, annotated), labels.cpu()))
    return [StageCodes(*map(torch.cat, zip(*codes))) for codes in found]


def _codes(detector: nn.Module, levels: tuple[Tensor, ...], index: int, rois: Tensor) -> Tensor:
    extractor = as_list(detector.roi_head.bbox_roi_extractor)[index]
    pooled = extractor(for_roi_align(levels)[:extractor.num_inputs], rois)
    return codes_of(box_heads(detector)[index], pooled).cpu()

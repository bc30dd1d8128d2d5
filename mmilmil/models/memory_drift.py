"""Carrying a feature memory over from the detector that made it to the one that was trained from it."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn

from .heads import as_list
from .memory import FeatureMemory
from .precision import for_roi_align

RIDGE = 1e-3
"""Pull towards no change, as a share of the mean square of a feature: what the images do not show stays as it is."""


@torch.no_grad()
def drift(teacher: nn.Module, student: nn.Module, batches: Iterable[dict]) -> tuple[Tensor, Tensor]:
    """The linear map from what the teacher's RoIs hold to what the student's hold at the same place, by least squares.

    ``min_{W, b} sum |W x_T + b - x_S|^2 + r |W - 1|^2`` over the cells of the pooled tensors of the teacher's proposals.
    Source: prototypes are carried over by a linear map in IIKC and by weighted mean drift in SDC (Yu et al. 2020); here one
    map of channels for every cell.

    Args:
        teacher: The detector that the memory is of.
        student: Of the same channels.
        batches: As a training loader gives them.

    Returns:
        W (C, C) and b (C,), float32, on CPU.
    """
    square = product = None
    for batch in batches:
        data = teacher.data_preprocessor(batch)
        levels = teacher.extract_feat(data['inputs'])
        proposals = teacher.rpn_head.predict(levels, data['data_samples'], rescale=False)
        rois = bbox2roi([found.bboxes for found in proposals])
        before, after = (_cells(model, maps, rois) for model, maps in (
            (teacher, levels), (student, student.extract_feat(data['inputs']))))
        before = torch.cat([before, before.new_ones(len(before), 1)], dim=1)
        square, product = ((0 if total is None else total) + (before.T @ value).double().cpu()
                           for total, value in ((square, before), (product, after)))
    channels = square.size(0) - 1
    pull = RIDGE * square.diagonal()[:channels].mean()
    square[:channels, :channels] += pull * torch.eye(channels).double()
    product[:channels] += pull * torch.eye(channels).double()
    solved = torch.linalg.solve(square, product).float()
    return solved[:channels].T.contiguous(), solved[channels]


def _cells(detector: nn.Module, levels: tuple[Tensor, ...], rois: Tensor) -> Tensor:
    """(R * h * w, C) of the RoIs."""
    extractor = as_list(detector.roi_head.bbox_roi_extractor)[0]
    pooled = extractor(for_roi_align(levels)[:extractor.num_inputs], rois)
    return pooled.permute(0, 2, 3, 1).reshape(-1, pooled.size(1)).float()


def carried_over(memory: FeatureMemory, weight: Tensor, bias: Tensor) -> FeatureMemory:
    """The memory with every cell mapped to ``weight @ x + bias``."""
    features = torch.einsum('oc,nchw->nohw', weight, memory.features) + bias[:, None, None]
    return replace(memory, features=features)

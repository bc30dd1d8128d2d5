"""Carrying a feature memory over from the detector that made it to the one that was trained from it."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn

from .heads import as_list
from .memory import FeatureMemory
from .precision import for_roi_align

UNMOVED_SHARE, UNMOVED_CELLS = 1e-3, 20
"""So many cells more, by the number of those seen and at least, count as seen without a change: what the images do not show
stays as it is, and so does most where a step shows little."""


@torch.no_grad()
def drift(teacher: nn.Module, student: nn.Module, batches: Iterable[dict]) -> tuple[Tensor, Tensor]:
    """The linear map from what the teacher's RoIs hold to what the student's hold at the same place, by least squares.

    ``min_{W, b} sum |W x_T + b - x_S|^2 + u (m |W - 1|^2 + |b|^2)`` over the n cells of the pooled tensors of the teacher's
    proposals, with m the mean square of a number in x_T and ``u = n / 1000 + 20``, as of u cells more that have not changed.
    Source: prototypes are carried over by a linear map in IIKC and by weighted mean drift in SDC (Yu et al. 2020); here one
    map of channels for every cell.

    Args:
        teacher: The detector that the memory is of.
        student: Of the same channels.
        batches: As a training loader gives them.

    Returns:
        W (C, C) and b (C,), float32, on CPU.
    """
    sums = None
    for batch in batches:
        data = teacher.data_preprocessor(batch)
        levels = teacher.extract_feat(data['inputs'])
        proposals = teacher.rpn_head.predict(levels, data['data_samples'], rescale=False)
        rois = bbox2roi([found.bboxes for found in proposals])
        found = _sums(*(_pooled(model, maps, rois) for model, maps in (
            (teacher, levels), (student, student.extract_feat(data['inputs'])))))
        sums = found if sums is None else [total + more for total, more in zip(sums, found)]
    return _solved(*sums)


@torch.no_grad()
def channel_map(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map of :func:`drift` between pooled tensors of the same RoIs, (R, C, h, w) each; none changes nothing."""
    return _solved(*_sums(before, after))


@torch.no_grad()
def left_over(before: Tensor, after: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What the map leaves of pooled tensors, ``after - (weight @ before + bias)``, (R, C, h, w)."""
    return after.float() - mapped(before.float(), weight, bias)


def _sums(before: Tensor, after: Tensor) -> list[Tensor]:
    """(C + 1, C + 1) and (C + 1, C): of the cells' products, what the least squares are made of."""
    before, after = (pooled.float().permute(0, 2, 3, 1).reshape(-1, pooled.size(1)) for pooled in (before, after))
    before = torch.cat([before, before.new_ones(len(before), 1)], dim=1)
    with torch.autocast(before.device.type, enabled=False):
        return [(before.T @ value).cpu().double() for value in (before, after)]


def _solved(square: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    channels, cells = square.size(0) - 1, square[-1, -1].item()
    unmoved = UNMOVED_SHARE * cells + UNMOVED_CELLS
    pull = unmoved * square.diagonal()[:channels].mean() / max(cells, 1) + torch.finfo(torch.float32).tiny
    square[:channels, :channels] += pull * torch.eye(channels).double()
    product[:channels] += pull * torch.eye(channels).double()
    square[channels, channels] += unmoved
    # Without its check: of features that are no numbers it is the loss that tells.
    solved = torch.linalg.solve_ex(square, product).result.float()
    return solved[:channels].T.contiguous(), solved[channels]


def _pooled(detector: nn.Module, levels: tuple[Tensor, ...], rois: Tensor) -> Tensor:
    roi_head = detector.roi_head
    extractor = as_list(roi_head.bbox_roi_extractor)[0]
    pooled = extractor(for_roi_align(levels)[:extractor.num_inputs], rois)
    return roi_head.shared_head(pooled) if roi_head.with_shared_head else pooled


def carried_over(memory: FeatureMemory, weight: Tensor, bias: Tensor) -> FeatureMemory:
    """The memory with every cell mapped to ``weight @ x + bias``."""
    return replace(memory, features=mapped(memory.features, weight, bias))


def mapped(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(N, C, h, w), each cell as ``weight @ x + bias``."""
    with torch.autocast(features.device.type, enabled=False):
        return torch.einsum('oc,nchw->nohw', weight, features) + bias[:, None, None]

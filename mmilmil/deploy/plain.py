"""Detectors that take and give plain tensors: layers, coders and settings of a stock detector, and what its ``predict`` does
with them, written so that torch can export it.

What is computed is MMDetection's, step by step; only the order differs where that is cheaper and the result the same: boxes are
made of the best candidates alone, and what a threshold leaves out is marked instead of cut, so that sizes stay known.
"""

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator, MlvlPointGenerator
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import ConfigDict
from torch import Tensor, nn

from .operators import INVALID, best, parted, pool, suppress

Found = tuple[Tensor, Tensor, Tensor]
"""Boxes (N, 4) in pixels of the resized image, scores (N,) and labels (N,) int64, best score first."""


def plain_detector(detector: nn.Module) -> 'PlainDetector':
    """The plain form of a detector that :func:`mmilmil.deploy.exportable.check_exportable` accepts, in eval mode."""
    return (PlainTwoStage if hasattr(detector, 'rpn_head') else PlainDense)(detector).eval()


class PlainDetector(nn.Module):
    """A detector of one image.

    Args:
        detector: The stock detector, whose modules it shares.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor, image_shape: Tensor) -> Found:
        """Detections in one image.

        Args:
            image: (1, 3, H, W), resized, padded and normalised.
            image_shape: (2,) int64, height and width without the padding, which boxes are clipped to.
        """
        height, width = image_shape.to(image.dtype).unbind()
        return self.detect(self.detector.extract_feat(image), torch.stack([width, height, width, height]))

    def detect(self, levels: tuple[Tensor, ...], limits: Tensor) -> Found:
        """Detections on the neck levels; ``limits`` (4,) are the largest x1 y1 x2 y2."""
        raise NotImplementedError


class PlainDense(PlainDetector):
    """RetinaNet, ATSS, GFL, RTMDet."""

    def detect(self, levels: tuple[Tensor, ...], limits: Tensor) -> Found:
        """Detections on the neck levels; ``limits`` (4,) are the largest x1 y1 x2 y2."""
        head, cfg = self.detector.bbox_head, self.detector.bbox_head.test_cfg
        candidates = [_Candidates(head, index, *maps, limit=cfg.nms_pre) for index, maps in enumerate(zip(*head(levels)))]
        boxes = clipped(_decoded(head, candidates), head.bbox_coder, limits)
        scores, labels = (torch.cat([getattr(one, name) for one in candidates]) for name in ('scores', 'labels'))
        valid = (scores > cfg.get('score_thr', 0)) & large_enough(boxes, cfg)
        if candidates[0].factors is not None:
            scores = scores * torch.cat([one.factors for one in candidates])
        return kept(boxes, scores, labels, valid, cfg)


class PlainTwoStage(PlainDetector):
    """Faster R-CNN and Cascade R-CNN."""

    def detect(self, levels: tuple[Tensor, ...], limits: Tensor) -> Found:
        """Detections on the neck levels; ``limits`` (4,) are the largest x1 y1 x2 y2."""
        roi = self.detector.roi_head
        heads = list(roi.bbox_head) if isinstance(roi.bbox_head, nn.ModuleList) else [roi.bbox_head]
        boxes, logits = self.proposals(levels, limits), []
        for index, head in enumerate(heads):
            found, deltas = head(self.pooled(index, levels, boxes))
            logits.append(found)
            if head is not heads[-1]:
                refined = head.regress_by_class(boxes, found[:, :-1].argmax(dim=1), deltas, dict(img_shape=None))
                boxes = clipped(get_box_tensor(refined), head.bbox_coder, limits)
        head, cfg = heads[-1], roi.test_cfg
        scores = (logits[0] if len(heads) == 1 else sum(logits) / float(len(heads))).softmax(dim=-1)[:, :-1]
        each = 1 if head.reg_class_agnostic else head.num_classes
        decoded = head.bbox_coder.decode(boxes.repeat_interleave(each, dim=0), deltas.view(-1, 4), max_shape=None)
        decoded = clipped(get_box_tensor(decoded), head.bbox_coder, limits).view(-1, each, 4)
        decoded = decoded.expand(-1, head.num_classes, 4).reshape(-1, 4)
        labels = torch.arange(head.num_classes, device=scores.device).expand_as(scores).reshape(-1)
        scores = scores.reshape(-1)
        return kept(decoded, scores, labels, scores > cfg.score_thr, cfg)

    def proposals(self, levels: tuple[Tensor, ...], limits: Tensor) -> Tensor:
        """The RPN's boxes, (P, 4)."""
        head, cfg = self.detector.rpn_head, self.detector.rpn_head.test_cfg
        candidates = [_Candidates(head, index, *maps, limit=cfg.get('nms_pre', -1)) for index, maps in
                      enumerate(zip(*head(levels)))]
        boxes = clipped(_decoded(head, candidates), head.bbox_coder, limits)
        scores = torch.cat([one.scores for one in candidates])
        of_level = torch.cat([one.labels.new_full(one.labels.shape, index) for index, one in enumerate(candidates)])
        return kept(boxes, scores, of_level, large_enough(boxes, cfg), cfg)[0]

    def pooled(self, index: int, levels: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """RoI features (P, C, h, w) of boxes (P, 4) for the box head of a cascade stage."""
        roi = self.detector.roi_head
        extractor = roi.bbox_roi_extractor
        extractor = extractor[index] if isinstance(extractor, nn.ModuleList) else extractor
        layers = extractor.roi_layers
        features = pool(list(levels[:extractor.num_inputs]), boxes, level_of(boxes, extractor.finest_scale, len(layers)),
                        list(layers[0].output_size), [layer.spatial_scale for layer in layers], layers[0].sampling_ratio,
                        layers[0].aligned)
        return roi.shared_head(features) if roi.with_shared_head else features


class _Candidates:
    """The best of a level's boxes, K of them.

    Attributes:
        scores: (K,), best first.
        labels: (K,) int64.
        codes: (K, ...), what the box coder makes boxes of.
        priors: (K, 4) anchors or (K, 2) points.
        factors: (K,), what the scores are to be multiplied by, or None.
    """

    def __init__(self, head: nn.Module, level: int, logits: Tensor, codes: Tensor, factors: Tensor | None = None, *,
                 limit: int) -> None:
        classes = head.cls_out_channels
        scores = _rows(logits, classes).sigmoid().reshape(-1)
        self.scores, places = best(scores, limit if limit > 0 else scores.shape[0])
        rows, self.labels = parted(places, classes)
        generator = head.prior_generator
        anchors = generator.num_base_priors[level]
        codes = _rows(codes, codes.shape[1] // anchors).index_select(0, rows)
        # GFL's distributions, whose mean is in strides.
        self.codes = head.integral(codes) * generator.strides[level][0] if hasattr(head, 'integral') else codes
        self.priors = _priors(generator, level, rows, logits.shape[-1])
        self.factors = None if factors is None else _rows(factors, 1).index_select(0, rows).squeeze(1).sigmoid()


def _rows(maps: Tensor, width: int) -> Tensor:
    """A level's map (1, A * width, H, W) as one row an anchor, (H * W * A, width)."""
    return maps[0].permute(1, 2, 0).reshape(-1, width)


def _priors(generator: AnchorGenerator | MlvlPointGenerator, level: int, rows: Tensor, width: int) -> Tensor:
    """The anchors (K, 4) or points (K, 2) in those rows of a level that is ``width`` cells wide."""
    cells, which = parted(rows, generator.num_base_priors[level])
    down, right = parted(cells, width)
    corners = torch.stack([right, down], dim=1).float()
    stride = corners.new_tensor(generator.strides[level])
    if isinstance(generator, MlvlPointGenerator):
        return (corners + generator.offset) * stride
    return (corners * stride).repeat(1, 2) + generator.base_anchors[level].index_select(0, which)


def _decoded(head: nn.Module, candidates: list[_Candidates]) -> Tensor:
    priors, codes = torch.cat([one.priors for one in candidates]), torch.cat([one.codes for one in candidates])
    priors = head.anchor_center(priors) if hasattr(head, 'integral') else priors
    return get_box_tensor(head.bbox_coder.decode(priors, codes, max_shape=None))


def clipped(boxes: Tensor, coder: object, limits: Tensor) -> Tensor:
    """Boxes (N, 4) clipped to the image, where the coder asks for it."""
    return torch.minimum(boxes.clamp(min=0), limits) if coder.clip_border else boxes


def large_enough(boxes: Tensor, cfg: ConfigDict) -> Tensor:
    """Which boxes (N, 4) have the smallest size that ``test_cfg`` asks for, (N,) bool."""
    smallest = cfg.get('min_bbox_size', -1)
    if smallest < 0:
        return torch.ones_like(boxes[:, 0], dtype=torch.bool)
    return (boxes[:, 2] - boxes[:, 0] > smallest) & (boxes[:, 3] - boxes[:, 1] > smallest)


def level_of(boxes: Tensor, finest_scale: int, number: int) -> Tensor:
    """The level that each box (N, 4) is pooled from, (N,) int64: ``SingleRoIExtractor.map_roi_levels``.

    That takes a logarithm, which is another one in every runtime and wrong by a level where a box has exactly the size
    between two; here the sizes are compared.
    """
    scale = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])) / finest_scale + 1e-6
    return sum(((scale >= 2**level).long() for level in range(1, number)), torch.zeros_like(scale, dtype=torch.int64))


def kept(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, cfg: ConfigDict) -> Found:
    """What non-maximum suppression leaves of the valid boxes.

    Args:
        boxes: (N, 4).
        scores: (N,).
        groups: (N,) int64, labels or levels.
        valid: (N,) bool.
        cfg: ``test_cfg`` with ``nms`` and ``max_per_img``.
    """
    marked = torch.where(valid, scores, INVALID)
    places = suppress(boxes, marked, groups, float(cfg.nms.iou_threshold), bool(cfg.nms.get('class_agnostic', False)),
                      cfg.max_per_img)
    return tuple(values.index_select(0, places) for values in (boxes, scores, groups))

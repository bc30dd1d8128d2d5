"""What a detector costs: parameters, FLOPs and time."""

import statistics
import time
from collections.abc import Mapping

import torch
from mmdet.models.detectors.two_stage import TwoStageDetector
from mmdet.structures import DetDataSample
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from ..models.structure import SIDES, Structure, left_groups


class DensePart(nn.Module):
    """A two-stage detector's layers without what lies between them (proposals, non-maximum suppression, RoIAlign).

    What it computes does not depend on the image, so its FLOPs are those of every image of one size.

    Args:
        detector: The detector.
        num_rois: RoIs that pass its RoI head; by default the most that it tests with, ``test_cfg.rpn.max_per_img``.
    """

    def __init__(self, detector: TwoStageDetector, num_rois: int | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.num_rois = num_rois or detector.test_cfg.rpn.max_per_img

    def forward(self, image: Tensor) -> tuple:
        """Outputs of RPN and RoI head for an image (1, 3, H, W), the RoI features being zeros."""
        levels = self.detector.extract_feat(image)
        head = self.detector.roi_head
        extractor = head.bbox_roi_extractor
        rois = image.new_zeros(self.num_rois, extractor.out_channels, *extractor.roi_layers[0].output_size)
        return self.detector.rpn_head(levels), head.bbox_head(head.shared_head(rois) if head.with_shared_head else rois)


@torch.no_grad()
def layer_flops(detector: TwoStageDetector, size: tuple[int, int]) -> dict[str, float]:
    """Multiply-adds of each layer for one image.

    Args:
        detector: The detector.
        size: Height and width of its input in pixels, padded to what its backbone asks for.

    Returns:
        By name of the layers without children.
    """
    part = DensePart(detector.eval())
    image = torch.zeros(1, 3, *size, device=next(detector.parameters()).device)
    analyzer = FlopAnalyzer(part, (image, )).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counts = analyzer.by_module()
    return {name: float(counts[f'detector.{name}']) for name, layer in detector.named_modules()
            if not any(layer.children()) and counts[f'detector.{name}']}


def flops_after(flops: Mapping[str, float], structure: Structure, detector: nn.Module) -> float:
    """Multiply-adds that a structure leaves.

    Args:
        flops: Of each layer before; see :func:`layer_flops`.
        structure: What survives.
        detector: The detector before; of its convolutions the numbers of groups count.
    """
    total, layers = 0.0, dict(detector.named_modules())
    for name, count in flops.items():
        masks = structure.get(name, {})
        for side in SIDES:
            if side in masks:
                count *= masks[side].float().mean().item()
        groups = getattr(layers[name], 'groups', 1)
        if groups > 1 and 'outputs' in masks:  # an output reads the inputs of its own group, not a share of all
            count *= groups / int(left_groups(layers[name], masks['outputs']).sum())
        total += count
    return total


@torch.no_grad()
def latencies(detectors: list[TwoStageDetector], size: tuple[int, int], runs: int, warmup: int = 2) -> list[dict[str, float]]:
    """Median seconds an image, the detectors in turn, so that what else the machine does meets all alike.

    Args:
        detectors: In eval mode, on one device.
        size: Height and width of the input in pixels.
        runs: Timed passes of each.
        warmup: Passes before them.

    Returns:
        Of each detector ``whole``, from the input tensor to the detections, and ``features``, backbone and neck of it.
    """
    image = torch.rand(1, 3, *size, device=next(detectors[0].parameters()).device)
    times = [dict(whole=[], features=[]) for _ in detectors]
    for run in range(warmup + runs):
        for detector, taken in zip(detectors, times):
            features, whole = _time_once(detector.eval(), image)
            if run >= warmup:
                taken['features'].append(features)
                taken['whole'].append(whole)
    return [{name: statistics.median(values) for name, values in taken.items()}
            for taken in times]


def _time_once(detector: TwoStageDetector, image: Tensor) -> tuple[float, float]:
    shape = tuple(image.shape[-2:])
    sample = DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0)))
    wait = torch.cuda.synchronize if image.is_cuda else (lambda: None)
    wait()
    start = time.perf_counter()
    levels = detector.extract_feat(image)
    wait()
    middle = time.perf_counter()
    proposals = detector.rpn_head.predict(levels, [sample], rescale=False)
    detector.roi_head.predict(levels, proposals, [sample], rescale=False)
    wait()
    return middle - start, time.perf_counter() - start

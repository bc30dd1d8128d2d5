"""Detecting in images that are no part of a data set, by a config's own test pipeline."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import Compose, LoadImageFromFile
from mmdet.apis import inference_detector
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from ..class_names import class_groups, metainfo_of
from ..datasets.image_loading import image_loader, is_loader, load_image
from ..errors import InputError
from ..loaders import innermost_dataset, test_loader
from ..models.fusion import FusedDetector, detections_per_image
from ..models.loading import load_detector
from ..registry import TRANSFORMS
from ..stage import Stage
from .fused_test import load_beside


class ImageDetector:
    """A checkpoint's detector, or several whose detections are fused, ready for images.

    Args:
        cfg: Config of the stage; a student's needs no teacher.
        checkpoint: File or URL.
        fused: Other checkpoints of the config.
        settings: ``iou_threshold`` and ``min_score`` of :func:`mmilmil.models.fusion.fuse`.
        device: Where it runs.

    Attributes:
        stage: Classes, and their groups by :func:`mmilmil.class_names.class_groups`, as an export has them.

    Raises:
        InputError: see :func:`mmilmil.models.loading.load_detector`.
    """

    def __init__(self, cfg: Config, checkpoint: str, fused: Sequence[str] = (), settings: Mapping | None = None,
                 device: str = 'cpu') -> None:
        init_default_scope(cfg.get('default_scope', 'mmilmil'))
        dataset = innermost_dataset(test_loader(cfg).dataset)
        metainfo = metainfo_of(dataset)
        detector, classes = load_detector(checkpoint, dict(model=cfg.model), whose='the ', where='',
                                          classes=metainfo['classes'] or None)
        self.stage = Stage(tuple(classes), class_groups(checkpoint, classes, metainfo, cfg.filename))
        self.detector: nn.Module = detector
        if fused:
            beside = load_beside(fused, cfg.model, classes)
            self.detector = FusedDetector([detector, *beside], max_per_img=detections_per_image(cfg.model), **(settings or {}))
        self.detector.cfg = cfg  # where MMDetection's function looks for it
        self.detector.to(device).eval()
        steps = [ConfigDict(step) for step in dataset.pipeline]
        self.loader: LoadImageFromFile = image_loader(TRANSFORMS.build(step) for step in steps if is_loader(step))
        self.pipeline = Compose([dict(type='mmdet.LoadImageFromNDArray'), *(step for step in steps if not is_loader(step))])

    def load(self, path: str | Path) -> np.ndarray:
        """An image's pixels as the config's pipeline loads them.

        Raises:
            InputError: it cannot be loaded, or not as three channels.
        """
        pixels = load_image(self.loader, str(path))
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise InputError(f'{path} is loaded as {pixels.shape} by {self.loader.color_type!r}, not as three channels: set '
                             "color_type='color' in LoadImageFromFile")
        return pixels

    def __call__(self, pixels: np.ndarray) -> InstanceData:
        """Detect, by MMDetection's ``inference_detector``.

        Args:
            pixels: (H, W, 3), blue, green, red.

        Returns:
            ``bboxes`` in pixels of the image, ``scores``, ``labels``; masks where the detector has a mask head.
        """
        return inference_detector(self.detector, pixels, self.pipeline).pred_instances

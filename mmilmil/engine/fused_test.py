"""A test of several checkpoints of a config as one detector."""

import os
from collections.abc import Mapping, Sequence

from mmengine.runner import TestLoop
from torch import nn

from ..errors import InputError
from ..models.fusion import FusedDetector, detections_per_image
from ..models.loading import load_detector
from ..registry import LOOPS
from ..weights import is_url, may_exist


@LOOPS.register_module()
class FusedTestLoop(TestLoop):
    """Tests the runner's model and detectors beside it, whose detections are fused.

    Args:
        fused: Checkpoints of the detectors beside it, built by the same config.
        settings: ``iou_threshold`` and ``min_score`` of :func:`mmilmil.models.fusion.fuse`.
        args, kwargs: See ``TestLoop``.
    """

    def __init__(self, *args, fused: Sequence[str], settings: Mapping, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fused, self.settings = list(fused), dict(settings)

    def run(self) -> dict:
        """Test, and leave the runner with its own model."""
        runner, own = self.runner, self.runner.model
        model = runner.cfg.model
        beside = load_beside(self.fused, model, self.dataloader.dataset.metainfo['classes'])
        runner.model = FusedDetector([own, *beside], max_per_img=detections_per_image(model),
                                     **self.settings).to(next(own.parameters()).device)
        try:
            return super().run()
        finally:
            runner.model = own


def load_beside(checkpoints: Sequence[str], model: Mapping, classes: Sequence[str]) -> list[nn.Module]:
    """The detectors of other checkpoints of a config, in eval mode.

    Args:
        checkpoints: Their files or URLs.
        model: The model's config.
        classes: Names that each of them has to know, in this order.

    Raises:
        InputError: see :func:`mmilmil.models.loading.load_detector`.
    """
    return [load_detector(path, dict(model=model), whose='the ', where='', classes=tuple(classes))[0].eval()
            for path in checkpoints]


def check_fused(checkpoint: str, others: Sequence[str]) -> None:
    """What can be told before anything is built.

    Raises:
        InputError: a checkpoint is not there, or is given twice.
    """
    for path in others:
        if not may_exist(path):
            raise InputError(f'--fuse {path}: there is no such checkpoint; give the path or URL of a .pth file')
    given = [checkpoint, *others]
    places = [path if is_url(path) else os.path.realpath(path) for path in given]
    if twice := [path for path, place in zip(given, places) if places.count(place) > 1]:
        raise InputError(f'--fuse: {twice[0]} is given twice, and what it finds would count twice: name each checkpoint once')

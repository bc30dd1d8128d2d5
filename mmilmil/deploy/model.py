"""An exported model in the place of a detector that is tested."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import scale_boxes
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..errors import InputError
from ..runtime.detector import Detector
from ..runtime.metadata import Metadata
from .preparation import preparation_of

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Boxes (N, 4) float32 in pixels of the resized image, scores (N,) float32 and labels (N,) int64, best score first."""


def fitted(image: Tensor, metadata: Metadata, name: str) -> Tensor:
    """An image (1, 3, h, w) padded to a fixed input size, (1, 3, H, W); as it is for a model of any size.

    Args:
        image: Prepared, as (1, 3, h, w).
        metadata: The model's.
        name: The image, for the message.

    Raises:
        InputError: the image is larger.
    """
    if metadata.input_size is None:
        return image
    height, width = metadata.input_size
    below, right = height - image.shape[2], width - image.shape[3]
    if below < 0 or right < 0:
        raise InputError(f'{name} is {image.shape[2]}x{image.shape[3]} after the test pipeline, and the model takes '
                         f'{height}x{width}: export it with --dynamic, or with a --size that holds every image')
    if not below and not right:
        return image
    padded = torch.tensor(metadata.pad.value, dtype=image.dtype).view(1, 3, 1, 1).expand(1, 3, height, width).clone()
    padded[:, :, :image.shape[2], :image.shape[3]] = image
    return padded


def check_same(metadata: Metadata, cfg: Config, classes: Sequence[str], name: str) -> None:
    """Stop where a model was exported for other classes, or other images, than a config has.

    Raises:
        InputError: names the first difference.
    """
    if tuple(metadata.classes) != tuple(classes):
        raise InputError(f'{name} knows the classes {list(metadata.classes)}, and the dataset of {cfg.filename} has '
                         f'{list(classes)}: give the config that it was exported with')
    preparation = preparation_of(cfg)
    for part in ('resize', 'pad', 'mean', 'std', 'channels'):
        theirs, mine = getattr(metadata, part), getattr(preparation, part)
        if theirs != mine:
            raise InputError(f'{name} was exported for images of another form: {part} = {theirs} there, and {mine} in '
                             f'{cfg.filename}: give the config that it was exported with, or export again')


class OnnxDetector(BaseModel):
    """An exported model in the place of a detector that is tested, one image after the other.

    Args:
        model: The model, as the runtime has it.
        data_preprocessor: The detector's.
    """

    def __init__(self, model: Detector, data_preprocessor: nn.Module) -> None:
        super().__init__(data_preprocessor)
        self.model = model

    def forward(self, inputs, data_samples=None, mode='tensor'):
        """Not used: see :meth:`test_step`."""
        raise NotImplementedError('an exported model is only tested')

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Data samples with detections in pixels of the image files.

        Args:
            data: ``inputs`` and ``data_samples`` of a batch, as the loader gives them.
        """
        found = []
        for image, sample in zip(data['inputs'], data['data_samples']):
            prepared = self.data_preprocessor(dict(inputs=[image], data_samples=[sample]), False)
            image, sample = prepared['inputs'], prepared['data_samples'][0]
            image = fitted(image, self.model.metadata, sample.metainfo.get('img_path', 'an image'))
            found_in = self.model.run(image.cpu().numpy(), np.array(sample.img_shape, np.int64))
            boxes, scores, labels = map(torch.from_numpy, found_in)
            boxes = scale_boxes(boxes, [1 / factor for factor in sample.scale_factor])
            sample.pred_instances = InstanceData(bboxes=boxes, scores=scores, labels=labels)
            found.append(sample)
        return found

    val_step = test_step


class OnnxTestHook(Hook):
    """Puts an exported model into the place of the run's detector, when that has been checked and before it is tested.

    Args:
        model: The model, whose file ``metrics.json`` is to name.
    """

    def __init__(self, model: Detector) -> None:
        self.model = model

    def before_test(self, runner: Runner) -> None:
        """Compare it with the config, and put it in."""
        check_same(self.model.metadata, runner.cfg, runner.test_dataloader.dataset.metainfo['classes'],
                   str(self.model.path))
        detector = getattr(runner.model, 'module', runner.model)  # in a wrapper for several processes
        runner.model = OnnxDetector(self.model, detector.data_preprocessor)
        runner._load_from = str(self.model.path)

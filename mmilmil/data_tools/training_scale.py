"""The size that a training pipeline gives to images, and so to the boxes on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from mmengine.logging import MMLogger

from ..datasets.stage_filter import StageFilterMixin
from ..registry import DATASETS


@dataclass(frozen=True)
class TrainBoxes:
    """Boxes that a training set teaches.

    Attributes:
        boxes: (N, 4) in pixels of their images.
        names: Their classes, (N,).
        sizes: (width, height) of the image of each, (N, 2), in pixels.
    """

    boxes: np.ndarray
    names: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, datasets: Sequence[StageFilterMixin]) -> 'TrainBoxes':
        """Those of datasets that are initialised; ignored ones are left out."""
        rows = [(*instance['bbox'], info['width'], info['height'], dataset.stage.classes[instance['bbox_label']])
                for dataset in datasets for info in map(dataset.get_data_info, range(len(dataset)))
                for instance in info['instances'] if not instance['ignore_flag']]
        numbers = np.array([row[:6] for row in rows], dtype=float).reshape(-1, 6)
        return cls(numbers[:, :4], np.array([row[6] for row in rows], dtype=object), numbers[:, 4:])


def train_boxes(leaf: Mapping, classes: Sequence[str]) -> TrainBoxes:
    """Boxes of some classes in a training set, all of them whatever the stage.

    Args:
        leaf: The dataset's settings.
        classes: The classes.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # the dataset's report is one of a training
    try:
        return TrainBoxes.of([DATASETS.build({**leaf, 'metainfo': dict(classes=tuple(classes)), 'pipeline': []})])
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class TrainingScale:
    """The resizing step of a pipeline; of one that draws a size, the largest.

    Attributes:
        scale: (width, height) that images are resized to or, with ``keep_ratio``, fit into: the longer of them is for the
            longer side of the image. None where a factor is given.
        factor: What both sides are multiplied by, where there is no ``scale``.
        keep_ratio: Whether the aspect ratio stays.
    """

    scale: Optional[tuple[int, int]] = None
    factor: float = 1.0
    keep_ratio: bool = True

    @classmethod
    def of(cls, pipeline: Sequence[Mapping]) -> Optional['TrainingScale']:
        """That of a pipeline as a config has it; None where it is none of MMDetection's usual steps."""
        found = [step for step in pipeline if 'Resize' in str(step.get('type'))]
        if not found:
            return cls()
        step = found[0]
        kind, keep_ratio = step['type'], step.get('keep_ratio', False)
        if kind == 'Resize':
            return cls._resize(step.get('scale'), step.get('scale_factor'), keep_ratio)
        if kind == 'FixScaleResize':
            return cls._resize(step.get('scale'), step.get('scale_factor'), True)
        if kind == 'RandomChoiceResize':
            return cls(max(map(_pair, step['scales']), key=np.prod), keep_ratio=step.get('keep_ratio', True))
        if kind == 'RandomResize':
            scales = step['scale'] if isinstance(step['scale'][0], Sequence) else [step['scale']]
            largest = max(step['ratio_range']) if step.get('ratio_range') else 1
            width, height = max(map(_pair, scales), key=np.prod)
            return cls((int(width * largest), int(height * largest)), keep_ratio=step.get('keep_ratio', True))
        return None

    @classmethod
    def _resize(cls, scale: Any, factor: Any, keep_ratio: bool) -> Optional['TrainingScale']:
        if scale is not None:
            return cls(_pair(scale), keep_ratio=keep_ratio)
        return cls(factor=float(factor)) if isinstance(factor, int | float) else None

    def of_images(self, sizes: np.ndarray) -> np.ndarray:
        """What images of these sizes, (N, 2) as (width, height), become, (N, 2), in whole pixels as MMCV rounds."""
        if self.scale is None:
            return np.floor(sizes * self.factor + 0.5)
        if not self.keep_ratio:
            return np.broadcast_to(np.array(self.scale, dtype=float), sizes.shape)
        factors = np.minimum(max(self.scale) / sizes.max(axis=1), min(self.scale) / sizes.min(axis=1))
        return np.floor(sizes * factors[:, None] + 0.5)

    def times(self, factor: float) -> 'TrainingScale':
        """The same with images larger by a factor."""
        if self.scale is None:
            return TrainingScale(factor=self.factor * factor)
        width, height = (round(side * factor) for side in self.scale)
        return TrainingScale((width, height), keep_ratio=self.keep_ratio)

    def __str__(self) -> str:
        if self.scale is None:
            return 'the size of the image files' if self.factor == 1 else f'{self.factor:g} times the size of the image files'
        return f'{"x".join(map(str, self.scale))} px'


def scaled(data: TrainBoxes, scale: TrainingScale) -> TrainBoxes:
    """Boxes and image sizes as a training sees them."""
    sizes = scale.of_images(data.sizes)
    return TrainBoxes(data.boxes * np.tile(sizes / data.sizes, 2), data.names, sizes)


def _pair(scale: Any) -> tuple[int, int]:
    return (int(scale), int(scale)) if isinstance(scale, int | float) else (int(scale[0]), int(scale[1]))

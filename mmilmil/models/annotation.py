"""What a batch's annotation says of the new classes, before anything is merged into it."""

from dataclasses import dataclass, replace

import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor


@dataclass(frozen=True)
class Annotation:
    """Objects of a batch of N images, in pixels of the input tensor.

    Attributes:
        instances: By image, the annotated objects: ``bboxes`` (G, 4), ``labels`` (G,), and ``masks`` where they are loaded.
        ignored: By image, boxes (K, 4) that are not trained on: difficult objects and crowds.
        metas: By image, its meta information.
        input_shape: (height, width) of the input tensor.
        apart: By image, whether no old object is known on it, annotated or seen by the teacher; empty where nothing is
            merged.
        first_new: Label of the first new class, where old objects were left out.
    """

    instances: list[InstanceData]
    ignored: list[Tensor]
    metas: list[dict]
    input_shape: tuple[int, int]
    apart: tuple[bool, ...] = ()
    first_new: int = 0

    @classmethod
    def of(cls, inputs: Tensor, samples: SampleList) -> 'Annotation':
        """The annotation of a batch.

        Args:
            inputs: (N, 3, H, W).
            samples: N data samples.
        """
        instances, ignored, metas = unpack_gt_instances(samples)
        boxes = [gt.bboxes.new_zeros((0, 4)) if one is None else one.bboxes for gt, one in zip(instances, ignored)]
        return cls(instances, boxes, metas, tuple(inputs.shape[-2:]))

    def of_new(self, first_new: int) -> 'Annotation':
        """The same of the new objects alone: old ones that are annotated too, on exemplars, are what the teacher knows.

        Args:
            first_new: Label of the first new class.
        """
        instances = [InstanceData(bboxes=gt.bboxes[new], labels=gt.labels[new])
                     for gt in self.instances for new in [gt.labels >= first_new]]
        return replace(self, instances=instances, first_new=first_new)

    @property
    def annotated(self) -> list[Tensor]:
        """By image, the boxes (G, 4) that are trained on."""
        return [gt.bboxes for gt in self.instances]

    @property
    def all_bboxes(self) -> list[Tensor]:
        """By image, the boxes (G + K, 4) of the new classes, annotated and ignored ones, without the teacher's."""
        return [torch.cat(pair) for pair in zip(self.annotated, self.ignored)]

    @property
    def img_shapes(self) -> list[tuple[int, int]]:
        """By image, its (height, width) in pixels; the rest of the input tensor is padding."""
        return [meta['img_shape'][:2] for meta in self.metas]

"""What a teacher sees on the training images of the student's stage."""

import numpy as np
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch.utils.data import ConcatDataset

from ..loaders import innermost_dataset, innermost_datasets, test_loader
from ..models.teacher import Teacher
from ..models.views import TwoStageView
from ..registry import DATASETS
from .teacher_boxes import TeacherBoxes


def training_images(cfg: Config) -> tuple[ConcatDataset, list[int]]:
    """The stage's training sets without augmentation and with all seen classes' boxes; indices of the images it trains on."""
    pipeline = innermost_dataset(test_loader(cfg).dataset).pipeline
    sets, indices = [], []
    for dataset in innermost_datasets(cfg.train_dataloader.dataset):
        bare = dict(dataset, replay=None, unlabelled=None, pipeline=pipeline)
        own, seen = (DATASETS.build(dict(bare, keep=keep)) for keep in ('newest', 'seen'))
        kept = {own.get_data_info(i)['img_id'] for i in range(len(own))}
        start = sum(map(len, sets))
        indices += [start + i for i in range(len(seen)) if seen.get_data_info(i)['img_id'] in kept]
        sets.append(seen)
    return ConcatDataset(sets), indices


def in_file_pixels(teacher: Teacher, data: dict, score_thr: float = 0.5) -> InstanceData:
    """What a teacher finds in an image, of scores above ``score_thr``.

    Args:
        teacher: The teacher.
        data: A batch of the image, as the teacher's data preprocessor gives it.
        score_thr: Detections with a lower score are left out.

    Returns:
        ``bboxes`` (D, 4) in pixels of the image file, ``labels`` (D,) and ``scores`` (D,).
    """
    found = teacher.observe(data['inputs'], data['data_samples'], score_thr).detections[0]
    scale = found.bboxes.new_tensor(data['data_samples'][0].get('scale_factor', (1., 1.))).repeat(2)
    return InstanceData(bboxes=found.bboxes / scale, labels=found.labels, scores=found.scores)


def detect(teacher: Teacher, data: dict, proposals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Boxes with scores (D, 5) in pixels of the image file, and labels (D,), out of so many proposals; by default its own."""
    if isinstance(teacher.view, TwoStageView):
        teacher.max_proposals = proposals or teacher.detector.test_cfg.rpn.max_per_img
    found = in_file_pixels(teacher, data)
    return np.column_stack([found.bboxes.cpu().numpy(), found.scores.cpu().numpy()]), found.labels.cpu().numpy()


def ground_truth(sample: DetDataSample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (G, 4) in pixels of the image file, labels (G,), and which are ignored: difficult ones and crowds (G,)."""
    kinds = [sample.gt_instances, sample.ignored_instances]
    boxes = [getattr(kind.bboxes, 'tensor', kind.bboxes).cpu().numpy().reshape(-1, 4) for kind in kinds]
    return np.concatenate(boxes), np.concatenate([kind.labels.cpu().numpy() for kind in kinds]), np.arange(2).repeat(
        [len(kind) for kind in boxes]) > 0


def count_teacher_boxes(teacher: Teacher, cfg: Config, number: int) -> tuple[TeacherBoxes, int]:
    """Right and wrong boxes of a teacher on training images of a stage.

    Args:
        teacher: The teacher.
        cfg: Config of the stage.
        number: How many images at most, drawn by NumPy's global generator.

    Returns:
        The counts, and the number of images.
    """
    seen, indices = training_images(cfg)
    indices = np.random.permutation(indices)[:number].tolist()
    counts = TeacherBoxes()
    for index in indices:
        data = teacher.detector.data_preprocessor(pseudo_collate([seen[index]]))
        counts.add(*detect(teacher, data), *ground_truth(data['data_samples'][0]), teacher.num_classes)
    return counts, len(indices)

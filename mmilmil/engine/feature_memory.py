"""The memory of a stage's final model, made at the end of the stage or later, where its images still are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import torch
from mmengine.dataset import pseudo_collate
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from ..errors import InputError
from ..models.hashes import weights_hash
from ..models.loading import load_detector
from ..models.memory import MEMORY_FILE, FeatureMemory
from ..models.memory_building import CROWD, LOOKS, build_memory
from ..models.memory_drift import carried_over, drift
from .atomic_file import save_atomically
from .random_place import SeededBatches


def enough_images(dataset: Dataset, annotated: Sequence[int], objects: int, seed: int) -> list[int]:
    """Indices of images on which each class has ``objects`` objects, or all that it has; drawn by ``seed``, in that order.

    Args:
        dataset: Built, with its annotation; of several joined sets all that are built.
        annotated: Labels that count. An image with none of them, an exemplar of an earlier stage or one without annotation,
            is not taken: nobody has looked for these objects on it.
        objects: Number wanted of each class.
        seed: Of the order in which images are looked at.
    """
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    have: dict[int, int] = {}
    chosen = []
    for index in order:
        labels = [instance['bbox_label'] for instance in dataset.get_data_info(index)['instances']
                  if not instance.get('ignore_flag') and instance['bbox_label'] in annotated]
        if any(have.get(label, 0) < objects for label in labels):
            chosen.append(index)
        for label in labels:
            have[label] = have.get(label, 0) + 1
    return chosen


def make_memory(checkpoint: Path, dataset: Dataset, batch_size: int, out: Optional[Path] = None,
                before: Optional[tuple[FeatureMemory, nn.Module]] = None, per_class: int = 160, background: int = 640,
                seed: int = 0, device: str = 'cpu', config: Optional[dict] = None) -> FeatureMemory:
    """Build a memory from annotated images and write it.

    Args:
        checkpoint: A two-stage detector's, as a finished stage leaves it.
        dataset: The training set of that stage.
        batch_size: Images that the detector sees at a time.
        out: File to write; by default ``memory.pth`` beside the checkpoint.
        before: The memory of the stage before and its detector: what it keeps is carried over to this one.
        per_class: Tensors of each class.
        background: Tensors of background.
        seed: Of the draws.
        device: Where the detector runs.
        config: The detector's config, where its checkpoint carries none.

    Raises:
        InputError: the checkpoint or the memory before cannot be used, or the disk is full.
    """
    detector, classes = load_detector(str(checkpoint), config, whose='the ', where='')
    detector.to(device)
    annotated = _annotated(dataset, classes)
    images = Subset(dataset, enough_images(dataset, annotated, CROWD * per_class // LOOKS, seed))
    images.__getitems__ = SeededBatches(images, (seed, 0))  # mirrored and cropped by the seed alone
    loader = DataLoader(images, batch_size=batch_size, collate_fn=pseudo_collate)
    earlier = None
    if before is None and len(annotated) < len(classes):
        raise InputError(f'{checkpoint} knows {len(classes)} classes, of which its training set annotates {len(annotated)}: a '
                         'memory of it takes over that of the stage before (--before CHECKPOINT)')
    if before is not None:
        earlier, teacher = before
        earlier.check(weights_hash(teacher.state_dict()), classes[:len(earlier.classes)], 'of the stage before')
        if not earlier.fits(detector):
            raise InputError(f'{earlier.other_shape(detector)}, so it cannot be taken over')
        earlier = carried_over(earlier, *drift(teacher.to(device).eval(), detector.eval(), loader))
    memory = build_memory(detector, loader, classes, annotated, weights_hash(detector.state_dict()), per_class, background,
                          earlier, seed)
    memory.path = out or Path(checkpoint).with_name(MEMORY_FILE)
    save_atomically(memory.content(), memory.path)
    return memory


def _annotated(dataset: Dataset, classes: Sequence[str]) -> list[int]:
    """Labels of the classes that a set annotates: of a stage's the newest group, of a stock one all.

    Raises:
        InputError: its classes are not the detector's.
    """
    named = tuple(dataset.metainfo.get('classes') or ())
    if named != tuple(classes):
        raise InputError(f'the training set has the classes {list(named)}, and the detector {list(classes)}: names and order '
                         'must be equal. Give the config that the detector was trained with')
    # Inside wrappers; of several joined sets the first, as all of a stage have the same classes.
    while not hasattr(dataset, 'kept_classes') and (hasattr(dataset, 'datasets') or hasattr(dataset, 'dataset')):
        dataset = dataset.datasets[0] if hasattr(dataset, 'datasets') else dataset.dataset
    return [classes.index(name) for name in getattr(dataset, 'kept_classes', classes)]

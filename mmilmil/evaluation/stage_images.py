"""A stage's images as it sees them: what the stage filter makes of their annotation, and merging of the teacher's boxes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData

from ..datasets.filtered import HIDDEN, IGNORED, KEPT, LEFT_OUT, FilteredImage, FilteredObject
from ..datasets.stage_filter import StageFilterMixin
from ..errors import InputError
from ..loaders import innermost_dataset, located_datasets, test_loader
from ..models.box_cache import TeacherBoxCache
from ..models.detectors.incremental import merging_settings
from ..models.merging import FATES, MERGING, fates
from ..models.teacher import Teacher
from ..registry import DATASETS, TRANSFORMS
from ..stage import Stage
from .teacher_on_training import in_file_pixels

LATER = 'future'
"""Of hidden objects whose class ``metainfo.classes`` does not list: one of a later stage, or misspelt."""


@dataclass
class TeacherFound:
    """What a teacher finds in an image, and what merging makes of it.

    Attributes:
        bboxes: (D, 4), in pixels of the image file.
        labels: (D,).
        scores: (D,).
        fates: One of :data:`mmilmil.models.merging.FATES` each.
    """

    bboxes: list[list[float]]
    labels: list[int]
    scores: list[float]
    fates: list[str]


@dataclass
class StageImage:
    """An image of a stage.

    Attributes:
        dataset: The set that lists it.
        filtered: What the stage filter made of it.
        found: The teacher's; ``None`` where it was not asked.
    """

    dataset: StageFilterMixin
    filtered: FilteredImage
    found: Optional[TeacherFound] = None

    def group(self, name: str) -> str:
        """``'old'`` or ``'new'``, of a class that the stage does not list :data:`LATER`."""
        stage = self.dataset.stage
        return 'new' if name in stage.new else 'old' if name in stage.old else LATER

    def kind(self, one: FilteredObject) -> str:
        """The fate of an object, of a hidden one with its group: ``hidden old``."""
        return f'{HIDDEN} {self.group(one.name)}' if one.fate == HIDDEN else one.fate

    @property
    def reasons(self) -> set[str]:
        """All that can be seen on it: why it is dropped, or what became of its objects and of the teacher's boxes."""
        if self.filtered.dropped:
            return {self.filtered.dropped}
        seen = {f'{self.kind(one)}: {one.reason}' if one.reason else self.kind(one) for one in self.filtered.objects}
        seen |= {kind for kind in ('replayed', 'unlabelled') if getattr(self.filtered, kind)}
        return seen | {f'teacher: {fate}' for fate in (self.found.fates if self.found else ())}


def stage_images(cfg: Config, split: str) -> list[StageImage]:
    """All images that a split of a stage's config lists, in its order.

    Args:
        cfg: The stage's.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        InputError: there is no such split, a set has no stage filter, or its data cannot be read.
    """
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise InputError(f'{cfg.filename} has no {split}_dataloader: give another --split')
    images = []
    for place, one in located_datasets(loader.dataset, f'{split}_dataloader.dataset'):
        kind = DATASETS.get(one['type']) if isinstance(one.get('type'), str) else one.get('type')
        if not (isinstance(kind, type) and issubclass(kind, StageFilterMixin)):
            raise InputError(f'{place} is a {one.get("type")}, which knows no stages and shows every box: give the config of a '
                             'stage, whose sets are an IncrementalVOCDataset or an IncrementalCocoDataset')
        dataset = DATASETS.build(dict(one, lazy_init=True))
        dataset.record = []
        dataset.full_init()
        images += [StageImage(dataset, filtered) for filtered in dataset.record]
    return images


class Merging:
    """Asks a stage's teacher for its boxes of an image, and merging what becomes of them.

    The image is as in its file, prepared as for a test; training sees it flipped, cropped and so on as its pipeline says.

    Args:
        cfg: The stage's.
        teacher: Its teacher.
        score_thr: Detections of a lower score are not looked at, though never those that could be merged.

    Raises:
        InputError: ``model.merging`` is invalid, or the teacher boxes that ``model.teacher_boxes`` names are another's.
    """

    def __init__(self, cfg: Config, teacher: Teacher, score_thr: float) -> None:
        settings = merging_settings(cfg.model.merging)
        self.thresholds = {name: settings[name] for name in MERGING}
        self.score_thr = min(score_thr, self.thresholds['score_thr'])
        self.teacher = teacher
        self.pipeline = Compose([TRANSFORMS.build(step) for step in innermost_dataset(test_loader(cfg).dataset).pipeline])
        self.cache = None
        if cfg.model.get('teacher_boxes'):
            self.cache = TeacherBoxCache.load(cfg.model.teacher_boxes)
            self.cache.check_teacher(teacher.fingerprint, cfg.model.teacher.checkpoint)

    def __call__(self, image: FilteredImage) -> TeacherFound:
        """The teacher's boxes of an image and their fates."""
        found = self._look_up(image) if self.cache is not None else self._detect(image)
        boxes = {fate: found.bboxes.new_tensor([one.bbox for one in image.objects if one.fate == fate]).reshape(-1, 4)
                 for fate in (KEPT, IGNORED)}
        decided = fates(found, boxes[KEPT], boxes[IGNORED], **self.thresholds)
        return TeacherFound(found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist(), decided)

    def _detect(self, image: FilteredImage) -> InstanceData:
        try:
            data = self.pipeline(dict(img_id=image.img_id, img_path=image.path, height=image.height, width=image.width,
                                      seg_map_path=None, instances=[]))
        except Exception as error:  # a broken file can break a decoder in any way
            raise InputError(f'the image {image.path} cannot be loaded ({" ".join(str(error).split())}): restore the file, or '
                             'take it out of the set') from error
        return in_file_pixels(self.teacher, self.teacher.detector.data_preprocessor(pseudo_collate([data])), self.score_thr)

    def _look_up(self, image: FilteredImage) -> InstanceData:
        meta = dict(img_id=image.img_id, img_shape=(image.height, image.width), homography_matrix=torch.eye(3))
        found = self.cache.look_up([meta], torch.zeros(1))[0]
        return found[found.scores > self.score_thr]


def spread(items: Sequence, number: int) -> list:
    """So many of a sequence, at even distances; all of a shorter one."""
    number = min(number, len(items))
    return [items[(2 * index + 1) * len(items) // (2 * number)] for index in range(number)]


def shown_images(images: Sequence[StageImage], number: int) -> tuple[list[StageImage], set[str]]:
    """Images to draw: such as show everything that occurs, and others spread evenly over what is trained on.

    First comes, again and again, the image that shows most of what none before it shows, of equals the first of the set.

    Args:
        images: A split's.
        number: How many, at most.

    Returns:
        The images in the order of the set, and of what occurs that which is on none of them.
    """
    seen = [image.reasons for image in images]
    open_reasons, chosen = set().union(*seen), []
    while open_reasons and len(chosen) < number:
        best = max(range(len(images)), key=lambda index: (len(seen[index] & open_reasons), -index))
        chosen.append(best)
        open_reasons -= seen[best]
    asked = any(image.found for image in images)
    kept = [index for index, image in enumerate(images)
            if not image.filtered.dropped and index not in chosen and (image.found or not asked)]
    chosen += spread(kept, number - len(chosen)) if number > len(chosen) else []
    return [images[index] for index in sorted(chosen)], open_reasons


@dataclass
class StageCounts:
    """Counts over a split's images.

    Attributes:
        listed: Images of the list or COCO file.
        kept: Those that are trained on, or tested.
        replayed, unlabelled: Those of them that are of earlier stages, and without annotation.
        dropped: The others by reason.
        objects: On the kept images, by kind (``kept``, ``ignored``, ``hidden old``, ...) and class.
        reasons: Of objects that are ignored or left out, by reason.
        asked: Images that the teacher looked at.
        teacher: Its detections there, by fate and class.
    """

    listed: int = 0
    kept: int = 0
    replayed: int = 0
    unlabelled: int = 0
    dropped: Counter = field(default_factory=Counter)
    objects: dict[str, Counter] = field(default_factory=dict)
    reasons: Counter = field(default_factory=Counter)
    asked: int = 0
    teacher: dict[str, Counter] = field(default_factory=dict)

    @classmethod
    def of(cls, images: Sequence[StageImage]) -> 'StageCounts':
        """Count images of one stage."""
        counts = cls(listed=sum(not image.filtered.unlabelled for image in images),
                     objects={kind: Counter() for kind in KINDS}, teacher={fate: Counter() for fate in FATES})
        for image in images:
            filtered = image.filtered
            if filtered.dropped:
                counts.dropped[filtered.dropped] += 1
                continue
            counts.kept += 1
            counts.replayed += filtered.replayed
            counts.unlabelled += filtered.unlabelled
            for one in filtered.objects:
                counts.objects[image.kind(one)][one.name] += 1
                counts.reasons.update([one.reason] if one.reason else [])
            if image.found:
                counts.asked += 1
                classes = image.dataset.stage.classes
                for label, fate in zip(image.found.labels, image.found.fates):
                    counts.teacher[fate][classes[label]] += 1
        return counts

    def to_dict(self) -> dict:
        """For a JSON file."""
        return dict(
            images=dict(listed=self.listed, kept=self.kept, replayed=self.replayed, unlabelled=self.unlabelled,
                        dropped=dict(self.dropped)),
            objects={kind: dict(total=found.total(), classes=dict(found)) for kind, found in self.objects.items()},
            reasons=dict(self.reasons),
            teacher=dict(images=self.asked, boxes={fate: dict(total=found.total(), classes=dict(found))
                                                   for fate, found in self.teacher.items()}) if self.asked else None)


KINDS = (KEPT, f'{HIDDEN} old', f'{HIDDEN} new', f'{HIDDEN} {LATER}', IGNORED, LEFT_OUT)
"""Of objects, see :meth:`StageImage.kind`. Hidden new ones are those on exemplars, which no stage has looked for there."""


def class_names(images: Sequence[StageImage], stage: Stage) -> Mapping[str, list[str]]:
    """The classes on some images by group: old and new ones in label order, later ones by name."""
    names = {one.name for image in images for one in image.filtered.objects}
    names |= {stage.classes[label] for image in images if image.found for label in image.found.labels}
    return dict(old=[name for name in stage.old if name in names], new=[name for name in stage.new if name in names],
                **{LATER: sorted(names - {*stage.classes})})

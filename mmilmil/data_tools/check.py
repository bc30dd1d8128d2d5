"""Looks through VOC- and COCO-style sets: what is in them, and all that would stop a training or give wrong numbers.

The datasets stop at the first mistake. This goes on, with the same readers, and tells every one.
"""

import itertools
import math
import os
import os.path as osp
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import BaseDetDataset
from mmengine.config import Config

from ..datasets.coco_reader import is_flat, is_ignored, read_coco
from ..datasets.image_files import IMAGE_EXTENSIONS
from ..datasets.image_loading import image_loader, image_size, is_loader
from ..datasets.incremental_coco import IncrementalCocoDataset
from ..datasets.incremental_voc import IncrementalVOCDataset
from ..datasets.masks import has_mask_head, mask_loaders, read_mask, short_polygons
from ..datasets.reading import decode, text_lines
from ..datasets.several_sets import ONLY_OURS, check_alike, measured_twice, twice_told, unmeasured
from ..datasets.stage_filter import ImageFolder, StageFilterMixin, clip_box
from ..datasets.voc_reader import is_list_of_class, read_annotation, read_list
from ..errors import InputError
from ..loaders import innermost_datasets
from ..registry import DATASETS
from ..table_layout import ascii_table
from .anchor_choice import fit_lines
from .anchor_fit import anchors_of, fit_table
from .training_scale import TrainBoxes, TrainingScale

# Shorter side, in pixels, of a box told as tiny: less than a cell of the finest feature map (stride 4).
TINY = 4
# The readers want a class list; what is read here is every object, whatever its class.
_ANY_CLASS = {'classes': ('any', )}


@dataclass
class Findings:
    """What was found, by kind, each text once.

    Args:
        errors: What would stop a training or give wrong numbers.
        notes: What a user should know, and training copes with.
    """

    errors: dict[str, dict[str, None]] = field(default_factory=dict)
    notes: dict[str, dict[str, None]] = field(default_factory=dict)

    def error(self, kind: str, text: object) -> None:
        """Add an error."""
        self.errors.setdefault(kind, {})[str(text)] = None

    def note(self, kind: str, text: object) -> None:
        """Add a note."""
        self.notes.setdefault(kind, {})[str(text)] = None

    def text(self, shown: int = 10) -> str:
        """Notes, then errors, at most ``shown`` of a kind, and their number."""
        lines = []
        for title, found in (('note', self.notes), ('error', self.errors)):
            for kind, texts in found.items():
                lines.append(f'{title}: {kind} ({len(texts)})')
                lines.extend(f'  {text}' for text in itertools.islice(texts, shown))
                if len(texts) > shown:
                    lines.append(f'  ... and {len(texts) - shown} more')
        errors, notes = (sum(map(len, found.values())) for found in (self.errors, self.notes))
        return '\n'.join([*lines, f'{errors} error{"s" * (errors != 1)}, {notes} note{"s" * (notes != 1)}'])


@dataclass
class Part:
    """A list of images with all their objects: a split, a COCO file, or the dataset of a data loader.

    Args:
        label: Its name in tables and messages.
        ann_file: The file that lists the images.
        images: One dict an image: ``img_id``, ``img_path`` (None where missing), ``source``, ``width``, ``height`` (pixels)
            and ``instances`` with ``name``, ``bbox`` (``[x1, y1, x2, y2]``, 0-based pixels), ``ignore_flag``, ``lost``
            (why training leaves the box out; '' where it does not) and in COCO's layout ``mask`` (its ``segmentation``).
        classes: Those whose boxes count; None for all.
    """

    label: str
    ann_file: str
    images: list[dict]
    classes: tuple[str, ...] | None = None


@dataclass
class SetReport:
    """All that one check found.

    Args:
        parts: What was read.
        findings: What is wrong with it.
        names: Class names that occur, with their number of objects.
        stages: What each data loader of a config keeps, as text.
    """

    parts: list[Part]
    findings: Findings
    names: Counter
    stages: list[str] = field(default_factory=list)

    def text(self, shown: int = 10) -> str:
        """The report to read, with at most ``shown`` findings of a kind."""
        return '\n\n'.join([_images_table(self.parts), _classes_table(self.parts, sorted(self.names)), *self.stages,
                            self.findings.text(shown)])


def check_voc(root: str | Path, splits: Sequence[str] = (), decode: bool = False, images: str = 'JPEGImages',
              annotations: str = 'Annotations') -> SetReport:
    """Check a VOC-style folder.

    Args:
        root: Folder with ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``.
        splits: Names of the lists in ``ImageSets/Main``; by default all but VOC's lists of single classes.
        decode: Decode every image; otherwise only the header is read of JPEG files without EXIF.
        images: Its folder of images.
        annotations: Its folder of XML files.

    Raises:
        InputError: there is no list of images at all.
    """
    checker = _Checker(decode)
    for split in splits or _splits(Path(root) / 'ImageSets' / 'Main'):
        checker.read(split, IncrementalVOCDataset(
            f'ImageSets/Main/{split}.txt', data_root=str(root), img_subdir=images, ann_subdir=annotations, metainfo=_ANY_CLASS,
            lazy_init=True))
    # `trainval` holds `train` on purpose.
    return checker.finish(lambda one, other: None if one in other or other in one else 'error')


def check_coco(ann_file: str | Path, images: str | Path, decode: bool = False) -> SetReport:
    """Check a COCO-style file.

    Args:
        ann_file: The JSON file.
        images: Folder of its images.
        decode: Decode every image; otherwise only the header is read of JPEG files without EXIF.
    """
    checker = _Checker(decode)
    checker.read(Path(ann_file).stem, IncrementalCocoDataset(
        str(ann_file), data_prefix={'img': str(images)}, metainfo=_ANY_CLASS, lazy_init=True))
    part = checker.parts[0]
    with_boxes = {instance['name'] for image in part.images for instance in image['instances']}
    for name in checker.names:
        if name not in with_boxes and 'entry of annotations that cannot be read' not in checker.findings.errors:
            checker.findings.note('category without a box: no class to learn, where it stands for the background or a group',
                                  f'{ann_file}: {name!r}')
    return checker.finish(lambda one, other: None)


def check_config(cfg: Config, decode: bool = False) -> SetReport:
    """Check the datasets of all data loaders of a config, and tell what the stage keeps of each.

    Args:
        cfg: A run's config.
        decode: Decode every image; otherwise only the header is read of JPEG files without EXIF.

    Raises:
        InputError: the config has no dataset that can be checked.
    """
    mean = ((cfg.get('model') or {}).get('data_preprocessor') or {}).get('mean') or ()
    checker = _Checker(decode, channels=len(mean) if len(mean) > 1 else None)
    masks = has_mask_head(cfg.get('model') or {})
    for role in ('train', 'val', 'test'):
        leaves = list(innermost_datasets((cfg.get(f'{role}_dataloader') or {}).get('dataset')))
        measured = _measures_masks(cfg.get(f'{role}_evaluator'))
        several = len(leaves) > 1
        sets = []
        for index, leaf in enumerate(leaves):
            label = f'{role}[{index}]' if several else role
            sets.append(checker.read_leaf(label, leaf, masks and role == 'train', measured, several and role != 'train'))
        if role == 'train':
            checker.check_anchors([dataset for _, dataset in filter(None, sets)], leaves, cfg.get('model') or {})
        else:
            checker.check_together(role, [one for one in sets if one])
    if not checker.parts and not checker.findings.errors:
        raise InputError('no data loader of the config has an IncrementalVOCDataset or IncrementalCocoDataset: check other '
                         'sets by --voc or --coco')
    schedule = cfg.get('train_cfg') or {}
    validates = schedule.get('val_begin', 1) <= schedule.get('max_epochs', math.inf)

    def judge(one: str, other: str) -> str | None:
        roles = {one.partition('[')[0], other.partition('[')[0]}
        if 'val' in roles and not validates:
            return None
        return 'error' if 'train' in roles and len(roles) == 2 else 'note'

    return checker.finish(judge)


class _Checker:
    """Reads part after part and collects what is wrong.

    Args:
        decode: Decode every image.
        channels: Those that an image needs, or None for any.
    """

    def __init__(self, decode: bool, channels: int | None = None) -> None:
        self.decode = decode
        self.channels = channels
        self.findings = Findings()
        self.parts: list[Part] = []
        self.names = Counter()
        self.stages: list[str] = []
        self._images_of: dict[tuple, list[dict]] = {}
        self._voc_images: dict[tuple, dict] = {}
        self._files_used: dict[str, set[str]] = defaultdict(set)  # by folder

    def read(self, label: str, dataset: StageFilterMixin) -> Part:
        """Read all images and objects behind a dataset that is not initialised yet."""
        is_voc = isinstance(dataset, IncrementalVOCDataset)
        folder = dataset.sub_data_root if is_voc else dataset.data_prefix['img']
        key = (dataset.ann_file, folder, repr(_loader(dataset)))
        if key not in self._images_of:  # val and test are often one list
            self._images_of[key] = self._read_voc(dataset) if is_voc else self._read_coco(dataset)
        self.parts.append(Part(label, dataset.ann_file, self._images_of[key]))
        return self.parts[-1]

    def read_leaf(self, label: str, leaf: Mapping, learns_masks: bool = False, measures_masks: bool = False,
                  together: bool = False) -> tuple[Part, StageFilterMixin] | None:
        """Read the dataset that a config describes, and tell what its stage keeps.

        Args:
            label: Its name.
            leaf: Its config.
            learns_masks: Whether a mask head is trained on it.
            measures_masks: Whether masks are evaluated by its file.
            together: Whether it is evaluated together with others.

        Returns:
            What was read, with the dataset; None where that cannot be built.
        """
        kind = DATASETS.get(leaf['type'])
        if kind is None:
            self.findings.error('stops the run', f'{label}: there is no dataset type {leaf["type"]!r}')
            return None
        if not issubclass(kind, (IncrementalVOCDataset, IncrementalCocoDataset)):
            if together:
                self.findings.error('stops the run', f'{label} is a {leaf["type"]}: {ONLY_OURS}')
                return None
            self.findings.note('not checked', f'{label}: {leaf["type"]} is no IncrementalVOCDataset or IncrementalCocoDataset')
            return None
        try:
            steps = leaf.get('pipeline') or []
            pipeline = list(filter(is_loader, steps))[:1]
            if steps and not pipeline:
                self.findings.note('not checked', f'{label}: whether its pipeline can load the images; it begins with none of '
                                   "MMDetection's steps, and LoadImageFromFile is tried in its place")
            dataset = DATASETS.build({**leaf, 'pipeline': pipeline, 'lazy_init': True, 'serialize_data': False})
            self.names.update(dict.fromkeys(dataset.stage.classes, 0))
            part = self.read(label, dataset)
            part.classes = dataset.kept_classes
            loaders = mask_loaders(steps)
            if loaders or learns_masks or measures_masks:
                polygons_only = not measures_masks and not all(loader.poly2mask for loader in loaders)
                self._check_masks(part, dataset.mask_remedy, polygons_only, measures_masks)
            if learns_masks and not loaders:
                self.findings.error('stops the run', f'{label}: the model has a mask head, and the pipeline loads no masks: '
                                    'set with_mask=True in its LoadAnnotations')
            dataset.full_init()
            self.stages.append(_stage_table(part, dataset))
        except InputError as error:
            self.findings.error('stops the run', f'{label}: {error}')
            return None
        return part, dataset

    def check_together(self, role: str, sets: Sequence[tuple[Part, StageFilterMixin]]) -> None:
        """Compare the sets that a loader evaluates, and tell what is measured on which.

        Args:
            role: ``val`` or ``test``.
            sets: Those that could be read.
        """
        if not sets:
            return
        try:
            check_alike([(part.label, dataset) for part, dataset in sets])
            without = unmeasured([dataset for _, dataset in sets])
        except InputError as error:
            self.findings.error('stops the run', f'{role}: {error}')
            return
        for name in without:
            self.findings.note('class that no set annotates: it gets no AP', f'{role}: {name}')
        for path, names, files in measured_twice([(part.ann_file, part.classes, sorted(_paths(part))) for part, _ in sets]):
            self.findings.error('stops the run', f'{role}: {twice_told(path, names, files)}')
        if len(sets) > 1:
            self.stages.append('\n'.join([f'{role}, where each class is measured:', *(
                f'  {part.label} ({part.ann_file}, {len(part.images)} images): {", ".join(part.classes) or "nothing"}'
                for part, _ in sets)]))

    def check_anchors(self, datasets: Sequence[StageFilterMixin], leaves: Sequence[Mapping], model: Mapping) -> None:
        """Tell by class how the detector's anchors fit the boxes that a training learns.

        Args:
            datasets: The training sets that could be read.
            leaves: All of them, as the config describes them.
            model: The detector's config.
        """
        if not datasets or not model:
            return
        anchors, scale = anchors_of(model), TrainingScale.of(leaves[0].get('pipeline') or [])
        if isinstance(anchors, str) or scale is None:
            why = anchors if isinstance(anchors, str) else 'the training pipeline resizes in a way of its own'
            self.stages.append(f'train, anchors: not told, {why}')
            return
        boxes = TrainBoxes.of(datasets)
        self.stages.append(f'train, how the anchors fit at {scale}:\n{fit_table(boxes, anchors, scale)}')
        if lines := fit_lines(boxes, anchors, scale):
            self.findings.note('boxes that no anchor can match', '; '.join(lines))

    def _check_masks(self, part: Part, remedy: str, polygons_only: bool, ignored_too: bool) -> None:
        """Tell the objects of the kept classes whose mask is missing or broken.

        Args:
            part: The images.
            remedy: What to do about it.
            polygons_only: Whether run lengths cannot be loaded.
            ignored_too: Whether ignored objects need one.
        """
        for image in part.images:
            for instance in image['instances']:
                if instance['name'] not in part.classes or instance['ignore_flag'] and not ignored_too:
                    continue
                where = f'{instance.get("where", image["source"])}: {instance["name"]!r} {instance["bbox"]}'
                mask = instance.get('mask')
                try:
                    read_mask(mask, (image['height'], image['width']), polygons_only)
                except InputError as error:
                    kind = 'mask that cannot be read' if mask else 'object without a mask, and the config asks for masks'
                    self.findings.error(f'{kind}: {remedy}', f'{where} {error}')
                    continue
                if short := short_polygons(mask):
                    self.findings.note('polygons of fewer than three points: left out of the mask', f'{where}: {short}')

    def finish(self, judge: Callable[[str, str], str | None]) -> SetReport:
        """Compare the parts with one another, and with what else is in their folders.

        Args:
            judge: From the labels of two parts to what a common image is: 'error', 'note' or None.
        """
        images = {id(image): image for part in self.parts for image in part.images}  # each once, in however many parts
        self.names.update(instance['name'] for image in images.values() for instance in image['instances'])
        by_form = defaultdict(list)
        for name in sorted(self.names):
            by_form[' '.join(name.split()).casefold()].append(f'{name!r} ({self.names[name]} boxes)')
        for same in by_form.values():
            if len(same) > 1:
                self.findings.error('class names that differ by case or blanks only', ', '.join(same))
        for one, other in itertools.combinations(self.parts, 2):
            if how := judge(one.label, other.label):
                tell = getattr(self.findings, how)
                for path in sorted(_paths(one) & _paths(other)):
                    tell(f'image both in {one.label} and in {other.label}', path)
        self._tell_unused()
        for part in self.parts:
            self._tell_empty(part)
        return SetReport(self.parts, self.findings, self.names, self.stages)

    def _read_voc(self, dataset: IncrementalVOCDataset) -> list[dict]:
        folder = ImageFolder(osp.join(dataset.sub_data_root, dataset.img_subdir), dataset.backend_args)
        images = []
        for img_id in read_list(dataset.ann_file, dataset.backend_args, self.findings):
            path = osp.join(dataset.sub_data_root, dataset.ann_subdir, f'{img_id}.xml')
            key = (path, folder.root, repr(_loader(dataset)))
            if key not in self._voc_images:  # train and trainval share images
                self._voc_images[key] = self._read_voc_image(dataset, img_id, path, folder)
            images.append(self._voc_images[key])
        return images

    def _read_voc_image(self, dataset: IncrementalVOCDataset, img_id: str, path: str, folder: ImageFolder) -> dict:
        image = {'img_id': img_id, 'img_path': None, 'source': path, 'width': None, 'height': None, 'instances': []}
        self._use(osp.join(dataset.sub_data_root, dataset.ann_subdir), path)
        self._find_image(image, folder, lambda: folder.image_of(img_id, dataset.ann_file))
        size = self._image_size(image['img_path'], _loader(dataset))
        told, image['instances'] = read_annotation(path, dataset.backend_args, dataset.ann_file, self.findings)
        image['width'], image['height'] = told or size or (None, None)
        self._check_image(image, size, right_edge=1)
        return image

    def _read_coco(self, dataset: IncrementalCocoDataset) -> list[dict]:
        content = read_coco(dataset.ann_file, dataset.backend_args, self.findings)
        self.names.update(dict.fromkeys(content.names.values(), 0))
        folder = ImageFolder(dataset.data_prefix['img'], dataset.backend_args)
        images = []
        for info in content.images:
            image = {'img_id': info['id'], 'img_path': None, 'source': f'{dataset.ann_file}, {info["file_name"]}',
                     'width': info['width'], 'height': info['height'], 'instances': []}
            self._find_image(image, folder, lambda name=info['file_name']: folder.file(name, dataset.ann_file))
            # Of two images with one id, which is an error, the first has the boxes.
            for annotation in content.annotations.pop(info['id'], ()):
                x, y, w, h = annotation['bbox']
                image['instances'].append({
                    'name': content.names[annotation['category_id']],
                    'bbox': [x, y, x + w, y + h],
                    'ignore_flag': int(is_ignored(annotation)),
                    'where': f'{image["source"]}, annotation {annotation.get("id")}',
                    'flat': is_flat(annotation),
                    'mask': annotation.get('segmentation')})
            self._check_image(image, self._image_size(image['img_path'], _loader(dataset)), right_edge=0)
            images.append(image)
        for img_id, lost in content.lost.items():
            self.findings.note('boxes of an image that is not listed',
                               f'{dataset.ann_file}: image id {img_id!r}, {len(lost)} boxes')
        return images

    def _find_image(self, image: dict, folder: ImageFolder, find: Callable[[], str]) -> None:
        try:
            folder.has('')  # the folder itself
        except InputError as error:
            self.findings.error('no folder of images', error)
            return
        try:
            image['img_path'] = osp.join(folder.root, find())
        except InputError as error:
            self.findings.error('missing image', error)
            return
        self._use(folder.root, image['img_path'])

    def _use(self, folder: str, path: str) -> None:
        self._files_used[folder].add(osp.abspath(path))

    def _image_size(self, path: str | None, loader: LoadImageFromFile) -> tuple[int, int] | None:
        """Width and height of an image as training loads it; None where that fails, or there is no image."""
        if path is None:
            return None
        try:
            return image_size(loader, path, self.findings.note, self.decode, self.channels)
        except InputError as error:
            self.findings.error('image that cannot be decoded', error)
            return None

    def _tell_unused(self) -> None:
        used = set().union(*self._files_used.values())
        for root in sorted(self._files_used):
            for folder, _, names in sorted(os.walk(root or '.')):
                for name in sorted(names):
                    path = osp.normpath(osp.join(folder, name))
                    if name.lower().endswith(('.xml', *IMAGE_EXTENSIONS)) and osp.abspath(path) not in used:
                        self.findings.note('file that no checked list names', path)

    def _tell_empty(self, part: Part) -> None:
        """A class or a part all of whose boxes are left out can be neither learnt nor measured."""
        lost = defaultdict(Counter)
        for image in part.images:
            for instance in image['instances']:
                if part.classes is None or instance['name'] in part.classes:
                    reason = instance['lost'] or 'ignored (difficult or crowd)' * instance['ignore_flag']
                    lost[instance['name']][reason] += 1
        if part.images and not any(reasons[''] for reasons in lost.values()):
            total = sum(lost.values(), Counter())
            if not total and self.findings.errors:
                return  # what could not be read may hold the boxes
            self.findings.error('no box to train on or to measure by', f'{part.label}: {_reasons(total)} in {part.ann_file}')
            return
        for name, reasons in sorted(lost.items()):
            if not reasons['']:
                self.findings.error('class all of whose boxes are left out', f'{name!r} in {part.label}: {_reasons(reasons)}')

    def _check_image(self, image: dict, size: tuple[int, int] | None, right_edge: int) -> None:
        """Check size and boxes.

        Args:
            image: The image.
            size: Width and height of its file in pixels.
            right_edge: As in ``StageFilterMixin.apply_stage``.
        """
        told = (image['width'], image['height'])
        if size and told != (None, None) and told != size:
            self.findings.error('size in the annotation is not that of the image',
                                f'{image["source"]}: {told[0]}x{told[1]}, the image {size[0]}x{size[1]}')
        if size:
            image['width'], image['height'] = size
        for instance in image['instances']:
            box = x1, y1, x2, y2 = instance['bbox']
            instance['lost'] = ''
            corners = [value + right_edge for value in box]  # as they stand in a VOC file
            where = f'{instance.get("where", image["source"])}: {instance["name"]!r} {corners}'
            if x2 < x1 or y2 < y1:
                self.findings.error('box with its corners swapped', where)
                instance['lost'] = 'with corners swapped'
                continue
            if instance.get('flat', x2 == x1 or y2 == y1):
                self.findings.note('box without area: training leaves it out', where)
                instance['lost'] = 'without area'
                continue
            if min(x2 - x1, y2 - y1) < TINY:
                self.findings.note(f'tiny box, below {TINY} px', where)
            if image['width'] is None:
                continue
            inside = clip_box(box, image['width'] - right_edge, image['height'] - right_edge)
            if inside is None:
                self.findings.error('box outside its image', where)
                instance['lost'] = 'outside their image'
            elif inside != box:
                self.findings.note('box outside its image in part: training clips it', where)


def _splits(folder: Path) -> list[str]:
    paths = sorted(folder.glob('*.txt'))
    if not paths:
        raise InputError(f'no list of images in {folder}: give the folder that holds JPEGImages, Annotations and ImageSets')
    names = {path.stem for path in paths}

    def is_of_a_class(path: Path) -> bool:
        """Whether the list is one like aeroplane_train.txt of VOC, whose lines end in 1 where the class is in the image."""
        _, underscore, split = path.stem.rpartition('_')
        try:
            return bool(underscore) and split in names and is_list_of_class(text_lines(decode(path.read_bytes(), str(path))))
        except InputError:
            return False  # told when it is read

    return [path.stem for path in paths if not is_of_a_class(path)]


def _measures_masks(evaluator: Mapping | Sequence | None) -> bool:
    """Whether one of the evaluators of a data loader looks at masks."""
    evaluators = [evaluator] if isinstance(evaluator, Mapping) else evaluator or ()
    return any('segm' in ([asked] if isinstance(asked := one.get('metric', ()), str) else asked) for one in evaluators)


def _loader(dataset: StageFilterMixin) -> LoadImageFromFile:
    return image_loader(dataset.pipeline.transforms, dataset.backend_args)


def _reasons(lost: Counter) -> str:
    told = ', '.join(f'{count} {reason}' for reason, count in sorted(lost.items()) if count)
    return f'all {lost.total()} boxes are left out: {told}' if told else 'there is no box at all'


def _paths(part: Part) -> set[str]:
    return {osp.abspath(image['img_path']) for image in part.images if image['img_path']}


def _images_table(parts: Sequence[Part]) -> str:
    rows = [['', 'images', 'without box', 'several classes', 'boxes', 'ignored', 'box width (px)', 'box height (px)']]
    for part in parts:
        boxes = [instance for image in part.images for instance in image['instances']]
        several = sum(len({instance['name'] for instance in image['instances']}) > 1 for image in part.images)
        ignored = sum(instance['ignore_flag'] for instance in boxes)
        corners = np.array([instance['bbox'] for instance in boxes], float).reshape(-1, 4)
        rows.append([part.label, len(part.images), sum(not image['instances'] for image in part.images),
                     f'{several} ({several / max(len(part.images), 1):.0%})', len(boxes) - ignored, ignored,
                     _spread(corners[:, 2] - corners[:, 0]), _spread(corners[:, 3] - corners[:, 1])])
    lists = [f'{part.label}: {part.ann_file}' for part in parts]
    return '\n'.join([*lists, ascii_table(rows), 'sizes: smallest / median / largest; ignored: difficult or crowd'])


def _spread(values: np.ndarray) -> str:
    return f'{values.min():g} / {np.median(values):g} / {values.max():g}' if len(values) else '-'


def _classes_table(parts: Sequence[Part], names: Sequence[str]) -> str:
    rows = [['boxes of', *(part.label for part in parts)]]
    counts = [Counter((instance['name'], instance['ignore_flag']) for image in part.images for instance in image['instances'])
              for part in parts]
    for name in names:
        rows.append([name, *(f'{count[name, 0]}' + f' + {count[name, 1]} ignored' * bool(count[name, 1]) for count in counts)])
    return ascii_table(rows)


def _stage_table(part: Part, dataset: BaseDetDataset) -> str:
    """What a data loader's dataset keeps of ``part``, class by class."""
    report, stage = dataset.report, dataset.stage
    kept_ids = {info['img_id'] for info in dataset.data_list}
    ignored = Counter(stage.classes[instance['bbox_label']] for info in dataset.data_list for instance in info['instances']
                      if instance['ignore_flag'])
    listed = Counter(instance['name'] for image in part.images for instance in image['instances'])
    hidden = Counter(instance['name'] for image in part.images if image['img_id'] in kept_ids
                     for instance in image['instances'] if instance['name'] not in report.boxes)
    hidden -= Counter(report.replayed_boxes) + Counter({name: ignored[name] for name in report.replayed_boxes})
    rows = [['class', 'group', 'boxes listed', 'kept', 'kept as ignored', 'hidden in kept images']]
    for name in (*stage.classes, *sorted(listed.keys() - set(stage.classes))):
        group = 'new' if name in stage.new else 'old' if name in stage.old else 'not in classes'
        kept = {**report.replayed_boxes, **report.boxes}.get(name, '-' if dataset.test_mode and name in stage.classes else 0)
        rows.append([name, group, listed[name], kept, ignored[name], hidden[name]])
    title = f'{part.label}, {report.purpose}: {report.images_kept} of {report.images_listed} images kept'
    title += f', {report.replayed} of them exemplars of old classes' if report.replayed else ''
    title += f', and {report.unlabelled} without annotation' if report.unlabelled else ''
    return '\n'.join([title, ascii_table(rows)])

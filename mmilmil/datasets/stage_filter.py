"""The stage filter: which boxes and images of a dataset belong to a stage (protocol 1, 2 and 4)."""

import difflib
import os.path as osp
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from mmengine.fileio import get, list_dir_or_file
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement

from ..errors import InputError
from ..stage import Stage
from .filtered import FilteredImage
from .image_files import IMAGE_EXTENSIONS
from .image_loading import image_loader
from .masks import UNUSED, mask_loaders, read_mask
from .replay import Replay
from .report import StageReport
from .unlabelled import check_not_mixed, folders_of, images_in

_SHOWN = 20
_FIRST_STAGE = ('dataset {} in a first stage (metainfo.split = {}), before which there is none: leave it out, or split the '
                'classes into old and new groups')


def split_instances(instances: Sequence[dict], kept: Iterable[str]) -> tuple[list[dict], Counter]:
    """Part the objects of one image into those of the kept classes and the names of the rest.

    Args:
        instances: Objects with at least a ``name``.
        kept: Class names to keep, compared exactly.

    Returns:
        The kept objects in their order (the same dicts), and the number of the others by name.
    """
    kept = frozenset(kept)
    return ([instance for instance in instances if instance['name'] in kept],
            Counter(instance['name'] for instance in instances if instance['name'] not in kept))


def clip_box(box: Sequence[float], width: float, height: float) -> list[float] | None:
    """Clip a box to ``[0, width] x [0, height]``.

    Args:
        box: ``(x1, y1, x2, y2)`` in pixels.
        width: Largest x, in pixels.
        height: Largest y, in pixels.

    Returns:
        The clipped box, or None where nothing with an area is left (outside, flat, or corners swapped).
    """
    x1, x2 = (min(max(x, 0), width) for x in box[0::2])
    y1, y2 = (min(max(y, 0), height) for y in box[1::2])
    return [x1, y1, x2, y2] if x2 > x1 and y2 > y1 else None


def close_names(name: str, found: Iterable[str]) -> list[str]:
    """Names of ``found`` that ``name`` may have been meant as: case, blanks and small slips apart."""
    by_form = {}
    for other in found:
        by_form.setdefault(other.strip().lower(), other)
    return [by_form[form] for form in difflib.get_close_matches(name.strip().lower(), by_form)]


def _names(annotated: Sequence[str] | None) -> tuple[str, ...] | None:
    if annotated is None:
        return None
    names = (annotated, ) if isinstance(annotated, str) else annotated
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f'dataset annotated = {annotated!r}: list the names of the classes whose objects the set annotates, '
                         'or leave it out where that is all of metainfo.classes')
    return tuple(names)


def _check_later(what: str, keep: str, kwargs: Mapping) -> None:
    """A setting of a later stage's training stands in one.

    Raises:
        InputError: it stands in testing, or in joint training.
    """
    if kwargs.get('test_mode'):
        raise InputError(f'dataset {what} in testing: it is of a training set, so leave it out')
    if keep == 'seen':
        raise InputError(f"dataset {what} beside keep = 'seen' (joint training), which has all images and boxes of the old "
                         'classes: leave one of the two out')


def _reason(path: str | None, error: Exception) -> str:
    """Why an image could not be used, in one line; OpenCV does not tell an empty file."""
    if path and osp.isfile(path) and not osp.getsize(path):
        return 'the file is empty'
    return ' '.join(f'{type(error).__name__}: {error}'.split())


class ImageFolder:
    """Finds images by name without a look at the disk for each: a folder is listed once.

    Args:
        root: Folder of the images.
        backend_args: As in MMDetection's datasets.
    """

    def __init__(self, root: str, backend_args: dict | None = None) -> None:
        self.root = root
        self.backend_args = backend_args
        self._files: dict[str, set[str]] = {}
        self._forms: dict[str, dict[str, str]] = {}

    def _listing(self, subfolder: str) -> set[str]:
        if subfolder not in self._files:
            folder = osp.join(self.root, subfolder) if subfolder else self.root
            try:
                names = set(list_dir_or_file(folder, list_dir=False, backend_args=self.backend_args))
            except (FileNotFoundError, NotADirectoryError):
                if subfolder and self._listing('') is not None:
                    names = set()  # the root is there: what lacks is this image
                else:
                    raise InputError(f'no image folder {folder}: check data_root and the name of the image folder') from None
            except OSError as error:
                raise InputError(f'the image folder {folder} cannot be read: {error.strerror}') from None
            self._files[subfolder] = names
        return self._files[subfolder]

    def _by_form(self, subfolder: str) -> dict[str, str]:
        """File names by what they are without regard to letter case, with and without extension."""
        if subfolder not in self._forms:
            forms = self._forms[subfolder] = {}
            for name in sorted(self._listing(subfolder)):
                forms.setdefault(name.casefold(), name)
                forms.setdefault(osp.splitext(name)[0].casefold(), name)
        return self._forms[subfolder]

    def has(self, file_name: str) -> bool:
        """Whether ``file_name`` (relative to the root, with extension) exists."""
        return osp.basename(file_name) in self._listing(osp.dirname(file_name))

    def find(self, stem: str) -> str | None:
        """The file name (relative to the root) of the image called ``stem``, with any image extension, or None."""
        names = self._listing(osp.dirname(stem))
        for extension in IMAGE_EXTENSIONS:
            for candidate in (stem + extension, stem + extension.upper(), f'{stem}.{extension[1:].capitalize()}'):
                if osp.basename(candidate) in names:
                    return candidate
        return None

    def image_of(self, name: str, listed: str) -> str:
        """The file name of an image that a list names without extension.

        Args:
            name: The name.
            listed: The list, for messages.

        Raises:
            InputError: there is none.
        """
        found = None if '://' in name else self.find(name)
        if found is None:
            stem, extension = osp.splitext(name)
            if extension.lower() in IMAGE_EXTENSIONS and self.find(stem):
                remedy = f'names stand without extension, so write {stem!r}'
            elif name.startswith('#'):
                remedy = 'a list has no comments, so take the line out'
            elif name.endswith((' 0', ' 1')) and self.find(name[:-1].rstrip()):
                remedy = "a list has names only, so give train.txt rather than a single class's list"
            else:
                remedy = self.name_remedy(name) or 'add it, or take the line out'
            raise InputError(f'{listed} lists {name!r}, but {self.root} has no image of that name '
                             f'({", ".join(IMAGE_EXTENSIONS)}): {remedy}')
        return found

    def file(self, file_name: str, listed: str) -> str:
        """``file_name`` itself, as a COCO file gives it.

        Args:
            file_name: Relative to the root, or absolute.
            listed: The COCO file, for messages.

        Raises:
            InputError: it does not exist.
        """
        if '://' in file_name or not self.has(file_name):
            remedy = self.name_remedy(file_name) or 'add it, or check data_prefix["img"]'
            raise InputError(f'{listed} lists the image {file_name!r}, but {self.root} has no such file: {remedy}')
        return file_name

    def name_remedy(self, name: str) -> str:
        """What to do where the name of an image that is not there is itself the mistake; empty where it is not."""
        if '://' in name:
            return 'it is a URL, so download the image and write its file name'
        if '\\' in name:
            return 'write / between folders, not \\'
        if osp.isabs(name):
            return 'it is an absolute path, so write one that begins below that folder'
        base = osp.basename(name)
        forms = self._by_form(osp.dirname(name))
        near = forms.get(base.casefold())
        if near and base not in (near, osp.splitext(near)[0]):
            return f'letter case counts, and there is {near!r}'
        if near := near or forms.get(osp.splitext(base)[0].casefold()):
            return f'there is {near!r}, whose extension is another'
        if base != name and (self.has(base) or self.find(base)):
            return f'{base!r} is directly in that folder, so write it without the folder before it'
        return ''


class StageFilterMixin:
    """Makes a BaseDetDataset incremental; stands before it in the list of bases.

    The dataset loads every object of every listed image with the class name it carries, and hands them over to
    :meth:`apply_stage`, once. What is left are boxes of the stage with global labels.

    Args:
        keep: Which boxes training keeps: ``'newest'``, those of the last group of ``metainfo.split``, or ``'seen'``,
            those of all listed classes (joint training). Test mode keeps all listed classes, whatever this says.
        annotated: In test mode, names of the classes whose objects the set annotates, all of them and on every image; None for
            all listed classes. The others are not measured on it, and objects of theirs are taken off, as it may annotate
            a part of them. Names that ``metainfo.classes`` does not list are those of other stages.
        replay: In training, ``dict(per_class=..., seed=0)``: exemplars, so many images of each old class, are kept of the
            earlier stages' images that the set lists (:class:`Replay`), with the boxes that their stages annotated.
        unlabelled: In training, a folder or several, below which all images join the set without any annotation, marked by
            ``unlabelled`` in their samples' ``metainfo`` (:mod:`mmilmil.models.unlabelled`).
        kwargs: As for the dataset.

    Raises:
        InputError: ``keep`` is neither; ``annotated`` holds no names, or stands in training; ``replay`` is out of range,
            ``unlabelled`` names no folder, or one of both stands in testing, in a first stage or beside ``keep='seen'``;
            ``metainfo`` makes no stage.
    """

    report: StageReport | None = None
    """What was kept and hidden; None until the dataset is fully initialised."""

    record: list[FilteredImage] | None = None
    """Where a list is put before the dataset is initialised (``lazy_init=True``), what becomes of each listed image and of its
    objects is added to it."""

    mask_remedy: str = 'correct its segmentation in the file, or take the object out'
    """What to do where an object has no mask that can be read."""

    def __init__(self, *args, keep: str = 'newest', annotated: Sequence[str] | None = None, replay: Mapping | None = None,
                 unlabelled: str | Sequence[str] | None = None, **kwargs) -> None:
        if keep not in ('newest', 'seen'):
            raise InputError(f"dataset keep = {keep!r}: use 'newest' (the last group) or 'seen' (joint training)")
        self.keep = keep
        self.annotated = _names(annotated)
        if annotated is not None and not kwargs.get('test_mode'):
            raise InputError(f'dataset annotated = {list(self.annotated)} in training: it tells what a set for testing '
                             'annotates, so leave it out, or set test_mode=True in a set of val_dataloader or test_dataloader')
        self.replay = Replay.of(replay)
        if self.replay is not None:
            _check_later(f'replay = {dict(replay)!r}', keep, kwargs)
        self.unlabelled = folders_of(unlabelled)
        if self.unlabelled:
            _check_later(f'unlabelled = {unlabelled!r}', keep, kwargs)
        super().__init__(*args, **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping | None = None) -> dict:
        loaded = super()._load_metainfo(metainfo)
        stage = Stage.from_metainfo(loaded)
        loaded.update(classes=stage.classes, split=stage.split)
        return loaded

    @property
    def stage(self) -> Stage:
        """All seen classes and their groups, from ``metainfo``."""
        return Stage(self._metainfo['classes'], self._metainfo['split'])

    @property
    def kept_classes(self) -> tuple[str, ...]:
        """Classes whose boxes this dataset keeps, in label order."""
        if self.test_mode:
            return tuple(name for name in self.stage.classes if self.annotated is None or name in self.annotated)
        return self.stage.classes if self.keep == 'seen' else self.stage.new

    @property
    def replayed(self) -> dict[str, int]:
        """What ``replay`` keeps of earlier stages: ``images``, and the ``bytes`` of their files; zeros without it."""
        self.full_init()
        return dict(images=self.report.replayed, bytes=self.report.replayed_bytes)

    @property
    def sample_meta(self) -> dict:
        """What the metric has to know of an image in testing: ``ann_file``, and as ``annotated`` the labels measured on it.

        Empty in training.
        """
        if not self.test_mode:
            return {}
        label_of = {name: label for label, name in enumerate(self.stage.classes)}
        return dict(ann_file=self.ann_file, annotated=tuple(label_of[name] for name in self.kept_classes))

    def filter_data(self) -> list[dict]:
        """The stage filter has already run in ``load_data_list``: nothing is left to drop."""
        return self.data_list

    def prepare_data(self, idx: int) -> dict | None:
        """An image's annotation sent through the pipeline; in test mode with :attr:`sample_meta` in the sample's ``metainfo``.

        Raises:
            InputError: a transform failed, in most cases at a broken image, or drops an image in testing: names the image, the
                transform and the reason.
        """
        data = self.get_data_info(idx)
        path, unlabelled = data.get('img_path'), data.get('unlabelled', False)
        listed = 'its folder' if unlabelled else self.ann_file
        for transform in self.pipeline.transforms:
            try:
                data = transform(data)
            except InputError:
                raise
            except Exception as error:
                raise InputError(f'the image {path}: {type(transform).__name__} fails ({_reason(path, error)}). Restore the '
                                 f'file, take it out of {listed}, or correct the pipeline; tools/check_dataset.py '
                                 '--decode finds all such files') from error
            if data is None:
                if self.test_mode:
                    raise InputError(f'the image {path}: {type(transform).__name__} drops it, but an evaluation is of every '
                                     'image: leave that transform out of the test pipeline')
                if unlabelled:
                    raise InputError(f'the image {path}: {type(transform).__name__} drops it, as it has no annotation: '
                                     'leave that transform out of the training pipeline, or unlabelled out of the dataset')
                return None
        if unlabelled and 'data_samples' in data:
            data['data_samples'].set_metainfo(dict(unlabelled=True))
        if self.test_mode and isinstance(data, Mapping):
            samples = data.get('data_samples')
            for sample in samples if isinstance(samples, list) else [samples]:  # a list of test-time augmentation
                if isinstance(sample, BaseDataElement):
                    sample.set_metainfo(self.sample_meta)
        return data

    def apply_stage(self, images: Sequence[dict], right_edge: int = 0, notes: Sequence[str] = (),
                    listed: Iterable[str] = ()) -> list[dict]:
        """Keep the boxes and images of the stage, write the report and log it.

        Args:
            images: One dict an image in MMDetection's format, plus ``source`` (the name to tell in messages); the
                objects in ``instances`` have ``name``, ``bbox`` (``[x1, y1, x2, y2]``, 0-based pixels) and
                ``ignore_flag``.
            right_edge: How far below ``width`` and ``height`` the largest coordinate inside an image is (1 for VOC,
                whose boxes name the last pixel; 0 for COCO).
            notes: Lines to add to the report.
            listed: Names of all classes that the annotation declares, with boxes or without.

        Returns:
            The kept images with ``bbox_label`` in the place of ``name``.

        Raises:
            InputError: no image is listed; in training, a kept class has no box that is not ignored, or no old class has one
                that could be replayed; the pipeline loads masks, and a kept object has none.
        """
        if not images:
            raise InputError(f'{self.ann_file} lists no image: an empty file, or not the one you meant as ann_file')
        kept_classes = self.kept_classes
        label_of = {name: label for label, name in enumerate(self.stage.classes)}
        report = StageReport(self.ann_file, self._purpose(), len(images), notes=[*notes, *self._unknown_names()])
        boxes, ignored, found = Counter(), Counter(), Counter()
        left_out = defaultdict(Counter)
        loaders = mask_loaders(self.pipeline.transforms)
        polygons_only = not all(loader.poly2mask for loader in loaders)
        exemplars = self._draw(images, right_edge, report)

        data_list = []
        for image in images:
            found.update(instance['name'] for instance in image['instances'])
            old = exemplars.get(image['img_id'], ())
            kept, others = split_instances(image['instances'], (*kept_classes, *old))
            report.unlisted.update({name: count for name, count in others.items() if name not in label_of})
            instances, fates = [], []
            for instance in kept:
                fitted, reason = self._fitted(instance, image, right_edge)
                fates.append((instance, fitted, reason))
                if reason:
                    left_out[instance['name']][reason] += 1
                if fitted is None:
                    report.count_dropped(image['source'])
                    continue
                if fitted['bbox'] != list(instance['bbox']):
                    report.count_clipped(image['source'])
                instances.append(fitted)
            dropped = self._dropped(instances, image)
            if dropped:
                for instance in instances:
                    if not instance['ignore_flag']:
                        left_out[instance['name']][f'in {dropped}'] += 1
                self._note(image, fates, dropped=dropped)
                continue
            if old:
                report.replayed += 1
                report.replayed_bytes += self._bytes(image['img_path'])
                is_new = any(instance['name'] in kept_classes and not instance['ignore_flag'] for instance in instances)
                report.replayed_new += is_new
                if not is_new:  # nobody has looked for new objects there, difficult ones included
                    instances = [instance for instance in instances if instance['name'] not in kept_classes]
                    fates = [fate for fate in fates if fate[0]['name'] not in kept_classes]
            self._note(image, fates, replayed=bool(old))
            for instance in instances:
                if loaders:
                    instance['mask'] = self._mask_of(instance, image, polygons_only)
                name = instance.pop('name')
                instance['bbox_label'] = label_of[name]
                (ignored if instance['ignore_flag'] else boxes)[name] += 1
            of_seen = Counter({name: count for name, count in others.items() if name in label_of})
            if self.test_mode:
                report.not_annotated += of_seen
            else:
                report.hidden_old += of_seen.total()
            report.hidden_unlisted.update({name: count for name, count in others.items() if name not in label_of})
            image = {**image, 'instances': instances}
            del image['source']
            data_list.append(image)

        report.images_kept = len(data_list)
        if self.unlabelled:
            if not self.stage.old:
                what = f'unlabelled = {[*self.unlabelled]}'
                raise InputError(f'{self.ann_file}: {_FIRST_STAGE.format(what, self.stage.split)}')
            check_not_mixed(self.pipeline.transforms)
            loader = image_loader(self.pipeline.transforms, self.backend_args)
            more, told = images_in(self.unlabelled, [image['img_path'] for image in data_list], loader)
            report.unlabelled, report.notes = len(more), [*report.notes, *told]
            data_list += more
            for image in more:
                self._note(image, (), unlabelled=True)
        report.boxes = {name: boxes[name] for name in kept_classes}
        if self.replay is not None:
            report.replayed_boxes = {name: boxes[name] for name in self.stage.old}
        report.ignored = ignored.total()
        if not self.test_mode:
            self._check_classes(report, found, left_out, frozenset(listed))
        self.report = report
        print_log(report.summary(), logger='current')
        return data_list

    def _fitted(self, instance: Mapping, image: Mapping, right_edge: int) -> tuple[dict | None, str]:
        """An object with its box inside the image, None where nothing is left of it, and why it is not trained on or ''."""
        min_box = (self.filter_cfg or {}).get('bbox_min_size') or 0
        box = clip_box(instance['bbox'], image['width'] - right_edge, image['height'] - right_edge)
        if box is None:
            return None, 'without area inside their image'
        fitted = {**instance, 'bbox': box}
        if instance['ignore_flag']:
            return fitted, 'ignored (difficult or crowd)'
        if not self.test_mode and min(box[2] - box[0], box[3] - box[1]) < min_box:
            return {**fitted, 'ignore_flag': 1}, f"below filter_cfg['bbox_min_size'] = {min_box}"
        return fitted, ''

    def _dropped(self, instances: Sequence[Mapping], image: Mapping) -> str:
        """Why an image with these objects is not trained on; empty where it is, as every image is in testing."""
        min_image = (self.filter_cfg or {}).get('min_size', 0)
        if self.test_mode:
            return ''
        if not instances:
            return 'images without an object of the stage'
        # An image with nothing but ignored boxes has nothing to train on.
        if all(instance['ignore_flag'] for instance in instances):
            return 'images whose objects of the stage are all ignored'
        if min(image['width'], image['height']) < min_image:
            return f"images too small, below filter_cfg['min_size'] = {min_image}"
        return ''

    def _note(self, image: Mapping, fates: Sequence[tuple[Mapping, Mapping | None, str]], **more: str | bool) -> None:
        if self.record is not None:
            self.record.append(FilteredImage.of(image, fates, **more))

    def _draw(self, images: Sequence[dict], right_edge: int, report: StageReport) -> dict[Hashable, list[str]]:
        """By id of an exemplar, the classes whose boxes it has: those of the groups in whose stages it is kept.

        Raises:
            InputError: there is nothing to replay.
        """
        if self.replay is None:
            return {}
        stage = self.stage
        if not stage.old:
            raise InputError(f'{self.ann_file}: {_FIRST_STAGE.format(f"replay = {vars(self.replay)}", stage.split)}')
        holding = {name: [] for name in stage.old}
        min_image = (self.filter_cfg or {}).get('min_size', 0)
        for image in images:
            if min(image['width'], image['height']) < min_image:
                continue
            fitted = (self._fitted(instance, image, right_edge)[0]
                      for instance in image['instances'] if instance['name'] in holding)
            for name in {instance['name'] for instance in fitted if instance and not instance['ignore_flag']}:
                holding[name].append(image['img_id'])
        if not any(holding.values()):
            names = ', '.join(stage.old[:_SHOWN])
            raise InputError(f'{self.ann_file} lists no image with an object of an old class ({names}), so there is nothing to '
                             "replay: leave replay out, or give the ann_file that lists the earlier stages' images too")
        kept = defaultdict(list)
        for group in stage.groups[:-1]:
            for img_id in set().union(*(self.replay.drawn(name, holding[name]) for name in group)):
                kept[img_id] += group
        few = {name: len(img_ids) for name, img_ids in holding.items() if len(img_ids) < self.replay.per_class}
        if few:
            report.notes.append(f'replay: fewer than per_class = {self.replay.per_class} images with '
                                f'{", ".join(f"{name} ({count})" for name, count in few.items())}')
        return kept

    def _bytes(self, path: str) -> int:
        return osp.getsize(path) if osp.isfile(path) else len(get(path, self.backend_args))

    def _mask_of(self, instance: Mapping, image: Mapping, polygons_only: bool) -> list | dict:
        """An object's mask as MMDetection loads it."""
        try:
            return read_mask(instance.get('mask'), (image['height'], image['width']), polygons_only)
        except InputError as error:
            if instance['ignore_flag']:
                return UNUSED
            raise InputError(f"{self.ann_file}: the {instance['name']!r} at {list(instance['bbox'])} on {image['source']} "
                             f'{error}, but the pipeline loads masks (LoadAnnotations with with_mask=True): '
                             f'{self.mask_remedy}; a detector without a mask head needs no with_mask. tools/check_dataset.py '
                             'CONFIG tells all such objects') from None

    def _purpose(self) -> str:
        if self.test_mode:
            kept, seen = len(self.kept_classes), len(self.stage.classes)
            return f'testing, {"all" if kept == seen else f"{kept} of {seen}"} seen classes'
        return 'training, newest group' if self.keep == 'newest' else 'training, all seen classes'

    def _unknown_names(self) -> list[str]:
        others = [name for name in self.annotated or () if name not in self.stage.classes]
        return [f'annotated also names {", ".join(others)}, not in metainfo.classes: not measured'] if others else []

    def _check_classes(self, report: StageReport, found: Counter, left_out: Mapping[str, Counter],
                       listed: Collection[str]) -> None:
        """A class without a box cannot be learnt, and the mean over classes would hide it."""
        absent = [name for name, count in report.boxes.items() if not count]
        if not absent:
            return
        # What was meant is rather a name that no class of the stage claims yet.
        others = [name for name in found if name not in self.stage.classes]
        hints = []
        for name in absent[:_SHOWN]:
            if found[name]:
                reasons = ', '.join(f'{count} {reason}' for reason, count in left_out[name].items())
                hints.append(f'all boxes of {name!r} there ({found[name]}) are left out: {reasons}')
            elif near := close_names(name, others):
                hints.append(f'did you mean {" or ".join(map(repr, near))} by {name!r}?')
            elif name in listed:
                hints.append(f'{name!r} is a category without any box, as exports have for the background or a group '
                             'of classes: leave it out')
        if len(hints) < len(absent):
            names = sorted(found)
            hints.append(f'class names found there: {", ".join(map(repr, names[:_SHOWN])) or "none"}'
                         f'{", ..." if len(names) > _SHOWN else ""}')
        what = ('the stage is empty: ' if len(absent) == len(report.boxes) else '')
        what += f'no box to train on for {"class" if len(absent) == 1 else "classes"} {", ".join(map(repr, absent))}'
        raise InputError(f'{self.ann_file}: {what} ({report.images_listed} images listed). Correct metainfo.classes '
                         f'(names are compared exactly) or ann_file; {"; ".join([*hints, *report.notes])}')

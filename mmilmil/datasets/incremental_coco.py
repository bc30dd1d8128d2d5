"""Incremental detection on annotations in COCO's JSON format."""

import json
import math
import os.path as osp
from collections import defaultdict
from collections.abc import Mapping
from typing import ClassVar

from mmdet.datasets import CocoDataset
from mmengine.fileio import get

from ..errors import InputError
from ..registry import DATASETS
from .stage_filter import ImageFolder, StageFilterMixin, close_names


@DATASETS.register_module()
class IncrementalCocoDataset(StageFilterMixin, CocoDataset):
    """One stage of a COCO-style detection set; the twin of :class:`IncrementalVOCDataset`.

    The label of a box is the place of its category's NAME in ``metainfo.classes``. (MMDetection's ``CocoDataset``
    numbers them by the order in the file, whatever the order of ``classes``.) Crowd objects, and those marked
    ``ignore``, become ``ignored_instances``. Boxes are clipped to ``[0, size]`` and dropped where no area is left, or less than
    one pixel in width or height, as MMDetection does; both are told.

    Args:
        ann_file: The JSON file; relative to ``data_root``.
        metainfo: ``classes``, the names of all classes seen so far in label order, and ``split``, the sizes of the
            groups.
        data_root: Folder of the set.
        data_prefix: ``dict(img=...)``, the folder of the images, relative to ``data_root``.
        keep: ``'newest'`` or ``'seen'``, see :class:`StageFilterMixin`.
        kwargs: As for MMDetection's ``CocoDataset``.

    Raises:
        InputError: a file is missing or broken, a kept class is no category of the file, or in training a class has no
            box. The message names the file, the value and the remedy.
    """

    METAINFO: ClassVar[dict] = {}  # not COCO's 80 classes: the list of a stage is always explicit

    def __init__(self, ann_file: str, *, data_prefix: dict | None = None, **kwargs) -> None:
        data_prefix = dict(data_prefix or {})
        data_prefix.setdefault('img', '')
        super().__init__(ann_file=ann_file, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the JSON file, and keep what belongs to the stage."""
        content = read_coco_file(self.ann_file, self.backend_args)
        name_of = {category['id']: category['name'] for category in content['categories']}
        self._check_categories(name_of)
        id_of = {name: category_id for category_id, name in name_of.items()}
        self.cat_ids = [id_of[name] for name in self.stage.classes if name in id_of]
        self.cat2label = {id_of[name]: label for label, name in enumerate(self.stage.classes) if name in id_of}

        annotations = defaultdict(list)
        for annotation in content['annotations']:
            annotations[annotation['image_id']].append(annotation)
        folder = ImageFolder(self.data_prefix['img'], self.backend_args)
        images = []
        seen = set()
        for img_info in content['images']:
            if img_info['id'] in seen:
                raise InputError(f'{self.ann_file} lists the image id {img_info["id"]!r} twice: give each image its own id')
            seen.add(img_info['id'])
            if not folder.has(img_info['file_name']):
                raise InputError(f'{self.ann_file} lists the image {img_info["file_name"]!r}, but {folder.root} has no '
                                 'such file: add it, or check data_prefix["img"]')
            images.append(self.parse_data_info({
                'raw_img_info': img_info,
                'raw_ann_info': annotations.pop(img_info['id'], []),
                'name_of': name_of,
            }))
        notes = []
        if annotations:
            count = sum(map(len, annotations.values()))
            notes.append(f'{count} annotations belong to {len(annotations)} images that the file does not list: '
                         'left out')
        return self.apply_stage(images, notes=notes)

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Bring one image into the form that ``apply_stage`` takes: all objects, each still with its class name.

        Args:
            raw_data_info: ``raw_img_info`` and ``raw_ann_info`` as in the file, and ``name_of``, from category id to
                name.
        """
        img_info, name_of = raw_data_info['raw_img_info'], raw_data_info['name_of']
        data_info = {
            'img_id': img_info['id'],
            'img_path': osp.join(self.data_prefix['img'], img_info['file_name']),
            'source': img_info['file_name'],
            'seg_map_path': None,
            'height': img_info['height'],
            'width': img_info['width'],
            'instances': []}
        if self.return_classes:
            data_info.update(text=self.stage.classes, caption_prompt=self.caption_prompt, custom_entities=True)
        for annotation in raw_data_info['raw_ann_info']:
            category_id = annotation['category_id']
            x, y, w, h = annotation['bbox']
            # Less than a pixel or an area of zero: flat, so that apply_stage drops it and tells.
            flat = w < 1 or h < 1 or annotation.get('area', w * h) <= 0
            instance = {
                'name': name_of.get(category_id, f'category id {category_id}'),
                'bbox': [x, y, x, y] if flat else [x, y, x + w, y + h],
                'ignore_flag': int(is_ignored(annotation))}
            if annotation.get('segmentation'):
                instance['mask'] = annotation['segmentation']
            data_info['instances'].append(instance)
        return data_info

    def _check_categories(self, name_of: dict[int, str]) -> None:
        known = set(name_of.values())
        for name in self.kept_classes:
            if name not in known:
                near = close_names(name, known - set(self.stage.classes))
                hint = f'did you mean {" or ".join(map(repr, near))}?' if near else \
                    f'its categories: {", ".join(map(repr, sorted(known)))}'
                raise InputError(f'{self.ann_file} has no category {name!r}, which metainfo.classes names: {hint}')


def read_coco_file(path: str, backend_args: dict | None = None) -> dict:
    """The content of a COCO file, with the keys that are needed and boxes of four numbers.

    Args:
        path: The JSON file.
        backend_args: As in MMDetection's datasets.

    Returns:
        ``images``, ``annotations`` and ``categories``, lists of dicts, as they stand in the file.

    Raises:
        InputError: the file is missing or broken.
    """
    try:
        content = json.loads(get(path, backend_args=backend_args))
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f'no file {path} (ann_file): check data_root and ann_file') from None
    except ValueError as error:
        raise InputError(f'{path} is not valid JSON: {error}') from None
    needed = {
        'images': ('id', 'file_name', 'width', 'height'),
        'annotations': ('image_id', 'category_id', 'bbox'),
        'categories': ('id', 'name'),
    }
    for part, keys in needed.items():
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise InputError(f'{path} has no list {part!r}: it must be a COCO file with {", ".join(needed)}')
        for entry in content[part]:
            if lacking := [key for key in keys if not isinstance(entry, dict) or key not in entry]:
                raise InputError(f'{path}: an entry of {part!r} lacks {", ".join(map(repr, lacking))}: {entry}')
    for image in content['images']:
        for side in ('width', 'height'):
            if not is_number(image[side]):
                raise InputError(f'{path}, image {image["id"]}: {side} is {image[side]!r}, not a number of pixels')
    for annotation in content['annotations']:
        where = f'{path}, annotation {annotation.get("id")} of image {annotation["image_id"]}'
        box = annotation['bbox']
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            raise InputError(f'{where}: bbox is {box!r}, not four numbers [x, y, width, height]')
        if not is_number(annotation.get('area', 0)):
            raise InputError(f'{where}: area is {annotation["area"]!r}, not a number: correct it or leave it out')
    return content


def is_number(value: object) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def is_ignored(annotation: Mapping) -> bool:
    """Whether an annotation of a COCO file is neither to be learnt nor to be found: a crowd, or marked ``ignore``."""
    return bool(annotation.get('iscrowd') or annotation.get('ignore'))

"""Incremental detection on annotations in COCO's JSON format."""

import os.path as osp
from collections.abc import Mapping
from typing import ClassVar

from mmdet.datasets import CocoDataset

from ..errors import InputError
from ..registry import DATASETS
from .coco_reader import is_flat, is_ignored, read_coco
from .reading import StopAtFirst
from .stage_filter import ImageFolder, StageFilterMixin, close_names


@DATASETS.register_module()
class IncrementalCocoDataset(StageFilterMixin, CocoDataset):
    """One stage of a COCO-style detection set; the twin of :class:`IncrementalVOCDataset`.

    The label of a box is the place of its category's NAME in ``metainfo.classes``. (MMDetection's ``CocoDataset``
    numbers them by the order in the file, whatever the order of ``classes``.) Crowd objects, and those marked
    ``ignore``, become ``ignored_instances``. Boxes are clipped to ``[0, size]`` and dropped where no area is left, or less than
    one pixel in width or height, as MMDetection does; both are told. Where the pipeline loads masks (``LoadAnnotations`` with
    ``with_mask=True``), every kept object that is not ignored needs one; hidden objects leave with theirs.

    Args:
        ann_file: The JSON file; relative to ``data_root``.
        metainfo: ``classes``, the names of all classes seen so far in label order, and ``split``, the sizes of the
            groups.
        data_root: Folder of the set.
        data_prefix: ``dict(img=...)``, the folder of the images, relative to ``data_root``.
        keep: ``'newest'`` or ``'seen'``, see :class:`StageFilterMixin`.
        annotated: In testing, the classes that the set annotates, see :class:`StageFilterMixin`.
        kwargs: As for MMDetection's ``CocoDataset``.

    Raises:
        InputError: a file is missing or broken, a kept class is no category of the file, in training a class has no
            box, or a mask is asked for that is not there or is broken. The message names the file, the value and the remedy.
    """

    METAINFO: ClassVar[dict] = {}  # not COCO's 80 classes: the list of a stage is always explicit

    def __init__(self, ann_file: str, *, data_prefix: dict | None = None, **kwargs) -> None:
        data_prefix = dict(data_prefix or {})
        data_prefix.setdefault('img', '')
        super().__init__(ann_file=ann_file, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the JSON file, and keep what belongs to the stage."""
        told = StopAtFirst()
        content = read_coco(self.ann_file, self.backend_args, told)
        self._check_categories(content.names)
        id_of = {name: category_id for category_id, name in content.names.items()}
        self.cat_ids = [id_of[name] for name in self.stage.classes if name in id_of]
        self.cat2label = {id_of[name]: label for label, name in enumerate(self.stage.classes) if name in id_of}

        folder = ImageFolder(self.data_prefix['img'], self.backend_args)
        images = []
        for img_info in content.images:
            folder.file(img_info['file_name'], self.ann_file)
            images.append(self.parse_data_info({
                'raw_img_info': img_info,
                'raw_ann_info': content.annotations[img_info['id']],
                'name_of': content.names,
            }))
        notes = told.lines()
        if content.lost:
            count = sum(map(len, content.lost.values()))
            notes.append(f'{count} annotations belong to {len(content.lost)} images that the file does not list: left out')
        return self.apply_stage(images, notes=notes, listed=content.names.values())

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Bring one image into the form that ``apply_stage`` takes: all objects, each still with its class name.

        Args:
            raw_data_info: ``raw_img_info`` and ``raw_ann_info`` as ``read_coco`` reads them, and ``name_of``, from category id
                to name.
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
            x, y, w, h = annotation['bbox']
            instance = {
                'name': name_of[annotation['category_id']],
                # A corner only, so that apply_stage drops it and tells.
                'bbox': [x, y, x, y] if is_flat(annotation) else [x, y, x + w, y + h],
                'ignore_flag': int(is_ignored(annotation))}
            if annotation.get('segmentation'):
                instance['mask'] = annotation['segmentation']
            data_info['instances'].append(instance)
        return data_info

    def _check_categories(self, name_of: Mapping[int | str, str]) -> None:
        known = set(name_of.values())
        for name in self.kept_classes:
            if name not in known:
                near = close_names(name, known - set(self.stage.classes))
                hint = f'did you mean {" or ".join(map(repr, near))}?' if near else \
                    f'its categories: {", ".join(map(repr, sorted(known)))}'
                if self.test_mode and self.annotated is None:
                    hint += '; a set for testing that annotates a part of the classes says which by annotated=[...]'
                raise InputError(f'{self.ann_file} has no category {name!r}, which '
                                 f'{"annotated" if self.annotated else "metainfo.classes"} names: {hint}')

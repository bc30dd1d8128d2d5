"""Incremental detection on any folder laid out as PASCAL VOC."""

import math
import os.path as osp
import xml.etree.ElementTree as ET

import mmcv
from mmdet.datasets import XMLDataset
from mmengine.fileio import get, get_text

from ..errors import InputError
from ..registry import DATASETS
from .stage_filter import IMAGE_EXTENSIONS, ImageFolder, StageFilterMixin


@DATASETS.register_module()
class IncrementalVOCDataset(StageFilterMixin, XMLDataset):
    """One stage of a VOC-style detection set.

    Training keeps only the boxes of the newest group, with global labels, and only the images with at least one such
    box that is not ignored; testing keeps every image and the boxes of all seen classes. Difficult objects become
    ``ignored_instances``.

    As in MMDetection, 1 is taken off all four coordinates, so a box inside its image spans ``[0, size - 1]``; what sticks out
    is clipped to that, what has no area then is dropped, both are told. No box is too small unless
    ``filter_cfg['bbox_min_size']`` says so. ``filter_cfg['filter_empty_gt']`` changes nothing: training never has images
    without a box.

    Args:
        ann_file: List of image names, one a line, without extension; relative to ``data_root``.
        metainfo: ``classes``, the names of all classes seen so far in label order, and ``split``, the sizes of the
            groups.
        data_root: Folder that holds ``img_subdir`` and ``ann_subdir``.
        data_prefix: ``dict(sub_data_root=...)`` where these stand in a folder below ``data_root``.
        img_subdir: Folder of the images; jpg, png, bmp, tif, webp or pnm.
        ann_subdir: Folder of the XML files.
        keep: ``'newest'`` or ``'seen'``, see :class:`StageFilterMixin`.
        kwargs: As for MMDetection's ``XMLDataset``: ``pipeline``, ``test_mode``, ``filter_cfg``, ``indices``, ...

    Raises:
        InputError: a file is missing or broken, an image is listed twice, or in training a class has no box. The
            message names the file, the value and the remedy.

    Attributes:
        stage (Stage): The classes and their groups.
        report (StageReport): What was kept, hidden, clipped and dropped; its summary is logged once.
    """

    def __init__(self,
                 ann_file: str = 'ImageSets/Main/trainval.txt',
                 *,
                 data_prefix: dict | None = None,
                 img_subdir: str = 'JPEGImages',
                 ann_subdir: str = 'Annotations',
                 **kwargs) -> None:
        data_prefix = {'sub_data_root': ''} if data_prefix is None else dict(data_prefix)
        if other := sorted(data_prefix.keys() - {'sub_data_root'}):
            raise InputError(f'data_prefix of IncrementalVOCDataset has {", ".join(map(repr, other))}: only '
                             "'sub_data_root' is used here; name the image folder by img_subdir")
        data_prefix.setdefault('sub_data_root', '')
        super().__init__(
            ann_file=ann_file, data_prefix=data_prefix, img_subdir=img_subdir, ann_subdir=ann_subdir, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the list of images and their annotations, and keep what belongs to the stage."""
        folder = ImageFolder(osp.join(self.sub_data_root, self.img_subdir), self.backend_args)
        images = []
        for img_id in self._image_ids():
            file_name = folder.find(img_id)
            if file_name is None:
                raise InputError(f'{self.ann_file} lists {img_id!r}, but {folder.root} has no image of that name '
                                 f'({", ".join(IMAGE_EXTENSIONS)}): add it, or take the line out')
            images.append(self.parse_data_info({
                'img_id': img_id,
                'img_path': osp.join(folder.root, file_name),
                'xml_path': osp.join(self.sub_data_root, self.ann_subdir, f'{img_id}.xml'),
            }))
        return self.apply_stage(images, right_edge=1)

    def parse_data_info(self, img_info: dict) -> dict:
        """Read one annotation file: all objects, each still with its class name.

        Args:
            img_info: ``img_id``, ``img_path`` and ``xml_path``.

        Returns:
            ``img_info`` with ``source``, ``height``, ``width`` (pixels) and ``instances``, as ``apply_stage`` takes
            them.
        """
        path = img_info['xml_path']
        root = self._read_xml(path)
        width, height = self._image_size(root, path, img_info['img_path'])
        instances = [_read_object(obj, path) for obj in root.findall('object')]
        return dict(img_info, source=path, height=height, width=width, instances=instances)

    def _image_ids(self) -> list[str]:
        try:
            text = get_text(self.ann_file, encoding='utf-8-sig', backend_args=self.backend_args)
        except (FileNotFoundError, IsADirectoryError):
            raise InputError(f'no file {self.ann_file} (ann_file): check data_root and ann_file; it lists the images '
                             'of the split, one name a line') from None
        except UnicodeDecodeError as error:
            raise InputError(f'{self.ann_file} (ann_file) is not a text file: {error}') from None
        img_ids = [line.strip() for line in text.splitlines() if line.strip()]
        seen = set()
        for img_id in img_ids:
            if img_id in seen:
                raise InputError(f'{self.ann_file} lists {img_id!r} twice: list each image once (repeat a whole set '
                                 'with RepeatDataset)')
            seen.add(img_id)
        return img_ids

    def _read_xml(self, path: str) -> ET.Element:
        try:
            return ET.fromstring(get(path, backend_args=self.backend_args))
        except FileNotFoundError:
            raise InputError(f'no annotation {path}, though {self.ann_file} lists its image: add the file, or take the '
                             'line out') from None
        except ET.ParseError as error:
            raise InputError(f'{path} is not valid XML: {error}; correct the file, or take its image out of '
                             f'{self.ann_file}') from None

    def _image_size(self, root: ET.Element, path: str, img_path: str) -> tuple[int, int]:
        """Width and height in pixels: from the annotation, or from the image where that has none (absent or zero)."""
        size = root.find('size')
        if size is not None:
            width, height = (_number(size, tag, f'{path}, <size>') for tag in ('width', 'height'))
            if width > 0 and height > 0:
                return width, height
        image = mmcv.imfrombytes(get(img_path, backend_args=self.backend_args), backend='cv2')
        if image is None:
            raise InputError(f'{img_path} cannot be decoded: replace the image, or take it out of {self.ann_file}')
        return image.shape[1], image.shape[0]


def _read_object(obj: ET.Element, path: str) -> dict:
    name = obj.findtext('name')
    if not name:
        raise InputError(f'{path}: an <object> has no <name>; give its class')
    where = f'{path}, object {name!r}'
    difficult = 0 if obj.find('difficult') is None else _number(obj, 'difficult', where)
    bndbox = obj.find('bndbox')
    if bndbox is None:
        raise InputError(f'{where}: no <bndbox>; give its xmin, ymin, xmax, ymax')
    # Every coordinate minus one, as XMLDataset does: otherwise AP would differ from stock MMDetection's.
    box = [_number(bndbox, tag, f'{where}, <bndbox>') - 1 for tag in ('xmin', 'ymin', 'xmax', 'ymax')]
    return {'name': name, 'bbox': box, 'ignore_flag': int(bool(difficult))}


def _number(parent: ET.Element, tag: str, where: str) -> int:
    """The number in child ``tag``, cut to an integer as XMLDataset does."""
    text = parent.findtext(tag)
    if text is None:
        raise InputError(f'{where}: no <{tag}>; add it')
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f'{where}: <{tag}> is {text!r}, not a number; correct it')
    return int(value)

"""Incremental detection on any folder laid out as PASCAL VOC."""

import os.path as osp

from mmdet.datasets import XMLDataset

from ..errors import InputError
from ..registry import DATASETS
from .image_loading import image_loader, load_image
from .reading import StopAtFirst, Tell
from .stage_filter import ImageFolder, StageFilterMixin
from .voc_reader import read_annotation, read_list


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
        annotated: In testing, the classes that the set annotates, see :class:`StageFilterMixin`.
        kwargs: As for MMDetection's ``XMLDataset``: ``pipeline``, ``test_mode``, ``filter_cfg``, ``indices``, ...

    Raises:
        InputError: a file is missing or broken, an image is listed twice, in training a class has no box, or the pipeline loads
            masks, which VOC XML has not. The message names the file, the value and the remedy.

    Attributes:
        stage (Stage): The classes and their groups.
        report (StageReport): What was kept, hidden, clipped and dropped; its summary is logged once.
    """

    mask_remedy = 'VOC XML holds no masks, so give the set as a COCO file with a segmentation for each object'

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
        told = StopAtFirst()
        images = [self.parse_data_info({
            'img_id': img_id,
            'img_path': osp.join(folder.root, folder.image_of(img_id, self.ann_file)),
            'xml_path': osp.join(self.sub_data_root, self.ann_subdir, f'{img_id}.xml'),
        }, told) for img_id in read_list(self.ann_file, self.backend_args, told)]
        return self.apply_stage(images, right_edge=1, notes=told.lines())

    def parse_data_info(self, img_info: dict, told: Tell | None = None) -> dict:
        """Read one annotation file: all objects, each still with its class name.

        Args:
            img_info: ``img_id``, ``img_path`` and ``xml_path``.
            told: Where the reader tells what it finds.

        Returns:
            ``img_info`` with ``source``, ``height``, ``width`` (pixels) and ``instances``, as ``apply_stage`` takes
            them.
        """
        path = img_info['xml_path']
        size, instances = read_annotation(path, self.backend_args, self.ann_file, told)
        if size is None:
            loader = image_loader(self.pipeline.transforms, self.backend_args)
            height, width = load_image(loader, img_info['img_path']).shape[:2]
        else:
            width, height = size
        return dict(img_info, source=path, height=height, width=width, instances=instances)

"""Masks of objects: which are read and by which rule, what a stage keeps, and what is told where masks are asked for."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import pytest
from conftest import make_voc
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope

from mmilmil import InputError
from mmilmil.data_tools.check import check_config
from mmilmil.datasets import IncrementalCocoDataset, IncrementalVOCDataset
from mmilmil.datasets.masks import check_masks_loaded, has_mask_head, mask_loaders, read_mask, short_polygons
from mmilmil.engine.dry_run import dry_run

SIZE = (10, 12)  # height and width
SQUARE = [[2, 1, 6, 1, 6, 5, 2, 5]]  # 4 x 4 pixels, x 2 to 5, y 1 to 4
# By columns of 10: column 2 has rows 1 to 4.
RUNS = {'size': [10, 12], 'counts': [21, 4, 95]}
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))]
RESIZE = dict(type='Resize', scale=(12, 10))
META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmilmil')


def packed(mask):
    """Run lengths as pycocotools writes them into a text."""
    found = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=list(found['size']), counts=found['counts'].decode())


# Rules


def test_polygons():
    assert read_mask(SQUARE, SIZE) is not SQUARE and read_mask(SQUARE, SIZE) == SQUARE
    assert read_mask([[0, 0, '4.5', 0, 4, 4]], SIZE) == [[0, 0, 4.5, 0, 4, 4]]
    # Points and lines cover nothing.
    assert read_mask([[1, 1, 2, 2], *SQUARE, []], SIZE) == SQUARE
    assert short_polygons([[1, 1, 2, 2], *SQUARE, []]) == 2 and short_polygons(RUNS) == 0


def test_run_lengths_as_a_list_and_as_text():
    assert read_mask(RUNS, SIZE) == RUNS
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 40, 2).tolist()
        # Runs of one pixel and of hundreds, as numbers of one group of bits and of several.
        mask = np.kron(rng.random((height, width)) < rng.random(), np.ones(rng.integers(1, 9, 2))).astype(np.uint8)
        size, told = mask.shape, packed(mask)
        assert read_mask(told, size) == told
        for wrong in (told['counts'][:-1], told['counts'] + '1', told['counts'] + '5'):
            with pytest.raises(InputError, match='do not add up|segmentation of the size'):
                read_mask(dict(told, counts=wrong), size)
        with pytest.raises(InputError, match='segmentation of the size'):
            read_mask(told, (size[0] + 1, size[1]))


@pytest.mark.parametrize('segmentation, told', [
    (None, '^has no segmentation$'),
    ([], '^has no segmentation$'),
    ({}, '^has no segmentation$'),
    ('x', "^has the segmentation 'x', neither polygons nor run lengths$"),
    ([[1, 1, 2, 2]], r'^has the segmentation \[\[1, 1, 2, 2\]\], no polygon of three points or more$'),
    ([1, 1, 5, 1, 5, 5], '^has the polygon 1 in its segmentation, not pairs of numbers'),
    ([[1, 1, 5, 1, 5]], r'^has the polygon \[1, 1, 5, 1, 5\] in its segmentation'),
    ([[1, 1, 5, 1, 5, None]], 'has the polygon'),
    ([[1, 1, 5, 1, 5, True]], 'has the polygon'),
    ([[1, 1, 5, 1, 5, float('nan')]], 'has the polygon'),
    ([[1, 1, 5, 1, 5, 10**7]], 'has the polygon'),  # gigabytes in pycocotools
    (dict(RUNS, size=[12, 10]), r'^has a segmentation of the size \[12, 10\], and the image is 10 high, 12 wide$'),
    ({'counts': [120]}, 'of the size None'),
    (dict(RUNS, counts=[21, 4, 94]), r'^has run lengths \[21, 4, 94\] in its segmentation, which do not add up to the 120 '),
    (dict(RUNS, counts=[121, -1]), 'do not add up'),
    (dict(RUNS, counts=[60., 60.]), 'do not add up'),
    (dict(RUNS, counts=None), 'do not add up'),
    (dict(RUNS, counts=''), 'do not add up'),
    (dict(RUNS, counts='zzzz'), 'do not add up'),
])
def test_broken_masks(segmentation, told):
    with pytest.raises(InputError, match=told):
        read_mask(segmentation, SIZE)


def test_a_pipeline_that_reads_polygons_only():
    assert read_mask(SQUARE, SIZE, polygons_only=True) == SQUARE
    with pytest.raises(InputError, match='poly2mask=False'):
        read_mask(RUNS, SIZE, polygons_only=True)


def test_steps_that_load_masks():
    plain = dict(type='LoadAnnotations', with_bbox=True)
    polygons = dict(plain, with_mask=True, poly2mask=False)
    nested = dict(type='RandomChoice', transforms=[[plain], [dict(type='RandomApply', transforms=[polygons])]])
    assert [loader.poly2mask for loader in mask_loaders([LOAD[1], nested, plain])] == [True, False]
    assert not mask_loaders([plain, dict(type='mmdet.RandomFlip', prob=0.5), dict(type='no such step')])
    built = IncrementalCocoDataset('x.json', metainfo=dict(classes=('a', )), pipeline=[*LOAD, nested], lazy_init=True)
    assert [loader.poly2mask for loader in mask_loaders(built.pipeline.transforms)] == [True, False]


def test_detectors_with_a_mask_head():
    assert has_mask_head(dict(roi_head=dict(mask_head=dict(type='FCNMaskHead'))))
    assert not has_mask_head(dict(roi_head=dict(bbox_head=dict()))) and not has_mask_head(dict(bbox_head=dict()))


# A stage


def write(root, objects, images=1):
    """A COCO file; objects as (image, class, segmentation) or (..., more)."""
    ids = {'old': 4, 'new': 2, 'future': 7}
    annotations = [dict(id=number, image_id=image, category_id=ids[name], bbox=[2, 1, 4, 4], **dict(*more),
                        **({} if mask is None else {'segmentation': mask}))
                   for number, (image, name, mask, *more) in enumerate(objects, start=1)]
    (root / 'x.json').write_text(json.dumps(dict(
        images=[dict(id=number, file_name=f'{number}.png', height=10, width=12) for number in range(images)],
        categories=[dict(id=number, name=name) for name, number in ids.items()], annotations=annotations)))
    for number in range(images):
        cv2.imwrite(str(root / f'{number}.png'), np.zeros((10, 12, 3), np.uint8))
    return root / 'x.json'


def stage(path, pipeline=LOAD, **kwargs):
    return IncrementalCocoDataset(str(path), data_prefix=dict(img=str(path.parent)), pipeline=pipeline,
                                  metainfo=dict(classes=('old', 'new'), split=(1, 1)), **kwargs)


def test_hidden_objects_leave_with_their_masks(tmp_path):
    bar = np.zeros(SIZE, np.uint8)
    bar[7:9, 1:11] = 1
    path = write(tmp_path, [
        (0, 'old', [[0, 0, 12, 0, 12, 10, 0, 10]]),
        (0, 'new', SQUARE),
        (0, 'future', [[0, 0, 3, 0, 3, 3, 0, 3]]),
        (0, 'new', packed(bar)),
        (0, 'new', RUNS, {'iscrowd': 1}),
    ])
    sample = stage(path)[0]['data_samples']
    masks = sample.gt_instances.masks.masks
    square, column = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    square[1:5, 2:6], column[1:5, 2] = 1, 1
    assert sample.gt_instances.labels.tolist() == [1, 1]
    assert masks.shape == (2, *SIZE) and (masks[0] == square).all() and (masks[1] == bar).all()
    ignored = sample.ignored_instances
    assert ignored.labels.tolist() == [1] and (ignored.masks.masks[0] == column).all()
    # Everything seen, as for joint training: the file's order is that of the masks too.
    joint = stage(path, keep='seen')[0]['data_samples'].gt_instances
    assert joint.labels.tolist() == [0, 1, 1]
    assert joint.masks.masks[0].all() and (joint.masks.masks[1:] == masks).all()


def test_masks_that_nobody_needs_may_be_missing(tmp_path):
    path = write(tmp_path, [(0, 'old', None), (0, 'new', SQUARE), (0, 'future', 'x'), (0, 'new', None, {'iscrowd': 1})])
    sample = stage(path)[0]['data_samples']
    assert len(sample.gt_instances) == 1 and sample.gt_instances.masks.masks.sum() == 16
    assert not sample.ignored_instances.masks.masks.any()
    boxes_only = [LOAD[0], dict(type='LoadAnnotations', with_bbox=True), LOAD[2]]
    assert len(stage(write(tmp_path, [(0, 'new', None)]), boxes_only)[0]['data_samples'].gt_instances) == 1


@pytest.mark.parametrize('mask, told', [(None, 'has no segmentation'), ([[1, 1, 5, 1]], 'has .* no polygon of three points')])
def test_a_missing_or_broken_mask_stops_before_the_first_step(tmp_path, mask, told):
    path = write(tmp_path, [(0, 'new', SQUARE), (1, 'new', mask)], images=2)
    with pytest.raises(InputError, match=rf"{path}: the 'new' at \[2, 1, 6, 5\] on 1\.png {told}.*with_mask=True\): correct "
                       'its segmentation in the file.*without a mask head needs no with_mask'):
        stage(path)
    # In a test too, and there the old classes' as well.
    with pytest.raises(InputError, match="the 'old' at .* has no segmentation"):
        stage(write(tmp_path, [(0, 'old', None)]), test_mode=True)


def test_run_lengths_for_a_pipeline_that_reads_polygons(tmp_path):
    """MMDetection would make the object an ignored one without a word."""
    polygons = [LOAD[0], dict(LOAD[1], poly2mask=False), LOAD[2]]
    assert len(stage(write(tmp_path, [(0, 'new', SQUARE)]), polygons)[0]['data_samples'].gt_instances.masks) == 1
    with pytest.raises(InputError, match='run lengths for a segmentation, which LoadAnnotations with poly2mask=False'):
        stage(write(tmp_path, [(0, 'new', RUNS)]), polygons)


def test_voc_has_no_masks(tmp_path):
    root = make_voc(tmp_path, {'a': [('new', 1, 1, 10, 10)]})
    with pytest.raises(InputError, match=r"train\.txt: the 'new' at \[0, 0, 9, 9\] on .*a\.xml has no segmentation, but the "
                       r'pipeline loads masks .*: VOC XML holds no masks, so give the set as a COCO file'):
        IncrementalVOCDataset('ImageSets/Main/train.txt', data_root=str(root), metainfo=dict(classes=('new', )), pipeline=LOAD)


def test_a_mask_head_whose_pipeline_loads_no_masks(tmp_path):
    path = write(tmp_path, [(0, 'new', SQUARE)])
    with_masks, without = stage(path), stage(path, [LOAD[0], dict(type='LoadAnnotations', with_bbox=True), LOAD[2]])
    check_masks_loaded(RepeatDataset(with_masks, 2))
    for dataset in (without, ConcatDataset([with_masks, without], ignore_keys=['classes'])):
        with pytest.raises(InputError, match=f'has a mask head, .* loads no masks from {path}: set with_mask=True'):
            check_masks_loaded(dataset)


# The evaluation, tried on one image


def test_masks_are_measured_of_a_detector_that_predicts_some(tmp_path):
    path = write(tmp_path, [(0, 'new', SQUARE)])
    dataset = stage(path, [LOAD[0], RESIZE, dict(type='PackDetInputs', meta_keys=META)], test_mode=True)
    evaluator = Evaluator([dict(type='IncrementalCocoMetric', ann_file=str(path), metric=['bbox', 'segm'])])
    evaluator.dataset_meta = dataset.metainfo
    assert {'all', 'segm_mAP_all', 'segm_mAP_50_old'} <= dry_run(evaluator, dataset, 'test', masks=True).keys()
    with pytest.raises(InputError, match="measures masks, and the detector predicts none: leave 'segm' out"):
        dry_run(evaluator, dataset, 'test')


# Checks of a config's sets


def config(path, *, mask_head=False, pipeline=LOAD, metric='bbox'):
    loader = dict(dataset=dict(type='IncrementalCocoDataset', ann_file=str(path), data_prefix=dict(img=str(path.parent)),
                               metainfo=dict(classes=('old', 'new'), split=(1, 1)), pipeline=pipeline))
    head = dict(mask_head=dict(type='FCNMaskHead')) if mask_head else {}
    return Config(dict(model=dict(roi_head=head), train_dataloader=loader, train_evaluator=None,
                       test_dataloader=dict(dataset=dict(loader['dataset'], test_mode=True, pipeline=[LOAD[0]])),
                       test_evaluator=dict(type='IncrementalCocoMetric', ann_file=str(path), metric=metric)))


MISSING = 'object without a mask, and the config asks for masks: correct its segmentation in the file, or take the object out'
BROKEN = 'mask that cannot be read: correct its segmentation in the file, or take the object out'


def found(cfg):
    report = check_config(cfg)
    shared = 'image both in train and in test'  # one file is all there is here
    return SimpleNamespace(errors={kind: list(texts) for kind, texts in report.findings.errors.items() if kind != shared},
                           notes=report.findings.notes)


def test_checks_tell_every_mask_that_is_missing_or_broken(tmp_path):
    path = write(tmp_path, [
        (0, 'old', None), (0, 'new', None), (0, 'new', [[1, 1, 5]]), (0, 'new', SQUARE), (0, 'new', RUNS),
        (1, 'new', [*SQUARE, [1, 1, 2, 2]]), (1, 'new', {'size': [9, 9], 'counts': [81]}), (1, 'future', None),
        (1, 'new', None, {'iscrowd': 1})], images=2)
    told = found(config(path))
    assert told.errors == {
        MISSING: [f"{path}, 0.png, annotation 2: 'new' [2, 1, 6, 5] has no segmentation"],
        BROKEN: [
            f"{path}, 0.png, annotation 3: 'new' [2, 1, 6, 5] has the polygon [1, 1, 5] in its segmentation, not pairs of "
            'numbers [x1, y1, x2, y2, ...]',
            f"{path}, 1.png, annotation 7: 'new' [2, 1, 6, 5] has a segmentation of the size [9, 9], and the image is 10 high, "
            '12 wide']}
    assert list(told.notes['polygons of fewer than three points: left out of the mask']) == [
        f"{path}, 1.png, annotation 6: 'new' [2, 1, 6, 5]: 1"]
    # Measured are the old classes' too, and don't care what is a crowd.
    told = found(config(path, metric=['bbox', 'segm']))
    assert [text.split(':')[0].rpartition(' ')[2] for text in told.errors[MISSING]] == ['2', '1', '9']
    # Nobody asks.
    boxes = [LOAD[0], dict(type='LoadAnnotations', with_bbox=True), LOAD[2]]
    assert not found(config(path, pipeline=boxes)).errors


def test_checks_tell_a_mask_head_without_masks(tmp_path):
    path = write(tmp_path, [(0, 'old', None), (0, 'new', None)])
    boxes = [LOAD[0], dict(type='LoadAnnotations', with_bbox=True), LOAD[2]]
    told = found(config(path, mask_head=True, pipeline=boxes)).errors
    assert told.keys() == {MISSING, 'stops the run'} and len(told[MISSING]) == 1
    assert 'the pipeline loads no masks: set with_mask=True' in told['stops the run'][0]
    root = make_voc(tmp_path / 'voc', {'a': [('new', 1, 1, 10, 10)]})
    voc = dict(type='IncrementalVOCDataset', data_root=str(root), ann_file='ImageSets/Main/train.txt', pipeline=LOAD,
               metainfo=dict(classes=('new', )))
    errors = check_config(Config(dict(train_dataloader=dict(dataset=voc)))).findings.errors
    assert [kind.split(': ') for kind in errors] == [[
        'object without a mask, and the config asks for masks',
        'VOC XML holds no masks, so give the set as a COCO file with a segmentation for each object']]

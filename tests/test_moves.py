"""Cached teacher boxes follow an image through every transform that is let through, and the others stop the run."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmdet.engine.hooks import PipelineSwitchHook
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from tiny import instances

from mmilmil import InputError
from mmilmil.datasets.moves import KNOWN, META_KEYS, check_moves
from mmilmil.models.box_cache import TeacherBoxCache
from mmilmil.registry import MODELS

HEIGHT, WIDTH = 60, 90
# In the middle, as large as the image, at two borders, in a corner.
BOXES = [[25., 17., 60., 40.], [0., 0., 90., 60.], [50., 20., 88., 60.], [0., 0., 12., 9.]]
PLAIN = SimpleNamespace()
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
PACK = dict(type='PackDetInputs', meta_keys=META_KEYS)
RESIZE = dict(type='Resize', scale=(120, 77))
ROTATE = dict(type='Rotate', max_mag=30.0)
CROP = dict(type='RandomCrop', crop_size=(50, 40))

# Each transform that is let through, with settings in which it does something.
ACCEPTED = {
    'AutoAugment': dict(policies=[
        [dict(type='Equalize'), ROTATE], [dict(type='ShearX', max_mag=30.0), dict(type='RandomFlip', prob=1.0)]]),
    'AutoContrast': {},
    'Brightness': {},
    'Color': {},
    'ColorTransform': {},
    'Compose': dict(transforms=[dict(type='RandomFlip', prob=0.5), CROP]),
    'Contrast': {},
    'CutOut': dict(n_holes=3, cutout_shape=(20, 20)),
    'Equalize': {},
    'FilterAnnotations': dict(min_gt_bbox_wh=(1, 1)),
    'FixScaleResize': dict(scale=(100, 70), keep_ratio=True),
    'FixShapeResize': dict(width=100, height=100, keep_ratio=True),
    'Invert': {},
    'LoadAnnotations': dict(with_bbox=True),
    'LoadImageFromFile': {},
    'Normalize': dict(mean=[100.0] * 3, std=[50.0] * 3),
    'Pad': dict(size_divisor=64),
    'PhotoMetricDistortion': {},
    'Posterize': {},
    'RandomApply': dict(transforms=[CROP], prob=0.5),
    'RandomChoice': dict(transforms=[[CROP], [dict(type='RandomFlip', prob=1.0)]]),
    'RandomChoiceResize': dict(scales=[(50, 40), (200, 120)], keep_ratio=True),
    'RandomCrop': dict(crop_size=(0.4, 0.5), crop_type='relative_range', allow_negative_crop=True),
    'RandomFlip': dict(prob=[0.3, 0.3, 0.3], direction=['horizontal', 'vertical', 'diagonal']),
    'RandomGrayscale': dict(prob=0.5, keep_channels=True),
    'RandomResize': dict(scale=(100, 80), ratio_range=(0.5, 2.0), keep_ratio=False),
    'Resize': dict(scale=(77, 120)),
    'ResizeShortestEdge': dict(scale=80, max_size=100),
    'Rotate': dict(max_mag=30.0),
    'Sharpness': {},
    'ShearX': dict(max_mag=30.0),
    'ShearY': dict(max_mag=30.0),
    'Solarize': {},
    'SolarizeAdd': {},
    'TranslateX': dict(max_mag=0.4),
    'TranslateY': dict(max_mag=0.4),
    'YOLOXHSVRandomAug': {},
}
CHAINS = {
    'everything before a cut': [dict(type='Pad', size=(128, 128)), dict(type='RandomFlip', prob=0.5), ROTATE, RESIZE, CROP,
                                CROP, dict(type='RandomFlip', prob=0.5, direction='vertical'), RESIZE],
    'two sizes and a crop': [dict(type='RandomChoice', transforms=[
        [dict(type='RandomChoiceResize', scales=[(80, 60), (120, 70)], keep_ratio=True)],
        [dict(type='RandomResize', scale=(120, 70), ratio_range=(0.5, 1.5), keep_ratio=True), CROP, RESIZE]])],
    'names with a scope': [dict(type='mmdet.RandomFlip', prob=0.5), dict(type='mmdet.RandomCrop', crop_size=(40, 40)),
                           dict(type='mmdet.Resize', scale=(64, 64), keep_ratio=True)],
}


@pytest.fixture(scope='module', autouse=True)
def scope():
    init_default_scope('mmilmil')


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('image') / 'a.png')
    cv2.imwrite(path, np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    return path


def dataset(*steps, load=LOAD, pack=(PACK, )):
    return SimpleNamespace(pipeline=Compose([*load, *steps, *pack]))


def pairs(data, image, seed):
    """Where a pipeline puts the boxes and where the cache does, (4, 4) each; NaN of those that are gone."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    sample = data.pipeline(dict(img_id='a', img_path=image, height=HEIGHT, width=WIDTH, instances=[
        dict(bbox=box, bbox_label=label, ignore_flag=0) for label, box in enumerate(BOXES)]))
    if sample is None:  # a crop without an object
        return None
    sample = sample['data_samples']
    table = torch.tensor([[*box, label, 0.9] for label, box in enumerate(BOXES)])
    found = TeacherBoxCache('file', 'teacher', 0.3, {'a': table}).look_up([sample.metainfo], torch.zeros(1))[0]
    moved, cached = torch.full((2, len(BOXES), 4), torch.nan)
    wanted = instances(sample.gt_instances.bboxes.tensor.tolist(), sample.gt_instances.labels.tolist())
    wanted = wanted[(wanted.bboxes[:, 2:] > wanted.bboxes[:, :2]).all(dim=1)]
    moved[wanted.labels], cached[found.labels] = wanted.bboxes, found.bboxes
    return moved, cached


def agreement(steps, image, seeds=6):
    """IoU of each box with where the cache puts it, over several draws; 0 where only one of the two is there."""
    data = dataset(*steps)
    overlaps = []
    for moved, cached in filter(None, (pairs(data, image, seed) for seed in range(seeds))):
        there = ~(moved.isnan().any(dim=1) & cached.isnan().any(dim=1))
        overlaps.append(bbox_overlaps(moved[there], cached[there], is_aligned=True).nan_to_num(0.0))
    return torch.cat(overlaps)


# Accepted


def test_every_transform_that_is_let_through_is_tried():
    assert {kind.__name__ for kind in KNOWN} - {'PackDetInputs'} == set(ACCEPTED)


@pytest.mark.parametrize('name', ACCEPTED)
def test_boxes_follow(name, image):
    """Alone, and after a resize."""
    step = dict(type=name, **ACCEPTED[name])
    first = [RESIZE] if name != 'FixShapeResize' else []
    steps = [*first, step]
    if name.startswith('Load'):  # a second time
        steps = [step, RESIZE]
    check_moves(dataset(*steps), PLAIN)
    overlaps = agreement(steps, image)
    assert len(overlaps) >= 12 and overlaps.min() > 0.999


@pytest.mark.parametrize('name', CHAINS)
def test_boxes_follow_through_chains(name, image):
    check_moves(dataset(*CHAINS[name]), PLAIN)
    overlaps = agreement(CHAINS[name], image, seeds=12)
    assert len(overlaps) >= 12 and overlaps.min() > 0.999


# Refused


class Mine(TRANSFORMS.get('Resize')):
    """A user's own; what it does with the matrix is not known."""


GEOMETRIC = {
    'Expand': dict(mean=(0, 0, 0), ratio_range=(2, 2), prob=1.0),
    'MinIoURandomCrop': dict(min_ious=(0.1, ), min_crop_size=0.3),
    'RandomAffine': {},
    'RandomCenterCropPad': dict(crop_size=(50, 50), ratios=(0.5, ), mean=[0.0] * 3, std=[1.0] * 3, to_rgb=False,
                                test_pad_mode=None),
    'RandomShift': dict(prob=1.0),
    'RandomFlip_GLIP': dict(prob=1.0),
    'mmcv.CenterCrop': dict(crop_size=(60, 40)),
    'mmcv.RandomFlip': dict(prob=1.0),
    'mmcv.Resize': dict(scale=(50, 50)),
}
OTHERS = {
    'CachedMixUp': dict(img_scale=(64, 64)),
    'CachedMosaic': dict(img_scale=(64, 64)),
    'CopyPaste': {},
    'MixUp': dict(img_scale=(64, 64)),
    'Mosaic': dict(img_scale=(64, 64)),
    'ProposalBroadcaster': dict(transforms=[RESIZE]),
    'RandAugment': {},
    'RandomErasing': dict(n_patches=2, ratio=0.3),
    'RandomOrder': dict(transforms=[RESIZE, CROP]),
    'mmcv.TransformBroadcaster': dict(transforms=[RESIZE]),
}


@pytest.mark.parametrize('name', [*GEOMETRIC, *OTHERS])
def test_others_are_refused_by_name(name):
    step = dict(type=name, **{**GEOMETRIC, **OTHERS}[name])
    for steps in ([RESIZE, step], [RESIZE, dict(type='RandomApply', transforms=[step])],
                  [RESIZE, dict(type='RandomChoice', transforms=[[CROP], [dict(type='Compose', transforms=[step])]])]):
        with pytest.raises(InputError, match=rf'cannot follow .* through \S+\.{name.removeprefix("mmcv.")}, .*Leave it out of '
                                             'the training pipeline, or leave model.teacher_boxes out'):
            check_moves(dataset(*steps), PLAIN)


@pytest.mark.parametrize('name', ['Expand', 'RandomAffine', 'RandomShift', 'MinIoURandomCrop'])
def test_refused_with_good_reason(name, image):
    assert agreement([RESIZE, dict(type=name, **GEOMETRIC[name])], image).mean() < 0.9


@pytest.mark.parametrize(('steps', 'told'), [
    ([RESIZE, CROP, dict(type='Pad', size=(120, 120))], 'Pad after RandomCrop'),
    ([RESIZE, ROTATE, dict(type='ShearX', max_mag=30.0)], 'ShearX after Rotate'),
    ([RESIZE, dict(type='RandomApply', transforms=[CROP], prob=1.0), ROTATE], 'Rotate after RandomCrop'),
    ([RESIZE, dict(type='RandomChoice', transforms=[[CROP], [RESIZE]], prob=[1.0, 0.0]), dict(type='TranslateX', max_mag=0.4)],
     'TranslateX after RandomCrop'),
], ids=lambda value: value if isinstance(value, str) else '')
def test_what_goes_wrong_after_a_cut(steps, told, image):
    with pytest.raises(InputError, match=f'{told} in the training pipeline'):
        check_moves(dataset(*steps), PLAIN)
    assert agreement(steps, image, seeds=12).min() < 0.9


def test_a_users_own_transform():

    class Shrink(BaseTransform):

        def transform(self, results):
            return results

    for mine, name in ((Shrink(), 'test_moves.Shrink'), (Mine(scale=(50, 50)), 'test_moves.Mine'),
                       (lambda results: results, 'builtins.function')):
        data = dataset(RESIZE)
        data.pipeline.transforms.insert(-1, mine)
        with pytest.raises(InputError, match=f'through {name}, '):
            check_moves(data, PLAIN)


def test_what_resizers_call_is_looked_at():
    TRANSFORMS.register_module(module=Mine, force=True)
    with pytest.raises(InputError, match=r'test_moves\.Mine'):
        check_moves(dataset(dict(type='RandomResize', scale=(50, 50), resize_type='Mine')), PLAIN)


def test_packing_without_what_is_needed():
    with pytest.raises(InputError, match="need 'homography_matrix' of each sample: add to the meta_keys of PackDetInputs"):
        check_moves(dataset(RESIZE, pack=[dict(type='PackDetInputs')]), PLAIN)
    with pytest.raises(InputError, match="need 'img_id', 'img_shape' of each"):
        check_moves(dataset(RESIZE, pack=[dict(PACK, meta_keys=('homography_matrix', ))]), PLAIN)
    with pytest.raises(InputError, match='samples that PackDetInputs packs'):
        check_moves(dataset(RESIZE, pack=()), PLAIN)


@pytest.mark.parametrize('steps', [
    [], [dict(type='RandomFlip', prob=0.5)], [dict(type='RandomApply', transforms=[RESIZE])],
    [dict(type='RandomChoice', transforms=[[RESIZE], [ROTATE]])]], ids=['none', 'flip', 'perhaps', 'or not'])
def test_image_that_may_not_be_moved_at_all(steps, image):
    """Then there is no matrix; the remedy makes one."""
    with pytest.raises(InputError, match=r"add dict\(type='Resize', scale_factor=1.0\)"):
        check_moves(dataset(*steps), PLAIN)
    steps = [dict(type='Resize', scale_factor=1.0), *steps]
    check_moves(dataset(*steps), PLAIN)
    assert agreement(steps, image).min() > 0.999


def test_wrapped_sets():
    """Every one of joined sets, and what a wrapper does after them."""
    good, bad = dataset(RESIZE), dataset(RESIZE, dict(type='Expand'))
    joined = SimpleNamespace(dataset=SimpleNamespace(datasets=[good, good]))
    check_moves(joined, PLAIN)
    with pytest.raises(InputError, match='Expand'):
        check_moves(SimpleNamespace(dataset=SimpleNamespace(datasets=[good, bad])), PLAIN)
    mixed = SimpleNamespace(dataset=dataset(pack=()), pipeline=[TRANSFORMS.build(step) for step in (RESIZE, PACK)])
    check_moves(mixed, PLAIN)
    mixed.pipeline.insert(0, TRANSFORMS.build(dict(type='Mosaic', img_scale=(64, 64))))
    with pytest.raises(InputError, match='Mosaic'):
        check_moves(mixed, PLAIN)


def test_pipeline_that_a_hook_brings():
    hooks = [PipelineSwitchHook(3, [*LOAD, RESIZE, dict(type='RandomShift'), PACK])]
    with pytest.raises(InputError, match='RandomShift'):
        check_moves(dataset(RESIZE), PLAIN, hooks)
    check_moves(dataset(RESIZE), PLAIN, [PipelineSwitchHook(3, [*LOAD, RESIZE, PACK])])


@pytest.mark.parametrize('augment', [
    dict(type='BatchSyncRandomResize', random_size_range=(64, 128), size_divisor=32), dict(type='BatchResize', scale=(64, 64))],
    ids=lambda augment: augment['type'])
def test_images_moved_by_the_batch(augment):
    still = MODELS.build(dict(type='DetDataPreprocessor', batch_augments=[dict(type='BatchFixedSizePad', size=(96, 96))]))
    check_moves(dataset(RESIZE), still)
    moving = MODELS.build(dict(type='DetDataPreprocessor', batch_augments=[augment]))
    with pytest.raises(InputError, match=f'{augment["type"]}, .*batch_augments'):
        check_moves(dataset(RESIZE), moving)



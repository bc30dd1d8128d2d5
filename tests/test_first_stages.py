"""Every shipped first stage and joint training as it stands: on data in the official layout, with weights as published.

Nothing in a config is changed. The sets are found through their environment variables, the weights' files through
``MMILMIL_WEIGHTS``.
"""

import copy
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import REPO, make_voc
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import EpochBasedTrainLoop

from mmilmil.engine.methods import lay_over
from mmilmil.registry import DATASETS, METRICS, MODELS

CONFIGS = REPO / 'configs'
# Width and height of the two images of each set: as wide as VOC's and low, so that a full-size step takes seconds.
SIZES = ((500, 100), (480, 90))
VOC = {'voc07': 'VOCdevkit/VOC2007', 'pcb': 'DeepPCB-320', 'foda20': 'FODA-20', 'foda20x4': 'FODA-20x4', 'shapes': 'shapes',
       'shapes_crowded': 'shapes_crowded', 'shapes_apart': 'shapes_apart', 'shapes_look_alike': 'shapes_look_alike'}


def resnet50() -> dict[str, torch.Tensor]:
    """Names and shapes of torchvision's resnet50, each tensor of one number and so hardly a byte on disk."""
    weights = {'conv1.weight': (64, 3, 7, 7), 'fc.weight': (1000, 2048), 'fc.bias': (1000, )}
    norms = {'bn1': 64}
    inputs = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
        for block in range(blocks):
            name, outputs = f'layer{stage}.{block}', 4 * width
            weights |= {f'{name}.conv1.weight': (width, inputs, 1, 1), f'{name}.conv2.weight': (width, width, 3, 3),
                        f'{name}.conv3.weight': (outputs, width, 1, 1)}
            norms |= {f'{name}.bn1': width, f'{name}.bn2': width, f'{name}.bn3': outputs}
            if block == 0:
                weights[f'{name}.downsample.0.weight'] = (outputs, inputs, 1, 1)
                norms[f'{name}.downsample.1'] = outputs
            inputs = outputs
    filled = {name: filled_tensor(shape) for name, shape in weights.items()}
    for name, width in norms.items():
        filled |= {f'{name}.{part}': filled_tensor((width, ), value)
                   for part, value in (('weight', 1.), ('bias', 0.), ('running_mean', 0.), ('running_var', 1.))}
    return filled


def vgg16() -> dict[str, torch.Tensor]:
    """The same of torchvision's vgg16: 528 MB in the published file."""
    weights, inputs = {}, 3
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    for place, width in zip(places, (64, 64, 128, 128, *[256] * 3, *[512] * 6)):
        weights |= {f'features.{place}.weight': (width, inputs, 3, 3), f'features.{place}.bias': (width, )}
        inputs = width
    for place, shape in {0: (4096, 512 * 7 * 7), 3: (4096, 4096), 6: (1000, 4096)}.items():
        weights |= {f'classifier.{place}.weight': shape, f'classifier.{place}.bias': shape[:1]}
    return {name: filled_tensor(shape) for name, shape in weights.items()}


def cspnext_tiny() -> dict:
    """The same of OpenMMLab's cspnext-tiny: a classifier's checkpoint, with the backbone under its name."""
    convolutions, inputs = {}, 3
    for place, width in enumerate((12, 12, 24)):
        convolutions[f'stem.{place}'] = (width, inputs, 3, 3)
        inputs = width
    weights = {}
    for stage, width in enumerate((48, 96, 192, 384), 1):
        half = width // 2
        convolutions[f'stage{stage}.0'] = (width, inputs, 3, 3)
        if stage == 4:
            convolutions |= {'stage4.1.conv1': (half, width, 1, 1), 'stage4.1.conv2': (width, 4 * half, 1, 1)}
        csp = f'stage{stage}.{2 if stage == 4 else 1}'
        convolutions |= {
            f'{csp}.main_conv': (half, width, 1, 1), f'{csp}.short_conv': (half, width, 1, 1),
            f'{csp}.final_conv': (width, width, 1, 1), f'{csp}.blocks.0.conv1': (half, half, 3, 3),
            f'{csp}.blocks.0.conv2.depthwise_conv': (half, 1, 5, 5),
            f'{csp}.blocks.0.conv2.pointwise_conv': (half, half, 1, 1)}
        weights |= {f'{csp}.attention.fc.weight': (width, width, 1, 1), f'{csp}.attention.fc.bias': (width, )}
        inputs = width
    weights |= {f'{name}.conv.weight': shape for name, shape in convolutions.items()}
    filled = {f'backbone.{name}': filled_tensor(shape) for name, shape in weights.items()}
    for name, (width, *_) in convolutions.items():
        filled |= {f'backbone.{name}.bn.{part}': filled_tensor((width, ), value)
                   for part, value in (('weight', 1.), ('bias', 0.), ('running_mean', 0.), ('running_var', 1.))}
    return dict(state_dict=filled | {'head.fc.weight': filled_tensor((1000, 384)), 'head.fc.bias': filled_tensor((1000, ))})


def filled_tensor(shape: tuple[int, ...], value: float | None = None) -> torch.Tensor:
    """One number in this shape; by default one that keeps the signal's size through ReLUs."""
    fan_in = math.prod(shape[1:])
    return torch.tensor((1 / fan_in if len(shape) > 1 else 0.) if value is None else value).expand(shape)


PUBLISHED = {'resnet50-0676ba61.pth': resnet50, 'vgg16-397923af.pth': vgg16, 'cspnext-tiny_imagenet_600e.pth': cspnext_tiny}
CLASSES = {name: Config.fromfile(CONFIGS / f'_base_/datasets/{name}.py').all_classes for name in (*VOC, 'coco17')}


@pytest.fixture(scope='module')
def official(tmp_path_factory) -> Path:
    """A folder with every set in its layout, two images each with an object of every class, and ``weights``."""
    root = tmp_path_factory.mktemp('official')
    for name, place in VOC.items():
        train = 'trainval' if name == 'voc07' else 'train'
        lists = dict.fromkeys((train, 'val', 'test'), ('000001', '000002'))
        for image, size in zip(lists['val'], SIZES):
            make_voc(root / place, {image: list(objects(CLASSES[name], size))}, size, lists)
    for split in ('train', 'val'):
        images = root / f'coco/{split}2017'
        make_coco(root / f'coco/annotations/instances_{split}2017.json', images, '{:012}.jpg', CLASSES['coco17'])
    for split in ('train', 'val', 'test'):  # the same images as in the VOC layout, with masks
        make_coco(root / f'shapes/coco/{split}.json', root / 'shapes/JPEGImages', '{:06}.jpg', CLASSES['shapes'])
    (root / 'weights').mkdir()
    for name, weights in PUBLISHED.items():
        # vgg16's is in the form of torch before 1.6.
        torch.save(weights(), root / 'weights' / name, _use_new_zipfile_serialization=not name.startswith('vgg16'))
    return root


def objects(classes: tuple[str, ...], size: tuple[int, int]) -> Iterator[tuple]:
    """A box of each class beside that of the one before, as ``(class, x1, y1, x2, y2)``, 1-based."""
    side = 20
    columns = size[0] // side
    for index, name in enumerate(classes):
        x, y = side * (index % columns), side * (index // columns)
        yield name, x + 1, y + 1, x + side, y + side


def make_coco(path: Path, images: Path, file_name: str, classes: tuple[str, ...]) -> None:
    """A COCO file with masks, and its images where they are not there."""
    for folder in (path.parent, images):
        folder.mkdir(parents=True, exist_ok=True)
    listed, annotations = [], []
    for number, (width, height) in enumerate(SIZES, 1):
        name = file_name.format(number)
        if not (images / name).exists():
            cv2.imwrite(str(images / name), np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8))
        listed.append(dict(id=number, file_name=name, width=width, height=height))
        for index, (_, x1, y1, x2, y2) in enumerate(objects(classes, (width, height))):
            box = [x1 - 1, y1 - 1, x2 - x1, y2 - y1]
            annotations.append(dict(id=len(annotations) + 1, image_id=number, category_id=index + 1, bbox=box, iscrowd=0,
                                    area=box[2] * box[3], segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]]))
    categories = [dict(id=index + 1, name=name) for index, name in enumerate(classes)]
    path.write_text(json.dumps(dict(images=listed, annotations=annotations, categories=categories)))


@pytest.fixture
def user(official, monkeypatch, tmp_path) -> Path:
    """The environment of a user who has all sets and, without a network, the weights; returns the folder of all that."""
    places = dict(COCO='coco', **{name.removesuffix('07').upper(): place for name, place in VOC.items()})
    for name, place in places.items():
        monkeypatch.setenv(f'MMILMIL_{name}_ROOT', str(official / place))
    monkeypatch.setenv('MMILMIL_WEIGHTS', str(official / 'weights'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    init_default_scope('mmilmil')
    return official


DETECTORS = {'cascade': 'CascadeRCNN', 'maskrcnn': 'MaskRCNN', 'retinanet': 'RetinaNet', 'atss': 'ATSS', 'gfl': 'GFL',
             'rtmdet': 'RTMDet'}


def test_all_are_built(user):
    """Data sets, metrics and detectors with their weights."""
    built, weighed = set(), set()
    paths = sorted((CONFIGS / 'ilmil').glob('*.py'))
    for path in paths:
        cfg = Config.fromfile(path)
        if '+' in path.stem:
            cfg = lay_over(cfg, CONFIGS / 'methods/joint.py')
        assert cfg.model.type == next((kind for name, kind in DETECTORS.items() if name in path.stem.split('_')), 'FasterRCNN')
        for split in ('train', 'val', 'test'):
            assert len(DATASETS.build(cfg[f'{split}_dataloader'].dataset)) == 2, path
        METRICS.build(cfg.test_evaluator)
        if (key := json.dumps(cfg.model)) not in built:
            built.add(key)
            with torch.device('meta'):  # without storage, and so quick
                MODELS.build(copy.deepcopy(cfg.model))  # a detector writes into its config
        one_class(cfg.model)  # the same weights for any number of classes
        if (key := json.dumps(cfg.model)) not in weighed:
            weighed.add(key)
            check_weights(cfg.model, path)
    assert len(paths) > 40 and len(built) > 15 and len(weighed) >= 10


def one_class(model_cfg: dict) -> None:
    """Set the number of classes of every head, in place."""
    parts = [model_cfg.get('roi_head', {}), model_cfg]
    for head in (part[name] for part in parts for name in ('bbox_head', 'mask_head') if name in part):
        for one in head if isinstance(head, list) else [head]:
            one['num_classes'] = 1


def check_weights(model_cfg: dict, path: Path) -> None:
    """Every weight that is published under a part's names is in it."""
    model = MODELS.build(model_cfg)
    model.init_weights()
    if model_cfg.backbone.get('init_cfg') is None:
        return
    weights = PUBLISHED[model_cfg.backbone.init_cfg.checkpoint.rpartition('/')[2]]()
    weights = {name.removeprefix('backbone.'): value for name, value in weights.get('state_dict', weights).items()}
    found = {name: value for name, value in model.backbone.state_dict().items() if not name.endswith('num_batches_tracked')}
    assert found.keys() <= weights.keys(), path
    if 'classifier.0.weight' in weights:
        layers = model.roi_head.bbox_head.shared_fcs.state_dict()
        found |= {f'classifier.{3 * int(name[0])}{name[1:]}': value for name, value in layers.items()}
    # What is left over is the classifier of ImageNet alone.
    assert {name.rpartition('.')[0] for name in weights.keys() - found.keys()} in ({'fc'}, {'classifier.6'}, {'head.fc'}), path
    assert all(torch.equal(value, weights[name]) for name, value in found.items()), path


# Layers that give a class's logits: of boxes, of masks, of dense heads by MMDetection's names.
LOGITS = r'(fc_cls|conv_logits|retina_cls|atss_cls|gfl_cls|rtm_cls(\.\d)?)\.weight$'


class Stop(Exception):
    """Ends a training after its first steps."""


@pytest.mark.parametrize('stage', [
    *(f'frcnn_{name}' for name in ('voc_15', 'vgg16_voc_19', 'coco_40', 'pcb_4', 'foda20_15', 'foda20x4_10', 'shapes_4',
                                   'shapes_crowded_2')),
    *(f'{name}_voc_15' for name in ('cascade', 'retinanet', 'atss', 'gfl', 'rtmdet')), 'maskrcnn_coco_40', 'maskrcnn_shapes_4'])
def test_each_detector_is_trained_on_each_set(user, tool, tmp_path, monkeypatch, stage):
    """`python tools/train.py CONFIG`, for one step: the epoch's checkpoint alone would take as long."""
    run_iter = EpochBasedTrainLoop.run_iter

    def one_step(loop, index, batch):
        assert len(batch['inputs']) == 2
        heads = {name: weight for name, weight in loop.runner.model.named_parameters() if re.search(LOGITS, name)}
        before = {name: weight.detach().clone() for name, weight in heads.items()}
        run_iter(loop, index, batch)
        losses = {name: value.current() for name, value in loop.runner.message_hub.log_scalars.items() if 'loss' in name}
        # No anchor may lie on an object of these images, which has no box to correct then.
        assert all(map(math.isfinite, losses.values())) and losses['train/loss'] > 0, losses
        assert heads and not any(torch.equal(weight, before[name]) for name, weight in heads.items())
        assert ('train/loss_mask' in losses) == stage.startswith('maskrcnn')
        raise Stop

    monkeypatch.setattr(EpochBasedTrainLoop, 'run_iter', one_step)
    with pytest.raises(Stop):
        tool('train.py', CONFIGS / f'ilmil/{stage}.py', '--work-dir', tmp_path / 'work')


def test_without_network_and_weights(user, tool, tmp_path, monkeypatch):
    """One line, before the first step, that says what to get and where to put it."""
    def offline(*args, **kwargs):
        raise OSError('[Errno -3] Temporary failure in name resolution')

    monkeypatch.delenv('MMILMIL_WEIGHTS')
    monkeypatch.setattr('torch.hub.urlopen', offline)
    done = tool('train.py', CONFIGS / 'ilmil/frcnn_voc_15.py', '--work-dir', tmp_path / 'work')
    assert done.status == 1 and 'Traceback' not in done.err and 'Epoch(train)' not in done.out
    cache, name = tmp_path / 'torch/hub/checkpoints', 'resnet50-0676ba61.pth'
    assert done.err.strip().splitlines()[-1] == (
        f'error: https://download.pytorch.org/models/{name} cannot be fetched to {cache}/{name} ([Errno -3] Temporary failure '
        f'in name resolution): get {name} elsewhere and put it into {cache}, or into a folder of your own that MMILMIL_WEIGHTS '
        'names, and run this again')

"""Checkpoints and configs from elsewhere: as MMDetection's model zoo, MMDetection 2 and other people publish them."""

import copy
import json
import re
from collections import OrderedDict

import pytest
import torch
from mmdet.datasets import CocoDataset, VOCDataset
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_checkpoint
from tiny import OLD, build, detector_cfg, stock_cfg, student_cfg, teacher_file

from mmilmil import InputError
from mmilmil.checkpoint import load_checkpoint_file
from mmilmil.class_names import checkpoint_classes, metainfo_of, named_classes
from mmilmil.config import config_file, read_file
from mmilmil.engine.cli import read_config
from mmilmil.models import Teacher
from mmilmil.models.fit import load_weights
from mmilmil.models.loading import load_detector
from mmilmil.registry import MODELS

ZOO = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
CFG = stock_cfg(len(OLD))


@pytest.fixture(scope='module', autouse=True)
def scope():
    init_default_scope('mmilmil')


@pytest.fixture(scope='module')
def weights():
    """State dict of a tiny teacher."""
    torch.manual_seed(0)
    init_default_scope('mmilmil')
    return build(CFG).state_dict()


@pytest.fixture(params=[True, False], ids=['zip', 'before torch 1.6'])
def save(request, tmp_path):
    """``save(content)`` writes a file in one of torch's two formats."""

    def write(content, name='zoo.pth'):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=request.param)
        return str(tmp_path / name)

    return write


class Foreign:
    """What torch's safe loading refuses."""


# Which weights


def averaged(weights):
    """As MMEngine's hook saves it: the state dict is the average, and the training's own model stands beside."""
    average = ExponentialMovingAverage(build(CFG))
    average.module.load_state_dict(weights)
    return average.state_dict()


def with_copies(weights):
    """As MMDetection 2's hook saves it: buffers with dots as underscores beside the averages."""
    copies = {f'ema_{name.replace(".", "_")}': value + 1 for name, value in weights.items() if 'num_batches' not in name}
    return OrderedDict([*weights.items(), *copies.items()])


def wrapped(weights):
    named = OrderedDict((f'module.{name}', value) for name, value in weights.items())
    named._metadata = OrderedDict((f'module.{name}' if name else 'module', value) for name, value in weights._metadata.items())
    return named


FORMS = {
    'state_dict': lambda weights: dict(state_dict=weights),
    'bare': lambda weights: weights,
    'wrapped': lambda weights: dict(state_dict=wrapped(weights)),
    'wrapped, bare': wrapped,
    'EMA alone': lambda weights: dict(ema_state_dict=averaged(weights), meta={}),
    'EMA beside': lambda weights: dict(ema_state_dict=averaged({name: value + 1 for name, value in weights.items()}),
                                       state_dict=weights),
    'EMA of MMDetection 2': lambda weights: dict(state_dict=with_copies(weights)),
    'model': lambda weights: dict(model=weights),
    'foreign objects': lambda weights: dict(state_dict=weights, meta=Foreign(), optimizer=Foreign()),
    'a foreign object among the weights': lambda weights: dict(state_dict=OrderedDict([*weights.items(), ('x', Foreign())])),
    'no counts of batches': lambda weights: dict(state_dict=OrderedDict(
        (name, value) for name, value in weights.items() if 'num_batches' not in name)),
    'normalisation': lambda weights: dict(state_dict=OrderedDict(
        [*weights.items(), ('data_preprocessor.mean', torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1))])),
}


@pytest.mark.parametrize('form', FORMS)
def test_weights_of_every_form_are_found(save, weights, form):
    path = save(FORMS[form](copy.deepcopy(weights)))
    teacher = Teacher.load(path, dict(model=CFG), classes=OLD)
    assert all(torch.equal(value, weights[name]) for name, value in teacher.detector.state_dict().items())
    # tools/test.py and everything else that MMEngine loads.
    stock = build(CFG)
    load_checkpoint(stock, path)
    assert all(torch.equal(value, weights[name]) for name, value in stock.state_dict().items())


@pytest.mark.parametrize('form, told', [
    ('EMA alone', 'zoo.pth holds averaged weights (EMA) alone, which are taken'),
    ('EMA of MMDetection 2', 'zoo.pth holds averaged weights (EMA), which are taken, and the '),
    ('EMA beside', None),
    ('bare', None),
])
def test_which_weights_are_taken_is_told_once(tmp_path, weights, monkeypatch, form, told):
    lines = []
    monkeypatch.setattr('mmilmil.checkpoint.print_log', lambda line, **kwargs: lines.append(line))
    torch.save(FORMS[form](weights), tmp_path / 'zoo.pth')
    for _ in range(2):
        load_checkpoint_file(str(tmp_path / 'zoo.pth'))
    assert [told in line for line in lines] == ([True] if told else [])


def test_a_resumed_run_finds_both(tmp_path, weights):
    torch.save(dict(FORMS['EMA beside'](weights), optimizer={}), tmp_path / 'epoch_1.pth')
    assert load_checkpoint_file(str(tmp_path / 'epoch_1.pth')).keys() == {'state_dict', 'ema_state_dict', 'optimizer'}


def test_what_mmdetection_converts_is_converted(save, weights):
    """A two-stage detector takes the head of a one-stage one, such as a trained RPN, for its own."""
    path = save(dict(state_dict=wrapped(_renamed(weights))))
    stock, ours = build(CFG), build(CFG)
    load_checkpoint(stock, path)
    assert load_weights(ours, load_checkpoint_file(path)['state_dict']) == []
    assert torch.equal(stock.rpn_head.rpn_conv.weight, weights['rpn_head.rpn_conv.weight'])
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in stock.state_dict().items())


def _renamed(weights):
    named = OrderedDict((re.sub('^rpn_head', 'bbox_head', name), value) for name, value in weights.items())
    named._metadata = weights._metadata
    return named


# Which classes


@pytest.mark.parametrize('meta, classes', [
    (dict(dataset_meta=dict(classes=OLD)), OLD),
    (dict(dataset_meta=dict(CLASSES=list(OLD))), OLD),
    (dict(mmdet_version='2.0.0', CLASSES=OLD), OLD),
    (dict(mmdet_version='2.0.0', CLASSES=list(OLD), PALETTE=[(0, 0, 0)], config='model = dict(', env_info=Foreign()), OLD),
    (dict(dataset_meta=dict(classes=OLD), CLASSES=('x', )), OLD),
    (dict(dataset_meta=None, CLASSES='face'), ('face', )),
    (dict(CLASSES=None), None),
    (dict(CLASSES=()), None),
    ({}, None),
])
def test_classes_of_a_file(save, weights, meta, classes):
    path = save(dict(meta=meta, state_dict=weights))
    assert checkpoint_classes(path) == (classes, None)
    if classes == OLD:
        assert Teacher.load(path, dict(model=CFG)).classes == OLD
    else:
        named = r"names 1 classes, \['face'\]" if classes else r"model\.teacher\.classes = 'coco'"
        with pytest.raises(InputError, match=named):
            Teacher.load(path, dict(model=CFG))


def test_groups_of_a_file(tmp_path, weights):
    torch.save(dict(meta=dict(dataset_meta=dict(classes=OLD, split=[2, 1])), state_dict=weights), tmp_path / 'a.pth')
    assert checkpoint_classes(str(tmp_path / 'a.pth')) == (OLD, (2, 1))
    torch.save(weights, tmp_path / 'bare.pth')
    assert checkpoint_classes(str(tmp_path / 'bare.pth')) == (None, None)


def test_names_of_data_sets():
    assert named_classes('coco') == CocoDataset.METAINFO['classes'] and named_classes('coco')[9] == 'traffic light'
    assert named_classes('VOC') == named_classes('VOCDataset') == VOCDataset.METAINFO['classes']
    assert len(named_classes('lvis_v1')) == 1203
    with pytest.raises(InputError, match=r"classes = 'kitti' is no data set of MMDetection: give one of .*, coco, .*, voc, "):
        named_classes('kitti')


def test_names_in_a_sets_config_are_those_of_the_built_set(tmp_path):
    (tmp_path / 'names.txt').write_text('ant\nbee\n')
    given = {'defect': ('defect', ), ('ant', 'bee'): ('ant', 'bee'), str(tmp_path / 'names.txt'): ('ant', 'bee'), None: ()}
    for classes, names in given.items():
        assert metainfo_of(dict(metainfo=dict(classes=classes, split=(1, )))) == dict(classes=names, split=(1, ))
    assert metainfo_of({}) == dict(classes=())


def test_given_classes(tmp_path, weights):
    torch.save(weights, tmp_path / 'bare.pth')
    torch.save(dict(state_dict=weights, meta=dict(CLASSES=OLD)), tmp_path / 'named.pth')
    bare, named = str(tmp_path / 'bare.pth'), str(tmp_path / 'named.pth')
    assert Teacher.load(bare, dict(model=CFG), classes=list(OLD)).classes == OLD
    assert Teacher.load(named, dict(model=CFG), classes=OLD).classes == OLD
    with pytest.raises(InputError) as error:
        Teacher.load(named, dict(model=CFG), classes=('bee', 'ant', 'cat'))
    assert "['ant', 'bee', 'cat']" in str(error.value) and "model.teacher.classes = ['bee', 'ant', 'cat']" in str(error.value)
    with pytest.raises(InputError, match=r'is given 20 classes \(model.teacher.classes\).*num_classes = 3: name as many'):
        Teacher.load(bare, dict(model=CFG), classes='voc')


@pytest.mark.parametrize('classes', ['kitti', ['ant', 'ant', 'cat'], [], [1, 2, 3], 3, ['ant', '']])
def test_wrong_classes_are_told_before_the_file_is_read(classes):
    with pytest.raises(InputError, match=r'model\.teacher\.classes = '):
        build(student_cfg('nowhere.pth', teacher=dict(classes=classes)))


def test_student_of_a_published_teacher(save, weights):
    path = save(weights)
    student = build(student_cfg(path, teacher=dict(config=dict(model=CFG), classes=OLD)))
    assert student.teacher.classes == OLD
    assert torch.equal(student.backbone.conv1.weight, weights['backbone.conv1.weight'])


# A config that is not its own


def told(path, config):
    with pytest.raises(InputError) as error:
        load_detector(str(path), config)
    assert '\n' not in str(error.value) and str(path) in str(error.value) and 'model.teacher.config' in str(error.value)
    return str(error.value)


def test_another_depth_is_told_by_the_config_inside(tmp_path):
    path = teacher_file(tmp_path / 'teacher.pth')
    message = told(path, dict(model=stock_cfg(len(OLD), backbone=dict(depth=34))))
    assert 'model.backbone.depth is 18 there and 34 in the config; ' in message and 'weights are missing' in message
    content = torch.load(path)
    content['meta'] = dict(config=content['meta']['cfg'], CLASSES=OLD)  # as MMDetection 2 wrote it
    torch.save(content, path)
    deeper = dict(model=stock_cfg(len(OLD), backbone=dict(depth=34)))
    assert 'model.backbone.depth is 18 there and 34 in the config; ' in told(path, deeper)
    torch.save(dict(state_dict=content['state_dict'], meta=dict(CLASSES=OLD)), path)
    message = told(path, deeper)
    assert 'backbone.depth' not in message and 'weights are missing, unknown or of another shape: backbone.layer1.2.' in message


@pytest.mark.parametrize('kind, head', [
    ('frcnn', 'roi_head.bbox_head'), ('cascade', 'roi_head.bbox_head.0'), ('maskrcnn', 'roi_head.mask_head'),
    ('retinanet', 'bbox_head'), ('rtmdet', 'bbox_head')])
def test_another_number_of_classes_is_told(tmp_path, kind, head):
    path = tmp_path / 'zoo.pth'
    torch.save(dict(state_dict=build(detector_cfg(kind, len(OLD))).state_dict(), meta=dict(CLASSES=OLD)), path)
    message = told(path, dict(model=detector_cfg(kind, 7)))
    assert f'its {head} is of 3 classes, and the config has num_classes = 7; ' in message


def test_another_normalisation_is_told(tmp_path, weights):
    torch.save(dict(FORMS['normalisation'](weights), meta=dict(CLASSES=OLD)), tmp_path / 'a.pth')
    message = told(tmp_path / 'a.pth', dict(model=stock_cfg(len(OLD), data_preprocessor=dict(mean=[0., 0., 0.]))))
    assert 'data_preprocessor.mean is [123.67' in message and 'there and [0.0, 0.0, 0.0] in the config' in message


@pytest.mark.parametrize('text', [
    'img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)',
    'model = dict(data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False))'])
def test_another_normalisation_is_told_by_the_config_inside(tmp_path, weights, text):
    """Of a backbone in Caffe's style the weights fit any other."""
    torch.save(dict(state_dict=weights, meta=dict(CLASSES=OLD, config=text)), tmp_path / 'a.pth')
    message = told(tmp_path / 'a.pth', dict(model=CFG))
    assert 'mean of the images is (103.53, 116.28, 123.675) there and (123.675, 116.28, 103.53) in the config; ' in message
    assert 'bgr_to_rgb of the images is False there and True in the config. Name the config' in message
    same = stock_cfg(len(OLD), data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1., 1., 1.], bgr_to_rgb=False))
    assert load_detector(str(tmp_path / 'a.pth'), dict(model=same))[1] == OLD


# Tested as it is


def test_a_file_of_mmdetection_2_is_tested(chain, tool, save, tmp_path):
    ours = torch.load(chain.runs / 'base/final.pth')
    path = save(dict(meta=dict(mmdet_version='2.0.0', CLASSES=OLD), state_dict=wrapped(ours['state_dict'])))
    done = tool('test.py', chain.base, path, '--work-dir', tmp_path / 'work')
    assert done.status == 0, done.err[-3000:]
    theirs, mine = (json.loads((folder / 'metrics.json').read_text()) for folder in (tmp_path / 'work', chain.runs / 'base'))
    assert {name: value for name, value in theirs.items() if name != 'checkpoint'} == {
        name: value for name, value in mine.items() if name != 'checkpoint'}


def test_a_published_teacher_teaches(chain, tool, tmp_path):
    """Without a word of its classes in the file; told in a line, and the same student where they are given."""
    torch.save(torch.load(chain.runs / 'base/final.pth')['state_dict'], tmp_path / 'zoo.pth')
    args = ('train.py', chain.student, '--teacher', tmp_path / 'zoo.pth', '--work-dir', tmp_path / 'student')
    unnamed = tool(*args)
    assert unnamed.status == 1 and 'Traceback' not in unnamed.err and 'model.teacher.classes = ' in unnamed.err
    named = tool(*args, '--cfg-options', 'model.teacher.classes=[ant,bee,cat]')
    assert named.status == 0, named.err[-3000:]
    ours, theirs = (torch.load(folder / 'student/final.pth') for folder in (tmp_path, chain.runs))
    assert ours['meta']['teacher'] == theirs['meta']['teacher']
    assert all(torch.equal(value, theirs['state_dict'][name]) for name, value in ours['state_dict'].items())


@pytest.mark.parametrize('classes, changes, told', [
    (('bee', 'ant', 'cat'), {}, "knows the classes ['bee', 'ant', 'cat'], and metainfo.classes of the config are ['ant', "
     "'bee', 'cat']: names and order must be equal"),
    (OLD, dict(roi_head=dict(bbox_head=dict(num_classes=5))),
     'roi_head.bbox_head is of 5 classes, and the config has num_classes = 3; '),
    (OLD, dict(backbone=dict(depth=34)), 'weights are missing, unknown or of another shape: backbone.layer1.2.'),
])
def test_a_file_that_does_not_fit_is_told_in_a_line(chain, tool, tmp_path, classes, changes, told):
    weights = build(stock_cfg(**dict(dict(num_classes=3), **changes))).state_dict()
    torch.save(dict(meta=dict(mmdet_version='2.0.0', CLASSES=classes), state_dict=weights), tmp_path / 'zoo.pth')
    done = tool('test.py', chain.base, tmp_path / 'zoo.pth', '--work-dir', tmp_path / 'work')
    assert done.status == 1 and 'Traceback' not in done.err
    line = done.err.strip().splitlines()[-1]
    assert line.startswith(f'error: the checkpoint {tmp_path}/zoo.pth ') and told in line


# Configs of a package


def test_config_of_a_package():
    cfg = read_file(ZOO)
    assert cfg.model.roi_head.bbox_head.num_classes == 80 and '_scope_' not in cfg.pretty_text
    assert read_config(ZOO).work_dir == 'work_dirs/faster-rcnn_r50_fpn_1x_coco'
    assert config_file('a/b.py').as_posix() == 'a/b.py'


def test_config_that_inherits_one_of_a_package(tmp_path):
    (tmp_path / 'mine.py').write_text(
        f"_base_ = '{ZOO}'\ndefault_scope = 'mmilmil'\nmodel = dict(type='IncrementalFasterRCNN', "
        "distiller=None, merging=None, teacher=dict(checkpoint='a.pth'))")
    cfg = read_file(str(tmp_path / 'mine.py'))
    assert type(MODELS.build(cfg.model)).__name__ == 'IncrementalFasterRCNN'
    (tmp_path / 'mine.py').write_text("_base_ = 'mmdet::faster_rcnn/faster.py'")
    with pytest.raises(InputError, match='mmdet::faster_rcnn/faster.py is none of those'):
        read_file(str(tmp_path / 'mine.py'))


@pytest.mark.parametrize('name, told', [
    ('mmdet::faster_rcnn/faster_rcnn_r50_fpn_1x_coco.py', f'the nearest are {ZOO}, '),
    ('mmdet::faster-rcnn_r50_fpn_1x_coco.py', ZOO),
    ('mmdet::', 'the nearest are mmdet::'),
    ('mmnothing::a.py', 'the package mmnothing, which is not installed: install it'),
    ('json::a.py', 'has none'),
])
def test_wrong_name_of_a_config(name, told):
    for read in (read_file, read_config, config_file):
        with pytest.raises(InputError) as error:
            read(name)
        assert told in str(error.value) and name in str(error.value)


def test_config_of_a_package_for_a_teacher(tmp_path):
    torch.save(dict(state_dict=dict(a=torch.ones(1)), meta=dict(CLASSES=['a'])), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=f'does not fit its config \\({ZOO}\\)'):
        load_detector(str(tmp_path / 'a.pth'), ZOO)
    with pytest.raises(InputError, match='none of those that mmdet brings along'):
        load_detector(str(tmp_path / 'a.pth'), 'mmdet::a.py')
    with pytest.raises(InputError, match='gone.pth does not exist: give .* published with .*, https://.*-047c8118.pth'):
        load_detector(str(tmp_path / 'gone.pth'), ZOO)
    with pytest.raises(InputError, match='gone.pth does not exist: give --cfg-options model.teacher.checkpoint=PATH$'):
        load_detector(str(tmp_path / 'gone.pth'), 'mmdet::_base_/models/faster-rcnn_r50_fpn.py')


def test_weights_by_url(tmp_path, weights, monkeypatch):
    """From a folder of one's own; without it, and without a network, a line names the URL, the file and the folder."""
    url = 'http://127.0.0.1:9/zoo/frcnn_coco_20200130-047c8118.pth'
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('MMILMIL_WEIGHTS', str(tmp_path))
    config = dict(config=dict(model=CFG))
    with pytest.raises(InputError) as error:
        _ = build(student_cfg(url, teacher=config)).teacher
    assert f'{url} cannot be fetched to {tmp_path}/torch/hub/checkpoints/frcnn_coco_20200130-047c8118.pth' in str(error.value)
    assert 'MMILMIL_WEIGHTS' in str(error.value) and '\n' not in str(error.value)
    torch.save(dict(state_dict=weights, meta=dict(CLASSES=OLD)), tmp_path / 'frcnn_coco_20200130-047c8118.pth')
    assert build(student_cfg(url, teacher=config)).teacher.classes == OLD

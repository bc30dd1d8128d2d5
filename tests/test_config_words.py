"""A mistake in a config or in --cfg-options is told in one line with the setting's name, before anything is trained."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from tiny import ROOT, build, stock_cfg, student_cfg, teacher_file, write_configs
from torch import nn

from mmilmil import InputError
from mmilmil.config import building_error, load_config
from mmilmil.engine.building import check_loaders
from mmilmil.loaders import test_loader as loader_of
from mmilmil.registry import MODELS
from mmilmil.stock import stock_config


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmilmil')


@MODELS.register_module()
class LossWithAParameter(nn.Module):

    def __init__(self, loss_weight):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


def with_options(options, base='configs/ilmil/frcnn_pcb_4+2.py'):
    cfg = load_config(str(ROOT / base), options)
    cfg.model.teacher.checkpoint = 'gone.pth'
    return cfg.model


# Terms


@pytest.mark.parametrize('options, term, kind, weights', [
    ({'model.distiller.feature.loss_weight': 1.0}, 'feature', 'FeatureNormMSELoss', dict(loss_weight=1.0)),
    ({'model.distiller.roi_cls.temperature': 2.0}, 'roi_cls', 'UnbiasedKDLoss', dict(
        temperature=2.0, subtract_entropy=True, normalize=False, loss_weight=0.2)),
    ({'model.distiller.feature.type': 'FeatureMSELoss'}, 'feature', 'FeatureMSELoss', dict(loss_weight=0.2)),
    ({'model.distiller.roi_cls._delete_': True, 'model.distiller.roi_cls.type': 'LogitMSELoss'}, 'roi_cls', 'LogitMSELoss',
     dict(loss_weight=1.0)),
])
def test_single_setting_of_a_term(options, term, kind, weights):
    """The others stay as the config states them, unless they are deleted."""
    loss = getattr(MODELS.build(with_options(options)).distiller, term)
    assert type(loss).__name__ == kind
    assert {name: getattr(loss, name) for name in weights} == weights


def test_term_can_be_switched_off():
    assert MODELS.build(with_options({'model.distiller.feature': None})).distiller.feature is None


def test_settings_of_a_term_that_the_base_config_switches_off(tmp_path):
    (tmp_path / 'off.py').write_text(f"_base_ = '{ROOT}/configs/ilmil/frcnn_pcb_4+2.py'\n"
                                     'model = dict(distiller=dict(feature=None))\n')
    (tmp_path / 'half.py').write_text("_base_ = 'off.py'\nmodel = dict(distiller=dict(feature=dict(loss_weight=1.0)))\n")
    words = r'feature is None in the config below.*switched off.*feature._delete_=True and all of its settings'
    with pytest.raises(InputError, match=words) as error:
        load_config(str(tmp_path / 'half.py'))
    assert 'half.py' in str(error.value) and '\n' not in str(error.value)
    options = {'model.distiller.feature.loss_weight': 1.0}
    with pytest.raises(InputError, match=words):
        load_config(str(tmp_path / 'off.py'), options)
    on = with_options({**options, 'model.distiller.feature._delete_': True,
                       'model.distiller.feature.type': 'FeatureMSELoss'}, tmp_path / 'off.py')
    assert MODELS.build(on).distiller.feature.loss_weight == 1.0  # the remedy


# Settings of the student


@pytest.mark.parametrize('options, words', [
    ({'distiller.neck_levels': []}, ['neck_levels and model.distiller.backbone_levels are empty', 'feature=None']),
    ({'distiller.stages': [1]}, ['model.distiller has no setting stages any more: it is called backbone_levels now']),
    ({'distiller.neck_levels': 2}, ['model.distiller.neck_levels = 2', 'whole numbers']),
    ({'distiller.neck_levels': [0, 0]}, ['model.distiller.neck_levels = [0, 0]', 'different']),
    ({'distiller.backbone_levels': [0.5]}, ['model.distiller.backbone_levels = [0.5]']),
    ({'distiller.candidates': 0}, ['model.distiller.candidates = 0', 'of 1 or more']),
    ({'distiller.ranking': 'score'}, ["model.distiller.ranking = 'score': give one of 'objectness', 'foreground'"]),
    ({'distiller.roi_feature': dict(_delete_=True, type='ScoreL1Loss', loss_weight='a')}, [
        'loss_weight of ScoreL1Loss']),
    ({'distiller.cross_head': dict(_delete_=True, type='RPNDeltaLoss')}, [
        'model.distiller.cross_head is a RPNDeltaLoss, which is no loss of this term', '2 tensors']),
    ({'distiller.num_rois': -1}, ['model.distiller.num_rois = -1', 'whole number']),
    ({'distiller.num_rois': 2.5}, ['model.distiller.num_rois = 2.5', 'whole number']),
    ({'distiller.exclude_iou': 30}, ['model.distiller.exclude_iou = 30', 'from 0 to 1']),
    ({'distiller.exclude_iou': 'abc'}, ["model.distiller.exclude_iou = 'abc'", 'from 0 to 1']),
    ({'distiller.fature': None}, ['model.distiller has no setting fature', 'did you mean feature?']),
    ({'distiller': 'MFRRK'}, ["model.distiller = 'MFRRK'", 'None to distil nothing']),
    ({'distiller.type': 'MFRK'}, ['model.distiller cannot be built', 'MFRK is not in']),
    ({'distiller.feature': 3}, ['model.distiller.feature = 3', 'None to switch the term off']),
    ({'distiller.feature.weight': 3}, ['model.distiller.feature = ', 'FeatureNormMSELoss', "argument 'weight'"]),
    ({'distiller.feature.type': 'FeatureLoss'}, ['model.distiller.feature', 'FeatureLoss is not in']),
    ({'distiller.feature.type': 'LossWithAParameter'}, ['feature.scale', 'weights of its own', 'without parameters']),
    ({'distiller.spare_new': 'false'}, ["model.distiller.spare_new = 'false': give True or False"]),
    ({'distiller.roi_cls.loss_weight': 'a'}, ["loss_weight of UnbiasedKDLoss = 'a': give a number"]),
    ({'distiller.roi_cls.normalize': 'no'}, ["normalize of UnbiasedKDLoss = 'no': give True or False"]),
    ({'distiller.roi_cls.temperature': float('inf')}, ['UnbiasedKDLoss: temperature=inf must be greater than 0']),
    ({'distiller.roi_reg.squared': 1}, ['squared of RoIDeltaLoss = 1: give True or False']),
    ({'roi_head.bbox_head.loss_cls': dict(_delete_=True, type='UnbiasedCrossEntropyLoss', num_old_classes='4')}, [
        "num_old_classes of UnbiasedCrossEntropyLoss = '4': give a whole number of 0 or more"]),
    ({'test_cfg': None}, ['model.test_cfg is not set', 'configs/_base_/models']),
    ({'distiller.rpn_reg': dict(_delete_=True, type='DenseDeltaKDLoss')}, [
        'model.distiller.rpn_reg is a DenseDeltaKDLoss, which is no loss of this term', '4 tensors and mask by name']),
    ({'distiller': dict(_delete_=True, type='FeatureMSELoss')}, ['model.distiller is a FeatureMSELoss, which is no dist']),
    ({'merging.score_thr': 1.5}, ['model.merging.score_thr = 1.5', 'from 0 to 1']),
    ({'merging.iou_thr': None}, ['model.merging.iou_thr = None', 'from 0 to 1']),
    ({'merging.nms_iou_thr': -0.1}, ['model.merging.nms_iou_thr = -0.1', 'from 0 to 1']),
    ({'merging.iou': 0.5}, ['model.merging has no setting iou', 'did you mean iou_thr?']),
    ({'merging': 0.5}, ['model.merging = 0.5']),
    ({'teacher.chekpoint': 'a.pth'}, ['model.teacher has no setting chekpoint', 'did you mean checkpoint?']),
    ({'teacher.max_proposals': 0}, ['model.teacher.max_proposals = 0', 'of 1 or more']),
    ({'start': 'scratch'}, ["model.start = 'scratch'"]),
])
def test_setting_is_told_by_its_name(options, words):
    with pytest.raises(InputError) as error:
        MODELS.build(with_options({f'model.{name}': value for name, value in options.items()}))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('teacher', ['a.pth', dict(config='a.py'), dict(checkpoint=None)])
def test_teacher_without_its_checkpoint(teacher):
    with pytest.raises(InputError, match=r'model\.teacher(\.checkpoint)? = '):
        MODELS.build(ConfigDict(stock_cfg(5), type='IncrementalFasterRCNN', teacher=teacher, distiller=None,
                                merging=None))


@pytest.mark.parametrize('distiller, words', [
    (dict(neck_levels=(0, 4)), r'model.distiller.neck_levels = \[0, 4\]: the neck gives 4 maps, so 4 is none .* from 0 to 3'),
    (dict(neck_levels=(), backbone_levels=(-5, )),
     r'model.distiller.backbone_levels = \[-5\]: the backbone gives 4 maps, so -5 is none'),
    (dict(neck_levels=(-4, 3), backbone_levels=(0, -1)), None),
    (dict(feature=None, neck_levels=(9, )), None),
])
def test_maps_that_are_not_there(tmp_path, distiller, words):
    cfg = student_cfg(teacher_file(tmp_path / 'teacher.pth'), distiller=distiller)
    if words is None:
        build(cfg)
        return
    with pytest.raises(InputError, match=words):
        build(cfg)


# Loaders and test sets


def config(**changes):
    cfg = Config.fromfile(ROOT / 'configs/ilmil/frcnn_pcb_4.py')
    cfg.merge_from_dict(changes)
    return cfg


@pytest.mark.parametrize('changes, words', [
    ({'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': True},
     ['train_dataloader.persistent_workers = True', 'train_dataloader.num_workers = 0', 'to False or']),
    ({'val_dataloader.num_workers': 0, 'val_dataloader.persistent_workers': False, 'val_dataloader.prefetch_factor': 4},
     ['val_dataloader.prefetch_factor = 4', 'to None or']),
    ({'test_dataloader': None}, ['test_cfg and test_evaluator but no test_dataloader', 'test_cfg and test_evaluator = None']),
    ({'val_evaluator': None}, ['val_dataloader and val_cfg but no val_evaluator']),
    ({'optim_wrapper': None}, ['no optim_wrapper']),
])
def test_loader_is_told_before_it_is_built(changes, words):
    with pytest.raises(InputError) as error:
        check_loaders(config(**changes))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_our_configs_pass():
    check_loaders(config())
    check_loaders(config(test_dataloader=None, test_cfg=None, test_evaluator=None))


def test_config_without_a_test_set_takes_the_validation_pipeline():
    cfg = config(test_dataloader=None)
    assert loader_of(cfg) == cfg.val_dataloader and loader_of(config()) == cfg.val_dataloader | config().test_dataloader
    assert stock_config(cfg, ('a', )).test_pipeline == cfg.val_dataloader.dataset.pipeline
    cfg.val_dataloader = None
    with pytest.raises(InputError, match='neither test_dataloader nor val_dataloader.*add val_dataloader'):
        stock_config(cfg, ('a', ))


# Reading and building


@pytest.mark.parametrize('module, words', [
    ('import nowhere_at_all', ['ModuleNotFoundError', "No module named 'nowhere_at_all'", 'own_module.py, line 1']),
    ('x = 1\nfrom torch import no_such_name', ['ImportError', 'no_such_name', 'own_module.py, line 2']),
    ('1 / 0', ['ZeroDivisionError']),
])
def test_custom_import_tells_the_modules_own_error(tmp_path, monkeypatch, module, words):
    (tmp_path / 'own_module.py').write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['own_module'])\nmodel = dict(type='FasterRCNN')\n")
    with pytest.raises(InputError) as error:
        load_config(str(tmp_path / 'config.py'))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert 'sys.path' not in str(error.value) and '\n' not in str(error.value)


def test_custom_import_that_is_not_there(tmp_path):
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['gone_module'])\nmodel = dict(type='FasterRCNN')\n")
    with pytest.raises(InputError, match="custom_imports failed by ModuleNotFoundError: No module named 'gone_module'"):
        load_config(str(tmp_path / 'config.py'))


@pytest.mark.parametrize('changes, words', [
    (dict(backbone=dict(type='ResNt')), ['FasterRCNN > ResNt', 'ResNt is not in the']),
    (dict(backbone=dict(dept=18)), ['FasterRCNN > ResNet', "unexpected keyword argument 'dept'"]),
    (dict(backbone=dict(depth=19)), ['FasterRCNN > ResNet', 'invalid depth 19']),
    (dict(roi_head=dict(bbox_head=dict(loss_bbox=dict(beta=1)))), ['Shared2FCBBoxHead > L1Loss', "argument 'beta'"]),
])
def test_part_that_cannot_be_built(changes, words):
    with pytest.raises(Exception) as error:
        MODELS.build(stock_cfg(3, **changes))
    line = building_error(error.value)
    assert all(word in line for word in words), line
    assert '\n' not in line


def test_other_errors_are_let_through():
    with pytest.raises(ZeroDivisionError) as error:
        1 / 0  # noqa: B018
    assert building_error(error.value) is None


def test_tool_tells_it_in_one_line(tmp_path, tool, voc_set):
    data = voc_set({'one': [('ant', 5, 5, 30, 30), ('bee', 5, 5, 30, 30), ('cat', 5, 5, 30, 30)]})
    base, _ = write_configs(tmp_path, data)
    for option, words in (('train_dataloader.dataset.typ=x', "unexpected keyword argument 'typ'"),
                          ('optim_wrapper.optimizer.type=AdamV', 'no such type is registered'),
                          ('model.neck.type=PFN', 'FasterRCNN > PFN')):
        done = tool('train.py', base, '--work-dir', tmp_path / 'work', '--cfg-options', option)
        assert done.status == 1 and 'Traceback' not in done.err
        assert done.err.strip().splitlines()[-1].startswith('error: ') and words in done.err.strip().splitlines()[-1]


def test_training_without_a_test_set(tmp_path, tool, voc_set):
    """Works, as in MMDetection, and leaves a stock config with the validation set's pipeline; a test says what is missing."""
    base, _ = write_configs(tmp_path, voc_set({'one': [(name, 5, 5, 30, 30) for name in ('ant', 'bee', 'cat')]}))
    base.write_text(base.read_text() + 'test_dataloader = test_cfg = test_evaluator = None\ntrain_cfg = dict(max_epochs=1)\n')
    done = tool('train.py', base, '--work-dir', tmp_path / 'work')
    assert done.status == 0, done.err[-3000:]
    assert Config.fromfile(tmp_path / 'work/stock_config.py').test_pipeline[1].scale == (64, 64)
    done = tool('test.py', base, tmp_path / 'work/final.pth', '--work-dir', tmp_path / 'work')
    assert done.status == 1 and 'base.py has no test_dataloader' in done.err.strip().splitlines()[-1]

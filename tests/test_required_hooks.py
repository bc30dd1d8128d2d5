"""What a run keeps whatever its config makes of the hooks, and the checkpoint of the best validation."""

import json
import os
from types import SimpleNamespace

import pytest
import torch
from conftest import REPO, make_voc
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from tiny import OBJECTS, OLD, SEEN, teacher_file, write_configs

from mmilmil import InputError
from mmilmil.datasets import IncrementalVOCDataset
from mmilmil.engine.cli import read_config
from mmilmil.engine.dry_run import check_category_order, dry_run
from mmilmil.engine.hooks import AtomicCheckpointHook
from mmilmil.engine.hooks.metrics_file import read_figures
from mmilmil.engine.required_hooks import REQUIRED, complete_hooks, hook_type
from mmilmil.engine.resume_check import differences

OURS = [*REQUIRED.values(), 'AtomicCheckpointHook']
MMDETECTIONS = dict(
    timer=dict(type='IterTimerHook'), logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'), checkpoint=dict(type='CheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'), visualization=dict(type='DetVisualizationHook'))


def shipped(**changes) -> Config:
    """The shipped hooks with changes merged in, as an inheriting config does, and made complete."""
    cfg = Config.fromfile(REPO / 'configs/_base_/default_runtime.py')
    cfg.merge_from_dict(changes)
    complete_hooks(cfg)
    return cfg


def called(cfg: Config) -> list[str]:
    """The hooks that MMEngine makes of a config, in the order in which it calls them."""
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    Visualizer.get_instance('hooks')  # which one of them asks for
    runner = Runner.__new__(Runner)
    runner._hooks = []
    runner.register_hooks(cfg.default_hooks, cfg.get('custom_hooks'))
    return [type(hook).__name__ for hook in runner.hooks]


# What the shipped configs had when ours stood in custom_hooks.
ORDER = ['RuntimeInfoHook', 'WorkDirLockHook', 'RandomStateHook', 'StructureHook', 'ResumeCheckHook', 'StageCheckHook',
         'IterTimerHook', 'DistSamplerSeedHook', 'DetVisualizationHook', 'PrecisionHook', 'SyncBuffersHook',
         'RunCostHook', 'MemoryHook', 'LoggerHook', 'ParamSchedulerHook', 'MetricsFileHook', 'AtomicCheckpointHook',
         'PlainCheckpointHook', 'FinalModelHook', 'ModelCardHook']
EMA = dict(type='EMAHook', momentum=0.3)


@pytest.mark.parametrize('changes, more', [
    (dict(), []),
    (dict(custom_hooks=[EMA]), ['EMAHook']),
    # As configs of earlier versions wrote it, with ours in the list.
    (dict(custom_hooks=[*(dict(type=kind) for kind in REQUIRED.values()), EMA]), ['EMAHook']),
    (dict(custom_hooks=[dict(type='mmilmil.StageCheckHook'), dict(type='mmengine.SyncBuffersHook')]), []),
    (dict(default_hooks=dict(_delete_=True, **MMDETECTIONS)), []),
    (dict(default_hooks=dict(_delete_=True, **MMDETECTIONS), custom_hooks=[dict(type=kind) for kind in REQUIRED.values()]), []),
    (dict(default_hooks=dict(_delete_=True, visualization=dict(type='DetVisualizationHook'))), []),
    # In another order than ours.
    (dict(default_hooks=dict(_delete_=True, final_model=dict(type='FinalModelHook'), **MMDETECTIONS)), []),
    (dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1))), []),
    (dict(default_hooks=dict(_delete_=True, **MMDETECTIONS), default_scope='mmdet'), []),
])
def test_every_run_has_ours_once_and_in_order(changes, more):
    found = called(shipped(**changes))
    assert sorted(found) == sorted([*ORDER, *more])
    assert [name for name in found if name not in more] == ORDER
    if more:  # after those of the same priority that were there before
        assert found.index('EMAHook') == found.index('MemoryHook') + 1


def test_a_config_without_any_hooks():
    cfg = Config(dict())
    complete_hooks(cfg)
    assert called(cfg) == [name for name in ORDER if name != 'DetVisualizationHook']
    assert called(read_config(str(REPO / 'configs/ilmil/frcnn_pcb_4+2.py'))) == ORDER


def test_settings_stay():
    cfg = shipped(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=3, save_best='auto'), logger=None,
                                     visualization=None))
    assert cfg.default_hooks.checkpoint == dict(
        type='mmilmil.AtomicCheckpointHook', interval=3, max_keep_ckpts=2, save_best='auto')
    assert cfg.default_hooks.logger is None and 'visualization' not in cfg.default_hooks
    before = cfg.pretty_text
    complete_hooks(cfg)
    assert cfg.pretty_text == before


@pytest.mark.parametrize('changes, told', [
    (dict(default_hooks=dict(stage_check=None)), r'default_hooks\.stage_check = None: StageCheckHook .* Remove this setting'),
    (dict(default_hooks=dict(final_model=dict(_delete_=True, type='EMAHook'))), r'default_hooks\.final_model = \{.*EMAHook.*'
     'FinalModelHook .* belongs in custom_hooks'),
    (dict(custom_hooks=dict(_delete_=True, type='EMAHook')), 'custom_hooks = .* it is a list'),
])
def test_ours_cannot_be_switched_off(changes, told):
    with pytest.raises(InputError, match=told):
        shipped(**changes)


def test_hooks_of_ours_make_no_other_run_wherever_they_stand():
    """Checkpoints of earlier versions have them in custom_hooks."""
    before = dict(default_hooks=MMDETECTIONS, custom_hooks=[*(dict(type=kind) for kind in REQUIRED.values()), EMA])
    now = shipped(custom_hooks=[EMA]).to_dict()
    assert differences(before, now, ['custom_hooks']) == []
    assert differences(dict(before, custom_hooks=[EMA]), now, ['custom_hooks']) == []
    assert differences(before, shipped().to_dict(), ['custom_hooks']) == [f'custom_hooks: [{EMA}] -> []']
    named = shipped(default_hooks=dict(ema=EMA)).to_dict()
    assert differences(before, named, ['custom_hooks']) == []
    assert hook_type(EMA) == hook_type(dict(type='mmengine.EMAHook')) == 'EMAHook'


# save_best


VOC = dict.fromkeys(('new', 'all', 'group0', 'AP/ant', 'area_all'), 'all')


@pytest.mark.parametrize('save_best, rule, figures, keys, rules', [
    ('auto', None, VOC, ['all'], ['greater']),
    (['auto'], None, VOC, ['all'], ['greater']),
    ('auto', None, {f'voc/{name}': 'voc/all' for name in VOC}, ['voc/all'], ['greater']),
    ('auto', None, {'coco/bbox_mAP': None, **VOC}, ['all'], ['greater']),
    ('auto', None, {'coco/bbox_mAP': None, 'coco/bbox_mAP_50': None}, ['coco/bbox_mAP'], ['greater']),
    ('auto', 'less', VOC, ['all'], ['less']),
    ('new', None, VOC, ['new'], ['greater']),
    ('AP/ant', 'less', VOC, ['AP/ant'], ['less']),
    (['all', 'area_all'], None, VOC, ['all', 'area_all'], ['greater', 'greater']),
    (['all', 'area_all'], ['less', 'greater'], VOC, ['all', 'area_all'], ['less', 'greater']),
    ('coco/bbox_mAP', None, {'coco/bbox_mAP': None}, ['coco/bbox_mAP'], ['greater']),
    ('distance', 'less', {'distance': None}, ['distance'], ['less']),
])
def test_figures_of_the_best(save_best, rule, figures, keys, rules):
    hook = AtomicCheckpointHook(save_best=save_best, rule=rule)
    hook.check_figures(figures, True)
    assert (hook.key_indicators, hook.rules) == (keys, rules)
    for key, kind in zip(keys, rules):
        assert hook.is_better_than[key](1, 2) == (kind == 'less')


@pytest.mark.parametrize('save_best, figures, validates, told', [
    ('coco/bbox_mAP', VOC, True, "save_best = 'coco/bbox_mAP': val_evaluator reports no such metric.*: new, all, "),
    (['all', 'old'], VOC, True, "save_best = 'old': val_evaluator reports no such metric"),
    ('auto', {}, True, "save_best = 'auto', but val_evaluator reports nothing"),
    ('all', VOC, False, r"save_best = \['all'\], but this run has no validation: set val_dataloader"),
    ('distance', {'distance': None}, True, "save_best = 'distance': whether greater or less is better is not known. Add rule="),
])
def test_figures_that_no_validation_reports(save_best, figures, validates, told):
    with pytest.raises(InputError, match=told):
        AtomicCheckpointHook(save_best=save_best).check_figures(figures, validates)


@pytest.mark.parametrize('settings', [dict(save_best='all', rule='bigger'), dict(save_best=1), dict(save_best=['all', 'all']),
                                      dict(save_best=['all'], rule=['less', 'less']), dict(save_begin=-1)])
def test_settings_of_no_use(settings):
    with pytest.raises(InputError, match='default_hooks.checkpoint: '):
        AtomicCheckpointHook(**settings)


def test_a_validation_without_the_figure():
    """No box of the class is in the split: the best checkpoint so far stays, and the training continues."""
    hook, told, saved = AtomicCheckpointHook(save_best=['all', 'AP/ant']), [], []
    hook.check_figures(VOC, True)
    hook.best_ckpt_path_dict = dict.fromkeys(hook.key_indicators)
    hook.out_dir, hook.file_backend = 'out', SimpleNamespace(join_path=os.path.join)
    hub = SimpleNamespace(runtime_info={}, update_info=lambda key, value: hub.runtime_info.update({key: value}))
    runner = SimpleNamespace(epoch=3, iter=9, message_hub=hub,
                             save_checkpoint=lambda *args, filename, **kwargs: saved.append(filename),
                             logger=SimpleNamespace(warning=told.append, info=lambda line: None))
    hook.after_val_epoch(runner, dict(all=0.5))
    assert told == ['save_best: this validation has no AP/ant, so it saves no best checkpoint']
    assert saved == ['best_all_epoch_3.pth'] and hub.runtime_info['best_score_all'] == 0.5


def test_folder_of_checkpoints(tmp_path):
    (tmp_path / 'file').touch()
    AtomicCheckpointHook(out_dir=str(tmp_path / 'new')).before_run(None)
    with pytest.raises(InputError, match=f'default_hooks.checkpoint.out_dir {tmp_path}/file cannot be a folder'):
        AtomicCheckpointHook(out_dir=str(tmp_path / 'file')).before_run(None)


def test_figures_file_that_is_none(tmp_path):
    file = tmp_path / 'metrics.json'
    for text, told in (('{"old":', 'is no JSON'), ('[1]', 'holds no figures by name')):
        file.write_text(text)
        with pytest.raises(InputError, match=f'{file} {told}.*remove it and test again'):
            read_figures(file)


# The evaluation, tried before the run


PIPELINE = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]


@pytest.fixture
def evaluation(tmp_path):
    """``evaluation(metric, ...)`` is an evaluator and its dataset."""
    data = make_voc(tmp_path / 'data', OBJECTS)

    def build(*metrics, pipeline=PIPELINE):
        init_default_scope('mmilmil')
        dataset = IncrementalVOCDataset(data_root=str(data), ann_file='ImageSets/Main/test.txt', pipeline=pipeline,
                                        test_mode=True, metainfo=dict(classes=SEEN, split=(3, 2)))
        evaluator = Evaluator([dict(metric) for metric in metrics])
        evaluator.dataset_meta = dataset.metainfo
        return evaluator, dataset

    return build


def test_names_of_figures(evaluation):
    names = ['old', 'new', 'all', 'avg', 'group0', 'group1', *(f'AP/{name}' for name in SEEN),
             *(f'area_{name}' for name in ('old', 'new', 'all', 'avg', 'group0', 'group1'))]
    evaluator, dataset = evaluation(dict(type='IncrementalVOCMetric', prefix='voc'))
    assert dry_run(evaluator, dataset, 'val') == {f'voc/{name}': 'voc/all' for name in names}
    assert not evaluator.metrics[0].results and evaluator.metrics[0].summary is None


def test_names_of_a_foreign_metrics_figures(evaluation):
    evaluator, dataset = evaluation(dict(type='VOCMetric', iou_thrs=[0.5, 0.75]), dict(type='IncrementalVOCMetric'))
    found = dry_run(evaluator, dataset, 'val')
    assert list(found)[:4] == ['pascal_voc/mAP', 'pascal_voc/AP50', 'pascal_voc/AP75', 'old']
    assert found['pascal_voc/mAP'] is None and found['old'] == 'all'


@pytest.mark.parametrize('metrics, pipeline, told', [
    ([dict(type='IncrementalVOCMetric')], PIPELINE[:2] + PIPELINE[3:], 'came without annotations'),
    ([dict(type='IncrementalVOCMetric')], [PIPELINE[0], *PIPELINE[2:]], "val_dataloader: .* no scale_factor.*type='Resize'"),
    ([dict(type='IncrementalVOCMetric')], PIPELINE[:3], "no data_samples: it must end in dict.type='PackDetInputs'"),
    ([dict(type='IncrementalVOCMetric')] * 2, PIPELINE, "two metrics report 'old': give each a prefix"),
    ([dict(type='CocoMetric', metric='bbox')], PIPELINE, 'CocoMetric cannot evaluate the first image, .*one.jpg'),
    ([dict(type='VOCMetric', iou_thrs=1)], PIPELINE, 'val_evaluator: VOCMetric cannot evaluate the first image'),
])
def test_evaluations_that_would_end_in_an_error(evaluation, metrics, pipeline, told):
    with pytest.raises(InputError, match=told):
        dry_run(*evaluation(*metrics, pipeline=pipeline), 'val')


def test_coco_metric_of_another_order_of_classes(evaluation, tmp_path):
    """MMDetection's takes label 0 for the first category of the file."""
    evaluator, _ = evaluation()
    (tmp_path / 'all.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.jpg', width=9, height=9)], annotations=[],
        categories=[dict(id=number, name=name) for number, name in enumerate(('bee', 'ant'))])))
    evaluator = Evaluator(dict(type='CocoMetric', ann_file=str(tmp_path / 'all.json')))
    check_category_order(evaluator, ('bee', 'ant'), 'val')
    with pytest.raises(InputError, match=r"CocoMetric takes labels in the order of its ann_file, \['bee', 'ant'\], but"):
        check_category_order(evaluator, ('ant', 'bee'), 'val')


# From end to end


@pytest.fixture
def train(tmp_path, tool):
    """``train(text, *options)`` trains a student whose config has ``text`` at its end."""
    data = make_voc(tmp_path / 'data', OBJECTS)
    _, student = write_configs(tmp_path, data, teacher=str(teacher_file(tmp_path / 'teacher.pth', OLD)))
    original = student.read_text()

    def run(text='', *options):
        student.write_text(f'{original}\n{text}\n')
        return tool('train.py', student, '--work-dir', tmp_path / 'runs/student', *options)

    return run


def test_hooks_as_mmdetections_configs_write_them(train, tool, tmp_path):
    """The averaged weights, MMEngine's checkpoints and the best of them: nothing that a run promises is lost by it."""
    done = train("""
custom_hooks = [dict(type='EMAHook', momentum=0.3)]
default_hooks = dict(_delete_=True, logger=dict(type='LoggerHook'), checkpoint=dict(
    type='CheckpointHook', interval=1, save_best='auto'))
train_cfg = dict(val_interval=1)
""")
    assert done.status == 0, done.err[-3000:]
    work_dir = tmp_path / 'runs/student'
    validated = json.loads((work_dir / 'metrics_val.json').read_text())
    assert {path.name for path in work_dir.glob('*.pth')} >= {'final.pth', 'epoch_1.pth', 'epoch_2.pth'}
    best, = work_dir.glob('best_all_epoch_*.pth')
    # Of the two validations the better one, by the headline figure.
    figures = [json.loads(line) for line in next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    first, second = (line['all'] for line in figures if 'all' in line)
    assert second == pytest.approx(validated['all'])
    assert best.name == f'best_all_epoch_{1 if first >= second else 2}.pth'
    assert torch.load(work_dir / 'epoch_2.pth', weights_only=True)['meta']['teacher']  # ResumeCheckHook

    again = tool('train_chain.py', tmp_path / 'student.py', '--work-dir', tmp_path / 'runs')
    assert again.status == 0 and 'student: already trained' in again.out, again.err[-3000:]
    assert json.loads((work_dir / 'metrics.json').read_text())['checkpoint'] == 'final.pth'
    # Checkpoints of a training that had none of our hooks: MMEngine's, no final model.
    for path in work_dir.glob('*.pth'):
        content = torch.load(path, weights_only=True)
        torch.save(dict(meta=content['meta'], state_dict=content['state_dict']), path)
    (work_dir / 'final.pth').unlink()
    failed = tool('train_chain.py', tmp_path / 'student.py', '--work-dir', tmp_path / 'runs')
    assert failed.status == 1
    assert f'{work_dir}/epoch_2.pth holds weights without the state of the training' in failed.err
    assert f'in this one after deleting {work_dir}' in failed.err and 'Traceback' not in failed.err
    page = tmp_path / 'runs/report/index.html'
    assert f'report of what is finished: {page}' in failed.out and 'base' in page.read_text()


def stopped(done, tmp_path, *words):
    """One line, and nothing trained."""
    assert done.status == 1
    message = done.err.strip().splitlines()[-1]
    assert message.startswith('error: ') and 'Traceback' not in done.err
    assert all(word in message for word in words), message
    assert not list((tmp_path / 'runs').rglob('*.pth')) and 'Epoch(train)' not in done.out + done.err


@pytest.mark.parametrize('text, words', [
    ("default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))", ['coco/bbox_mAP', 'no such metric', 'old, new, all']),
    ("default_hooks = dict(checkpoint=dict(save_best='all'))\ntrain_cfg = dict(val_begin=5)", ['has no validation']),
    ("val_evaluator = dict(_delete_=True, type='VOCMetric', iou_thrs=1)", ['val_evaluator: VOCMetric cannot evaluate']),
])
def test_validations_that_would_end_a_run(train, tmp_path, text, words):
    stopped(train(text), tmp_path, *words)


def test_broken_image_in_a_process_of_the_loader(train, tmp_path):
    image = tmp_path / 'data/JPEGImages/two.jpg'
    image.write_bytes(image.read_bytes()[:500])
    done = train('', '--cfg-options', 'train_dataloader.num_workers=1')
    stopped(done, tmp_path, f'the image {image}: LoadImageFromFile fails (', 'failed to load image')


@pytest.mark.parametrize('option, told', [
    ('test_dataloader.dataset.ann_file=ImageSets/Main/gone.txt', 'gone.txt'),
    ('test_evaluator.eval_mode=11point', 'eval_mode'),
])
def test_test_set_is_looked_at_before_a_chain_trains(tmp_path, tool, option, told):
    data = make_voc(tmp_path / 'data', OBJECTS)
    _, student = write_configs(tmp_path, data)
    done = tool('train_chain.py', student, '--work-dir', tmp_path / 'runs', '--cfg-options', option)
    stopped(done, tmp_path, told, 'base is not trained, as it could not be tested: ')
    assert 'base: training' not in done.out


def test_folders_are_checked_first(tmp_path, tool):
    """Of every tool that writes: a file where its folder is to be."""
    data = make_voc(tmp_path / 'data', OBJECTS)
    base, student = write_configs(tmp_path, data, teacher=str(teacher_file(tmp_path / 'teacher.pth', OLD)))
    (tmp_path / 'file').touch()
    taken, checkpoint = tmp_path / 'file/a', tmp_path / 'teacher.pth'
    for name, *args in (
        ('train.py', base, '--work-dir', taken),
        ('test.py', base, checkpoint, '--work-dir', taken),
        ('test.py', base, checkpoint, '--work-dir', tmp_path / 'work', '--out', taken / 'a.pkl'),
        ('train_chain.py', base, '--work-dir', taken),
        ('prune.py', base, checkpoint, '--out', taken),
        ('cache_teacher_boxes.py', student, '--out', taken / 'a.jsonl'),
        ('interpolate.py', student, checkpoint, '--out', taken),
        ('make_shapes_dataset.py', taken),
        ('download_dataset.py', 'voc07', '--root', taken),
        ('demo.py', '--work-dir', taken),
        ('new_split.py', '--dataset', 'pcb', '--split', '3+3', '--out', taken),
        ('analysis_tools/collect_results.py', tmp_path, '--out', taken),
    ):
        stopped(tool(name, *args), tmp_path, f'{tmp_path}/file is there and is none', 'Name another')
    folder = tool('cache_teacher_boxes.py', student, '--out', tmp_path)
    stopped(folder, tmp_path, f'--out {tmp_path} is a folder: name a file')
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('name, args', [
    ('prune.py', ['c.py', 'a.pth', '--out', 'o', '--runs', '0']), ('cache_teacher_boxes.py', ['c.py', '--score-thr', 'nan']),
    ('analysis_tools/teacher_boxes.py', ['c.py', '--proposals', '-1']), ('demo.py', ['--images', '0']),
    ('test.py', ['c.py', 'a.pth', '--wait-time', '-1']),
])
def test_numbers_out_of_range(tool, name, args):
    done = tool(name, *args)
    assert done.status == 2 and 'give a ' in done.err.splitlines()[-1] and 'Traceback' not in done.err


@pytest.mark.parametrize('option', ['train_cfg', 'a=(1,2', 'a=[1,'])
def test_settings_that_are_none(tool, tmp_path, option):
    for name in ('train.py', 'train_chain.py'):
        done = tool(name, REPO / 'configs/ilmil/frcnn_pcb_4.py', '--work-dir', tmp_path / 'runs', '--cfg-options', option)
        stopped(done, tmp_path, f'--cfg-options {option}: write key=value')

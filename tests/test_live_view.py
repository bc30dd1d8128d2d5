"""TensorBoard and other backends: what a training shows there, and that it stays the same training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_voc
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import OBJECTS, OLD, SEEN, teacher_file, write_configs

from mmilmil.datasets import IncrementalVOCDataset
from mmilmil.engine import live_backends
from mmilmil.engine.cli import parse_options, read_config
from mmilmil.engine.hooks import live_view
from mmilmil.engine.live_backends import complete_visualizer
from mmilmil.errors import InputError

OPTION = 'visualizer.vis_backends=[LocalVisBackend,TensorboardVisBackend]'


def test_a_training_shows_terms_boxes_and_detections_and_stays_the_same(tool, tmp_path):
    data = make_voc(tmp_path / 'data', OBJECTS)
    _, student = write_configs(tmp_path, data, str(teacher_file(tmp_path / 'teacher.pth', OLD)))
    student.write_text(student.read_text().replace('merging=_base_.merging', 'merging=dict(_base_.merging, score_thr=0.1)'))
    options = ['default_hooks.logger.interval=1', 'default_hooks.live_view.images=2', 'default_hooks.live_view.score_thr=0',
               'default_hooks.live_view.type=LiveViewHook']
    for name, more in (('shown', [*options, OPTION]), ('plain', [options[0]])):
        done = tool('train.py', student, '--work-dir', tmp_path / name, '--cfg-options', *more)
        assert done.status == 0, done.err
    weights = [torch.load(tmp_path / name / 'final.pth', weights_only=False)['state_dict'] for name in ('shown', 'plain')]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
    assert not [*(tmp_path / 'plain').rglob('events.*')]

    folder, = (tmp_path / 'shown').glob('*/vis_data')
    events = EventAccumulator(str(folder), size_guidance=dict(images=0, scalars=0)).Reload()
    found = {(tag, event.step): event.value for tag in events.Tags()['scalars'] for event in events.Scalars(tag)}
    rows = [json.loads(line) for line in (folder / 'scalars.json').read_text().splitlines()]
    told = {(tag, row['step']): value for row in rows for tag, value in row.items()
            if tag != 'step' and isinstance(value, int | float)}
    assert found.keys() == told.keys()
    assert all(np.isclose(found[key], told[key], rtol=1e-5, equal_nan=True) for key in told)

    steps = sorted({step for tag, step in told if tag == 'distillation/sum'})
    assert steps == [1, 2, 3, 4]
    terms = {tag for tag, _ in told if tag.startswith('distillation/')} - {'distillation/sum'}
    assert {'distillation/feature', 'distillation/rpn_cls', 'distillation/cross_head', 'distillation/score'} <= terms
    for step in steps:
        assert told['distillation/sum', step] == pytest.approx(sum(told[term, step] for term in terms))
    # The first step's mean is its value, which the log has by the loss's name.
    assert told['distillation/feature', 1] == pytest.approx(told['loss_kd_feature', 1])
    assert told['detector/rpn_cls', 1] == pytest.approx(told['loss_rpn_cls', 1])
    assert told['distillation/sum', 1] + told['detector/sum', 1] == pytest.approx(told['loss', 1])  # there is no memory
    # Four images with four new objects in two steps of two images, in each of two epochs; old ones are hidden.
    assert [sum(told['boxes/annotated_new', step] for step in pair) for pair in ((1, 2), (3, 4))] == [4, 4]
    assert all(told['boxes/annotated_old', step] == 0 for step in steps)
    assert any(told['boxes/merged', step] for step in steps)
    for step in steps:
        assert told['boxes/merged', step] <= told['teacher/found', step]
        if told['boxes/merged', step]:
            assert 0.1 < told['teacher/mean_score', step] <= 1
            share = told['boxes/merged', step] / told['teacher/found', step]
            assert told['teacher/merged_share', step] == pytest.approx(share)
    assert events.Tags()['images'] == ['val_1', 'val_2']
    for tag in events.Tags()['images']:
        first, second = events.Images(tag)
        assert (first.step, second.step) == (1, 2) and first.width == second.width > 800 and first.height > 400


def test_objects_are_drawn_where_the_file_has_them(tmp_path, monkeypatch):
    """By the shipped test pipeline, at four times an image's size."""
    init_default_scope('mmilmil')
    data = make_voc(tmp_path / 'data', {'one': [('dog', 5, 9, 20, 40)]})
    cfg = Config.fromfile(Path(__file__).parents[1] / 'configs/_base_/datasets/voc_style_small.py')
    pipeline = cfg.test_dataloader.dataset.pipeline
    next(step for step in pipeline if step.type == 'Resize').scale = (256, 256)
    dataset = IncrementalVOCDataset('ImageSets/Main/test.txt', data_root=str(data), metainfo=dict(classes=SEEN, split=(3, 2)),
                                    pipeline=pipeline, test_mode=True)
    sample = dataset[0]['data_samples']
    assert sample.scale_factor == (4., 4.)
    sample.pred_instances = InstanceData(bboxes=torch.tensor([[4., 8., 19., 39.]]), scores=torch.tensor([.9]),
                                         labels=torch.tensor([3]))
    drawn, page = [], live_view.marked_page
    monkeypatch.setattr(live_view, 'marked_page', lambda pictures, *args, **more: drawn.extend(pictures) or page(
        pictures, *args, **more))
    assert live_view.detections_picture(sample, dataset.stage, .3, 'after epoch 1').shape[2] == 3
    truth, found = drawn[0].panels.values()
    assert [tuple(mark.box) for mark in truth] == [tuple(mark.box) for mark in found] == [(4, 8, 19, 39)]
    assert truth[0].color == found[0].color and truth[0].text == 'dog'


def test_nobody_who_did_not_ask_gets_the_hook():
    path = str(Path(__file__).parents[1] / 'configs/ilmil/frcnn_pcb_4+2.py')
    assert 'live_view' not in read_config(path).default_hooks
    cfg = read_config(path, parse_options([OPTION]))
    assert cfg.default_hooks.live_view == dict(type='mmilmil.LiveViewHook')
    assert cfg.visualizer.vis_backends == [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    own = Config(dict(visualizer=dict(vis_backends=[dict(type='TensorboardVisBackend')]), default_hooks=dict(),
                      custom_hooks=[dict(type='LiveViewHook', images=0)]))
    complete_visualizer(own)
    assert own.default_hooks == {} and len(own.custom_hooks) == 1


@pytest.mark.parametrize('backends, told', [
    (['WandbVisBackend'], 'WandbVisBackend, and the package wandb is not installed: pip install wandb$'),
    ([dict(type='TensorboardVisBackend')], r'the package tensorboard is not installed: .*mmilmil\[tensorboard\]'),
    (dict(type='TensorboardVisBackend'), 'it is a list'),
    ([3], 'vis_backends has 3: give a backend as dict'),
])
def test_a_backend_that_cannot_be_is_told_before_the_run(monkeypatch, backends, told):
    monkeypatch.setattr(live_backends, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match=told):
        complete_visualizer(Config(dict(visualizer=dict(vis_backends=backends), default_hooks=dict())))

"""Checkpoints are plain data: torch's safe loading takes them, and nothing is lost on the way."""

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPO
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner

import mmilmil.engine  # noqa: F401
from mmilmil import InputError
from mmilmil.checkpoint import config_values, from_plain, load_checkpoint_file, to_plain
from mmilmil.compat import check_versions
from mmilmil.engine.methods import lay_over


class Line(BaseModel):
    """y = w x, trained to be zero."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs, mode='tensor'):
        return dict(loss=(self.w * torch.stack(inputs)).square().mean())


def runner(folder, epochs, **kwargs):
    data = torch.arange(1., 5.)
    loader = dict(dataset=[dict(inputs=x) for x in data], batch_size=1, num_workers=0,
                  sampler=dict(type=DefaultSampler, shuffle=False))
    return Runner(
        Line(), str(folder), train_dataloader=loader, train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)), default_scope='mmilmil',
        custom_hooks=[dict(type='PlainCheckpointHook')], experiment_name=f'{folder.name}{epochs}', **kwargs)


def test_a_run_is_saved_plain_and_goes_on_as_if_unbroken(tmp_path):
    whole = runner(tmp_path / 'whole', 2)
    whole.train()
    runner(tmp_path / 'broken', 1).train()
    saved = torch.load(tmp_path / 'broken/epoch_1.pth', weights_only=True)
    assert saved['message_hub']['log_scalars']['train/loss']['__mmengine_history_buffer__'] is True
    resumed = runner(tmp_path / 'broken', 2, resume=True)
    resumed.train()
    assert torch.equal(resumed.model.w, whole.model.w)
    history = resumed.message_hub.get_scalar('train/loss').data[0]
    np.testing.assert_array_equal(history, whole.message_hub.get_scalar('train/loss').data[0])
    assert len(history) == 8


def test_history_buffers_come_back_and_numpy_becomes_plain():
    buffer = HistoryBuffer([1.0, 2.5], [1, 3], max_length=7)
    content = dict(hub=OrderedDict(loss=buffer), score=np.float64(0.5), counts=np.array([1, 2]), names=('a', np.str_('b')),
                   path=Path('x/y'))
    plain = to_plain(content)
    assert plain['score'] == 0.5 and type(plain['score']) is float
    assert plain['counts'] == [1, 2] and plain['names'] == ('a', 'b') and plain['path'] == 'x/y'
    back = from_plain(plain)['hub']['loss']
    assert isinstance(back, HistoryBuffer) and back.max_length == 7
    np.testing.assert_array_equal(back.data[0], [1.0, 2.5])
    np.testing.assert_array_equal(back.data[1], [1, 3])


def test_reads_weights_and_meta_of_a_checkpoint_with_foreign_objects(tmp_path):
    path = tmp_path / 'mmengine.pth'
    content = dict(state_dict=OrderedDict(w=torch.tensor([1.0, 2.0]), half=torch.ones(2).half()),
                   meta=dict(dataset_meta=dict(classes=('a', 'b'))),
                   message_hub=dict(loss=HistoryBuffer([1.0], [1])))
    torch.save(content, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    read = load_checkpoint_file(str(path))
    assert torch.equal(read['state_dict']['w'], torch.tensor([1.0, 2.0]))
    assert read['state_dict']['half'].dtype == torch.float16
    assert read.keys() == {'state_dict', 'meta'}
    assert read['meta']['dataset_meta']['classes'] == ('a', 'b')


class Harmful:

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target, )


def test_never_runs_what_a_checkpoint_brings_along(tmp_path):
    path, target = tmp_path / 'harmful.pth', tmp_path / 'touched'
    torch.save(dict(state_dict=dict(w=torch.ones(1)), extra=Harmful(target)), path)
    assert torch.equal(load_checkpoint_file(str(path))['state_dict']['w'], torch.ones(1))
    assert not target.exists()
    torch.save(Harmful(target), path)
    with pytest.raises(InputError, match='harmful.pth holds no state_dict'):
        load_checkpoint_file(str(path))
    assert not target.exists()


def test_config_text_is_read_without_running_it():
    text = """model = dict(
    a=-1.5, b=[dict(type='X', std=(1, 2))], c={'0.layer': None})
names = ('ant', 'bee')
"""
    assert config_values(text) == dict(
        model=dict(a=-1.5, b=[dict(type='X', std=(1, 2))], c={'0.layer': None}), names=('ant', 'bee'))


@pytest.mark.parametrize('text, told', [
    ('import os', 'line 1 is no assignment'),
    ("a = 1\nb = __import__('os')", 'line 2 holds more than literals'),
    ('a = dict(**b)', 'line 1 holds more than literals'),
    ('a = b', 'line 1 holds more than literals'),
    ('a[0] = 1', 'line 1 is no assignment'),
    ('a =', 'line 1 is no Python'),
])
def test_config_text_of_more_than_values_is_refused(text, told):
    with pytest.raises(ValueError, match=told):
        config_values(text)


@pytest.mark.parametrize(('name', 'method'), [('pcb_4+2', 'ilmil'), ('pcb_4+2', 'joint'), ('vgg16_voc_19+1', None)])
def test_our_configs_can_be_read_back(name, method):
    cfg = Config.fromfile(REPO / f'configs/ilmil/frcnn_{name}.py')
    if method:
        cfg = lay_over(cfg, REPO / f'configs/methods/{method}.py')
    assert config_values(cfg.pretty_text) == cfg.to_dict()


def test_content_without_weights_is_told(tmp_path):
    path = tmp_path / 'tensor.pth'
    torch.save(torch.ones(3), path)
    with pytest.raises(InputError, match=r'tensor.pth holds no state_dict with tensors \(Tensor\)'):
        load_checkpoint_file(str(path))


def test_missing_and_damaged_files_are_told(tmp_path):
    with pytest.raises(InputError, match='gone.pth does not exist'):
        load_checkpoint_file(str(tmp_path / 'gone.pth'))
    whole = tmp_path / 'whole.pth'
    torch.save(dict(state_dict=dict(w=torch.ones(1000))), whole)
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(InputError, match='cut.pth cannot be read'):
        load_checkpoint_file(str(cut))


def test_wrong_versions_are_told_with_the_remedy():
    with pytest.raises(ImportError, match=r'needs mmdet >=99, but 3.* is installed: .*pip install "mmdet>=99"'):
        check_versions({'mmdet': '>=99'})
    with pytest.raises(ImportError, match='needs no-such-package >=1, which is not installed'):
        check_versions({'no-such-package': '>=1'})
    check_versions()

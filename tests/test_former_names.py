"""Configs and checkpoints of earlier versions, in which some types had other names."""

import pytest
from mmengine.config import Config, ConfigDict
from tiny import build

from mmilmil.checkpoint import config_values
from mmilmil.engine.required_hooks import complete_hooks
from mmilmil.engine.resume_check import differences
from mmilmil.former_names import FORMER_TYPES, with_current_names
from mmilmil.registry import HOOKS, MODELS

BEFORE = """
default_hooks = dict(one_run=dict(type='OneRunHook'), same_run=dict(type='mmilmil.SameRunHook'),
    checkpoint=dict(type='WholeCheckpointHook', interval=2))
custom_hooks = [dict(type='EMAHook'), dict(type='OneRunHook')]
model = dict(neck=dict(type='SelectStages', indices=(-1, )))
"""


def test_names_of_now_exist_and_are_no_former_ones():
    for name in FORMER_TYPES.values():
        assert HOOKS.get(name) or MODELS.get(name)
        assert name not in FORMER_TYPES


@pytest.mark.parametrize('before, now', [
    (dict(type='OneRunHook', priority='LOW'), dict(type='WorkDirLockHook', priority='LOW')),
    (ConfigDict(type='mmilmil.SelectStages'), ConfigDict(type='mmilmil.SelectLevels')),
    ([dict(type='EMAHook'), (dict(type='SameRunHook'), )], [dict(type='EMAHook'), (dict(type='ResumeCheckHook'), )]),
    (dict(name='OneRunHook', type=dict), dict(name='OneRunHook', type=dict)),
    (None, None),
])
def test_types_alone_are_renamed(before, now):
    found = with_current_names(before)
    assert found == now and type(found) is type(now)


def test_a_checkpoints_config_is_that_of_the_same_run():
    old, new = config_values(BEFORE), Config.fromstring(BEFORE, '.py')
    assert old['model']['neck']['type'] == 'SelectLevels'
    complete_hooks(new)
    assert new.default_hooks.work_dir_lock == dict(type='WorkDirLockHook')
    assert new.default_hooks.resume_check == dict(type='mmilmil.ResumeCheckHook')
    assert new.default_hooks.checkpoint == dict(type='AtomicCheckpointHook', interval=2)
    assert not {'one_run', 'same_run'} & new.default_hooks.keys() and new.custom_hooks == [dict(type='EMAHook')]
    new.model.neck.type = 'SelectLevels'
    assert differences(old, new.to_dict(), ['custom_hooks', 'model']) == []


def test_a_run_with_a_former_name_is_the_same_run_as_itself():
    old = Config.fromstring("model = dict(type='FasterRCNN', neck=dict(type='SelectStages', indices=(-1, )))", '.py')
    assert differences(config_values(old.pretty_text), old.to_dict(), ['model']) == []


def test_a_stock_config_of_then_is_still_built():
    """It is read by MMDetection alone, which knows of no former names."""
    assert type(build(dict(type='mmilmil.SelectStages'))) is MODELS.get('SelectLevels')

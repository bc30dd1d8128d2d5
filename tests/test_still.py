"""Parts and stages that stay still, of which one pass serves teacher and student."""

import copy

import pytest
import torch
from tiny import batch, build, student_cfg, teacher_file
from torch import nn

from mmilmil import InputError
from mmilmil.models.still import computed_once, still_modules

STEM = ['backbone.conv1', 'backbone.bn1', 'backbone.relu', 'backbone.maxpool', 'backbone.layer1']
WHOLE = [dict(frozen=frozen) for frozen in (['backbone'], ['backbone', 'neck'], ['backbone', 'neck', 'rpn_head'])]
STAGES = dict(backbone=dict(frozen_stages=1))


@pytest.fixture
def checkpoint(tmp_path):
    return teacher_file(tmp_path / 'teacher.pth')


def student(checkpoint, **settings):
    return build(student_cfg(checkpoint, norm_eval=True, **settings)).train()


def learnt(model):
    """Losses of a batch, and the gradients."""
    torch.manual_seed(1)
    losses = model.loss(*batch())
    model.parse_losses(losses)[0].backward()
    return losses, {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize('settings', [*WHOLE, STAGES, dict(backbone=dict(frozen_stages=3))])
def test_losses_and_gradients_are_those_of_two_passes(checkpoint, settings):
    once, twice = student(checkpoint, **settings), student(checkpoint, **settings)
    object.__setattr__(twice, '_still', [])
    (losses, grads), (other_losses, other_grads) = learnt(once), learnt(twice)
    assert once._still
    assert losses.keys() == other_losses.keys()
    for name, loss in losses.items():
        assert torch.equal(torch.stack(list(loss)), torch.stack(list(other_losses[name]))) if isinstance(loss, list) else \
            torch.equal(loss, other_losses[name]), name
    for name, grad in grads.items():
        assert (grad is None) == (other_grads[name] is None), name
        assert grad is None or torch.equal(grad, other_grads[name]), name


@pytest.mark.parametrize('settings, once', [*zip(WHOLE, (dict(frozen)['frozen'] for frozen in WHOLE)), (STAGES, STEM)])
def test_what_stands_still_is_computed_once(checkpoint, settings, once, monkeypatch):
    model = student(checkpoint, **settings)
    model.loss(*batch())
    assert [name for name in model._still if name in once] == once
    for name in once:
        monkeypatch.setattr(model.get_submodule(name), 'forward', _never)
    model.loss(*batch())


def _never(*args):
    raise AssertionError('computed twice')


def test_another_batch_is_computed_anew(checkpoint):
    """Nothing of one step is left for the next."""
    model, fresh = student(checkpoint, **STAGES), student(checkpoint, **STAGES)
    inputs, samples = batch()
    model.loss(inputs, samples)
    found = []
    for one in (model, fresh):
        torch.manual_seed(1)
        found.append(torch.stack(one.loss(inputs.flip(-1), samples)['loss_rpn_cls']))
    assert torch.equal(*found)
    assert 'forward' not in vars(model.backbone.conv1) and not model.teacher.detector.backbone.conv1._forward_hooks


def test_modules_that_moved_are_not_shared(checkpoint):
    model = student(checkpoint, **STAGES)
    teacher = model.teacher.detector
    assert set(STEM) <= set(still_modules(model, teacher))
    with torch.no_grad():
        model.backbone.bn1.running_mean += 1
    assert 'backbone.bn1' not in still_modules(model, teacher)
    assert still_modules(student(checkpoint), teacher) == []  # all trained
    counting = build(student_cfg(checkpoint)).train()  # batch norm that counts the batch
    counting.requires_grad_(False)
    assert 'backbone.bn1' not in still_modules(counting, teacher)
    assert 'backbone.conv1' in still_modules(counting, teacher)


def test_a_module_behind_another_one_that_moved_computes_for_itself(checkpoint):
    model = student(checkpoint, **STAGES)
    with torch.no_grad():
        model.backbone.bn1.running_mean += 1
    two = student(checkpoint, **STAGES)
    two.load_state_dict(model.state_dict())
    object.__setattr__(two, '_still', [])
    assert torch.equal(learnt(model)[0]['loss_kd_feature'], learnt(two)[0]['loss_kd_feature'])


def test_an_output_that_was_overwritten_is_computed_anew():
    """The activation writes into what the convolution gives, and is no module that is known to stand still."""
    torch.manual_seed(0)
    teacher = nn.ModuleDict(dict(backbone=nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(inplace=True)))).requires_grad_(False)
    student = copy.deepcopy(teacher).train()
    images = torch.randn(1, 3, 2, 2)
    wanted = student['backbone'](images)
    names = still_modules(student, teacher)
    assert names == ['backbone.0']
    with computed_once(student, teacher, names, images), torch.no_grad():
        teacher['backbone'](images)
        assert torch.equal(student['backbone'](images), wanted)


def test_frozen_parts_and_statistics_stay(checkpoint):
    student = build(student_cfg(checkpoint, frozen=['backbone'])).train()
    before = {name: value.clone() for name, value in student.backbone.state_dict().items()}
    student.loss(*batch())
    assert all(torch.equal(value, before[name]) for name, value in student.backbone.state_dict().items())
    assert not student.backbone.training and student.neck.training and student.roi_head.training
    moved = build(student_cfg(checkpoint)).train()
    moved.loss(*batch())
    assert not torch.equal(moved.backbone.bn1.running_mean, before['bn1.running_mean'])
    held = build(student_cfg(checkpoint, norm_eval=True)).train()
    held.loss(*batch())
    assert torch.equal(held.backbone.bn1.running_mean, before['bn1.running_mean'])
    assert held.backbone.bn1.weight.requires_grad


@pytest.mark.parametrize('frozen, told', [
    ('backbone', "model.frozen = 'backbone': list parts"),
    (['neck'], r"give \['backbone'\] or \['backbone', 'neck'\]"),
    (['head'], "names 'head', and a IncrementalFasterRCNN can freeze backbone, neck, rpn_head"),
])
def test_wrong_frozen_parts_are_told(checkpoint, frozen, told):
    with pytest.raises(InputError, match=told):
        build(student_cfg(checkpoint, frozen=frozen))

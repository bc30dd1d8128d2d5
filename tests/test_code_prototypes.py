"""Prototypes of classes: what they are, how they are carried over, and the classifier that learns from them."""

from math import exp, log

import pytest
import torch
from mmengine.config import Config
from tiny import OLD, SEEN, build, detector_cfg, detector_file, shake, taught, write_configs
from torch import nn, tensor

from mmilmil import InputError
from mmilmil.checkpoint import load_checkpoint_file
from mmilmil.engine.hooks import PrototypeCalibrationHook
from mmilmil.models import Teacher
from mmilmil.models.code_prototypes import Prototypes, calibrate, carried_over, prototypes
from mmilmil.models.head_codes import codes_of_memory, codes_of_stage
from mmilmil.models.memory import FeatureMemory
from mmilmil.models.views.base import box_heads


def test_a_prototype_is_the_mean_of_its_class():
    codes = tensor([[1., 0.], [9., 9.], [3., 4.]])
    found = prototypes(codes, tensor([2, 0, 2]))
    assert found.labels.tolist() == [0, 2] and found.codes.tolist() == [[9., 9.], [2., 2.]]
    assert found.spreads.tolist() == [0., (1 + 4 + 1 + 4) / 2]
    assert len(prototypes(codes[:0], tensor([]).long())) == 0


def test_local_prototypes_are_means_of_neighbours():
    """Two directions, the first with three codes: the mean leans to it, so the far end is in the second."""
    codes = tensor([[2., 0.], [4., 0.], [6., 0.], [0., 2.], [0., 4.]])
    found = prototypes(codes, torch.zeros(5).long(), local=2, neighbours=2)
    assert found.codes[0].tolist() == pytest.approx([12 / 5, 6 / 5])
    assert found.codes[1].tolist() == [0., 3.]
    assert found.codes[2].tolist() in ([3., 0.], [4., 0.], [5., 0.])  # any two of three that point the same way
    assert len(set(found.spreads.tolist())) == 1 and found.labels.tolist() == [0, 0, 0]
    assert len(prototypes(codes, torch.zeros(5).long(), local=2, neighbours=6)) == 1  # too few codes


def test_prototypes_move_as_the_codes_around_them():
    known = Prototypes(tensor([[0., 0.], [10., 0.]]), tensor([0, 1]), tensor([2., 0.5]))
    before, moves = tensor([[0., 2.], [1., 1.]]), tensor([[1., 0.], [0., 3.]])
    found = carried_over(known, before, before + moves)
    # Squared distances 4 and 2 over twice the spread 2; 104 and 82 over twice 0.5.
    a, b = exp(-1.), exp(-0.5)
    assert found.codes[0].tolist() == pytest.approx([a / (a + b), 3 * b / (a + b)])
    assert found.codes[1].tolist() == pytest.approx([10., 3.], abs=1e-5)  # far away: the nearer one decides
    assert torch.equal(found.labels, known.labels)
    assert carried_over(known, before[:0], before[:0]) is known
    # A class of one code has no spread: the nearest move counts alone.
    point = Prototypes(tensor([[0., 0.]]), tensor([0]), tensor([0.]))
    assert carried_over(point, before, before + moves).codes.tolist() == [[0., 3.]]


def test_the_classifier_learns_from_prototypes_alone():
    classifier = nn.Linear(2, 3)
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.bias.zero_()
    classifier.requires_grad_(False)
    old = Prototypes(tensor([[1., 0.], [0., 1.]]), tensor([0, 2]), torch.ones(2))
    new = Prototypes(tensor([[-1., 0.]]), tensor([1]), torch.ones(1))
    first, last = calibrate(classifier, old, new, new_weight=0.4, steps=200, lr=0.05)
    assert first == pytest.approx(1.4 * log(3), rel=1e-5) and last < 0.3
    assert classifier(torch.cat([old.codes, new.codes])).argmax(dim=1).tolist() == [0, 2, 1]
    assert not any(weight.requires_grad for weight in classifier.parameters())
    assert calibrate(classifier, old, new, steps=0)[0] == pytest.approx(last, rel=1e-4)


def test_the_weight_of_new_classes():
    """Of zero: only the old one is learned."""
    classifier = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        classifier.weight.zero_()
    one = Prototypes(tensor([[1.]]), tensor([0]), torch.ones(1))
    other = Prototypes(tensor([[1.]]), tensor([1]), torch.ones(1))
    calibrate(classifier, one, other, new_weight=0., steps=5)
    assert classifier.weight[0] > 0 > classifier.weight[1]
    calibrate(classifier, one, other, new_weight=3., steps=50)
    assert classifier.weight[1] > classifier.weight[0]


@pytest.fixture(scope='module', params=['frcnn', 'cascade'])
def pair(request, tmp_path_factory):
    """A student with its teacher's memory beside the teacher."""
    folder = tmp_path_factory.mktemp('pair')
    path = detector_file(folder / 'teacher.pth', request.param)
    teacher = Teacher.load(str(path))
    size = box_heads(teacher.detector)[0].roi_feat_size[0]
    labels = torch.arange(12) % (len(OLD) + 1)
    memory = FeatureMemory(torch.randn(12, 16, size, size), labels, OLD, teacher.fingerprint)
    torch.save(memory.content(), folder / 'memory.pth')
    return shake(build(taught(detector_cfg(request.param, len(SEEN)), path, 'mfrrk', memory=dict(per_step=0))), amount=0.2)


def raw(seed=0):
    """A batch before the data preprocessor: one image with a new object."""
    from tiny import batch
    _, samples = batch((((3, 8., 8., 40., 40.), ), ))
    generator = torch.Generator().manual_seed(seed)
    return dict(inputs=[torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator)], data_samples=samples)


@torch.no_grad()
def test_codes_give_the_classifiers_logits(pair):
    teacher = pair.teacher.detector
    known = codes_of_memory(pair.memory, teacher)
    for head, (codes, labels) in zip(box_heads(teacher), known, strict=True):
        assert torch.allclose(head.fc_cls(codes), head(pair.memory.features)[0], atol=1e-4)
        assert torch.equal(labels, pair.memory.labels)
    stage = codes_of_stage(pair.eval(), teacher, [raw(0), raw(1)])
    assert len(stage) == len(known)
    for mine in stage:
        assert mine.before.shape == mine.after.shape and len(mine.before) > 2
        assert len(mine.objects) == 2 and mine.labels.tolist() == [3, 3]
        assert not torch.allclose(mine.before, mine.after)
    same = codes_of_stage(teacher, teacher, [raw(0)])
    assert all(torch.equal(mine.before, mine.after) for mine in same)


def test_nothing_is_replayed_while_it_trains(pair):
    assert pair.kept['memory_bytes'] > 0
    from tiny import batch
    assert not any('memory' in name for name in pair.train().loss(*batch()))


@pytest.mark.parametrize('settings, told', [
    (dict(images=0), 'images of PrototypeCalibrationHook = 0'), (dict(lr=-1), 'lr of PrototypeCalibrationHook = -1'),
    (dict(neighbours=0), 'neighbours of PrototypeCalibrationHook = 0'),
    (dict(new_weight='a'), "new_weight of PrototypeCalibrationHook = 'a'")])
def test_settings_of_the_hook(settings, told):
    with pytest.raises(InputError, match=told):
        PrototypeCalibrationHook(**settings)


def test_a_run_ends_with_a_calibrated_classifier(tmp_path, tool, voc_set):
    """Only the classifier differs from the last epoch's checkpoint; without a memory the run does not start."""
    from tiny import OBJECTS
    _, student = write_configs(tmp_path, voc_set(OBJECTS), teacher=tmp_path / 'base/final.pth')
    (tmp_path / 'base').mkdir()
    path = detector_file(tmp_path / 'base/final.pth', 'frcnn')
    arguments = ('train.py', student, '--method', 'fachd', '--work-dir', tmp_path / 'work', '--cfg-options',
                 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'default_hooks.prototypes.steps=3')
    done = tool(*arguments)
    assert done.status == 1 and 'model.memory is off or there is none beside' in done.err.strip().splitlines()[-1]
    memory = FeatureMemory(torch.randn(8, 16, 3, 3), torch.arange(8) % 4, OLD, Teacher.load(str(path)).fingerprint)
    torch.save(memory.content(), tmp_path / 'base/memory.pth')
    done = tool(*arguments)
    assert done.status == 0, done.err[-3000:]
    told = 'prototypes: 4 old, 2 new; the loss of the classifier on them went from'
    log = (done.out + done.err)
    # Once, and before the validation, whose figures are the final model's.
    assert log.count(told) == 1 and log.index(told) < log.index('Epoch(val)')
    last, final = (load_checkpoint_file(tmp_path / f'work/{name}.pth')['state_dict'] for name in ('epoch_1', 'final'))
    assert last.keys() == final.keys()
    changed = {name for name in last if not torch.equal(last[name], final[name])}
    assert changed == {'roi_head.bbox_head.fc_cls.weight', 'roi_head.bbox_head.fc_cls.bias'}
    assert Config.fromfile(tmp_path / 'work/student_fachd.py').default_hooks.prototypes.type == 'PrototypeCalibrationHook'

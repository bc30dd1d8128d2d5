"""Weights between a teacher's and its student's, and tools/interpolate.py."""

import json

import cv2
import pytest
import tiny
import torch
from conftest import make_voc
from tiny import SEEN

from mmilmil.checkpoint import load_checkpoint_file
from mmilmil.engine.interpolation import best
from mmilmil.errors import InputError
from mmilmil.models.hashes import weights_hash
from mmilmil.models.interpolation import Interpolation
from mmilmil.models.loading import load_detector
from mmilmil.visualization import draw_interpolation


def filled(kind, classes, value, counter):
    """A detector with every number in its state dict the same, but for counters."""
    detector = tiny.build(tiny.detector_cfg(kind, classes))
    for weight in detector.state_dict().values():
        weight.fill_(value if weight.is_floating_point() else counter)
    return detector


# By kind the layers that grow, with the values that their rows have at alpha 0.25: 1 + 0.25 * (3 - 1) of what is shared, 3 of
# the new classes, of which there are two behind three old ones.
SHARED = [1.5]
ROWS = {
    'frcnn': {'roi_head.bbox_head.fc_cls': 3 * SHARED + 2 * [3] + SHARED, 'roi_head.bbox_head.fc_reg': 12 * SHARED + 8 * [3]},
    'cascade': {f'roi_head.bbox_head.{stage}.fc_cls': 3 * SHARED + 2 * [3] + SHARED for stage in range(3)},
    'maskrcnn': {'roi_head.bbox_head.fc_cls': 3 * SHARED + 2 * [3] + SHARED,
                 'roi_head.bbox_head.fc_reg': 12 * SHARED + 8 * [3],
                 'roi_head.mask_head.conv_logits': 3 * SHARED + 2 * [3]},
    'retinanet': {'bbox_head.retina_cls': 6 * (3 * SHARED + 2 * [3])},  # 6 anchors a cell
    'atss': {'bbox_head.atss_cls': 3 * SHARED + 2 * [3]},
    'gfl': {'bbox_head.gfl_cls': 3 * SHARED + 2 * [3]},
    'rtmdet': {f'bbox_head.rtm_cls.{level}': 3 * SHARED + 2 * [3] for level in range(3)},
}


@pytest.mark.parametrize('kind', ROWS)
def test_every_weight_and_statistic_by_hand(kind):
    teacher, student = filled(kind, 3, 1, counter=7), filled(kind, 5, 3, counter=9)
    weights = Interpolation(teacher, student).at(0.25)
    assert weights.keys() == student.state_dict().keys()
    assert any('running_var' in name for name in weights) or kind in ('atss', 'gfl')
    grown = ROWS[kind]
    for name, weight in weights.items():
        layer = name.rpartition('.')[0]
        if not weight.is_floating_point():
            assert weight == 9, name
        elif layer in grown:
            assert [row.unique().tolist() for row in weight] == [[value] for value in grown[layer]], name
        else:
            assert weight.unique().tolist() == SHARED, name
    assert {layer for layer in grown} <= {name.rpartition('.')[0] for name in weights}
    student.load_state_dict(weights)


def test_ends_are_the_student_and_the_grown_teacher_bit_for_bit():
    teacher = tiny.shake(tiny.build(tiny.stock_cfg(3)), seed=1)
    student = tiny.shake(tiny.build(tiny.stock_cfg(5)), seed=2)
    own, line = {name: value.clone() for name, value in student.state_dict().items()}, Interpolation(teacher, student)
    student.load_state_dict(line.at(0))  # what is loaded into the student changes nothing of the line
    assert all(torch.equal(value, own[name]) for name, value in line.at(1).items())
    start, old = line.at(0), teacher.state_dict()
    head = 'roi_head.bbox_head.fc_cls.weight'
    assert torch.equal(start[head], torch.cat([old[head][:3], own[head][3:5], old[head][3:]]))
    same = [name for name in old if old[name].shape == own[name].shape and old[name].is_floating_point()]
    assert len(same) > 50 and all(torch.equal(start[name], old[name]) for name in same)
    half = line.at(0.5)['neck.fpn_convs.0.conv.weight']
    torch.testing.assert_close(half, (old['neck.fpn_convs.0.conv.weight'] + own['neck.fpn_convs.0.conv.weight']) / 2)


def test_other_detectors_are_refused():
    student = tiny.build(tiny.stock_cfg(5))
    with pytest.raises(InputError, match='the teacher and the student would mean different things.*model.type'):
        Interpolation(tiny.build(tiny.detector_cfg('retinanet', 3)), student)
    other = tiny.build(tiny.stock_cfg(3, rpn_head=dict(anchor_generator=dict(scales=[8]))))
    with pytest.raises(InputError, match='w.pth and the student would mean different things.*scales'):
        Interpolation(other, student, 'the teacher w.pth')
    pruned = tiny.build(tiny.stock_cfg(3))
    pruned.structure = {'backbone.conv1': dict(out=torch.tensor([True, False]))}
    with pytest.raises(InputError, match='the teacher is pruned and the student full: there is nothing between'):
        Interpolation(pruned, student)
    student.structure = {'backbone.conv1': dict(out=torch.tensor([False, True]))}
    with pytest.raises(InputError, match='pruned and the student pruned, to another structure'):
        Interpolation(pruned, student)


def test_best_is_the_greatest_all():
    assert best({0: dict(all=0.2), 0.5: dict(all=0.7), 0.75: dict(all=0.7), 1: dict(all=None)}) == 0.5
    assert best({0: dict(all=None)}) is None


def test_picture(tmp_path):
    """With another curve it is another picture, so the curve is on it."""
    figures = {0: dict(old=0.8, new=0.1, all=0.5), 0.5: dict(old=0.7, new=None, all=0.6), 1: dict(old=0.3, new=0.8, all=0.5)}
    for name, marked in (('plain', None), ('marked', 0.5)):
        draw_interpolation(figures, str(tmp_path / f'{name}.png'), 'a $title', 'AP50', marked)
    plain, marked = (cv2.imread(str(tmp_path / f'{name}.png')) for name in ('plain', 'marked'))
    assert plain.shape == (552, 840, 3) and (plain != marked).any()
    for hue in ((0xb2, 0x72, 0x00), (0x00, 0x5e, 0xd5), (0x73, 0x9e, 0x00)):  # BGR of the three curves
        assert (plain == hue).all(axis=2).sum() > 100


# The tool


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A stage whose test images are not trained on, its teacher and a student that moved away from it."""
    folder = tmp_path_factory.mktemp('interpolation')
    images = {**tiny.OBJECTS, 'five': tiny.OBJECTS['one'], 'six': tiny.OBJECTS['four'], 'seven': tiny.OBJECTS['three']}
    data = make_voc(folder / 'data', images, splits=dict(train=list(tiny.OBJECTS), test=['five', 'six', 'seven']))
    teacher = tiny.teacher_file(folder / 'teacher.pth')
    tiny.write_configs(folder, data, teacher=teacher)
    content = load_checkpoint_file(str(tiny.teacher_file(folder / 'student.pth', SEEN)))
    content['meta'] |= dict(dataset_meta=dict(classes=SEEN, split=(3, 2)), epoch=2, iter=4, seed=0, experiment_name='student')
    torch.save(content, folder / 'student.pth')
    return folder


def test_tool(world, tool, monkeypatch):
    """Figures at both ends are those of test.py on the same images; what is best on val is written and can be used."""
    monkeypatch.chdir(world)
    done = tool('interpolate.py', 'student.py', 'student.pth', '--alpha', '1', '0', '0.5', '--write', 'best', '--out', 'out')
    assert done.status == 0, done.err
    content = json.loads((world / 'out/interpolation.json').read_text())
    assert [found['alpha'] for found in content['figures']] == [0, 0.5, 1] and content['split'] == 'val'
    figures = {found['alpha']: found for found in content['figures']}
    assert content['best'] == max(sorted(figures), key=lambda alpha: figures[alpha]['all'])
    assert figures[0]['classes'] == list(SEEN) and figures[0]['sets'][0]['images'] == 3
    assert len({figures[alpha]['all'] for alpha in figures}) > 1
    table = (world / 'out/interpolation.md').read_text()
    assert table in done.out and f'| alpha {content["best"]:g} (best on val)' in table and table.count('| alpha ') == 3
    assert cv2.imread(str(world / 'out/interpolation.png')).std() > 10
    assert not (world / 'out/metrics.json').exists()

    assert tool('test.py', 'student.py', 'student.pth', '--work-dir', 'tested').status == 0
    tested = json.loads((world / 'tested/metrics.json').read_text())
    for key in ('per_class', 'old', 'new', 'all', 'groups', 'sets'):
        assert figures[1][key] == tested[key], key

    written = load_checkpoint_file(str(world / 'out/interpolated.pth'))
    student, teacher = (load_detector(str(world / name))[0] for name in ('student.pth', 'teacher.pth'))
    expected = Interpolation(teacher, student).at(content['best'])
    assert weights_hash(written['state_dict']) == weights_hash(expected)
    meta = written['meta']
    assert (meta['epoch'], meta['iter'], meta['seed'], meta['experiment_name']) == (2, 4, 0, 'student')
    assert meta['interpolation'] == dict(alpha=content['best'], teacher=weights_hash(teacher.state_dict()),
                                         student=weights_hash(student.state_dict()))
    _, classes = load_detector(str(world / 'out/interpolated.pth'))  # as the next stage does
    assert classes == SEEN


def test_an_alpha_is_written_without_measuring(world, tool, monkeypatch, tmp_path):
    monkeypatch.chdir(world)
    done = tool('interpolate.py', 'student.py', 'student.pth', '--write', '0.75', '--out', tmp_path)
    assert done.status == 0, done.err
    assert [path.name for path in tmp_path.iterdir()] == ['interpolated.pth']
    assert f'test.py student.py {tmp_path}/interpolated.pth' in done.out
    assert load_checkpoint_file(str(tmp_path / 'interpolated.pth'))['meta']['interpolation']['alpha'] == 0.75


def other_names(world, name, **meta):
    content = load_checkpoint_file(str(world / 'teacher.pth'))
    content['meta'] |= meta
    torch.save(content, world / name)
    return name


def test_mistakes(world, tool, monkeypatch):
    monkeypatch.chdir(world)
    (world / 'trained.py').write_text("_base_ = './student.py'\nval_dataloader = dict(dataset=dict(ann_file="
                                      "'ImageSets/Main/train.txt'))\n")
    other = other_names(world, 'other.pth', dataset_meta=dict(classes=('ant', 'cat', 'bee')))
    tiny.detector_file(world / 'gfl.pth', 'gfl')
    for args, words in (
        (('student.py', 'student.pth', '--alpha', '1.5'), "'1.5': give a number from 0 to 1"),
        (('student.py', 'student.pth', '--write', 'nan'), "'nan': give a number from 0 to 1"),
        (('student.py', 'student.pth', '--write', 'best', '--split', 'test'), 'nothing is chosen by the test split'),
        (('trained.py', 'student.pth', '--write', 'best'), 'error: --write best: 4 of the 4 images of val are among the '
         'training images'),
        (('base.py', 'teacher.pth'), 'base.py has no teacher (model.teacher)'),
        (('student.py', 'gone.pth'), 'the checkpoint gone.pth does not exist'),
        (('student.py', 'teacher.pth'), "the checkpoint teacher.pth knows the classes ['ant', 'bee', 'cat']"),
        (('student.py', 'student.pth', '--teacher', other), "the teacher other.pth knows the classes ['ant', 'cat', 'bee']"),
        (('student.py', 'student.pth', '--teacher', 'gfl.pth'), "the teacher's checkpoint gfl.pth does not fit its config"),
        (('student.py', 'student.pth', '--cfg-options', 'val_dataloader=None', 'val_evaluator=None', 'val_cfg=None'),
         'student.py has no val_dataloader and no val_evaluator'),
    ):
        done = tool('interpolate.py', *args)
        assert done.status in (1, 2) and words in ' '.join(done.err.split()), (args, done.err)
        assert done.status == 2 or done.err.startswith('error: ')
        assert not list(world.glob('work_dirs/*/interpolation/*.json'))

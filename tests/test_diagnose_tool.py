"""tools/analysis_tools/diagnose.py on a tiny set, from the teacher's file to the last sentence."""

import json
import shutil
from functools import partial

import pytest
import torch
from conftest import make_voc
from mmengine.config import Config
from tiny import OBJECTS, OLD, SEEN, build, detector_cfg, detector_file, shake, teacher_file, write_configs

from mmilmil.engine.cli import parse_options, read_config
from mmilmil.evaluation.diagnosis import training_positives
from mmilmil.models.loading import load_detector

TOOL = 'analysis_tools/diagnose.py'


def save(path, cfg, model, classes=SEEN):
    path.parent.mkdir()
    meta = dict(cfg=Config(dict(model=cfg)).pretty_text, dataset_meta=dict(classes=classes, split=(len(classes), )))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


@pytest.fixture(scope='module')
def stage_of(tmp_path_factory):
    """``stage_of(kind)`` is the folder of a student's stage: its teacher, the student as it starts, and another detector."""
    folder, made = tmp_path_factory.mktemp('stages'), {}
    data = make_voc(folder / 'data', OBJECTS)

    def make(kind):
        if kind not in made:
            own = made[kind] = folder / kind
            own.mkdir()
            teacher = (teacher_file if kind == 'frcnn' else partial(detector_file, kind=kind))(own / 'teacher.pth')
            _, config = write_configs(own, data, teacher=str(teacher), kind=kind)
            cfg = Config.fromfile(config).model
            save(own / 'student/final.pth', cfg, build(cfg))
            cfg = detector_cfg(kind, len(SEEN))
            save(own / 'joint/final.pth', cfg, shake(build(cfg)))
        return made[kind]

    return make


def test_a_student_with_another_detector_beside_it(stage_of, tool, tmp_path):
    stage = stage_of('frcnn')
    done = tool(TOOL, stage / 'student.py', stage / 'student/final.pth', '--beside', stage / 'joint/final.pth', '--split',
                'test', '--out', tmp_path / 'out/d.json', '--train-steps', '2', '--cfg-options', 'model.merging.score_thr=0.1')
    assert done.status == 0, done.err[-3000:]
    found = json.loads((tmp_path / 'out/d.json').read_text())
    assert list(found['rows']) == ['student', 'joint'] and found['num_old'] == 3 and not found['left_out']
    assert done.out.rstrip().endswith(found['most_lost']) and 'left out' not in done.out
    row = found['rows']['student']
    # The classes' objects of the four images, and each of them once in the matrix.
    assert (row['proposals']['old']['objects'], row['proposals']['new']['objects']) == (6, 4)
    matrix = row['confusion']['matrix']
    assert [sum(counts) for counts in matrix[:-1]] == [2, 2, 2, 2, 2]
    assert [row['subsets'][group][name]['images'] for group in ('old', 'new') for name in ('all', 'holding', 'alone')] == [
        4, 4, 0, 4, 4, 0]
    # A student as it starts says of the old classes what its teacher says; another detector does not.
    assert row['drift'] == dict(objects=6, kl=pytest.approx(0, abs=1e-6), difference=pytest.approx(0, abs=1e-4), same=1.0)
    assert found['rows']['joint']['drift']['kl'] > 0.001
    # Of each image in two steps: the annotated new ones, the teacher's.
    means = found['positives']['means']
    assert means['objects']['annotated new'] == 2.0 and means['objects']['annotated old'] == 0.0
    assert means['objects']['merged old'] > 0 and means['rpn']['annotated new'] > 0 and means['roi']['merged old'] > 0
    boxes = found['teacher_boxes']
    assert boxes['images'] == 4 and boxes['objects'] == 6 and boxes['recall'] == boxes['found'] / 6

    # The figures of a test, whose AP stands beside.
    done = tool('test.py', stage / 'student.py', stage / 'student/final.pth', '--work-dir', tmp_path / 'test')
    assert done.status == 0, done.err[-3000:]
    tested = json.loads((tmp_path / 'test/metrics.json').read_text())
    tested = tested if tested['eval_mode'] == 'area' else tested['area']
    assert row['ap'] == {name: tested[name] for name in row['ap']}
    assert row['subsets']['new']['all']['ap'] == pytest.approx(tested['new'])


def test_without_the_teacher(stage_of, tool, tmp_path):
    """Its file is missing; joint training has none, and its objects are all annotated. No seed is needed."""
    stage = stage_of('frcnn')
    student = shutil.copytree(stage / 'student', tmp_path / 'student') / 'final.pth'
    done = tool(TOOL, stage / 'student.py', student, '--cfg-options', 'model.teacher.checkpoint=gone.pth')
    assert done.status == 0, done.err[-3000:]
    assert 'the teacher gone.pth is not there' in done.out and 'left out: sampled positives' in done.out
    assert 'Most AP is lost by' in done.out and 'drift from the teacher' not in done.out
    done = tool(TOOL, stage / 'student.py', student, '--method', 'joint', '--train-steps', '2', '--out', tmp_path / 'd.json',
                '--cfg-options', 'randomness=None')  # as one that leaves the seed to chance
    assert done.status == 0, done.err[-3000:]
    found = json.loads((tmp_path / 'd.json').read_text())
    assert found['positives']['means']['objects'] == {'annotated new': 2.0, 'annotated old': 3.0, 'merged old': 0.0}
    assert len(found['left_out']) == 1 and 'has no teacher' in found['left_out'][0]


def test_positives_as_merging_says(stage_of):
    """Merged boxes are no positives of an RPN that is taught by annotated ones alone."""
    stage = stage_of('frcnn')
    detector, _ = load_detector(str(stage / 'joint/final.pth'), where='')
    sampled = {}
    for taught in (True, False):
        options = parse_options([f'model.merging.rpn={taught}', 'model.merging.annotated_share=0.5',
                                 'model.merging.score_thr=0.1'])
        torch.manual_seed(0)
        sampled[taught] = training_positives(read_config(str(stage / 'student.py'), options), detector, 2, len(OLD)).means()
    assert sampled[True]['rpn']['merged old'] > 0 == sampled[False]['rpn']['merged old']
    assert sampled[False]['roi']['merged old'] > 0 and sampled[False]['rpn']['annotated new'] > 0


@pytest.mark.parametrize('kind', ['cascade', 'gfl'])
def test_other_detectors(stage_of, tool, tmp_path, kind):
    stage = stage_of(kind)
    done = tool(TOOL, stage / 'student.py', stage / 'student/final.pth', '--out', tmp_path / 'd.json', '--train-steps', '1')
    assert done.status == 0, done.err[-3000:]
    found = json.loads((tmp_path / 'd.json').read_text())
    row = found['rows']['student']
    if kind == 'cascade':
        assert list(found['positives']['means']) == ['objects', 'rpn', 'roi 1', 'roi 2', 'roi 3']
        assert row['drift']['kl'] == pytest.approx(0, abs=1e-6) and not found['left_out']
    else:
        assert row['proposals'] is row['drift'] is found['positives'] is None and found['teacher_boxes']['objects'] == 6
        assert len(found['left_out']) == 2 and 'one-stage detector' in done.out
    assert 'Most AP is lost by' in done.out


@pytest.mark.parametrize(('args', 'message'), [
    (('base.py', 'teacher.pth'), 'is a first stage'),
    (('student.py', 'none.pth'), 'none.pth does not exist'),
    (('student.py', 'student/final.pth', '--beside', 'student/final.pth'), 'is given twice'),
    (('student.py', 'student/final.pth', '--beside', 'teacher.pth'), f'knows the classes {list(OLD)}'),
])
def test_what_is_refused(stage_of, tool, monkeypatch, args, message):
    monkeypatch.chdir(stage_of('frcnn'))
    done = tool(TOOL, *args)
    assert done.status == 1 and message in done.err and len(done.err.strip().splitlines()) == 1, done.err

"""The command-line tools from end to end on a tiny set, and every mistake of a user that they must catch."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import REPO, make_voc, run_tool
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import init_default_scope
from tiny import OBJECTS, OLD, SEEN, teacher_file, write_configs

from mmilmil import InputError
from mmilmil.engine.chain import run_stage
from mmilmil.engine.chain_stages import ChainStage, stages_of
from mmilmil.engine.processes import Start
from mmilmil.models.hashes import weights_hash
from mmilmil.models.teacher import Teacher

GROUPS = ('old', 'new', 'all', 'avg', 'groups', 'per_class')


# A chain of two stages


def test_chain_leaves_the_finished_stages_behind(chain):
    for stage, classes, split in (('base', OLD, (3, )), ('student', SEEN, (3, 2))):
        folder = chain.runs / stage
        final = torch.load(folder / 'final.pth', weights_only=True)
        assert tuple(final['meta']['dataset_meta']['classes']) == classes
        assert tuple(final['meta']['dataset_meta']['split']) == split
        assert (final['meta']['epoch'], final['meta']['iter']) == (2, 4)
        assert (folder / 'stock_config.py').is_file()
        assert (folder / 'metrics_val.json').is_file()  # the last epoch was validated


def test_metrics_file(chain):
    base, student = (json.loads((chain.runs / stage / 'metrics.json').read_text()) for stage in ('base', 'student'))
    for metrics in (base, student):
        assert set(GROUPS) <= metrics.keys()
    assert list(student['per_class']) == list(SEEN) and list(base['per_class']) == list(OLD)
    assert base['old'] is None and base['avg'] is None
    aps = list(student['per_class'].values())
    assert all(0 <= ap <= 1 for ap in aps)
    assert student['old'] == pytest.approx(sum(aps[:3]) / 3)
    assert student['new'] == pytest.approx(sum(aps[3:]) / 2)
    assert student['all'] == pytest.approx(sum(aps) / 5)
    assert student['avg'] == pytest.approx((student['old'] + student['new']) / 2)
    assert student['groups'] == pytest.approx([student['old'], student['new']])
    assert student['images'] == 4 and student['boxes'] == 10


def test_table_ends_the_run(chain):
    lines = chain.output.strip().splitlines()
    header = next(i for i, line in enumerate(lines) if 'AP50' in line)
    assert all(column in lines[header] for column in ('old', 'new', 'all', 'avg'))
    end = lines.index('', header)
    assert [line.split('|')[1].strip() for line in lines[header + 2:end]] == ['base', 'student']
    last = lines.index('', end + 1)
    assert 'FPP' in lines[end + 1] and [line.split('|')[1].strip() for line in lines[end + 3:last]] == ['student']
    assert [line.split(':')[0] for line in lines[last + 1:]] == ['report', 'use it', 'add a class', 'prune it',
                                                                 'export it']


def test_second_call_trains_nothing(chain, tool):
    def files():
        """All but the reports, which are built again as others may stand beside."""
        found = [path for path in chain.runs.rglob('*') if path.is_file() and 'report' not in path.parts]
        return {path: path.stat().st_mtime_ns for path in found}

    before = files()
    again = tool('train_chain.py', chain.student, '--work-dir', chain.runs)
    assert again.status == 0
    assert again.out.count('already trained') == 2 and 'testing' not in again.out
    assert '| student' in again.out
    assert files() == before


def test_student_learnt_from_the_teachers_weights(chain):
    base, student = (torch.load(chain.runs / stage / 'final.pth')['state_dict'] for stage in ('base', 'student'))
    assert base.keys() == student.keys()
    assert len(student['roi_head.bbox_head.fc_cls.weight']) == len(SEEN) + 1
    name = 'backbone.conv1.weight'
    moved, size = (student[name] - base[name]).norm(), base[name].norm()
    assert 0 < moved < 0.5 * size


def test_killed_chain_goes_on(chain, tool, tmp_path):
    """`kill -9` of the chain in its second stage ends the training too; called again, it ends as an unbroken one."""
    runs = tmp_path / 'my runs, here'  # what --cfg-options would not take
    student = runs / 'student'
    shutil.copytree(chain.runs / 'base', runs / 'base')
    command = [sys.executable, REPO / 'tools/train_chain.py', chain.student, '--work-dir', runs]
    with open(tmp_path / 'log', 'w') as log:
        running = subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=log, env=dict(os.environ, PYTHONPATH=str(REPO), OMP_NUM_THREADS='1'))
    while not (student / 'epoch_1.pth').is_file():
        assert running.poll() is None, (tmp_path / 'log').read_text()
        time.sleep(0.01)
    training, = Path(f'/proc/{running.pid}/task/{running.pid}/children').read_text().split()
    running.kill()
    running.wait()
    limit = time.monotonic() + 5
    while Path(f'/proc/{training}/cmdline').exists() and Path(f'/proc/{training}/cmdline').read_text():  # a zombie has none
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert not (student / 'metrics.json').exists()

    done = tool('train_chain.py', chain.student, '--work-dir', runs)
    assert done.status == 0, done.err[-3000:]
    assert 'base: already trained' in done.out and 'student: testing' in done.out
    assert 'student: resuming training' in done.out or 'student: already trained' in done.out
    ours, theirs = (torch.load(folder / 'student/final.pth') for folder in (runs, chain.runs))
    assert all(torch.equal(value, theirs['state_dict'][name]) for name, value in ours['state_dict'].items())
    assert ours['meta']['teacher'] == theirs['meta']['teacher']
    assert (runs / 'student/metrics.json').read_text() == (chain.runs / 'student/metrics.json').read_text()


@pytest.fixture
def calls(monkeypatch):
    """What :func:`run_stage` calls, in place of running it."""
    made = []
    monkeypatch.setattr(Start, '__call__', lambda self, name, work_dir, tool, *args: made.append((tool.name, *args)))
    return made


@pytest.fixture
def student(chain, tmp_path):
    """The finished stage, free to be changed."""
    for name in ('base', 'student'):
        shutil.copytree(chain.runs / name, tmp_path / 'runs' / name)
    return stages_of(str(chain.student), str(tmp_path / 'runs'))[-1]


def test_stage_killed_while_it_is_tested_is_tested_again(student, calls):
    metrics = student.work_dir / 'metrics.json'
    content = metrics.read_text()
    run_stage(student)
    assert not calls
    metrics.unlink()
    with pytest.raises(FileNotFoundError):  # nothing was run here
        run_stage(student)
    assert [args[0] for args in calls] == ['test.py'] and '--no-report' in calls[0]  # pages are built at the end of the chain
    metrics.write_text(content)
    run_stage(student)
    assert len(calls) == 1


def test_stage_is_tested_again_with_other_settings(student, calls):
    """And figures of before do not pass for new ones where that is stopped."""
    with pytest.raises(FileNotFoundError):
        run_stage(student, ('test_evaluator.eval_mode=11points', ))
    assert [args[0] for args in calls] == ['test.py'] and calls[0][-1] == 'test_evaluator.eval_mode=11points'
    assert not (student.work_dir / 'metrics.json').exists()


def test_finished_stage_of_another_config(chain, tool):
    done = tool('train_chain.py', chain.student, '--work-dir', chain.runs, '--cfg-options', 'train_cfg.max_epochs=3',
                'optim_wrapper.optimizer.lr=1', 'train_dataloader.num_workers=1')
    assert done.status == 1 and 'already trained' not in done.out
    message = done.err.strip().splitlines()[-1]
    assert message.startswith(f'error: the finished stage base ({chain.runs}/base/final.pth) no longer matches its config '
                              f'{chain.base}: train_cfg.max_epochs: 2 -> 3; optim_wrapper.optimizer.lr: 0.001 -> 1. ')
    assert f'give another --work-dir, or delete {chain.runs}/base to train the stage again' in message


def test_later_stage_is_looked_at_before_an_earlier_one_is_trained(chain, student, tool):
    shutil.rmtree(student.teacher)
    final = torch.load(student.final)
    final['meta']['cfg'] = final['meta']['cfg'].replace('batch_size=2', 'batch_size=1')
    torch.save(final, student.final)
    done = tool('train_chain.py', chain.student, '--work-dir', student.work_dir.parent)
    assert done.status == 1 and 'training' not in done.out
    assert 'the finished stage student ' in done.err and 'train_dataloader.batch_size: 1 -> 2' in done.err


def test_finished_stage_whose_teacher_is_gone(chain, student, tool):
    """Trained again it would be another one: told before that is done."""
    (student.teacher / 'final.pth').unlink()
    done = tool('train_chain.py', chain.student, '--work-dir', student.work_dir.parent)
    assert done.status == 1 and 'training' not in done.out
    assert f'was trained with the teacher {student.teacher}/final.pth, which does not exist: restore it, ' in done.err


def test_teacher_of_ones_own_in_half_precision(chain, tmp_path, calls):
    """Its file has other types than the detector whose hash the student keeps."""
    content = torch.load(chain.runs / 'base/final.pth')
    content['state_dict'] = {name: value.half() if value.is_floating_point() else value
                             for name, value in content['state_dict'].items()}
    teacher = tmp_path / 'half.pth'
    torch.save(content, teacher)
    _, config = write_configs(tmp_path, chain.data, teacher=str(teacher))
    *_, stage = stages_of(str(config), str(tmp_path / 'runs'))
    shutil.copytree(chain.runs / 'student', stage.work_dir)
    final = torch.load(stage.final)
    init_default_scope('mmilmil')
    final['meta']['teacher'] = Teacher.load(str(teacher)).fingerprint
    assert final['meta']['teacher'] != weights_hash(content['state_dict'])
    stamp = stage.final.stat()
    torch.save(final, stage.final)
    os.utime(stage.final, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    run_stage(stage)
    assert not calls


def test_settings_of_the_student_leave_other_stages_alone(chain, student, calls, tmp_path, capsys):
    """A first stage has no distiller, nor has fine-tuning one whose terms could be set."""
    options = 'model.distiller.rpn_reg=None', 'model.start=teacher'
    first, second = stages_of(str(chain.student), str(student.work_dir.parent))
    run_stage(first, options)
    assert not calls
    told = capsys.readouterr().out
    assert all(f'base: {option} is left out' in told for option in options)
    with pytest.raises(InputError, match='no longer matches .* model.distiller'):
        run_stage(second, options)
    finetune = tmp_path / 'finetune.py'
    finetune.write_text(f'_base_ = {str(chain.student)!r}\nmodel = dict(distiller=None, merging=None)\n')
    stage = stages_of(str(finetune), str(tmp_path / 'runs'))[-1]
    with pytest.raises(FileNotFoundError):  # nothing was run here
        run_stage(stage, options)
    assert calls[0][-2:] == ('--cfg-options', 'model.start=teacher')
    assert 'finetune: model.distiller.rpn_reg=None is left out' in capsys.readouterr().out


def test_teacher_of_a_stage_without_one(train, tmp_path):
    stopped(train('base', '--teacher', 'x.pth'), tmp_path, '--teacher x.pth', 'has no teacher')


def test_teacher_that_was_trained_again(student, calls):
    teacher = torch.load(student.teacher / 'final.pth')
    teacher['meta']['epoch'] = 9  # does not count
    torch.save(teacher, student.teacher / 'final.pth')
    run_stage(student)
    teacher['state_dict']['rpn_head.rpn_cls.bias'] += 1e-6
    torch.save(teacher, student.teacher / 'final.pth')
    with pytest.raises(InputError, match=rf'stage student .* trained with another teacher than {student.teacher}/final.pth .*'
                       rf'delete {student.work_dir}'):
        run_stage(student)
    assert not calls


def test_finished_stage_that_tells_nothing_is_taken_as_it_is(student, calls, capsys):
    """An earlier version wrote it."""
    final = torch.load(student.final)
    del final['meta']['teacher'], final['meta']['cfg']
    stamp = student.final.stat()
    torch.save(final, student.final)
    os.utime(student.final, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    run_stage(student)
    told = capsys.readouterr().out
    assert not calls
    assert 'cannot be compared: it holds no config' in told and 'does not tell which teacher it had' in told


def test_resuming_does_not_grow_again(chain, tool, tmp_path):
    """Resumed with nothing left to train, the weights are the checkpoint's, new rows included."""
    work = tmp_path / 'student'
    shutil.copytree(chain.runs / 'student', work)
    (work / 'final.pth').unlink()
    saved = torch.load(work / 'epoch_2.pth', weights_only=True)['state_dict']
    done = tool('train.py', chain.student, '--resume', '--work-dir', work, '--cfg-options',
                f'model.teacher.checkpoint={chain.runs / "base/final.pth"}')
    assert done.status == 0
    resumed = torch.load(work / 'final.pth', weights_only=True)['state_dict']
    assert resumed.keys() == saved.keys()
    assert all(torch.equal(resumed[name], value) for name, value in saved.items())


def test_testing_needs_no_teacher(chain, tool, tmp_path):
    final = chain.runs / 'student/final.pth'
    done = tool('test.py', chain.student, final, '--work-dir', tmp_path / 'work', '--no-report', '--cfg-options',
                f'model.teacher.checkpoint={tmp_path / "gone.pth"}', f'model.teacher.config={tmp_path / "gone.py"}')
    assert done.status == 0, done.err
    assert not (tmp_path / 'work/report').exists()
    found, wanted = (json.loads((f / 'metrics.json').read_text()) for f in (tmp_path / 'work', chain.runs / 'student'))
    assert found.pop('checkpoint') == str(final.resolve()) and wanted.pop('checkpoint') == 'final.pth'
    assert found == wanted


def test_collecting_results(chain, tool, tmp_path):
    shutil.copytree(chain.runs, tmp_path / 'seed7')
    out = tmp_path / 'docs'
    done = tool('analysis_tools/collect_results.py', chain.runs, tmp_path / 'seed7', '--out', out, '--teacher', 'base')
    assert done.status == 0, done.err
    metrics = json.loads((chain.runs / 'student/metrics.json').read_text())
    kept = json.loads((out / 'seed7/student.json').read_text())
    assert kept.pop('made') == dict(stage='student', seed=0, epochs=2, iterations=4)
    assert kept.pop('kept') == json.loads((chain.runs / 'student/cost.json').read_text())['kept']
    assert kept == metrics
    tables = (out / 'tables.md').read_text()
    rows = [line.split('|')[2:5] for line in tables.splitlines() if line.startswith('| student')]
    wanted = [f'{100 * metrics[column]:.1f}' for column in ('old', 'new', 'all')]
    assert [[cell.strip() for cell in row] for row in rows] == [wanted] * 3  # two folders, and the mean of equal ones
    assert 'mean of runs, seed7' in tables
    assert tables.strip() in done.out


def test_collecting_what_is_not_there(chain, tool, tmp_path):
    done = tool('analysis_tools/collect_results.py', chain.runs, '--out', tmp_path / 'docs', '--joint', 'all')
    stopped(done, tmp_path, str(chain.runs), 'no finished stage all', 'base, student')
    empty = tool('analysis_tools/collect_results.py', tmp_path, '--out', tmp_path / 'docs')
    stopped(empty, tmp_path, str(tmp_path), 'no */metrics.json')
    assert not (tmp_path / 'docs').exists()


def test_collecting_what_would_pass_for_something_else(chain, tool, tmp_path):
    """Folders of one name, figures of another checkpoint, and runs of different classes."""
    runs = shutil.copytree(chain.runs, tmp_path / 'a/runs')
    out = tmp_path / 'docs'
    stopped(tool('analysis_tools/collect_results.py', chain.runs, runs, '--out', out), tmp_path, str(runs), 'rename one')
    metrics = json.loads((runs / 'student/metrics.json').read_text())
    other = runs.rename(tmp_path / 'other')
    for changes, told in ((dict(checkpoint='epoch_1.pth'), 'epoch_1.pth, not of the final model'),
                          (dict(iou_thr=0.75), 'have no mean')):
        (other / 'student/metrics.json').write_text(json.dumps(metrics | changes))
        stopped(tool('analysis_tools/collect_results.py', chain.runs, other, '--out', out), tmp_path, str(other), told)


def test_teacher_boxes(chain, tool):
    done = tool('analysis_tools/teacher_boxes.py', chain.student, '--proposals', '5', '50', '--cfg-options',
                f'model.teacher.checkpoint={chain.runs / "base/final.pth"}')
    assert done.status == 0, done.err
    # Each training image of the tiny set shows all classes, three old ones among them.
    assert '4 images;' in done.out
    assert 'old objects that the stage hides: ' in done.out and '| 0.0-0.3 ' in done.out
    whole = next(line for line in done.out.splitlines() if line.startswith('50 proposals: '))
    found, everything = whole.removeprefix('50 proposals: ').split(' detections')[0].split(' of ')
    assert found == everything  # the detector itself proposes no more


def test_teacher_boxes_of_a_first_stage(chain, tool, tmp_path):
    stopped(tool('analysis_tools/teacher_boxes.py', chain.base), tmp_path, str(chain.base), 'no teacher')


def test_a_teacher_of_ones_own_is_used_as_it_is(tmp_path, data):
    teacher = teacher_file(tmp_path / 'epoch_12.pth')
    _, student = write_configs(tmp_path, data, teacher=str(teacher))
    *_, stage = stages_of(str(student), str(tmp_path / 'runs'))
    assert stage.config == student and stage.teacher is None
    with pytest.raises(InputError, match='model.teacher.checkpoint would give every stage the same teacher'):
        run_stage(stage, ('model.teacher.checkpoint=other.pth', ))


def test_figures_of_another_checkpoint_are_not_the_stages(chain, tmp_path):
    """`tools/test.py` may have written those of any checkpoint into the work dir, and a run may have been repeated."""
    stage = ChainStage(chain.student, shutil.copytree(chain.runs / 'student', tmp_path / 'student'))
    file = stage.work_dir / 'metrics.json'
    os.utime(file)
    assert stage.tested()
    os.utime(file, (1, 1))  # older than the model
    assert not stage.tested()
    for checkpoint in ('epoch_1.pth', '/elsewhere/final.pth'):
        file.write_text(json.dumps(dict(stage.metrics(), checkpoint=checkpoint)))
        assert not stage.tested()
    file.unlink()
    assert not stage.tested()


def test_checkpoint_of_stock_mmengine_can_be_tested(chain, tool, tmp_path):
    """Its history buffers are refused by torch's safe loading."""
    content = torch.load(chain.runs / 'base/final.pth')
    content['message_hub'] = dict(log_scalars=dict(loss=HistoryBuffer([1.0], [1])))
    torch.save(content, tmp_path / 'stock.pth')
    done = tool('test.py', chain.base, tmp_path / 'stock.pth', '--work-dir', tmp_path / 'work')
    assert done.status == 0, done.err
    own, foreign = (json.loads(path.read_text()) for path in (chain.runs / 'base/metrics.json',
                                                              tmp_path / 'work/metrics.json'))
    assert foreign.pop('checkpoint') == str((tmp_path / 'stock.pth').resolve())
    own.pop('checkpoint')
    assert foreign == own


def test_concatenated_test_sets(tool, tmp_path, data):
    """The stock config then has the first one; a run must not end without its final model."""
    base, _ = write_configs(tmp_path, data)
    text = base.read_text().replace('train_cfg = ', """
test_dataloader['dataset'] = dict(_delete_=True, type='ConcatDataset', datasets=[dict(
    test_dataloader['dataset'], type='IncrementalVOCDataset', ann_file='ImageSets/Main/test.txt', test_mode=True)])
train_cfg = """)
    base.write_text(text)
    done = tool('train.py', base, '--work-dir', tmp_path / 'work')
    assert done.status == 0, done.err
    assert (tmp_path / 'work/final.pth').is_file()
    assert tuple(Config.fromfile(tmp_path / 'work/stock_config.py').test_dataloader.dataset.metainfo.classes) == OLD


# A user's mistakes: exit status, one line that names the value and the remedy, nothing trained


@pytest.fixture
def data(tmp_path):
    return make_voc(tmp_path / 'data', OBJECTS)


@pytest.fixture
def train(tmp_path, tool, data):
    """``train('student', split=...)`` trains a stage of changed configs, with a teacher at hand."""

    def run(stage, *options, teacher_classes=OLD, **changes):
        teacher = teacher_file(tmp_path / 'teacher.pth', teacher_classes)
        configs = dict(zip(('base', 'student'), write_configs(tmp_path, data, **{'teacher': str(teacher), **changes})))
        return tool('train.py', configs[stage], '--work-dir', tmp_path / 'work', *options)

    return run


def stopped(done, tmp_path, *words):
    """The run ended with a user's message that has ``words``, before a first checkpoint."""
    assert done.status == 1
    message = done.err.strip().splitlines()[-1]
    assert message.startswith('error: ')
    for word in words:
        assert word in message, (word, message)
    assert 'Traceback' not in done.err + done.out
    assert [line for line in done.err.splitlines() if line.startswith('error: ')] == [message]
    assert not list((tmp_path / 'work').rglob('*.pth'))
    assert 'Epoch(train)' not in done.out + done.err


def test_all_is_well_without_a_mistake(train, tmp_path):
    """What the cases below change does train when it is left as it is."""
    assert train('student').status == 0
    assert (tmp_path / 'work/final.pth').is_file()


@pytest.mark.parametrize('stage, names', [('base', 3), ('student', 5)])
def test_num_classes(train, tmp_path, stage, names):
    done = train(stage, '--cfg-options', 'model.roi_head.bbox_head.num_classes=7')
    stopped(done, tmp_path, 'num_classes = 7', f'{names} names', f'set num_classes to {names}')


def test_split_does_not_sum(train, tmp_path):
    stopped(train('student', split=(3, 1)), tmp_path, '(3, 1)', 'sums to 4', '5 names')


def test_groups_differ_between_the_sets(train, tmp_path):
    done = train('student', '--cfg-options', 'val_dataloader.dataset.metainfo.split=(4,1)')
    stopped(done, tmp_path, 'train_dataloader and val_dataloader', '(3, 2)', '(4, 1)', 'metainfo')


def test_classes_of_the_test_set_differ(train, tmp_path):
    """It is not built in training; the message would come after it otherwise."""
    done = train('student', '--cfg-options', 'test_dataloader.dataset.metainfo.classes=(ant,bee,cat,dog,emus)')
    stopped(done, tmp_path, 'train_dataloader and test_dataloader', "'emus'", 'metainfo')


def test_two_configs_of_one_name(tool, tmp_path, data):
    base, _ = write_configs(tmp_path, data)
    (tmp_path / 'other').mkdir()
    other = shutil.copy(base, tmp_path / 'other/base.py')
    done = tool('train_chain.py', base, '--beside', other, '--work-dir', tmp_path / 'work')
    stopped(done, tmp_path, str(base), str(other), str(tmp_path / 'work/base'), 'different names')


def test_resuming_what_cannot_be_resumed(chain, train, tmp_path):
    stopped(train('base', '--resume', tmp_path / 'gone.pth'), tmp_path, str(tmp_path / 'gone.pth'), 'does not exist')
    final = chain.runs / 'base/final.pth'
    stopped(train('base', '--resume', final), tmp_path, str(final), 'cannot be resumed', 'load_from')
    student = chain.runs / 'student/epoch_2.pth'
    stopped(train('base', '--resume', student), tmp_path, str(student), 'other settings', "'IncrementalFasterRCNN' -> 'Fast")


def test_junk_to_test(tool, tmp_path, data):
    base, _ = write_configs(tmp_path, data)
    (tmp_path / 'junk.pth').write_bytes(b'this is no checkpoint')
    done = tool('test.py', base, tmp_path / 'junk.pth', '--work-dir', tmp_path / 'work')
    stopped(done, tmp_path, str(tmp_path / 'junk.pth'), 'cannot be read')


@pytest.mark.parametrize('text, told', [
    ('model = undefined', 'NameError'),
    ("_base_ = './gone.py'", 'gone.py'),
    ("custom_imports = dict(imports=['no_such_module'])\nmodel = dict()", 'no_such_module'),
    ('a = 1', 'has no model'),
])
def test_configs_that_are_wrong(tool, tmp_path, text, told):
    (tmp_path / 'wrong.py').write_text(text)
    for name in ('train.py', 'train_chain.py'):
        done = tool(name, tmp_path / 'wrong.py', '--work-dir', tmp_path / 'work')
        stopped(done, tmp_path, str(tmp_path / 'wrong.py'), told)


def test_class_twice(train, tmp_path):
    stopped(train('student', seen=(*OLD, 'dog', 'bee')), tmp_path, "'bee'", 'more than once', 'each class once')


@pytest.mark.parametrize('classes', [('bee', 'ant', 'cat'), ('ant', 'bee', 'dog')])
def test_wrong_teacher(train, tmp_path, classes):
    done = train('student', teacher_classes=classes)
    stopped(done, tmp_path, str(tmp_path / 'teacher.pth'), str(list(classes)), str(list(OLD)), 'order')


def test_teacher_of_another_number_of_classes(train, tmp_path):
    done = train('student', '--cfg-options', 'model.teacher.config=None', teacher_classes=('ant', 'bee'))
    stopped(done, tmp_path, str(tmp_path / 'teacher.pth'), str(['ant', 'bee']), str(list(OLD)))


def test_class_without_box(train, tmp_path):
    done = train('student', seen=(*OLD, 'dog', 'eMu'))
    stopped(done, tmp_path, "'eMu'", 'train.txt', 'metainfo.classes', "'emu'")


def test_empty_stage(train, tmp_path):
    done = train('student', seen=(*OLD, 'yak', 'zebra'))
    stopped(done, tmp_path, 'the stage is empty', "'yak'", "'zebra'", 'train.txt', 'metainfo.classes')


def test_broken_xml(train, data, tmp_path):
    (data / 'Annotations/two.xml').write_text('<annotation><object>')
    stopped(train('base'), tmp_path, str(data / 'Annotations/two.xml'), 'not valid XML', 'take its image out')


def test_missing_annotation(train, data, tmp_path):
    (data / 'Annotations/two.xml').unlink()
    stopped(train('base'), tmp_path, str(data / 'Annotations/two.xml'), 'add the file')


def test_missing_image(train, data, tmp_path):
    (data / 'JPEGImages/three.jpg').unlink()
    stopped(train('student'), tmp_path, "'three'", str(data / 'JPEGImages'), 'add it')


def test_broken_file_of_the_validation_split(train, data, tmp_path):
    """It would come up after the last epoch, hours later."""
    make_voc(data, {'five': [('ant', 1, 1, 20, 20)]}, splits={'test': ['five']})
    (data / 'Annotations/five.xml').write_text('no xml')
    stopped(train('base'), tmp_path, str(data / 'Annotations/five.xml'), 'not valid XML')


def test_missing_dataset(train, tmp_path, data):
    shutil.rmtree(data)
    stopped(train('base'), tmp_path, str(data / 'ImageSets/Main/train.txt'), 'data_root')


def test_missing_config(tool, tmp_path):
    missing = tmp_path / 'no_such_config.py'
    for done in (tool('train.py', missing, '--work-dir', tmp_path / 'work'),
                 tool('test.py', missing, __file__, '--work-dir', tmp_path / 'work'),
                 tool('train_chain.py', missing, '--work-dir', tmp_path / 'work')):
        stopped(done, tmp_path, str(missing), 'does not exist')


def test_missing_teacher_config(train, tmp_path):
    done = train('student', '--cfg-options', f'model.teacher.config={tmp_path / "gone.py"}')
    stopped(done, tmp_path, str(tmp_path / 'gone.py'), 'model.teacher.config')


def test_config_that_is_no_python(tool, tmp_path):
    (tmp_path / 'broken.py').write_text('model = dict(')
    done = tool('train.py', tmp_path / 'broken.py', '--work-dir', tmp_path / 'work')
    stopped(done, tmp_path, 'broken.py', 'cannot be read')


def test_missing_checkpoint_to_test(tool, tmp_path, data):
    base, _ = write_configs(tmp_path, data)
    done = tool('test.py', base, tmp_path / 'gone.pth', '--work-dir', tmp_path / 'work')
    stopped(done, tmp_path, str(tmp_path / 'gone.pth'), 'does not exist')


@pytest.mark.parametrize('args', [
    ('{config}', '--work-dir', 'work', 'gone.pth'),
    ('--work-dir', 'work', '{config}', 'gone.pth'),
    ('{config}', '--fuse', 'other.pth', 'third.pth', '--show-dir', 'shown', 'gone.pth'),
    ('--cfg-options', 'a=1', 'b=2', '--launcher', 'none', '{config}', 'gone.pth', '--fuse', 'other.pth'),
    ('{config}', 'gone.pth', '--fuse', 'other.pth', '--cfg-options', 'a=1', 'b=2'),
])
def test_arguments_in_any_order(tool, tmp_path, args):
    done = tool('test.py', *(one.format(config=tmp_path / 'base.py') for one in args))
    stopped(done, tmp_path, 'the checkpoint gone.pth does not exist')


def test_checkpoint_of_another_model_to_test(tool, tmp_path, data):
    """A head of other classes would otherwise be dropped silently, and random weights be tested."""
    base, student = write_configs(tmp_path, data)
    checkpoint = teacher_file(tmp_path / 'teacher.pth')
    done = tool('test.py', student, checkpoint, '--work-dir', tmp_path / 'work')
    stopped(done, tmp_path, str(checkpoint), 'fc_cls')
    assert not (tmp_path / 'work/metrics.json').exists()


def test_config_that_is_its_own_teacher(tool, tmp_path, data):
    _, student = write_configs(tmp_path, data)
    student.write_text(student.read_text().replace("/base.py', checkpoint", "/student.py', checkpoint"))
    stopped(tool('train_chain.py', student, '--work-dir', tmp_path / 'work'), tmp_path, 'is its own teacher')


def test_missing_teacher_in_a_shell(tmp_path, data):
    """As a user meets it: a process of its own, exit status 1, one line that names the command, no traceback."""
    _, student = write_configs(tmp_path, data)
    done = run_tool(REPO / 'tools/train.py', student, cwd=tmp_path)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("error: the teacher's checkpoint work_dirs/base/final.pth does not exist")
    assert f'python tools/train.py {tmp_path}/base.py --work-dir work_dirs/base' in message
    assert 'Traceback' not in done.stderr + done.stdout
    assert not list(tmp_path.rglob('*.pth'))

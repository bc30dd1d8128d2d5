"""A teacher that a user brings stands in front of the chain: never trained, tested on the chain's test sets."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from tiny import write_configs

from mmilmil import InputError
from mmilmil.engine import chain as chain_module
from mmilmil.engine.chain import check_finished, check_testable, run_stage
from mmilmil.engine.chain_stages import stages_of
from mmilmil.engine.processes import Start

TRAINING = ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr', 'val_dataloader', 'val_cfg',
            'val_evaluator')
OPTIONS = ('train_cfg.max_epochs=2', 'optim_wrapper.optimizer.lr=0.001', 'model.distiller.rpn_reg.loss_weight=0.02')


def rows(text: str, title: str) -> list[dict[str, str]]:
    """The rows of the last Markdown table whose first cell is ``title``, by the head's cells."""
    lines = text[text.rindex(f'| {title}'):].split('\n\n')[0].strip().splitlines()
    head, _, *found = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    return [dict(zip(head, row)) for row in found]


@pytest.fixture
def own(chain, tmp_path):
    """A checkpoint under another name, a config that says on what it is tested, and its student's, which is trained."""
    cfg = Config.fromfile(chain.base)
    Config({key: value for key, value in cfg.to_dict().items() if key not in TRAINING}).dump(tmp_path / 'mine.py')
    checkpoint = shutil.copy(chain.runs / 'base/final.pth', tmp_path / 'downloaded.pth')
    _, student = write_configs(tmp_path, chain.data, teacher=checkpoint)
    student.write_text(student.read_text().replace("/base.py', checkpoint", "/mine.py', checkpoint"))
    runs = tmp_path / 'runs'
    shutil.copytree(chain.runs / 'student', runs / 'student')
    return SimpleNamespace(config=tmp_path / 'mine.py', checkpoint=Path(checkpoint), student=student, runs=runs)


@pytest.fixture
def stage(own):
    return stages_of(str(own.student), str(own.runs))[0]


@pytest.fixture
def calls(monkeypatch):
    """What :func:`run_stage` calls, in place of running it."""
    made = []
    monkeypatch.setattr(Start, '__call__', lambda self, name, work_dir, tool, *args: made.append((tool.name, *args)))
    return made


def test_it_is_tested_and_has_its_row(own, chain, tool):
    """And what only a training or a student knows passes by its test."""
    done = tool('train_chain.py', own.student, '--work-dir', own.runs, '--cfg-options', *OPTIONS)
    assert done.status == 0, done.err[-3000:]
    assert f'mine: brought, {own.checkpoint}' in done.out and 'mine: testing' in done.out and ': training in' not in done.out
    assert all(f'mine: {option} is left out' in done.out for option in OPTIONS)
    found, theirs = (json.loads((folder / 'metrics.json').read_text()) for folder in (own.runs / 'mine', chain.runs / 'base'))
    assert found['per_class'] == theirs['per_class'] and found['checkpoint'] == str(own.checkpoint)
    assert list((own.runs / 'mine').glob('*.pth')) == []
    teacher, student = rows(done.out, 'AP50 (%)')
    assert teacher['AP50 (%)'] == 'mine' and teacher['old'] == f'{100 * theirs["all"]:.1f}'
    assert student['old/teacher'] not in ('-', '') and teacher['old/teacher'] == '-'
    forgot, = rows(done.out, 'chain')
    kept = json.loads((own.runs / 'student/metrics.json').read_text())
    assert forgot['chain'] == 'student' and forgot['FPP'] == f'{100 * (theirs["all"] - kept["old"]):.1f}'

    again = tool('train_chain.py', own.student, '--work-dir', own.runs)
    assert again.status == 0 and 'testing' not in again.out
    assert again.out[again.out.index('| AP50'):] == done.out[done.out.index('| AP50'):]


def test_all_methods_share_it(own, tmp_path, monkeypatch):
    finetune = Path(chain_module.TOOLS).parent / 'configs/methods/finetune.py'
    ours, theirs = (stages_of(str(own.student), str(own.runs), method) for method in (None, finetune))
    assert [stage.name for stage in theirs] == ['mine', 'student_finetune']
    assert ours[0].files == theirs[0].files and ours[0].work_dir == own.runs / 'mine'
    assert (ours[0].teacher, ours[1].teacher, ours[1].brought) == (None, None, None) and not ours[0].is_joint
    joint, = stages_of(str(own.student), str(own.runs), finetune.with_name('joint.py'))
    assert joint.is_joint
    monkeypatch.chdir(tmp_path)
    assert stages_of(str(own.student))[0].work_dir == Path('work_dirs/mine')


@pytest.mark.parametrize('name', ['downloaded.pth', 'final.pth'])
def test_what_has_no_training_is_brought_whatever_its_name(own, name):
    if name != own.checkpoint.name:
        own.student.write_text(own.student.read_text().replace(own.checkpoint.name, name))
        own.checkpoint.rename(own.checkpoint.with_name(name))
    stage, student = stages_of(str(own.student), str(own.runs))
    assert stage.brought == str(own.checkpoint.with_name(name)) == stage.checkpoint and student.teacher is None
    own.config.write_text(own.config.read_text() + 'train_dataloader = dict(dataset=dict())\n')
    stage, student = stages_of(str(own.student), str(own.runs))
    assert bool(stage.brought) == (name != 'final.pth') and student.teacher == (None if stage.brought else stage.work_dir)


def test_figures_are_of_this_file_and_these_settings(stage, own, calls):
    with pytest.raises(FileNotFoundError):  # nothing is run here
        run_stage(stage)
    assert calls == [('test.py', str(own.config), str(own.checkpoint), '--no-report', '--work-dir', str(stage.work_dir))]
    calls.clear()
    stage.work_dir.mkdir()
    figures = stage.work_dir / 'metrics.json'
    figures.write_text(json.dumps(dict(checkpoint=str(own.checkpoint))))
    assert run_stage(stage) == dict(checkpoint=str(own.checkpoint)) and calls == []
    own.checkpoint.touch()
    assert not stage.tested()
    figures.touch()
    assert stage.tested(stage.read())
    stage.read().dump(stage.work_dir / 'mine.py')
    assert stage.tested(stage.read()) and not stage.tested(stage.read(('test_evaluator.eval_mode=11points', )))
    figures.write_text(json.dumps(dict(checkpoint='final.pth')))
    assert not stage.tested()


def test_a_url_is_tested_once(own, calls):
    url = 'https://example.org/downloaded.pth'
    own.student.write_text(own.student.read_text().replace(str(own.checkpoint), url))
    stage, _ = stages_of(str(own.student), str(own.runs))
    assert stage.brought == url
    with pytest.raises(FileNotFoundError):  # nothing is run here
        run_stage(stage)
    assert calls[0][2] == url
    stage.work_dir.mkdir()
    (stage.work_dir / 'metrics.json').write_text(json.dumps(dict(checkpoint=url)))
    assert stage.tested()


@pytest.mark.parametrize('checkpoint', ['downloaded.pth', 'final.pth'])
def test_a_config_of_mmdetection_by_name_is_no_stage(own, checkpoint):
    text = own.student.read_text().replace('{{ fileDirname }}/mine.py', 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    own.student.write_text(text.replace('downloaded.pth', checkpoint))
    student, = stages_of(str(own.student), str(own.runs))
    assert student.teacher is None


@pytest.mark.parametrize(('config', 'told'), [
    ('{folder}/gone.py', 'gone.py is no file that says on what it is tested'),
    ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'faster-rcnn_r50_fpn_1x_coco.py is no file that says'),
    ('{folder}/stock.py', 'stock.py has no test_dataloader of IncrementalVOCDataset or IncrementalCocoDataset'),
    ('{folder}/bare.py', 'bare.py has no test_dataloader of IncrementalVOCDataset or IncrementalCocoDataset'),
])
def test_a_config_that_does_not_say_how_to_test_it(own, capsys, tmp_path, config, told):
    """The teacher teaches; a line tells why there is no row."""
    (tmp_path / 'bare.py').write_text("model = dict(type='FasterRCNN')\n")
    (tmp_path / 'stock.py').write_text("model = dict(type='FasterRCNN')\n"
                                       "test_dataloader = dict(dataset=dict(type='CocoDataset', ann_file='x.json'))\n")
    own.student.write_text(own.student.read_text().replace('{{ fileDirname }}/mine.py', config.format(folder=tmp_path)))
    for _ in range(2):  # as for several methods
        student, = stages_of(str(own.student), str(own.runs))
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1 and out.startswith(f'student: the teacher {own.checkpoint} has no row in the tables: ')
    assert told in out and student.teacher is None


def test_its_mistakes_are_told_before_anything_is_trained(own, tool):
    own.config.write_text(own.config.read_text() + "test_evaluator = dict(type='IncrementalVOCMetric', eval_mode='12points')\n")
    shutil.rmtree(own.runs)
    done = tool('train_chain.py', own.student, '--work-dir', own.runs)
    assert done.status == 1 and 'error: mine, the teacher, cannot be tested: ' in done.err and '12points' in done.err
    assert not own.runs.exists()


def test_a_missing_checkpoint(stage, own, capsys):
    """A finished student can do without, as its row may; a training cannot."""
    stage.work_dir.mkdir()
    figures = stage.work_dir / 'metrics.json'
    figures.write_text(json.dumps(dict(checkpoint=str(own.checkpoint))))
    own.checkpoint.unlink()
    assert len(stages_of(str(own.student), str(own.runs))) == 2 and run_stage(stage)
    figures.unlink()
    student, = stages_of(str(own.student), str(own.runs))
    assert f'the teacher {own.checkpoint} has no row in the tables: it does not exist' in capsys.readouterr().out
    check_finished(student)
    student.final.unlink()
    with pytest.raises(InputError, match=rf'student cannot be trained: its teacher {own.checkpoint} does not exist: '):
        check_finished(student)


def test_two_checkpoints_of_one_config(own, tool):
    """They would share a work dir."""
    other = own.student.with_name('other.py')
    second = str(shutil.copy(own.checkpoint, own.checkpoint.with_name('second.pth')))
    other.write_text(own.student.read_text().replace(str(own.checkpoint), second))
    done = tool('train_chain.py', own.student, '--beside', other, '--work-dir', own.runs)
    assert done.status == 1 and f'two stages would share the folder {own.runs}/mine, ' in done.err
    assert str(own.checkpoint) in done.err and second in done.err


def test_a_teacher_that_is_no_dict(own):
    own.student.write_text(f"_base_ = {str(own.student.with_name('base.py'))!r}\nmodel = dict(teacher='x.pth')\n")
    with pytest.raises(InputError, match=r"model.teacher = 'x.pth' in .*student.py: give dict\(config=PATH"):
        stages_of(str(own.student))


def test_its_test_set_is_tried_first(stage, own):
    check_testable(stage)
    torch.save({}, own.checkpoint)  # what the file holds is the test's affair
    check_testable(stage)
    own.config.write_text(own.config.read_text() + 'test_evaluator = None\n')
    with pytest.raises(InputError, match='mine, the teacher, cannot be tested: the config has no test_evaluator'):
        check_testable(stage)

"""Methods laid over a stage: `--method`, `--methods`, a method of one's own, and every mistake that is told."""

import argparse
import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from tiny import ROOT, write_configs

from mmilmil.config import read_file
from mmilmil.engine.chain_stages import stages_of
from mmilmil.engine.cli import read_config
from mmilmil.engine.methods import lay_over, method_option
from mmilmil.errors import InputError

STAGE = ROOT / 'configs/ilmil/frcnn_pcb_4+2.py'
CHAIN = ROOT / 'configs/ilmil/frcnn_pcb_2+2+2_step2.py'
METHODS = ROOT / 'configs/methods'
FINETUNE, JOINT, ILMIL = (METHODS / f'{name}.py' for name in ('finetune', 'joint', 'ilmil'))


@pytest.fixture
def find():
    return method_option(ROOT / 'tools')


def mine(folder: Path, text: str) -> Path:
    path = folder / 'mine.py'
    path.write_text(text)
    return path


# Which method


def test_methods_are_the_files_in_their_folder(find, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {find(path.stem) for path in METHODS.glob('*.py')} == set(METHODS.glob('*.py'))
    assert find('merge_iou_0.7').name == 'merge_iou_0.7.py'  # a dot is no ending
    assert find(str(mine(tmp_path, ''))) == tmp_path / 'mine.py' and find('mine.py') == Path('mine.py')
    mine(tmp_path, '').rename(tmp_path / 'joint.py')
    assert find('joint') == JOINT and find('joint.py') == Path('joint.py')


@pytest.mark.parametrize('text', ['fine', 'finetune.py', 'gone/mine.py', 'mine.json', '', '.', '../methods/joint'])
def test_unknown_method_names_the_known_ones(find, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.json').write_text('{}')
    with pytest.raises(argparse.ArgumentTypeError, match='no method .*finetune, ilmil, .*joint, .*path of a .py file'):
        find(text)


def test_a_tools_checkout_has_its_own_methods(tmp_path):
    folder = tmp_path / 'configs/methods'
    folder.mkdir(parents=True)
    mine(folder, '')
    find = method_option(tmp_path / 'tools')
    assert find('mine') == folder / 'mine.py'
    with pytest.raises(argparse.ArgumentTypeError, match='give one of mine, or'):
        find('finetune')


# What it makes of a stage


def test_a_method_is_the_text_below_a_base(tmp_path):
    """What a person would write, and what MMDetection's own tools and mim take."""
    for method in METHODS.glob('*.py'):
        config = mine(tmp_path, f'_base_ = {str(STAGE)!r}\n{method.read_text()}')
        assert lay_over(read_file(str(STAGE)), method).to_dict() == Config.fromfile(config).to_dict(), method


def test_a_method_of_ones_own(tmp_path):
    """It refers to the stage, to its own folder and to the environment, as a config does."""
    method = mine(tmp_path, "model = dict(distiller=dict(num_rois=2 * _base_.model.distiller.num_rois))\n"
                            "train_cfg = dict(max_epochs=_base_.epochs + 1)\nhere = '{{ fileDirname }}'\n"
                            "there = '{{$MMILMIL_NO_SUCH_VARIABLE:default}}'\n")
    cfg, stage = read_config(str(STAGE), method=method), read_config(str(STAGE))
    assert (cfg.model.distiller.num_rois, cfg.train_cfg.max_epochs) == (64, 11)
    assert (cfg.here, cfg.there) == (str(tmp_path), 'default')
    assert Path(cfg.filename).name == 'frcnn_pcb_4+2_mine.py' and cfg.work_dir == 'work_dirs/frcnn_pcb_4+2_mine'
    cfg.model.distiller.num_rois, cfg.train_cfg.max_epochs = 32, 10
    assert {name: value for name, value in cfg.to_dict().items() if name not in ('here', 'there', 'work_dir')} == {
        name: value for name, value in stage.to_dict().items() if name != 'work_dir'}


def test_options_win_over_a_method():
    cfg = read_config(str(STAGE), {'model.distiller.feature.loss_weight': 3.0, 'train_cfg.max_epochs': 2}, method=ILMIL)
    assert cfg.model.distiller.feature == dict(type='FeatureMSELoss', loss_weight=3.0) and cfg.train_cfg.max_epochs == 2
    assert read_config(str(STAGE), {'work_dir': 'here'}, method=ILMIL).work_dir == 'here'
    assert read_config(str(STAGE), work_dir='there', method=ILMIL).work_dir == 'there'


def test_work_dir_of_the_config_is_told_apart(tmp_path):
    config = tmp_path / 'stage.py'
    config.write_text(f"_base_ = {str(STAGE)!r}\nwork_dir = 'runs/a/'\n")
    assert read_config(str(config), method=JOINT).work_dir == 'runs/a_joint'
    assert read_config(str(config)).work_dir == 'runs/a/'


@pytest.mark.parametrize(('method', 'terms'), [
    ('no_rpn', 'rpn_cls and no .*rpn_reg'), ('no_rcn', 'roi_cls'),
    ('no_score', 'score')])
def test_methods_of_two_stage_detectors(method, terms):
    with pytest.raises(InputError, match=rf'the method {method} .*does not fit the detector of .*gfl_pcb_4\+2.py, '
                       rf'IncrementalGFL: its DenseDistiller has no model.distiller.{terms}'):
        read_config(str(STAGE.with_name('gfl_pcb_4+2.py')), method=METHODS / f'{method}.py')


def test_a_method_with_a_distiller_for_other_detectors():
    told = r'the method ilmil .*does not fit the detector of .*gfl_pcb_4\+2.py, IncrementalGFL: its MFRRKDistiller has ' \
           'terms of other detectors'
    with pytest.raises(InputError, match=told):
        read_config(str(STAGE.with_name('gfl_pcb_4+2.py')), method=ILMIL)


def test_a_method_is_known_by_its_name_of_now(find):
    with pytest.raises(argparse.ArgumentTypeError, match="no method 'paper' any more: it is called ilmil now"):
        find('paper')
    assert find('ilmil') == ILMIL


def test_a_setting_that_no_distiller_has_is_told_where_it_is_built(tmp_path):
    """With the nearest name, which only that place knows."""
    method = mine(tmp_path, 'model = dict(distiller=dict(fature=None))\n')
    assert 'fature' in read_config(str(STAGE.with_name('gfl_pcb_4+2.py')), method=method).model.distiller


# In a chain


def test_later_stages_are_taught_by_the_same_method():
    cfg = read_config(str(CHAIN), method=FINETUNE)
    assert cfg.model.teacher.checkpoint == 'work_dirs/frcnn_pcb_2+2+2_step1_finetune/final.pth'
    first_student = read_config(str(CHAIN.with_name('frcnn_pcb_2+2+2_step1.py')), method=FINETUNE)
    assert first_student.model.teacher.checkpoint == 'work_dirs/frcnn_pcb_2/final.pth'  # nothing to lay a method over
    taught = read_config(str(CHAIN), teacher='mine/final.pth', method=FINETUNE)
    assert taught.model.teacher.checkpoint == 'mine/final.pth'


@pytest.mark.parametrize('checkpoint', ['mine/epoch_12.pth', 'https://example.org/final.pth'])
def test_teacher_of_ones_own_teaches_by_every_method(tmp_path, checkpoint):
    config = tmp_path / 'stage.py'
    config.write_text(f'_base_ = {str(CHAIN)!r}\nmodel = dict(teacher=dict(checkpoint={checkpoint!r}))\n')
    assert read_config(str(config), method=FINETUNE).model.teacher.checkpoint == checkpoint
    method = mine(tmp_path, "model = dict(teacher=dict(checkpoint='other/final.pth'))\n")
    assert read_config(str(CHAIN), method=method).model.teacher.checkpoint == 'other/final.pth'


@pytest.mark.parametrize('root', [None, 'runs'])
def test_stages_of_a_method(root):
    folder = Path(root or 'work_dirs')
    names = ['frcnn_pcb_2', 'frcnn_pcb_2+2+2_step1_finetune', 'frcnn_pcb_2+2+2_step2_finetune']
    chain = stages_of(str(CHAIN), root, FINETUNE)
    assert [stage.name for stage in chain] == names and [stage.work_dir for stage in chain] == [folder / name for name in names]
    assert [stage.teacher for stage in chain] == [None, folder / names[0], folder / names[1]]
    assert [stage.method for stage in chain] == [None, FINETUNE, FINETUNE] and not any(stage.is_joint for stage in chain)
    joint, = stages_of(str(CHAIN), root, JOINT)
    assert joint.work_dir == folder / 'frcnn_pcb_2+2+2_step2_joint' and joint.is_joint
    assert joint.read().metainfo == dict(classes=read_file(str(CHAIN)).all_classes, split=(2, 2, 2))


def test_a_chain_with_methods_beside_it(chain, tool, tmp_path):
    """Trained, tested and in one table; a second call trains nothing; other methods are other runs."""
    runs = shutil.copytree(chain.runs, tmp_path / 'runs')
    args = ('train_chain.py', chain.student, '--methods', 'joint', FINETUNE, '--work-dir', runs)
    done = tool(*args)
    assert done.status == 0 and done.out.count('already trained') == 2, done.err[-3000:]
    table = [[cell.strip() for cell in line.split('|')[1:-1]] for line in done.out[done.out.rindex('| AP50'):].splitlines()]
    assert [row[0] for row in table[2:6]] == ['base', 'student', 'student_joint', 'student_finetune']
    assert [row[0] for row in table[9:] if row] == ['student', 'student_finetune'] and table[7][0] == 'chain'
    assert table[0][-3:] == ['old/teacher', 'new/joint', 'all/joint']
    made = {name: Config.fromfile(runs / name / f'{name}.py') for name in ('student', 'student_joint', 'student_finetune')}
    assert made['student_joint'].model.type == 'FasterRCNN' and made['student_joint'].train_dataloader.dataset.keep == 'seen'
    assert made['student_finetune'].model.distiller is None and made['student'].model.distiller.type == 'MFRRKDistiller'
    assert json.loads((runs / 'student_joint/metrics.json').read_text())['split'] == [3, 2]

    again = tool(*args)
    assert again.status == 0 and again.out.count('already trained') == 4 and 'testing' not in again.out
    # The chain by a method alone.
    done = tool('train_chain.py', chain.student, '--method', 'finetune', '--work-dir', runs)
    assert done.status == 0 and done.out.count('already trained') == 2 and '| student ' not in done.out
    # A run of one method is none of another, nor is one of other settings.
    done = tool('train.py', chain.student, '--method', 'finetune', '--work-dir', runs / 'student', '--resume',
                '--teacher', runs / 'base/final.pth')
    assert done.status == 1 and 'model.distiller' in done.err and 'other settings' in done.err
    done = tool('train_chain.py', chain.student, '--methods', 'joint', '--work-dir', runs, '--cfg-options',
                'model.roi_head.bbox_head.loss_cls.loss_weight=3')
    assert done.status == 1 and 'the finished stage base' in done.err
    found = json.loads((runs / 'student_joint/metrics.json').read_text())
    done = tool('test.py', chain.student, runs / 'student_joint/final.pth', '--method', 'joint', '--work-dir', tmp_path / 'a')
    assert done.status == 0 and (tmp_path / 'a/student_joint.py').is_file()
    assert json.loads((tmp_path / 'a/metrics.json').read_text())['per_class'] == found['per_class']


def test_default_work_dir_of_a_training(chain, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = tool('train.py', chain.student, '--method', 'joint', '--cfg-options', 'train_cfg.max_epochs=1')
    assert done.status == 0, done.err[-3000:]
    assert (tmp_path / 'work_dirs/student_joint/final.pth').is_file()
    # It goes on there.
    done = tool('train.py', chain.student, '--method', 'joint', '--resume', '--cfg-options', 'train_cfg.max_epochs=2')
    assert done.status == 0 and (tmp_path / 'work_dirs/student_joint/epoch_2.pth').is_file()
    assert 'resumed epoch: 1' in done.out


# Mistakes


def test_two_methods_of_one_name(tool, tmp_path):
    other = mine(tmp_path, 'model = dict(merging=None)\n').rename(tmp_path / 'joint.py')
    done = tool('train_chain.py', STAGE, '--methods', 'joint', other, '--work-dir', tmp_path / 'runs')
    assert done.status == 1 and f'{STAGE} by {JOINT} and {STAGE} by {other}: give their files different names' in done.err


@pytest.mark.parametrize(('text', 'told'), [
    ("_base_ = './finetune.py'\n", 'has a `_base_` of its own'),
    ('model = dict(\n', r'is no Python: SyntaxError: .*line 1'),
    ('a = 1\nb = = 2\n', r'is no Python: SyntaxError: .*line 2'),
    ('a = _base_.model.type\nb = _base_.longer\nc = _base_.faster\n', 'refers to _base_.faster, _base_.longer, and .* has no '
     'faster and no longer: add it there'),
    ('train_cfg = undefined\n', 'cannot be laid over .*NameError'),
    ('model = dict(backbone=3)\nmodel = 3\n', 'without a model'),
    ("model = dict(distiller=dict(feature='none'))\nval_dataloader = dict(dataset=dict(pipeline=dict(a=1)))\n",
     'cannot be laid over .*pipeline'),
])
def test_methods_that_are_wrong(tmp_path, text, told):
    method = mine(tmp_path, text)
    with pytest.raises(InputError, match=f'the method mine .*mine.py.*{told}') as error:
        read_config(str(STAGE), method=method)
    assert '\n' not in str(error.value) and str(method) in str(error.value)


def test_joint_training_of_a_stage_that_does_not_say_how_long(tmp_path):
    config = tmp_path / 'stage.py'
    config.write_text(f'_base_ = {str(STAGE)!r}\n')
    cfg = Config.fromfile(config).to_dict()
    del cfg['joint']
    Config(cfg).dump(config)
    with pytest.raises(InputError, match=r'the method joint .*refers to _base_.joint, and .*stage.py has no joint: add it'):
        read_config(str(config), method=JOINT)
    assert read_config(str(config), method=FINETUNE).model.distiller is None


@pytest.mark.parametrize('args', [
    ('train.py', '{first}', '--method', 'joint'), ('train_chain.py', '{first}', '--methods', 'finetune'),
    ('train_chain.py', '{first}', '--method', 'finetune'), ('test.py', '{first}', '{first}', '--method', 'joint'),
    ('check_dataset.py', '{first}', '--method', 'joint')], ids=' '.join)
def test_method_of_a_first_stage(tool, tmp_path, args):
    first, _ = write_configs(tmp_path, tmp_path)
    done = tool(*(arg.format(first=first) for arg in args))
    assert done.status == 1 and 'base.py is a first stage: it has no model.teacher' in done.err
    assert not (tmp_path / 'work_dirs').exists()


@pytest.mark.parametrize(('args', 'told'), [
    (('train.py', STAGE, '--method', 'fine'), "there is no method 'fine': give one of abr, "),
    (('train_chain.py', STAGE, '--methods', 'joint', 'gone.py'), "there is no method 'gone.py'"),
    (('check_dataset.py', '--voc', 'data', '--method', 'joint'), '--method goes with a config'),
])
def test_wrong_arguments_end_with_the_usage(tool, args, told):
    done = tool(*args)
    assert done.status == 2 and 'usage: ' in done.err and told in done.err


def test_the_stage_before_was_not_trained_by_the_method(tool, tmp_path, monkeypatch):
    """The command that is told trains it by the method, not as its config says."""
    monkeypatch.chdir(tmp_path)
    done = tool('train.py', CHAIN, '--method', 'finetune')
    assert done.status == 1 and 'work_dirs/frcnn_pcb_2+2+2_step1_finetune/final.pth, the stage before by the' in done.err
    assert f'`python tools/train.py {CHAIN.with_name("frcnn_pcb_2+2+2_step1.py")} --method {FINETUNE}`' in done.err


def test_teacher_of_a_method_without_one(tool):
    done = tool('train.py', STAGE, '--method', 'joint', '--teacher', 'x.pth')
    assert done.status == 1 and 'has no teacher (model.teacher) by the method joint, so leave it out' in done.err

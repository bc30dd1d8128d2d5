"""tools/new_split.py --teacher: the student of a detector that somebody else has trained, in two commands."""

import json
import re
import sys
from types import SimpleNamespace

import pytest
import tiny
import torch
from conftest import make_voc
from mmengine.config import Config

from mmilmil.config_writing.code_text import WIDTH, Code, statement
from mmilmil.config_writing.student_configs import MeasuredSet, NewData, StudentConfigs
from mmilmil.config_writing.teachers import BroughtTeacher, read_teacher
from mmilmil.registry import MODELS

NEW = {'img0': [('dog', 5, 5, 40, 40)], 'img1': [('dog', 10, 12, 50, 44), ('emu', 2, 2, 30, 30)],
       'img2': [('emu', 8, 8, 60, 50)], 'img3': [('dog', 4, 4, 44, 44), ('emu', 20, 20, 60, 60)]}
OLD = {'old0': [('ant', 5, 5, 40, 40), ('bee', 20, 20, 60, 60)], 'old1': [('cat', 10, 12, 50, 44)]}
SCHEDULE = """
optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9), clip_grad=None)
auto_scale_lr = dict(enable=False, base_batch_size=16)
train_dataloader = dict(batch_size=2)
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(96, 64), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
test_dataloader = dict(dataset=dict(type='CocoDataset', pipeline=test_pipeline))
"""


def brought(folder, kind: str = 'frcnn', schedule: str = SCHEDULE, **meta) -> list:
    """A detector as a user brings it: a config in MMDetection's words and a checkpoint as MMDetection 2 wrote it."""
    content = torch.load(tiny.detector_file(folder / 'made.pth', kind), weights_only=True)
    torch.save(dict(meta=meta or dict(mmdet_version='2.28.0', CLASSES=tiny.OLD), state_dict=content['state_dict']),
               folder / 'mine.pth')
    model = tiny.detector_cfg(kind, len(tiny.OLD)).to_dict()
    (folder / 'mine.py').write_text(f"default_scope = 'mmdet'\nmodel = {model!r}\n{schedule}")
    return ['--teacher', folder / 'mine.py', folder / 'mine.pth']


@pytest.fixture
def data(tmp_path):
    """New images on which the new classes alone are annotated, and old ones to measure the others on."""
    splits = {split: list(NEW) for split in ('train', 'val', 'test')}
    return SimpleNamespace(new=make_voc(tmp_path / 'screws', NEW, splits=splits),
                           old=make_voc(tmp_path / 'before', OLD, splits={'test': list(OLD)}))


def written(folder, name: str) -> Config:
    return Config.fromfile(folder / 'cfg' / 'ilmil' / name)


def test_two_commands_from_a_detector_and_a_folder_to_a_table(tool, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    done = tool('new_split.py', '--ann', data.new, *brought(tmp_path), '--old-test', data.old, '--out', tmp_path / 'cfg',
                '--epochs', 1)
    assert done.status == 0, done.err
    assert 'mine.pth, behind them the new: dog, emu' in done.out
    assert 'val: the classes of the teacher are measured nowhere; --old-val DATA' in done.out
    assert f"test: the teacher's classes are measured on ImageSets/Main/test.txt in {data.old} (3 of 3)" in done.out
    assert 'SGD at 0.001 for 8 images a step (of the teacher, 0.02 for 16 images a step), epochs: 1' in done.out
    command = done.out.strip().splitlines()[-1].split()
    assert command[-2:] == ['--methods', 'finetune'] and command[2] == 'cfg/ilmil/frcnn_screws_3+2.py'
    done = tool('train_chain.py', command[2])  # fine-tuning is left out for time
    assert done.status == 0, done.err
    rows = [line.split('|')[1].strip() for line in done.out.splitlines() if line.startswith('| frcnn_screws')]
    assert rows == ['frcnn_screws_3', 'frcnn_screws_3+2', 'frcnn_screws_3+2']  # the last one of the table of what was forgotten
    assert 'old/teacher' in done.out
    figures = json.loads((tmp_path / 'work_dirs/frcnn_screws_3+2/metrics.json').read_text())
    assert [one['classes'] for one in figures['sets']] == [list(tiny.OLD), ['dog', 'emu']]
    # A second class, again by two commands: the teacher is what the first two made, measured on the same sets.
    more = make_voc(tmp_path / 'nails', {name: [('fly', 5, 5, 40, 40)] for name in ('n0', 'n1', 'n2', 'n3')},
                    splits={split: ['n0', 'n1', 'n2', 'n3'] for split in ('train', 'val', 'test')})
    done = tool('new_split.py', '--ann', more, '--teacher', 'cfg/ilmil/frcnn_screws_3+2.py',
                'work_dirs/frcnn_screws_3+2/final.pth', '--out', tmp_path / 'cfg', '--epochs', 1)
    assert done.status == 0, done.err
    done = tool('train_chain.py', 'cfg/ilmil/frcnn_nails_3+2+1.py')
    assert done.status == 0, done.err
    assert '| frcnn_nails_5 ' in done.out and 'group 2' in done.out
    figures = json.loads((tmp_path / 'work_dirs/frcnn_nails_3+2+1/metrics.json').read_text())
    assert figures['split'] == [3, 2, 1]
    assert [one['classes'] for one in figures['sets']] == [list(tiny.OLD), ['dog', 'emu'], ['fly']]


@pytest.mark.parametrize('kind', ['frcnn', 'cascade', 'maskrcnn', 'retinanet', 'gfl', 'rtmdet'])
def test_student_of_every_kind(tool, tmp_path, monkeypatch, kind):
    """The written student is built and starts from the teacher: same detector, same meaning, more classes."""
    monkeypatch.chdir(tmp_path)
    masks = kind == 'maskrcnn'
    splits = {split: list(NEW) for split in ('train', 'val', 'test')}
    folder = make_voc(tmp_path / 'screws', NEW, splits=splits)
    ann = [folder]
    if masks:
        tiny.write_coco(folder)
        test = folder / 'coco/test.json'
        ann = [folder / 'coco/train.json', '--val-ann', test, '--test-ann', test, '--images', folder / 'JPEGImages', '--name',
               'screws']
    done = tool('new_split.py', '--ann', *ann, *brought(tmp_path, kind), '--out', tmp_path / 'cfg')
    assert done.status == 0, done.err
    path = next((tmp_path / 'cfg/ilmil').glob('*_3+2.py'))
    cfg = Config.fromfile(path)
    assert cfg.model.type == f'Incremental{tiny.detector_cfg(kind, 3).type}'
    student = MODELS.build(cfg.model)
    student.init_weights()
    assert student.teacher.classes == tiny.OLD
    assert all(len(line) <= WIDTH for file in (tmp_path / 'cfg').rglob('*.py') for line in file.read_text().splitlines()
               if str(tmp_path) not in line)
    assert any('with_mask' in step for step in cfg.train_dataloader.dataset.pipeline) == masks
    assert cfg.test_evaluator.get('metric') == (['bbox', 'segm'] if masks else None)


def test_everything_is_as_the_teacher_has_it(tool, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    done = tool('new_split.py', '--ann', data.new, *brought(tmp_path), '--out', tmp_path / 'cfg', '--new', 'emu', '--name',
                'birds')
    assert done.status == 0, done.err
    assert "left out, as --new does not name them: 'dog'" in done.out
    cfg = written(tmp_path, 'frcnn_birds_3+1.py')
    assert cfg.metainfo == dict(classes=(*tiny.OLD, 'emu'), split=(3, 1))
    assert cfg.model.roi_head.bbox_head.num_classes == 4
    resize = dict(type='Resize', scale=(96, 64), keep_ratio=True)
    assert resize in cfg.train_dataloader.dataset.pipeline and resize in cfg.test_dataloader.dataset.pipeline
    # A tenth of the first stage's rate an image, for 8 images instead of 16.
    assert cfg.optim_wrapper == dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001, momentum=0.9))
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 8
    assert cfg.epochs == 36 and cfg.param_scheduler[1].milestones == [27]
    teacher = written(tmp_path, 'frcnn_birds_3.py')
    assert teacher.train_dataloader is None and teacher.model.type == 'FasterRCNN'
    # The new images show no class of the teacher's, so there is nothing to test it on.
    assert teacher.test_dataloader is None and teacher.val_evaluator is None


def test_what_the_teacher_is_made_of_is_not_replaced(tool, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    assert tool('new_split.py', '--ann', data.new, *brought(tmp_path), '--new', 'dog', '--out', 'cfg').status == 0
    checkpoint = tiny.teacher_file(tmp_path / 'student.pth', (*tiny.OLD, 'dog'), tiny.stock_cfg(4))
    call = ['new_split.py', '--ann', data.new, '--teacher', 'cfg/ilmil/frcnn_screws_3+1.py', checkpoint, '--out', 'cfg',
            '--force']
    files = {path: path.read_text() for path in (tmp_path / 'cfg').rglob('*.py')}
    done = tool(*call)
    assert done.status == 1
    assert 'is made of files that would be replaced, such as cfg/_base_/datasets/frcnn_screws.py' in done.err, done.err
    assert {path: path.read_text() for path in (tmp_path / 'cfg').rglob('*.py')} == files
    assert tool(*call, '--name', 'more').status == 0


def test_padding_stays_where_the_teacher_has_it(tmp_path):
    pad = "dict(type='Resize', scale=(96, 64), keep_ratio=True),\n    dict(type='Pad', size=(96, 96), pad_val=114)"
    teacher = teacher_with(tmp_path, SCHEDULE.replace("dict(type='Resize', scale=(96, 64), keep_ratio=True)", pad))
    text = StudentConfigs(teacher, some_data(tmp_path), ('dog', )).files()
    dataset = next(content for path, content in text.items() if 'datasets' in str(path))
    train = dataset[dataset.index('train_pipeline'):dataset.index('test_pipeline')]
    assert train.index('Resize') < train.index('RandomFlip') < train.index('Pad')


def test_classes_that_the_checkpoint_does_not_name(tool, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    teacher = brought(tmp_path, mmdet_version='2.0.0')
    done = tool('new_split.py', '--ann', data.new, *teacher, '--out', tmp_path / 'cfg')
    assert done.status == 1 and '--teacher-classes' in done.err and len(done.err.splitlines()) == 1, done.err
    done = tool('new_split.py', '--ann', data.new, *teacher, '--teacher-classes', *tiny.OLD, '--out', tmp_path / 'cfg')
    assert done.status == 0, done.err
    assert written(tmp_path, 'frcnn_screws_3+2.py').model.teacher.classes == tiny.OLD
    done = tool('new_split.py', '--ann', data.new, *brought(tmp_path), '--teacher-classes', 'ant', 'bee', 'cow', '--out', 'd')
    assert done.status == 1 and "--teacher-classes says ['ant', 'bee', 'cow']: leave the option out" in done.err, done.err
    teacher = brought(tmp_path, mmdet_version='2.0.0')
    done = tool('new_split.py', '--ann', data.new, *teacher, '--teacher-classes', 'coco', '--out', tmp_path / 'cfg')
    assert done.status == 1 and '80 classes' in done.err and 'num_classes = 3' in done.err, done.err


@pytest.mark.parametrize(('options', 'told'), [
    (['--new', 'ant'], "--new 'ant': the teacher .*mine.pth knows a class of that name already"),
    (['--new', 'dogs'], r"--new 'dogs' has no box to train on in .*train.txt: did you mean 'dog'\? there are boxes of 'dog' "),
    (['--new', 'dog', 'dog'], "--new names 'dog' more than once"),
    (['--distinct', 'yak'], "--distinct 'yak' is none of the new classes, 'dog', 'emu'"),
    (['--split', '3+2'], '--split is for splits that begin with a first stage'),
    (['--epochs', '1', '2', '3'], '--epochs 1 2 3: with --teacher give one number'),
    (['--old-test-images', 'x'], '--old-test-images names the images of --old-test: give that too'),
    (['--old-test', 'screws'], '--old-test .*test.txt has no box of a class that the teacher knows: it has .dog., .emu.'),
    (['--old-test', 'gone'], '--old-test gone does not exist'),
    (['--name', 'pcb'], "the name 'pcb' is that of a data set which comes with the project"),
])
def test_a_mistake_is_told_in_a_line(tool, tmp_path, monkeypatch, data, options, told):
    monkeypatch.chdir(tmp_path)
    done = tool('new_split.py', '--ann', data.new, *brought(tmp_path), '--out', tmp_path / 'cfg', *options)
    assert done.status == 1 and len(done.err.splitlines()) == 1
    assert re.search(told, done.err), done.err
    assert not (tmp_path / 'cfg').exists()


@pytest.mark.parametrize('name', ['Ant', 'an-t', 'ants', 'A N T'])
def test_a_class_that_the_teacher_nearly_knows_is_asked_about(tool, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = make_voc(tmp_path / 'screws', {'img0': [(name, 5, 5, 40, 40)]},
                      splits={split: ['img0'] for split in ('train', 'val', 'test')})
    call = ['new_split.py', '--ann', folder, *brought(tmp_path), '--out', tmp_path / 'cfg']
    done = tool(*call)
    assert done.status == 1 and f"the new class {name!r} is nearly 'ant', which the teacher" in done.err, done.err
    done = tool(*call, '--distinct', name)
    assert done.status == 0, done.err
    assert written(tmp_path, 'frcnn_screws_3+1.py').all_classes == (*tiny.OLD, name)


def test_a_checkpoint_that_no_config_can_name(tool, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    brought(tmp_path)
    (tmp_path / 'mine.pth').rename('{{ fileDirname }}.pth')
    done = tool('new_split.py', '--ann', data.new, '--teacher', 'mine.py', '{{ fileDirname }}.pth', '--out', 'cfg')
    assert done.status == 1 and 'MMEngine would read the checkpoint {{ fileDirname }}.pth as' in done.err, done.err
    assert not (tmp_path / 'cfg').exists()


def test_nothing_new(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make_voc(tmp_path / 'screws', {'img0': [('ant', 5, 5, 40, 40)]},
                      splits={split: ['img0'] for split in ('train', 'val', 'test')})
    done = tool('new_split.py', '--ann', folder, *brought(tmp_path), '--out', tmp_path / 'cfg')
    assert done.status == 1 and 'all of which the teacher' in done.err and 'nothing is new' in done.err, done.err


def test_a_teacher_whose_config_is_not_its_own(tool, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    brought(tmp_path)
    other = tiny.detector_cfg('frcnn', 3, backbone=dict(depth=34)).to_dict()
    (tmp_path / 'mine.py').write_text(f'model = {other!r}\n{SCHEDULE}')
    done = tool('new_split.py', '--ann', data.new, '--teacher', 'mine.py', 'mine.pth', '--out', 'cfg')
    assert done.status == 1 and 'mine.pth does not fit its config (mine.py)' in done.err, done.err
    other = tiny.detector_cfg('frcnn', 3).to_dict()
    (tmp_path / 'mine.py').write_text(f"model = {dict(other, type='SparseRCNN')!r}\n{SCHEDULE}")
    done = tool('new_split.py', '--ann', data.new, '--teacher', 'mine.py', 'mine.pth', '--out', 'cfg')
    assert done.status == 1 and 'SparseRCNN' in done.err and len(done.err.splitlines()) == 1, done.err


def test_masks_are_needed_where_the_teacher_has_a_mask_head(tool, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    done = tool('new_split.py', '--ann', data.new, *brought(tmp_path, 'maskrcnn'), '--out', 'cfg')
    assert done.status == 1 and 'has a mask head, and VOC XML holds no masks' in done.err, done.err


def some_data(root, images: int = 100) -> NewData:
    one = MeasuredSet('IncrementalVOCDataset', dict(ann_file='a.txt'), ('dog', ))
    return NewData('d', root, 'IncrementalVOCDataset', dict(ann_file='a.txt'), images, dict(val=[one], test=[one]))


def teacher_with(tmp_path, schedule: str) -> BroughtTeacher:
    brought(tmp_path, schedule=schedule)
    return read_teacher(str(tmp_path / 'mine.py'), str(tmp_path / 'mine.pth'))


@pytest.mark.parametrize(('optimizer', 'batch', 'base', 'rate', 'images'), [
    ("type='SGD', lr=0.02", 2, 16, 0.001, 8),  # a tenth, halved as 8 are half of 16
    ("type='SGD', lr=0.01", 4, 4, 0.001, 4),  # trained by 4: a tenth
    ("type='AdamW', lr=0.004", 32, 16, 0.000125, 8),  # RTMDet's: 32 on each of eight GPUs, so 8 of 256
    ("type='AdamW', lr=0.001", 4, 4, 0.001, 4),
])
def test_rate_and_batch(tmp_path, optimizer, batch, base, rate, images):
    schedule = SCHEDULE.replace("type='SGD', lr=0.02, momentum=0.9", optimizer)
    schedule = schedule.replace('base_batch_size=16', f'base_batch_size={base}').replace('batch_size=2', f'batch_size={batch}')
    configs = StudentConfigs(teacher_with(tmp_path, schedule), some_data(tmp_path), ('dog', ))
    assert configs.wrapper['optimizer']['lr'] == pytest.approx(rate) and configs.batch_size == images


@pytest.mark.parametrize(('images', 'epochs'), [(100, 36), (1000, 36), (2000, 18), (100000, 12)])
def test_epochs_go_by_the_number_of_images(tmp_path, images, epochs):
    assert StudentConfigs(teacher_with(tmp_path, SCHEDULE), some_data(tmp_path, images), ('dog', )).epochs == epochs


@pytest.mark.parametrize(('schedule', 'told'), [
    (SCHEDULE.partition('test_pipeline')[0], 'does not tell how images are prepared for the detector'),
    (SCHEDULE.replace("dict(type='Resize', scale=(96, 64), keep_ratio=True)", "dict(type='TestTimeAug', transforms=[])"),
     'its test pipeline has TestTimeAug, steps inside of steps'),
    (SCHEDULE.replace("type='Resize', scale=(96, 64)", "type='RandomResize', scale=[(96, 64), (64, 64)]"),
     'its test pipeline has RandomResize, which prepares an image otherwise each time'),
])
def test_how_images_are_prepared_has_to_be_told(tmp_path, schedule, told):
    with pytest.raises(Exception, match=told):
        teacher_with(tmp_path, schedule)


def test_code_is_laid_out_as_a_person_would():
    value = dict(lr=0.1, type='SGD', names=['a' * 40, 'b' * 40, 'c' * 40], keys={'backbone.norm': Code('rate')}, pair=(1, ))
    text = statement('value', value)
    assert text == (f"value = dict(\n    type='SGD', lr=0.1,\n    names=[\n        '{'a' * 40}',\n        '{'b' * 40}',\n"
                    f"        '{'c' * 40}',\n    ],\n    keys={{'backbone.norm': rate}}, pair=(1, ))")
    assert statement('x', (1, 2)) == 'x = (1, 2)' and statement('x', {}) == 'x = dict()'
    assert statement('x', [float('inf')]) == "x = [float('inf')]"


def test_types_as_classes_and_with_their_packages(tmp_path):
    """MMEngine's newer style has classes, others a scope or a path."""
    (tmp_path / 'own_module.py').write_text('')
    imports = "custom_imports = dict(imports='own_module', allow_failed_imports=False)\n"
    schedule = SCHEDULE.replace("type='Resize'", "type='mmcv.transforms.Resize'").replace("'SGD'", "'torch.optim.SGD'")
    teacher = brought(tmp_path, schedule=imports + schedule)
    (tmp_path / 'mine.py').write_text((tmp_path / 'mine.py').read_text().replace("'FasterRCNN'", "'mmdet.FasterRCNN'"))
    sys.path.insert(0, str(tmp_path))
    try:
        found = read_teacher(*map(str, teacher[1:]))
    finally:
        sys.path.remove(str(tmp_path))
    assert (found.model.type, found.student, found.imports) == ('FasterRCNN', 'IncrementalFasterRCNN', ('own_module', ))
    assert found.steps[1]['type'] == 'Resize' and found.optim_wrapper['optimizer']['type'] == 'SGD'


@pytest.mark.parametrize(('teacher', 'told'), [
    (['gone.py', 'mine.pth'], '--teacher gone.py: there is no such file'),
    (['mine.py', 'gone.pth'], 'there is no file gone.pth; give the path or URL'),
    (['mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 'mine.pth'], 'is not supported: .*FCOSHead'),
])
def test_files_that_are_no_teacher(tool, tmp_path, monkeypatch, data, teacher, told):
    monkeypatch.chdir(tmp_path)
    brought(tmp_path)
    done = tool('new_split.py', '--ann', data.new, '--teacher', *teacher, '--out', 'cfg')
    assert done.status == 1 and len(done.err.splitlines()) == 1 and re.search(told, done.err), done.err

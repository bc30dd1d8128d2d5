"""tools/new_split.py and tools/split_dataset.py: configs of a split, for the shipped sets and for one's own data."""

import json
import shlex
from pathlib import Path

import pytest
import tiny
from mmengine.config import Config

from mmilmil.config_writing.dataset_config import dataset_config
from mmilmil.config_writing.split_configs import RECIPES, SplitConfigs
from mmilmil.data_tools.own_data import OwnData, coco_data
from mmilmil.errors import InputError
from mmilmil.stage import parse_split

CONFIGS = tiny.ROOT / 'configs'
SHIPPED = {
    'voc07': ('19+1', '15+5', '10+10', '5+15', '10+5+5', '5+5+5+5', '15+1x5', '10+2x5', '10+1x10'),
    'coco17': ('40+40', '70+10', '40+20+20', '40+10x4'),
    'pcb': ('4+2', '2+2+2'),
    'foda20': ('15+5', ),
    'foda20x4': ('10+5+5', ),
    'shapes': ('4+2', ),
    'shapes_crowded': ('2+1', ),
    'shapes_apart': ('4+2', ),
    'shapes_look_alike': ('4+2', ),
}
SPLITS = [(dataset, split) for dataset, splits in SHIPPED.items() for split in splits]


@pytest.mark.parametrize(('text', 'sizes'), [
    ('15+5', (15, 5)), ('10+5+5', (10, 5, 5)), ('15+1x5', (15, 1, 1, 1, 1, 1)), ('5x4', (5, 5, 5, 5)), ('7', (7, )),
    ('2+3x2+1', (2, 3, 3, 1))])
def test_split_names(text, sizes):
    assert parse_split(text) == sizes


@pytest.mark.parametrize('text', ['', '15+', '+5', '15-5', '0+5', '5x0', '3x2x2', '15 + 5', 'a+b', '-1+2'])
def test_what_is_no_split(text):
    with pytest.raises(InputError, match='such as 15'):
        parse_split(text)


def classes_of(dataset: str) -> tuple[str, ...]:
    return tuple(Config.fromfile(CONFIGS / f'_base_/datasets/{dataset}.py').all_classes)


@pytest.mark.parametrize(('dataset', 'split'), SPLITS, ids=lambda value: value)
def test_shipped_configs_are_what_the_tool_writes(dataset, split):
    for path, text in SplitConfigs(RECIPES[dataset], split, classes_of(dataset)).files().items():
        assert (CONFIGS / path).read_text() == text, path


def test_every_shipped_stage_belongs_to_a_split():
    """But for VGG16's and other detectors'."""
    written = set()
    for dataset, split in SPLITS:
        written.update(SplitConfigs(RECIPES[dataset], split, classes_of(dataset)).files())
    there = {path.relative_to(CONFIGS) for path in (CONFIGS / 'ilmil').glob('*.py')}
    others = {'vgg16', 'cascade', 'maskrcnn', 'retinanet', 'atss', 'gfl', 'rtmdet'}
    assert all(others & {*path.stem.split('_')} for path in there - written)


def test_files_of_a_chain():
    classes = tuple('abcdefg')
    split = SplitConfigs(RECIPES['voc07'], '3+2x2', classes)
    files = split.files()
    assert [str(path) for path in files] == [
        'ilmil/frcnn_voc_3.py', 'ilmil/frcnn_voc_3+2x2_step1.py', 'ilmil/frcnn_voc_3+2x2_step2.py']
    assert split.last == list(files)[-1]
    assert '# Second stage of VOC2007 3+2x2, R50-FPN: d and e are new.' in files[Path('ilmil/frcnn_voc_3+2x2_step1.py')]


def test_a_step_of_another_size_has_its_own_schedule():
    files = SplitConfigs(RECIPES['voc07'], '5+10+5', tuple(map(str, range(20)))).files()
    steps = [files[Path(f'ilmil/frcnn_voc_5+10+5_step{step}.py')] for step in (1, 2)]
    assert 'sgd_voc_incremental_large.py' in steps[0] and 'sgd_voc_incremental.py' in steps[1]
    assert all(f"'{base}'" in text for text in steps for base in ('IncrementalFasterRCNN', '../_base_/distillers/mfrrk.py'))
    assert all('distiller=_base_.distiller,' in text and 'merging=_base_.merging,' in text for text in steps)


def test_shipped_set_in_another_order(tool, tmp_path):
    done = tool('new_split.py', '--dataset', 'pcb', '--split', '1+1x2', '--classes', 'spur', 'open', 'copper', '--name',
                'three', '--out', tmp_path)
    assert done.status == 0, done.err
    cfg = Config.fromfile(tmp_path / 'ilmil/frcnn_three_1+1x2_step2.py')
    assert cfg.metainfo == dict(classes=('spur', 'open', 'copper'), split=(1, 1, 1))
    assert cfg.train_dataloader.dataset.data_root.endswith('DeepPCB-320')
    assert cfg.model.teacher.config == str(tmp_path / 'ilmil/frcnn_three_1+1x2_step1.py')


@pytest.fixture
def own(tmp_path):
    """Eight images in VOC layout without lists of images."""
    import conftest
    images = {f'{name}{copy}': objects for copy in (1, 2) for name, objects in tiny.OBJECTS.items()}
    root = conftest.make_voc(tmp_path / 'My Data', images)
    for path in (root / 'ImageSets/Main').iterdir():
        path.unlink()
    return root


def test_own_folder_from_nothing_to_a_trained_chain(tool, own, tmp_path):
    """What docs/own_data.md tells, with a detector and epochs that take a few seconds."""
    assert tool('new_split.py', '--ann', own, '--split', '3+2').err.count('tools/split_dataset.py')
    done = tool('split_dataset.py', own, '--shares', '0.5', '0.25', '0.25')
    assert done.status == 0, done.err
    lists = {name: (own / f'ImageSets/Main/{name}.txt').read_text().split() for name in ('train', 'val', 'test')}
    assert [len(names) for names in lists.values()] == [4, 2, 2] and len(set().union(*lists.values())) == 8
    again = tool('split_dataset.py', own, '--shares', '0.5', '0.25', '0.25')
    assert again.status == 1 and 'stay as they are' in again.err

    # All images in every split, so that each class is in each.
    for name in lists:
        (own / f'ImageSets/Main/{name}.txt').write_text('\n'.join(sorted(sum(lists.values(), []))))
    out = tmp_path / 'configs'
    order = ('emu', 'cat', 'ant', 'bee', 'dog')
    done = tool('new_split.py', '--ann', own, '--split', '3+2', '--classes', *order, '--model', 'frcnn_r18_fpn_small',
                '--epochs', '1', '1', '3', '--out', out)
    assert done.status == 0, done.err
    command = shlex.split(done.out[done.out.index('  python '):].replace('\\\n', ''))[1:]  # as a shell reads it
    assert Path(command[0]).samefile(tiny.ROOT / 'tools/train_chain.py')
    assert command[1:] == [str(out / 'ilmil/frcnn_my_data_3+2.py'), '--methods', 'finetune', 'joint']
    # Fine-tuning would take as long again.
    done = tool('train_chain.py', command[1], '--methods', 'joint', '--work-dir', tmp_path / 'runs', '--cfg-options',
                'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
                'val_dataloader.persistent_workers=False', 'test_dataloader.num_workers=0',
                'test_dataloader.persistent_workers=False')
    assert done.status == 0, done.err[-3000:]
    figures = json.loads((tmp_path / 'runs/frcnn_my_data_3+2/metrics.json').read_text())
    assert tuple(figures['classes']) == order and figures['split'] == [3, 2]
    joint = Config.fromfile(tmp_path / 'runs/frcnn_my_data_3+2_joint/frcnn_my_data_3+2_joint.py')
    assert joint.train_cfg.max_epochs == joint.param_scheduler[1].end == 3 and joint.model.type == 'FasterRCNN'
    assert all(f'| frcnn_my_data_{row} ' in done.out for row in ('3', '3+2', '3+2_joint'))


def test_own_folders_of_other_names(tool, own, tmp_path):
    (own / 'JPEGImages').rename(own / 'pictures')
    (own / 'Annotations').rename(own / 'xml')
    tool('split_dataset.py', own, '--annotations', 'xml', '--shares', '0.5', '0.25', '0.25')
    assert 'has no folder JPEGImages' in tool('new_split.py', '--ann', own, '--split', '3+2').err
    done = tool('new_split.py', '--ann', own, '--images', 'pictures', '--annotations', 'xml', '--split', '3+2', '--classes',
                'ant', 'bee', 'cat', 'dog', 'emu', '--out', tmp_path / 'c')
    assert done.status == 0, done.err
    assert tool('check_dataset.py', '--voc', own, '--images', 'pictures', '--annotations', 'xml').status == 0
    dataset = Config.fromfile(tmp_path / 'c/ilmil/frcnn_my_data_3.py').train_dataloader.dataset
    assert (dataset.img_subdir, dataset.ann_subdir, dataset.ann_file) == ('pictures', 'xml', 'ImageSets/Main/train.txt')
    assert dataset.data_root == str(own)


def test_classes_that_the_annotation_does_not_have(tool, own, tmp_path):
    """A detector that knows them has a command of its own."""
    tool('split_dataset.py', own, '--shares', '0.5', '0.25', '0.25')
    args = ('new_split.py', '--ann', own, '--split', '2+5', '--out', tmp_path / 'c', '--classes')
    assert "'emus', which" in tool(*args, 'ant', 'emus', 'bee', 'cat', 'dog', 'emu', 'x').err
    assert "'yak', which" in tool(*args, 'yak', 'moth', 'ant', 'bee', 'cat', 'dog', 'emu').err


@pytest.mark.parametrize('root', ['data/a+b', 'data (1)', 'c[0]', '/home/me/my data'])
def test_folder_that_no_variable_takes(root, tmp_path):
    data = OwnData('IncrementalVOCDataset', Path(root), {name: {} for name in ('train', 'val', 'test')})
    (tmp_path / 'base.py').write_text('')
    (tmp_path / 'a.py').write_text(dataset_config(data, 'mine', ('ant', ), './base.py'))
    assert Config.fromfile(tmp_path / 'a.py').data_root == root


def test_absolute_and_relative_paths(coco, monkeypatch):
    monkeypatch.chdir(coco)
    splits = ('train', 'val', 'test')
    data = coco_data(dict.fromkeys(splits, 'all.json'), dict.fromkeys(splits, str(coco / 'images')))
    assert data.root == coco and data.settings['val'] == dict(ann_file='all.json', data_prefix=dict(img='images'))


@pytest.fixture
def coco(tmp_path):
    """A COCO file of ten images; the categories' ids are not in the order of the file."""
    folder = tmp_path / 'birds'
    (folder / 'images').mkdir(parents=True)
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=64, height=64) for i in range(10)],
        annotations=[dict(id=i, image_id=i, category_id=3 + 4 * (i % 2), bbox=[4, 4, 20, 20], area=400, iscrowd=0)
                     for i in range(10)],
        categories=[dict(id=7, name='auk'), dict(id=3, name='owl')])
    (folder / 'all.json').write_text(json.dumps(content))
    for image in content['images']:
        (folder / 'images' / image['file_name']).touch()
    return folder


def test_own_coco_file(tool, coco, tmp_path, monkeypatch):
    done = tool('new_split.py', '--ann', coco / 'all.json', '--images', coco / 'images', '--split', '1+1')
    assert done.status == 1 and 'tools/split_dataset.py' in done.err
    assert tool('split_dataset.py', coco / 'all.json', '--seed', '1').status == 0
    parts = {name: json.loads((coco / f'all_{name}.json').read_text()) for name in ('train', 'val', 'test')}
    assert [len(part['images']) for part in parts.values()] == [7, 1, 2]
    for part in parts.values():
        assert {item['image_id'] for item in part['annotations']} == {image['id'] for image in part['images']}
        assert len(part['categories']) == 2
    done = tool('new_split.py', '--ann', coco / 'all_train.json', '--val-ann', coco / 'all_val.json', '--test-ann',
                coco / 'all_test.json', '--images', coco / 'images', '--split', '1+1', '--out', tmp_path / 'c')
    assert done.status == 0, done.err
    path = tmp_path / 'c/ilmil/frcnn_birds_1+1.py'
    monkeypatch.setenv('MMILMIL_BIRDS_ROOT', 'elsewhere')
    assert Config.fromfile(path).test_dataloader.dataset.data_root == 'elsewhere'
    monkeypatch.delenv('MMILMIL_BIRDS_ROOT')
    cfg = Config.fromfile(path)
    assert cfg.metainfo.classes == ('owl', 'auk')  # by category id
    assert cfg.test_dataloader.dataset.type == 'IncrementalCocoDataset'
    assert cfg.test_dataloader.dataset.ann_file == 'all_test.json' and cfg.test_dataloader.dataset.data_root == str(coco)
    assert cfg.test_evaluator == dict(type='IncrementalCocoMetric', ann_file=str(coco / 'all_test.json'))


def test_files_that_a_person_changed_stay(tool, tmp_path):
    args = ('new_split.py', '--dataset', 'pcb', '--split', '4+2', '--out', tmp_path)
    assert tool(*args).status == 0
    assert tool(*args).out.count('as it is') == 2
    changed = tmp_path / 'ilmil/frcnn_pcb_4.py'
    changed.write_text(changed.read_text() + '# mine\n')
    done = tool(*args)
    assert done.status == 1 and str(changed) in done.err and '--force' in done.err
    assert changed.read_text().endswith('# mine\n')
    assert tool(*args, '--force').status == 0
    assert '# mine' not in changed.read_text()


@pytest.mark.parametrize(('args', 'told'), [
    (('--dataset', 'voc07', '--split', '15+6'), 'adds up to 21 classes, but VOC2007 has 20'),
    (('--dataset', 'voc07', '--split', '20'), 'has one group, so nothing is learnt later: write one such as 19+1'),
    (('--dataset', 'pcb', '--split', '1', '--classes', 'spur', '--name', 'a'), 'it takes two classes at least'),
    (('--dataset', 'voc07', '--split', '15+x'), "is invalid at 'x'"),
    (('--dataset', 'pcb', '--split', '1+1', '--classes', 'copper', 'Spurs', '--name', 'a'), "did you mean 'spur'?"),
    (('--dataset', 'pcb', '--split', '1+1', '--classes', 'spur', 'spur', '--name', 'a'), "'spur' more than once"),
    (('--dataset', 'pcb', '--split', '1+1', '--classes', 'spur', 'open'), 'give the split a --name'),
    (('--dataset', 'pcb', '--split', '4+2', '--name', '4+2'), "the name '4+2' cannot be"),
    (('--dataset', 'pcb', '--split', '4+2', '--images', 'x'), '--images is for data of one'),
    (('--dataset', 'voc07', '--split', '15+5', '--epochs', '1', '1', '1'), 'have their own'),
    (('--ann', 'nowhere', '--split', '1+1'), 'nowhere does not exist'),
])
def test_bad_input(tool, tmp_path, args, told):
    done = tool('new_split.py', *args, '--out', tmp_path / 'out')
    assert done.status == 1 and told in done.err and done.err.startswith('error: ')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('shares', 'told'), [(('0.5', '0.5', '0.5'), 'sum to 1'), (('0.98', '0.01', '0.01'), 'empty split')])
def test_bad_shares(tool, own, shares, told):
    done = tool('split_dataset.py', own, '--shares', *shares)
    assert done.status == 1 and told in done.err


def test_broken_files(tool, own, tmp_path):
    (tmp_path / 'x.json').write_text('{}')
    assert "has no list 'images': it must be a COCO file" in tool('split_dataset.py', tmp_path / 'x.json').err
    assert 'does not exist' in tool('split_dataset.py', tmp_path / 'y.json').err
    tool('split_dataset.py', own, '--shares', '0.5', '0.25', '0.25')
    first = (own / 'ImageSets/Main/train.txt').read_text().split()[0]
    (own / f'Annotations/{first}.xml').write_text('<annotation>')
    assert f'{first}.xml is not valid XML' in tool('new_split.py', '--ann', own, '--split', '3+2').err

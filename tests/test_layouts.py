"""Layouts of one's own data: what tools/new_split.py and tools/split_dataset.py find, draw, count and refuse."""

import json
import re
import shlex
from collections import Counter
from pathlib import Path

import conftest
import pytest
from mmengine.config import Config

from mmilmil.data_tools.formats.coco import coco_files, image_folder
from mmilmil.data_tools.own_data import chosen_classes
from mmilmil.data_tools.random_splits import check_shares, draw, pools
from mmilmil.errors import InputError
from mmilmil.registry import DATASETS
from mmilmil.text_files import write_all

SPLITS = ('train', 'val', 'test')
BOTH = (('ant', 5, 5, 30, 30), ('bee', 20, 20, 60, 60))


def xml(path: Path, objects=BOTH) -> None:
    """Write an XML file and the image of its name."""
    made = conftest.make_voc(path.parent / '.made', {path.stem: objects})
    path.parent.mkdir(parents=True, exist_ok=True)
    (made / f'Annotations/{path.stem}.xml').rename(path)


def voc(root: Path, names, objects=BOTH, images='JPEGImages', annotations='Annotations') -> Path:
    """Images and XML files by name, which may have subfolders; no lists."""
    for name in names:
        xml(root / annotations / f'{name}.xml', objects)
        image = root / images / f'{name}.jpg'
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()
    return root


def lists(root: Path) -> dict[str, list[str]]:
    return {path.stem: path.read_text().split() for path in (root / 'ImageSets/Main').glob('*.txt')}


def write_list(root: Path, name: str, images) -> None:
    (root / 'ImageSets/Main').mkdir(parents=True, exist_ok=True)
    (root / f'ImageSets/Main/{name}.txt').write_text('\n'.join(images))


def coco(path: Path, count=4, images: Path | None = None, classes=('ant', 'bee'), prefix='', start=0, **changes) -> Path:
    """A COCO file whose images have a box of each class; they are made in ``images``."""
    names = [f'{prefix}{number}.jpg' for number in range(start, start + count)]
    content = dict(
        images=[dict(id=number, file_name=name, width=64, height=64) for number, name in enumerate(names)],
        annotations=[dict(id=len(classes) * number + label, image_id=number, category_id=label, bbox=[4, 4, 20, 20])
                     for number in range(count) for label in range(len(classes))],
        categories=[dict(id=label, name=name) for label, name in enumerate(classes)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, **changes}))
    for name in names if images else ():
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    return path


def kept(out: Path, name: str) -> dict[str, int]:
    """The number of images that each loader of the written first stage reads."""
    cfg = Config.fromfile(out / f'ilmil/frcnn_{name}_1.py')
    return {split: len(DATASETS.build(dict(cfg[f'{split}_dataloader'].dataset, pipeline=[]))) for split in SPLITS}


def told_command(text: str) -> list[str]:
    """The arguments of the command between backquotes, without `python`."""
    command = shlex.split(re.search(r'`(python .*?)`', text)[1])
    return [Path(command[1]).name, *command[2:]]


# What is drawn


def test_every_xml_below_the_folder_is_drawn(tool, tmp_path):
    """Same name in two subfolders: two images. What has no counterpart is counted."""
    root = voc(tmp_path / 'data', [f'{folder}/{number}' for folder in ('a', 'b/c') for number in range(10)])
    xml(root / 'Annotations/lone.xml')
    (root / 'Annotations/a/3.xml').rename(root / 'Annotations/a/3.XML')
    (root / 'JPEGImages/also.png').touch()
    done = tool('split_dataset.py', root)
    assert done.status == 0, done.err
    drawn = lists(root)
    assert {name: len(part) for name, part in drawn.items()} == dict(train=13, val=2, test=4)
    assert sorted(sum(drawn.values(), [])) == sorted(f'{folder}/{number}' for folder in ('a', 'b/c') for number in range(10)
                                                     if (folder, number) != ('a', 3))
    assert 'left out: 2 images without an XML file: a/3, also' in done.out
    assert 'left out: 1 XML file without an image: lone' in done.out
    assert 'left out: 1 file whose ending is not in small letters, so not read: a/3.XML' in done.out
    assert tool('new_split.py', '--ann', root, '--split', '1+1', '--out', tmp_path / 'c').status == 0
    assert kept(tmp_path / 'c', 'data') == dict(train=13, val=2, test=4)


def test_xml_files_without_their_images(tool, tmp_path):
    """In other subfolders they are found by name: tests/test_formats.py."""
    root = voc(tmp_path / 'data', 'abc', images='JPEGImages/x')
    for image in (root / 'JPEGImages/x').iterdir():
        image.rename(image.with_stem(f'{image.stem}1'))
    done = tool('split_dataset.py', root)
    assert done.status == 1 and 'same subfolder (left out: 3 images without an XML file: x/a1, x/b1, x/c1; ' in done.err


def test_linked_folders(tool, tmp_path):
    voc(tmp_path / 'a', map(str, range(5)))
    root = voc(tmp_path / 'data', map(str, range(5)))
    for folder in ('JPEGImages', 'Annotations'):
        (root / folder / 'more').symlink_to(tmp_path / 'a' / folder)
    (root / 'Annotations/loop').symlink_to(root / 'Annotations')
    assert tool('split_dataset.py', root).status == 0
    assert sorted(sum(lists(root).values(), [])) == [*map(str, range(5)), *(f'more/{number}' for number in range(5))]


@pytest.mark.parametrize(('given', 'expected'), [
    (dict(), [(['train', 'val', 'test'], 'abcdef')]),
    (dict(trainval='abc', test='de'), [(['train', 'val'], 'abc')]),
    (dict(trainval='abcd', test='de'), [(['train', 'val'], 'abc')]),
    (dict(trainval='abcd', train='ab', test='ef'), [(['val'], 'cd')]),
    (dict(trainval='abcd', val='b', test='ef'), [(['train'], 'acd')]),
    (dict(trainval='abcd'), [(['train', 'val'], 'abcd'), (['test'], 'ef')]),
    (dict(trainval='abcd', train='abc', val='d'), [(['test'], 'ef')]),
    (dict(test='ab'), [(['train', 'val'], 'cdef')]),
    (dict(train='ab', test='cd'), [(['val'], 'ef')]),
    (dict(train='abc', val='d'), [(['test'], 'ef')]),
])
def test_what_is_drawn_from_what(given, expected):
    found = pools('abcdef', {name: list(images) for name, images in given.items()})
    assert [(splits, ''.join(pool)) for splits, pool in found] == expected


def test_trainval_and_test_without_val(tool, tmp_path):
    """The command that new_split.py names makes what lacks; test images stay out of train."""
    root = voc(tmp_path / "it's data", map(str, range(20)))
    write_list(root, 'trainval', map(str, range(12)))
    write_list(root, 'test', map(str, range(11, 18)))
    new_split = ('new_split.py', '--ann', f'{root}/', '--split', '1+1', '--out', tmp_path / 'c', '--name', 'data')
    done = tool(*new_split)
    assert done.status == 1 and not (tmp_path / 'c').exists()
    before = (root / 'ImageSets/Main/test.txt').read_bytes()
    drawn = tool(*told_command(done.err))
    assert drawn.status == 0, drawn.err
    assert '1 images of' in drawn.out and '2 images with an XML file are in no list: 18, 19' in drawn.out
    now = lists(root)
    assert (root / 'ImageSets/Main/test.txt').read_bytes() == before
    assert len(now['train']) == 10 and len(now['val']) == 1 and set(now['train'] + now['val']) == set(map(str, range(11)))
    done = tool(*new_split)
    assert done.status == 0, done.err
    assert kept(tmp_path / 'c', 'data') == dict(train=10, val=1, test=7)


def test_no_image_is_left(tool, tmp_path):
    """Both remedies work."""
    root = voc(tmp_path / 'data', map(str, range(10)))
    write_list(root, 'train', map(str, range(8)))
    write_list(root, 'test', map(str, range(8, 10)))
    done = tool('split_dataset.py', root)
    assert done.status == 1 and f'rename {root}/ImageSets/Main/train.txt to trainval.txt' in done.err
    (root / 'ImageSets/Main/train.txt').rename(root / 'ImageSets/Main/trainval.txt')
    assert tool('split_dataset.py', root).status == 0
    assert len(lists(root)['train']) == 7 and len(lists(root)['val']) == 1

    root = voc(tmp_path / 'more', map(str, range(10)))
    write_list(root, 'trainval', map(str, range(10)))
    done = tool('split_dataset.py', root)
    assert done.status == 1 and 'no image is left for test' in done.err
    (root / 'ImageSets/Main/trainval.txt').unlink()
    assert tool('split_dataset.py', root).status == 0


def test_lists_that_name_what_is_not_there(tool, tmp_path):
    root = voc(tmp_path / 'data', map(str, range(10)))
    write_list(root, 'test', ['3', 'x'])
    done = tool('split_dataset.py', root)
    assert done.status == 1 and 'test.txt lists 1 images that have no image or no XML file: x' in done.err


@pytest.mark.parametrize('splits', [SPLITS, ('train', 'val'), ('val', 'test')])
@pytest.mark.parametrize('shares', [(0.7, 0.1, 0.2), (0.98, 0.01, 0.01), (0.05, 0.05, 0.9)])
def test_the_shares_that_are_told_work(splits, shares):
    for count in range(2, 60):
        try:
            parts, _ = draw([{'ant': 1}] * count, splits, shares, seed=0)
        except InputError as error:
            if count < len(splits):
                assert 'it takes 3 images at least' in str(error)
                continue
            other = [float(share) for share in str(error).partition('--shares ')[2].split()]
            check_shares(other)
            parts, _ = draw([{'ant': 1}] * count, splits, other, seed=0)
        assert all(parts.values()) and sorted(sum(parts.values(), [])) == list(range(count))


def test_a_class_that_training_would_not_see():
    boxes = [{'ant': 1}] * 9 + [{'bee': 1}]
    seeds = {}
    for seed in range(20):
        try:
            parts, lines = draw(boxes, SPLITS, (0.7, 0.1, 0.2), seed)
        except InputError as error:
            seeds[seed] = int(re.search(r"train has no box of 'bee'.*: --seed (\d+) draws some", str(error))[1])
        else:
            # No seed can mend that.
            assert 9 in parts['train'] and lines == ["val has no box of 'bee'", "test has no box of 'bee'"]
    assert seeds and not set(seeds) & set(seeds.values())


def test_a_class_that_a_split_would_not_measure():
    """Told, with a seed that mends it."""
    boxes, splits, shares = [{'ant': 1}] * 9 + [{'bee': 1}] * 2, ('train', 'test'), (0.7, 0.1, 0.2)
    seeds = 0
    for seed in range(20):
        try:
            parts, lines = draw(boxes, splits, shares, seed)
        except InputError:
            continue
        if set(parts['test']) & {9, 10}:
            assert not lines
        else:
            other = int(re.fullmatch(r"test has no box of 'bee' \(--seed (\d+) draws some for every split\)", lines[0])[1])
            assert not draw(boxes, splits, shares, other)[1]
            seeds += 1
    assert seeds


def test_no_box_to_draw():
    with pytest.raises(InputError, match='none of the 9 images to draw from has a box to train on'):
        draw([Counter()] * 9, SPLITS, (0.7, 0.1, 0.2), seed=0)


@pytest.mark.parametrize('name', ['a ', ' a', 'a\nb', 'sub /a\x85'])
def test_names_that_a_list_cannot_hold(tool, tmp_path, name):
    root = voc(tmp_path / 'data', ['b', 'c', name])
    done = tool('split_dataset.py', root)
    assert done.status == 1 and f'cannot hold the name {name!r}' in done.err and not (root / 'ImageSets').exists()


@pytest.mark.parametrize('shares', [(0.5, 0.5, 0.5), (0.9, 0.2, -0.1), (float('nan'), 0.5, 0.5), (0.8, 0.2, 0.0)])
def test_what_are_no_shares(shares):
    with pytest.raises(InputError, match='three positive numbers that sum to 1, such as 0.7 0.1 0.2'):
        check_shares(shares)


# COCO files


def test_coco_draw_counts_what_it_leaves_out(tool, tmp_path):
    path = coco(tmp_path / 'all.json', 10)
    content = json.loads(path.read_text())
    content['annotations'] = [one for one in content['annotations'] if one['image_id'] != 3] + [
        dict(content['annotations'][0], id=100 + number, image_id=77) for number in range(3)]
    path.write_text(json.dumps(content))
    done = tool('split_dataset.py', path)
    assert done.status == 0, done.err
    assert 'left out: 3 annotations of 1 images that the file does not list' in done.out
    assert '1 of 10 images have no annotation' in done.out
    parts = [json.loads((tmp_path / f'all_{split}.json').read_text()) for split in SPLITS]
    assert [len(part['images']) for part in parts] == [7, 1, 2]
    assert Counter(one['image_id'] for part in parts for one in part['annotations']) == {
        number: 2 for number in range(10) if number != 3}


@pytest.mark.parametrize('layout', ['file', 'roboflow', 'coco'])
def test_coco_test_is_given_and_val_lacks(tool, tmp_path, layout):
    """The command that new_split.py names makes val; what stands in test stays out of it."""
    root = tmp_path / 'my birds'
    if layout == 'roboflow':
        train = coco(root / 'train/_annotations.coco.json', 10, root / 'train')
        test = coco(root / 'test/_annotations.coco.json', 2, root / 'test')
    elif layout == 'coco':
        train = coco(root / 'annotations/instances_train2017.json', 10, root / 'train2017')
        test = coco(root / 'annotations/instances_test2017.json', 2, root / 'test2017', start=8)
    else:
        train = coco(root / 'a.json', 12, root / 'images')
        test = coco(root / 'b.json', 2, root / 'images', start=10)
    ann = ('--ann', train, '--test-ann', test) if layout == 'file' else ('--ann', root)
    rest = ('--split', '1+1', '--out', tmp_path / 'c')
    done = tool('new_split.py', *ann, *rest)
    assert done.status == 1 and 'no annotation for val' in done.err and not (tmp_path / 'c').exists()
    drawn = tool(*told_command(done.err))
    assert drawn.status == 0, drawn.err
    assert ('left out: 2 images that' in drawn.out) == (layout == 'file')
    if layout == 'file':
        ann = shlex.split(re.search(r'then give `(.*?)`', done.err)[1])
    assert shlex.split(re.search('next: python .*?new_split.py (.*) --split', drawn.out)[1]) == [*map(str, ann)]
    done = tool('new_split.py', *ann, *rest)
    assert done.status == 0, done.err
    assert kept(tmp_path / 'c', 'my_birds') == dict(train=9, val=1, test=2)


def test_coco_has_all_splits(tool, tmp_path):
    for split in SPLITS:
        coco(tmp_path / f'{split}.json', 3, tmp_path / split)
    done = tool('split_dataset.py', tmp_path)
    assert done.status == 1 and 'nothing is left to draw' in done.err


@pytest.mark.parametrize(('files', 'folders', 'expected'), [
    (['train/_annotations.coco.json', 'valid/_annotations.coco.json', 'test/_annotations.coco.json'],
     ['train', 'valid', 'test'], ['train', 'valid', 'test']),
    (['annotations/instances_train2017.json', 'annotations/instances_val2017.json', 'annotations/instances_test2017.json'],
     ['train2017', 'val2017', 'test2017'], ['train2017', 'val2017', 'test2017']),
    (['annotations/train.json', 'annotations/val.json', 'annotations/test.json'], ['images/train', 'images/val', 'images/test'],
     ['images/train', 'images/val', 'images/test']),
    (['all_train.json', 'all_val.json', 'all_test.json'], ['images'] * 3, ['images'] * 3),
    (['train.json', 'val.json', 'test.json'], ['.'] * 3, ['.'] * 3),
])
def test_coco_layouts(tool, tmp_path, monkeypatch, files, folders, expected):
    """As a folder and by their files, without --images; every split finds its own folder."""
    root = tmp_path / 'data'
    for number, (file, folder) in enumerate(zip(files, folders)):
        # Where each split has a folder, the same names mean other images.
        coco(root / file, 3, root / folder, start=0 if len(set(folders)) > 1 else 3 * number)
    coco(root / 'annotations/captions_train2017.json', 3)
    coco(root / 'annotations/image_info_test2017.json', 3)
    monkeypatch.chdir(root)
    for ann in (['--ann', '../data'], ['--ann', files[0], '--val-ann', files[1], '--test-ann', files[2]]):
        out = tmp_path / f'out{len(ann)}'
        done = tool('new_split.py', *ann, '--split', '1+1', '--out', out)
        assert done.status == 0, done.err
        assert f'images of val: found in {(Path(ann[1]) if len(ann) == 2 else Path()) / expected[1]}' in done.out
        cfg = Config.fromfile(out / 'ilmil/frcnn_data_1.py')
        for split, file, folder in zip(SPLITS, files, expected):
            dataset = cfg[f'{split}_dataloader'].dataset
            assert (root / dataset.data_root / dataset.data_prefix.img).resolve() == (root / folder).resolve()
            assert (root / dataset.data_root / dataset.ann_file).resolve() == (root / file).resolve()
        assert kept(out, 'data') == dict(train=3, val=3, test=3)
        assert (root / cfg.test_evaluator.ann_file).resolve() == (root / files[2]).resolve()


def test_images_of_each_split_by_option(tool, tmp_path):
    files = [coco(tmp_path / f'json/{split}.json', 3, tmp_path / f'far/away/{split}', start=3 * number)
             for number, split in enumerate(SPLITS)]
    ann = ('new_split.py', '--ann', files[0], '--val-ann', files[1], '--test-ann', files[2], '--name', 'data', '--split',
           '1+1', '--out', tmp_path / 'c')
    assert 'no image that' in tool(*ann).err
    done = tool(*ann, '--images', tmp_path / 'far/away/train')
    assert f'{tmp_path}/far/away/train has 0 of the 3 images that {files[1]} lists' in done.err
    assert '--val-images' in done.err
    assert not (tmp_path / 'c').exists()
    done = tool(*ann, '--images', tmp_path / 'far/away/train', '--val-images', tmp_path / 'far/away/val', '--test-images',
                tmp_path / 'far/away/test')
    assert done.status == 0, done.err
    assert kept(tmp_path / 'c', 'data') == dict(train=3, val=3, test=3)


def test_folder_that_holds_the_images(tmp_path):
    path = coco(tmp_path / 'a/ann.json', 3)
    names = ['x/0.jpg', '1.jpg']
    with pytest.raises(InputError, match=r"no image that .*ann.json lists \(2, the first is 'x/0.jpg'\).* --val-images"):
        image_folder(path, names, None, '--val-images')
    for folder in ('a/photos', 'copies'):
        (tmp_path / folder / 'x').mkdir(parents=True)
        (tmp_path / folder / 'x/0.jpg').touch()
    with pytest.raises(InputError, match='photos has 1 of the 2 images that .*; missing: 1.jpg: add the images'):
        image_folder(path, names)
    (tmp_path / 'a/photos/1.JPG').touch()
    with pytest.raises(InputError, match="missing: 1.jpg: of '1.jpg', letter case counts, and there is '1.JPG'"):
        image_folder(path, names)
    (tmp_path / 'a/photos/1.jpg').touch()
    assert image_folder(path, names) == tmp_path / 'a/photos'
    with pytest.raises(InputError, match=f'x has 0 of the 2 .*: they are in {tmp_path}/a/photos: give --images {tmp_path}/a/p'):
        image_folder(path, names, str(tmp_path / 'copies/x'))
    with pytest.raises(InputError, match=r'nowhere \(--images\) is no folder'):
        image_folder(path, names, 'nowhere')
    (tmp_path / 'copies/1.jpg').touch()
    with pytest.raises(InputError, match='several folders hold the images .*photos, .*copies.*by --images'):
        image_folder(path, names)
    assert image_folder(tmp_path / 'a/of_copies.json', names) == tmp_path / 'copies'
    # A link to it is no second folder.
    (tmp_path / 'copies').rename(tmp_path / 'gone')
    (tmp_path / 'a/link').symlink_to(tmp_path / 'a/photos')
    (tmp_path / 'gone/1.jpg').unlink()
    assert image_folder(path, names).resolve() == tmp_path / 'a/photos'


def test_several_files_for_a_split(tmp_path):
    for name in ('a_train.json', 'b_train.json', 'c_val.json'):
        coco(tmp_path / name)
    with pytest.raises(InputError, match='2 files for train .*a_train.json, .*b_train.json.* --ann, --val-ann and --test-ann'):
        coco_files(tmp_path)
    (tmp_path / 'b_train.json').rename(tmp_path / 'trainval.json')
    assert coco_files(tmp_path) == dict(train=tmp_path / 'a_train.json', val=tmp_path / 'c_val.json')


# Folders with XML files


def test_roboflow_voc_export(tool, tmp_path):
    """Images and XML files side by side in train, valid and test: nothing is drawn, the folders are listed."""
    root = tmp_path / 'data'
    for folder, count in (('train', 4), ('valid', 2), ('test', 3)):
        voc(root, [f'{folder}/{number}' for number in range(count)], images='.', annotations='.')
    new_split = ('new_split.py', '--ann', root, '--split', '1+1', '--out', tmp_path / 'c')
    done = tool(*new_split)
    assert done.status == 1
    assert tool(*told_command(done.err)).status == 0
    assert lists(root) == dict(train=[f'train/{number}' for number in range(4)], val=['valid/0', 'valid/1'],
                               test=[f'test/{number}' for number in range(3)])
    done = tool(*new_split)
    assert done.status == 0, done.err
    assert kept(tmp_path / 'c', 'data') == dict(train=4, val=2, test=3)


def test_roboflow_voc_export_without_valid(tool, tmp_path):
    names = [*(f'train/{number}' for number in range(8)), 'test/0', 'test/1']
    root = voc(tmp_path / 'data', names, images='.', annotations='.')
    assert tool('split_dataset.py', root).status == 0
    now = lists(root)
    assert now['test'] == ['test/0', 'test/1'] and len(now['train']) == 7 and len(now['val']) == 1
    assert set(now['train'] + now['val']) == {f'train/{number}' for number in range(8)}


def test_xml_files_beside_the_images(tool, tmp_path):
    root = voc(tmp_path / 'data', map(str, range(10)), images='.', annotations='.')
    assert tool('split_dataset.py', root).status == 0
    done = tool('new_split.py', '--ann', root, '--split', '1+1', '--out', tmp_path / 'c')
    assert done.status == 0, done.err
    assert kept(tmp_path / 'c', 'data') == dict(train=7, val=1, test=2)


def test_listed_images_that_are_not_there(tool, tmp_path):
    root = voc(tmp_path / 'data', map(str, range(6)))
    for split, names in zip(SPLITS, ('012', '3', '45')):
        write_list(root, split, names)
    (root / 'JPEGImages/2.jpg').unlink()
    new_split = ('new_split.py', '--ann', root, '--split', '1+1', '--out', tmp_path / 'c')
    done = tool(*new_split)
    assert f'{root}/JPEGImages lacks 1 of the 3 images that {root}/ImageSets/Main/train.txt lists (2): ' in done.err
    assert 'add it, or take the line out, or name another folder by --images' in done.err
    (root / 'other').mkdir()
    done = tool(*new_split, '--images', 'other')
    assert 'other lacks 3 of the 3 images' in done.err and 'other has no image of that name' in done.err
    assert not (tmp_path / 'c').exists()


def test_unknown_layout(tool, tmp_path):
    (tmp_path / 'data').mkdir()
    for name, args in (('split_dataset.py', ()), ('new_split.py', ('--split', '1+1', '--ann'))):
        done = tool(name, *args, tmp_path / 'data')
        assert done.status == 1 and 'has no known layout: VOC' in done.err


# Classes and boxes


@pytest.mark.parametrize('kind', ['voc', 'coco'])
def test_no_usable_box(tool, tmp_path, kind):
    """Coordinates between 0 and 1, or everything ignored."""
    root = tmp_path / 'data'
    if kind == 'voc':
        voc(root, '0123', objects=[('ant', 0, 0, 1, 1), ('bee', 0, 0, 0, 1)])
        for split, names in zip(SPLITS, ('01', '2', '3')):
            write_list(root, split, names)
    else:
        for split in SPLITS:
            path = coco(root / f'{split}.json', 2, root)
            path.write_text(path.read_text().replace('[4, 4, 20, 20]', '[0.1, 0.1, 0.5, 0.5]'))
    done = tool('new_split.py', '--ann', root, '--split', '1+1', '--out', tmp_path / 'c')
    assert done.status == 1 and 'has no box to train on or to find: its 4 are ignored' in done.err
    assert 'coordinates are pixels' in done.err and not (tmp_path / 'c').exists()


def test_a_category_without_boxes_is_no_class(tool, tmp_path):
    """`_background_`, or the group that Roboflow writes as category 0."""
    for split in SPLITS:
        coco(tmp_path / f'data/{split}.json', 2, tmp_path / 'data', start=10 * SPLITS.index(split), categories=[
            dict(id=9, name='_background_'), dict(id=0, name='ant'), dict(id=1, name='bee')])
    done = tool('new_split.py', '--ann', tmp_path / 'data', '--split', '1+1', '--out', tmp_path / 'c')
    assert done.status == 0, done.err
    assert "left out, a category without a box in any of the files: '_background_'" in done.out
    assert 'train: 2 images, 4 boxes' in done.out
    assert Config.fromfile(tmp_path / 'c/ilmil/frcnn_data_1+1.py').metainfo.classes == ('ant', 'bee')


def test_classes_left_out_and_absent_in_a_split(tool, tmp_path):
    root = tmp_path / 'data'
    coco(root / 'train.json', 3, root, ('ant', 'bee', 'cat'))
    coco(root / 'val.json', 3, root, ('ant', 'bee', 'cat'), start=3,
         annotations=[dict(id=1, image_id=0, category_id=1, bbox=[4, 4, 20, 20])])
    coco(root / 'test.json', 3, root, ('ant', 'bee'), start=2)
    args = ('new_split.py', '--ann', root, '--out', tmp_path / 'c')
    done = tool(*args, '--split', '2+1')
    assert done.status == 1 and "test.json has no category 'cat': add it" in done.err
    content = json.loads((root / 'test.json').read_text())
    content['categories'].append(dict(id=7, name='cat'))
    (root / 'test.json').write_text(json.dumps(content))
    assert tool(*args, '--split', '2+1', '--name', 'three').status == 0
    done = tool(*args, '--split', '1+1', '--classes', 'bee', 'ant')
    assert done.status == 0, done.err
    assert "left out, as --classes does not name them: 'cat' (3 boxes)" in done.out
    assert "val.json has no box of 'ant': no AP of it there" in done.out
    assert f'1 images are both in train and in test, whose figures will be too good: {root}/2.jpg' in done.out


@pytest.mark.parametrize(('split', 'classes'), [('1+2', 'xab'), ('1+1+1', 'axb'), ('1+1', 'ax')])
def test_classes_that_nothing_is_trained_on(tool, tmp_path, split, classes):
    """Old or new; where a detector knows the old ones, the message says how it is taken."""
    root = tmp_path / 'data'
    for number, name in enumerate(SPLITS):
        coco(root / f'{name}.json', 3, root, 'abx', start=3 * number, annotations=[
            dict(id=label, image_id=0, category_id=label, bbox=[4, 4, 20, 20]) for label in range(2 + (name != 'train'))])
    done = tool('new_split.py', '--ann', root, '--split', split, '--classes', *classes, '--out', tmp_path / 'c')
    assert done.status == 1 and "has no box to train on for 'x': put images" in done.err
    assert '--teacher CONFIG CHECKPOINT in the place of --split' in done.err and not (tmp_path / 'c').exists()


@pytest.mark.parametrize('content', [b'\xef\xbb\xbfbee\r\n\r\n ant \r\n', 'bee\nant'.encode('utf-16')])
def test_file_of_classes(tmp_path, content):
    (tmp_path / 'names.txt').write_bytes(content)
    assert chosen_classes([str(tmp_path / 'names.txt')], ('ant', 'bee'), 'data') == ('bee', 'ant')


@pytest.mark.parametrize(('content', 'told'), [
    (b'ant\nbee\nant\n', "'ant' more than once"), (b'\n \n', 'lists no class'), (b'\xff\xfe\xff', 'is not a text file'),
    (None, "names 'names.txt', which data does not have: there are 'ant', 'bee'; nor is there a file of that name")])
def test_bad_file_of_classes(tmp_path, monkeypatch, content, told):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path('names.txt').write_bytes(content)
    with pytest.raises(InputError, match=told):
        chosen_classes(['names.txt'], ('ant', 'bee'), 'data')


# What is written


NAMES = ("o'clock", 'say "so"', 'a, b', '[x] (y)', 'Käfer 虫', '007', 'back\\slash', 'half{x} {{ y', '# no comment', '%s $HOME')


@pytest.mark.parametrize('folder', ['my data', "it's", 'say "so"', 'Käfer_虫', 'a{b}$HOME'])
def test_odd_names(tool, tmp_path, folder, monkeypatch):
    """Whatever a class or a folder is called, the configs load and say so, also after MMEngine has written them out."""
    root = tmp_path / folder
    for number, split in enumerate(SPLITS):
        coco(root / f'{split}.json', 2, root, NAMES, start=2 * number)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / 'c'
    done = tool('new_split.py', '--ann', f'{folder}/', '--split', '4+6', '--out', out, '--name', 'insects')
    assert done.status == 0, done.err
    cfg = Config.fromfile(out / 'ilmil/frcnn_insects_4+6.py')
    assert cfg.metainfo.classes == NAMES and cfg.train_dataloader.dataset.data_root == folder
    assert cfg.test_evaluator.ann_file == f'{folder}/test.json'
    (tmp_path / 'dumped.py').write_text(cfg.pretty_text, encoding='utf-8')
    assert Config.fromfile(tmp_path / 'dumped.py', use_predefined_variables=False).metainfo.classes == NAMES
    assert len(DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))) == 2


def test_names_that_mmengine_would_replace(tool, tmp_path):
    root = tmp_path / 'data'
    for number, split in enumerate(SPLITS):
        coco(root / f'{split}.json', 2, root, ('ant', '{{ fileBasename }}'), start=2 * number)
    done = tool('new_split.py', '--ann', root, '--split', '1+1', '--out', tmp_path / 'c/d')
    assert done.status == 1 and 'other class names' in done.err and not (tmp_path / 'c').exists()


@pytest.mark.parametrize('name', ['class', 'None', 'x_1', 'Käfer'])
def test_names_of_the_data(tool, tmp_path, name):
    done = tool('new_split.py', '--dataset', 'pcb', '--split', '4+2', '--name', name, '--out', tmp_path)
    assert done.status == 0, done.err
    assert len(Config.fromfile(tmp_path / f'ilmil/frcnn_{name}_4+2.py').metainfo.classes) == 6


@pytest.mark.parametrize(('args', 'told'), [
    (('--name', 'voc'), 'is that of a data set which comes with the project'),
    (('--name', 'PCB'), 'is that of a data set which comes with the project'),
    (('--name', 'voc_style_small'), 'is that of a data set which comes with the project'),
    (('--name', '_x'), 'begins with a letter'),
    (('--name', 'a/b'), 'letters, digits and _'),
    (('--epochs', '0', '1', '1'), '--epochs 0 1 1: give three numbers of 1 or more'),
    (('--epochs', '3', '-1', '1'), 'three numbers of 1 or more'),
    (('--annotations', 'x'), '--annotations is for data of one'),
    (('--val-images', 'x'), '--val-images is for data of one'),
])
def test_bad_options(tool, tmp_path, args, told):
    done = tool('new_split.py', '--dataset', 'pcb', '--split', '4+2', *args, '--out', tmp_path / 'c')
    assert done.status == 1 and told in done.err and not (tmp_path / 'c').exists()


@pytest.mark.parametrize(('args', 'told'), [
    (('--val-ann', 'x.json'), '--val-ann is for COCO files'), (('--test-images', 'x'), '--test-images is for COCO files')])
def test_options_of_the_other_format(tool, tmp_path, args, told):
    root = voc(tmp_path / 'data', '012')
    assert told in tool('new_split.py', '--ann', root, '--split', '1+1', *args).err
    path = coco(tmp_path / 'a.json', 3)
    assert '--annotations is for a folder' in tool('new_split.py', '--ann', path, '--split', '1+1', '--annotations', 'x').err
    assert 'are for COCO files' in tool('split_dataset.py', root, '--val-ann', path).err
    assert 'leave them out' in tool('split_dataset.py', path, '--images', 'x').err


def test_home_directory(tool, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    voc(tmp_path / 'data', map(str, range(10)))
    assert tool('split_dataset.py', '~/data').status == 0
    done = tool('new_split.py', '--ann', '~/data', '--split', '1+1', '--out', '~/c')
    assert done.status == 0, done.err
    assert kept(tmp_path / 'c', 'data')['train'] == 7


def test_linked_out(tool, tmp_path):
    """`..` behind a link is not the folder that the link is in."""
    (tmp_path / 'a/b/c').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(tmp_path / 'a/b/c')
    done = tool('new_split.py', '--dataset', 'pcb', '--split', '4+2', '--out', tmp_path / 'link')
    assert done.status == 0, done.err
    assert Config.fromfile(tmp_path / 'link/ilmil/frcnn_pcb_4.py').model.type == 'FasterRCNN'


@pytest.mark.parametrize('out', ['file', 'file/below', "it's", 'x' * 300])
def test_out_that_takes_no_configs(tool, tmp_path, out):
    (tmp_path / 'file').write_text('mine')
    before = sorted(tmp_path.rglob('*'))
    done = tool('new_split.py', '--dataset', 'pcb', '--split', '4+2', '--out', tmp_path / out)
    assert done.status == 1 and done.err.startswith('error: ') and done.err.count('\n') == 1
    assert sorted(tmp_path.rglob('*')) == before and (tmp_path / 'file').read_text() == 'mine'


def test_all_or_nothing(tmp_path):
    (tmp_path / 'old').write_bytes(b'old\r\n')
    (tmp_path / 'folder').mkdir()
    files = {tmp_path / 'old': 'new', tmp_path / 'a/b/c': 'x', tmp_path / 'folder': 'not a file'}
    with pytest.raises(InputError, match='folder cannot be written .* so nothing is'):
        write_all(files)
    assert sorted(tmp_path.rglob('*')) == [tmp_path / 'folder', tmp_path / 'old']
    assert (tmp_path / 'old').read_bytes() == b'old\r\n'
    del files[tmp_path / 'folder']

    def check():
        assert (tmp_path / 'a/b/c').read_text() == 'x'
        raise InputError('no')

    with pytest.raises(InputError, match='no'):
        write_all(files, check)
    assert sorted(tmp_path.rglob('*')) == [tmp_path / 'folder', tmp_path / 'old']
    write_all(files)
    assert (tmp_path / 'old').read_text() == 'new' and (tmp_path / 'a/b/c').read_text() == 'x'

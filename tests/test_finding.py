"""Finding one's own data: one set to test on, as `--old-test` names it."""

import conftest
import pytest
from test_layouts import coco

from mmilmil.data_tools.finding import find_test
from mmilmil.errors import InputError
from mmilmil.registry import DATASETS

ANT, BEE = ('ant', 5, 5, 30, 30), ('bee', 20, 20, 60, 60)


def dataset(found):
    return DATASETS.build(dict(type=found.kind, **found.settings, metainfo=dict(classes=('ant', 'bee'), split=(2, )),
                               pipeline=[], test_mode=True))


def test_a_voc_folder_by_its_test_list(tmp_path):
    root = conftest.make_voc(tmp_path / 'voc', dict(a=[ANT], b=[ANT, BEE], c=[]), splits=dict(val='ab', test='b'))
    found = find_test(root)
    assert found.kind == 'IncrementalVOCDataset' and dict(found.data.boxes) == dict(ant=1, bee=1)
    assert len(dataset(found)) == 1
    (root / 'ImageSets/Main/test.txt').unlink()
    assert len(dataset(find_test(root))) == 2
    (root / 'ImageSets/Main/val.txt').rename(root / 'ImageSets/Main/train.txt')
    with pytest.raises(InputError, match='--old-test .* has neither test nor val, only .*train.txt: give'):
        find_test(root)


def test_coco_files(tmp_path, monkeypatch):
    """A file is taken whole, whatever it is called; a path stays as it was typed."""
    file = coco(tmp_path / 'data/annotations/train.json', 3, tmp_path / 'data/images')
    coco(tmp_path / 'data/annotations/val.json', 2, tmp_path / 'data/images')
    monkeypatch.chdir(tmp_path)
    found = find_test(file.relative_to(tmp_path))
    assert found.settings == dict(data_root='data', ann_file='annotations/train.json', data_prefix=dict(img='images'))
    assert len(dataset(found)) == 3 and found.data.count() == '3 images, 6 boxes'
    assert len(dataset(find_test('data', 'data/images'))) == 2
    with pytest.raises(InputError, match=r'x \(--old-test-images\) is no folder'):
        find_test('data', 'x')
    with pytest.raises(InputError, match='--old-test nowhere does not exist'):
        find_test('nowhere')

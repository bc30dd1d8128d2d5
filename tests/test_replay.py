"""Exemplar replay: which images are kept, with which boxes, what is told of it, and what is refused."""

import json
import re

import pytest
from mmengine.config import Config
from tiny import OLD, ROOT, SEEN, write_configs

from mmilmil import InputError
from mmilmil.datasets import IncrementalCocoDataset, IncrementalVOCDataset
from mmilmil.datasets.replay import Replay
from mmilmil.engine.chain import settings_for
from mmilmil.engine.chain_stages import stages_of
from mmilmil.engine.resume_check import differences
from mmilmil.stock import stock_config

CLASSES, GROUPS = ('cat', 'cow', 'dog'), (1, 1, 1)
# Three stages: cat, then cow, then dog. `bird` is on no list.
IMAGES = {
    'a': [('cat', 1, 1, 10, 10), ('bird', 5, 5, 9, 9)],
    'b': [('cat', 1, 1, 10, 10), ('cow', 11, 11, 20, 20)],
    'c': [('cow', 3, 3, 30, 30)],
    'd': [('dog', 3, 3, 30, 30), ('cat', 1, 1, 9, 9)],
    'e': [('dog', 2, 2, 64, 64)],
    'f': [('cat', 2, 2, 9, 9, 1), ('cow', 70, 70, 80, 80)],  # nothing that could be trained on
    'g': [('cow', 2, 2, 9, 9), ('dog', 2, 2, 9, 9, 1)],
}


def build(root, classes=CLASSES, groups=GROUPS, **kwargs):
    return IncrementalVOCDataset(data_root=str(root), ann_file='ImageSets/Main/train.txt',
                                 metainfo=dict(classes=classes, split=groups), **kwargs)


def boxes(dataset):
    """By image, the names of its boxes that are trained on."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return {info['img_id']: [dataset.stage.classes[one['bbox_label']] for one in info['instances']] for info in infos}


def test_an_order_of_images_for_each_class():
    names = [f'{number:03}' for number in range(200)]
    few, many, other = (Replay(*args) for args in ((5, 0), (20, 0), (20, 1)))
    assert few.drawn('cat', names) == few.drawn('cat', reversed(names)) and len(few.drawn('cat', names)) == 5
    assert few.drawn('cat', names) < many.drawn('cat', names)
    assert many.drawn('cat', names) != many.drawn('cow', names) and many.drawn('cat', names) != other.drawn('cat', names)
    assert many.drawn('cat', names[:3]) == {'000', '001', '002'}
    # By `printf 0/cat/c | sha256sum` and the like, so the same on every machine.
    assert Replay(2).drawn('cat', 'abcdef') == {'b', 'c'}


def test_all_images_of_old_classes(voc_set):
    """More are asked for than there are. Each has the boxes of the stages that keep it."""
    root = voc_set(IMAGES)
    dataset = build(root, replay=dict(per_class=10))
    assert boxes(dataset) == {
        'a': ['cat'],
        'b': ['cat', 'cow'],  # kept by both stages
        'c': ['cow'],
        'd': ['dog', 'cat'],  # an image of this stage keeps its own, too
        'e': ['dog'],
        'g': ['cow'],  # its difficult dog makes it no image of this stage
    }
    report = dataset.report
    kept = ['a', 'b', 'c', 'd', 'g']
    size = sum((root / f'JPEGImages/{name}.jpg').stat().st_size for name in kept)
    assert dataset.replayed == dict(images=5, bytes=size) and report.replayed_new == 1
    assert report.boxes == dict(dog=2) and report.replayed_boxes == dict(cat=3, cow=3)
    assert report.hidden_old == 0 and report.hidden_unlisted == dict(bird=1) and report.images_kept == 6
    text = report.summary()
    assert f'replay: 5 images of old classes, {size / 1e6:.1f} MB; 1 of them are of this stage too; boxes: cat 3, cow 3' in text
    assert 'fewer than per_class = 10 images with cat (3), cow (3)' in text
    assert dataset.get_data_info(0)['instances'] == [{'bbox': [0, 0, 9, 9], 'ignore_flag': 0, 'bbox_label': 0}]


def test_boxes_are_those_that_its_stage_had_annotated(voc_set, monkeypatch):
    """The cats of an image that is kept for its cows were annotated in another stage, whose image it was not kept as."""
    root = voc_set(IMAGES)
    monkeypatch.setattr(Replay, 'drawn', lambda self, name, img_ids: {'b'} if name == 'cow' else {'d'})
    dataset = build(root, replay=dict(per_class=1))
    assert boxes(dataset) == {'b': ['cow'], 'd': ['dog', 'cat'], 'e': ['dog']}
    assert dataset.report.hidden_old == 1 and dataset.replayed['images'] == 2


def test_a_later_stage_keeps_what_an_earlier_one_kept(voc_set):
    images = {f'{number:02}': [('cat', 1, 1, 9, 9), *[('cow', 9, 9, 30, 30)] * (number % 2)] for number in range(20)}
    root = voc_set({**images, 'x': [('dog', 1, 1, 9, 9)], 'y': [('cow', 1, 1, 9, 9)]})
    second = build(root, CLASSES[:2], (1, 1), replay=dict(per_class=4, seed=3))
    third = build(root, replay=dict(per_class=4, seed=3))
    of_cats = {name for name, found in boxes(second).items() if 'cat' in found}
    assert len(of_cats) == 4 and of_cats == {name for name, found in boxes(third).items() if 'cat' in found}
    assert second.replayed['images'] == 4 and 4 <= third.replayed['images'] <= 8
    other = build(root, replay=dict(per_class=4, seed=4))
    assert boxes(other) != boxes(third) and boxes(third) == boxes(build(root, replay=dict(per_class=4, seed=3)))


def test_without_replay_nothing_changes(voc_set):
    root = voc_set(IMAGES)
    dataset = build(root, replay=None)
    assert boxes(dataset) == {'d': ['dog'], 'e': ['dog']}
    assert dataset.replayed == dict(images=0, bytes=0) and 'replay:' not in dataset.report.summary()
    assert boxes(build(root, keep='seen', replay=None)).keys() == set('abcdeg')


def test_coco(voc_set):
    root = voc_set(IMAGES)
    content = dict(
        images=[dict(id=number, file_name=f'{name}.jpg', width=64, height=64) for number, name in enumerate('abc')],
        categories=[dict(id=number, name=name) for number, name in enumerate(('dog', 'cat', 'cow'))],
        annotations=[dict(id=number, image_id=image, category_id=category, bbox=[2, 2, 20, 20], area=400, iscrowd=crowd)
                     for number, (image, category, crowd) in enumerate([(0, 1, 0), (1, 0, 0), (1, 2, 0), (2, 1, 1)])])
    (root / 'train.json').write_text(json.dumps(content))
    dataset = IncrementalCocoDataset('train.json', data_root=str(root), data_prefix=dict(img='JPEGImages'),
                                     metainfo=dict(classes=CLASSES, split=(2, 1)), replay=dict(per_class=2))
    assert boxes(dataset) == {0: ['cat'], 1: ['dog', 'cow']}  # a crowd makes no exemplar
    assert dataset.replayed['images'] == 2


@pytest.mark.parametrize('replay, part', [
    (5, r'replay = 5: give dict\(per_class=10\)'),
    ({}, r'replay = \{\}: give'),
    (dict(per_class=3, number=1), 'give dict'),
    (dict(per_class=0), 'replay.per_class = 0 is no whole number of 1 or more'),
    (dict(per_class=-2), 'per_class = -2 is no'),
    (dict(per_class=True), 'per_class = True is no'),
    (dict(per_class='10'), "per_class = '10' is no"),
    (dict(per_class=2.0), 'per_class = 2.0 is no'),
    (dict(per_class=2, seed=-1), 'replay.seed = -1 is no whole number of 0 or more'),
])
def test_bad_values(voc_set, replay, part):
    with pytest.raises(InputError, match=part):
        build(voc_set(IMAGES), replay=replay)


def test_where_there_is_nothing_to_replay(voc_set):
    root, replay = voc_set(IMAGES), dict(per_class=1)
    with pytest.raises(InputError, match=r"replay = \{'per_class': 1, 'seed': 0\} in a first stage .*leave it out"):
        build(root, CLASSES, (3, ), replay=replay)
    with pytest.raises(InputError, match='in testing'):
        build(root, test_mode=True, replay=replay)
    with pytest.raises(InputError, match="beside keep = 'seen'"):
        build(root, keep='seen', replay=replay)
    voc_set(IMAGES, splits=dict(train=['e', 'f']))
    with pytest.raises(InputError, match=r'train.txt lists no image with an object of an old class \(cat, cow\)'):
        build(root, replay=replay)


def test_settings_of_a_run(voc_set, tmp_path):
    """By --cfg-options of a chain it goes to the stages that have a teacher; None is the same as none."""
    root = voc_set({name: [(name, 1, 1, 20, 20)] for name in SEEN})
    _, student = write_configs(tmp_path, root)
    option = ('train_dataloader.dataset.replay.per_class=3', )
    used = {stage.name: settings_for(stage, option)[0] for stage in stages_of(str(student))}
    assert used == dict(base=(), student=option)
    joint = stages_of(str(student), method=ROOT / 'configs/methods/joint.py')[-1]
    assert settings_for(joint, option)[0] == () and joint.is_joint
    first, *_, last = stages_of(str(student), method=ROOT / 'configs/methods/replay.py')
    cfg = last.read(option)
    assert cfg.train_dataloader.dataset.replay == dict(per_class=3, seed=0) and cfg.model.distiller is None
    assert 'replay' not in first.read().train_dataloader.dataset
    before = Config.fromfile(student).to_dict()
    assert differences(before, last.read(option).to_dict())[-1].startswith('train_dataloader.dataset.replay: not set -> ')
    before['train_dataloader']['dataset'].update(replay=None)
    assert differences(before, Config.fromfile(student).to_dict()) == []
    cfg.test_dataloader.dataset.replay = None
    assert not re.search('replay', stock_config(cfg, OLD).pretty_text)

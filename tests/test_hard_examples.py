"""The images that a detector does worst on: how they are ranked, what is judged, and the list that a config trains on."""

import json

import numpy as np
import pytest
import torch
from conftest import make_voc
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tiny import OBJECTS, SEEN, build, shake, stock_cfg, write_coco, write_configs

from mmilmil import InputError
from mmilmil.config import random_seed
from mmilmil.data_tools.subset_list import absent_classes, how_to_train, list_text
from mmilmil.datasets import IncrementalCocoDataset, IncrementalVOCDataset
from mmilmil.engine.cli import parse_options
from mmilmil.evaluation.average_precision import Image
from mmilmil.evaluation.hard_examples import Mistakes, judged, mistakes_of, ranked
from mmilmil.registry import DATASETS

FREE = np.zeros((0, 4))


def image(objects, detections):
    """Objects as (label, x1, y1, x2, y2), detections with a score behind."""
    boxes, found = np.array([row[1:] for row in objects], float), np.array([row[1:] for row in detections], float)
    return Image(boxes.reshape(-1, 4), np.array([row[0] for row in objects], int), FREE, np.zeros(0, int),
                 found.reshape(-1, 5), np.array([row[0] for row in detections], int))


A, B, C = (0, 0, 20, 20), (40, 40, 60, 60), (70, 70, 90, 90)


@pytest.mark.parametrize('objects, detections, expected', [
    ([(0, *A)], [(0, *A, .9)], Mistakes(1, 0, 0, 0, 0)),
    ([(0, *A), (1, *B)], [(0, *A, .9), (1, *B, .2)], Mistakes(1, 1, 0, 0, 0)),  # a score too low
    ([(0, *A)], [(1, *A, .9)], Mistakes(0, 0, 1, 0, 0)),
    ([(0, *A)], [(0, *A, .9), (0, *C, .8), (1, *B, .7)], Mistakes(1, 0, 0, 2, 0)),
    ([(0, *A)], [(0, *A, .9), (1, *A, .8), (0, *A, .7)], Mistakes(1, 0, 0, 0, 2)),
    ([], [], Mistakes(0, 0, 0, 0, 0)),
])
def test_mistakes_are_counted(objects, detections, expected):
    assert mistakes_of(image(objects, detections), 2, .3) == expected


def test_what_the_annotation_lacks_is_not_judged():
    """Only class 1 is annotated: what is said of class 0 is neither right nor wrong, and leaves an object of class 1 missed."""
    seen = image([(1, *B)], [(0, *A, .9), (0, *B, .8), (1, *C, .7)])
    assert mistakes_of(judged(seen, {1}), 2) == Mistakes(0, 1, 0, 1, 0)
    assert mistakes_of(seen, 2) == Mistakes(0, 0, 1, 2, 0)


def test_the_worst_come_first_and_those_without_mistakes_not_at_all():
    mistakes = [Mistakes(3, 1, 0, 0, 0), Mistakes(9, 0, 0, 0, 0), Mistakes(1, 0, 1, 1, 1), Mistakes(0, 0, 0, 1, 0),
                Mistakes(0, 1, 0, 0, 0)]
    assert ranked(mistakes) == [2, 3, 4, 0]


# ---- lists

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]
STAGE = dict(classes=SEEN, split=(3, 2))


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A set in both forms, a student's config, and a checkpoint of it."""
    folder = tmp_path_factory.mktemp('hard')
    data = write_coco(make_voc(folder / 'data', OBJECTS))
    _, student = write_configs(folder, data, teacher='nowhere.pth')
    model = shake(build(stock_cfg(len(SEEN))))
    with torch.no_grad():
        model.rpn_head.rpn_cls.weight *= 20
        model.roi_head.bbox_head.fc_cls.weight *= 10
    torch.save(dict(meta=dict(dataset_meta=STAGE), state_dict=model.state_dict()), folder / 'one.pth')
    return folder


def test_a_coco_list_has_what_the_stage_may_see(place, tmp_path):
    data = place / 'data'
    whole = IncrementalCocoDataset('coco/train.json', data_root=str(data), data_prefix=dict(img='JPEGImages'), metainfo=STAGE,
                                   pipeline=PIPELINE)
    names = [whole.get_data_info(index)['img_path'].rpartition('/')[2] for index in range(len(whole))]
    assert names == ['one.jpg', 'two.jpg', 'three.jpg', 'four.jpg']
    (tmp_path / 'hard.json').write_text(list_text(whole, [3, 0]))
    content = json.loads((tmp_path / 'hard.json').read_text())
    by_id = {one['id']: one['name'] for one in content['categories']}
    assert set(by_id.values()) == set(SEEN)
    assert sorted(by_id[one['category_id']] for one in content['annotations']) == ['dog', 'emu']  # no ant, bee, cat
    part = IncrementalCocoDataset(str(tmp_path / 'hard.json'), data_root=str(data), data_prefix=dict(img='JPEGImages'),
                                  metainfo=STAGE, pipeline=PIPELINE)
    assert [part.get_data_info(index)['img_path'].rpartition('/')[2] for index in range(2)] == ['four.jpg', 'one.jpg']
    assert [one['bbox'] for one in part.get_data_info(0)['instances']] == [one['bbox'] for one in
                                                                         whole.get_data_info(3)['instances']]
    assert absent_classes(whole, [3, 0]) == [] and absent_classes(whole, [0, 2]) == ['emu']


def test_a_set_of_another_kind_is_refused():
    with pytest.raises(InputError, match='list is no set whose images can be listed'):
        list_text([], [])


def test_what_is_told_of_several_sets_and_of_absent_classes(tmp_path):
    told = how_to_train('c.py', 'train_dataloader.dataset.datasets[1]', tmp_path / 'h.txt')
    assert told.endswith(f'--cfg-options train_dataloader.dataset.datasets.1.ann_file={tmp_path / "h.txt"}')
    told = how_to_train('c.py', 'train_dataloader.dataset', tmp_path / 'h.txt', ['emu'])
    assert 'no object of emu' in told and '--cfg-options' not in told


def test_the_tool_lists_what_a_config_trains_on(place, tool, tmp_path):
    done = tool('analysis_tools/hard_examples.py', place / 'student.py', place / 'one.pth', '--out', tmp_path / 'hard.txt',
                '--draw', tmp_path / 'drawn', '--num', '3', '--device', 'cpu', '--score-thr', '0.1')
    assert done.status == 0, done.err
    names = (tmp_path / 'hard.txt').read_text().split()
    assert len(names) == 3 and set(names) < set(OBJECTS)
    assert sorted(path.name for path in (tmp_path / 'drawn').iterdir()) == [f'{rank:04d}_{name}.jpg' for rank, name in
                                                                           enumerate(names, start=1)]
    rows = [line.split(': ')[1] for line in done.out.splitlines() if ' mistakes: ' in line]
    counts = [int(row.split(' mistakes')[0]) for row in rows]
    assert len(counts) == 3 and counts == sorted(counts, reverse=True) and counts[-1] > 0
    # What is printed is a config, and an option, that train on the list.
    init_default_scope('mmilmil')
    lines = done.out.partition('a config with:\n')[2].splitlines()
    (tmp_path / 'more.py').write_text('\n'.join(line.removeprefix('  ') for line in lines[:3]) + '\n')
    twice = DATASETS.build(Config.fromfile(tmp_path / 'more.py').train_dataloader.dataset)
    alone = Config.fromfile(place / 'student.py')
    option = done.out.partition('--cfg-options ')[2].split()[0]
    alone.merge_from_dict(parse_options([option]))
    alone = DATASETS.build(alone.train_dataloader.dataset)
    assert isinstance(alone, IncrementalVOCDataset) and len(twice) == len(OBJECTS) + 3
    assert [alone.get_data_info(index)['img_id'] for index in range(3)] == names


def test_on_val_nothing_is_told_to_train_on(place, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = tool('analysis_tools/hard_examples.py', place / 'student.py', place / 'one.pth', '--split', 'val', '--num', '2',
                '--device', 'cpu')
    assert done.status == 0, done.err
    assert len((tmp_path / 'work_dirs/student/hard_val.txt').read_text().split()) == 2
    assert 'to train' not in done.out and 'no longer measured on it' in done.out
    done = tool('analysis_tools/hard_examples.py', place / 'student.py', place / 'one.pth', '--out', 'list.json')
    assert done.status == 1 and 'ends in .txt' in done.err and not (tmp_path / 'list.json').exists()
    done = tool('analysis_tools/hard_examples.py', place / 'student.py', place / 'one.pth', '--split', 'test', '--cfg-options',
                'test_dataloader=None', 'test_cfg=None', 'test_evaluator=None')
    assert done.status == 1 and 'has no test_dataloader' in done.err, done.err


@pytest.mark.parametrize('out', ['train.txt', 'test.txt', 'link.txt'])
def test_a_list_that_the_config_reads_is_not_replaced(place, tool, tmp_path, out):
    lists = place / 'data/ImageSets/Main'
    before = {path.name: path.read_text() for path in lists.iterdir()}
    (tmp_path / 'link.txt').symlink_to(lists / 'train.txt')
    out = tmp_path / out if out == 'link.txt' else lists / f'../Main/{out}'
    done = tool('analysis_tools/hard_examples.py', place / 'student.py', place / 'one.pth', '--out', out, '--num', '1',
                '--device', 'cpu')
    assert done.status == 1 and f'the list {out} would replace the ann_file' in done.err, done.err
    assert {path.name: path.read_text() for path in lists.iterdir()} == before


def test_sets_of_another_kind_and_the_annotation_of_coco_sets(place, tool, tmp_path):
    """A stock set is told as such, not by a setting that nobody wrote."""
    data, own = place / 'data', tmp_path / 'coco.py'
    for kind, out, told in [('CocoDataset', tmp_path / 'hard.json', 'CocoDataset is no set whose images can be listed'),
                            ('IncrementalCocoDataset', data / 'coco/train.json', 'train.json would replace the ann_file')]:
        own.write_text(f"""
_base_ = {str(place / 'student.py')!r}
train_dataloader = dict(dataset=dict(_delete_=True, type={kind!r}, data_root={str(data)!r}, ann_file='coco/train.json',
    data_prefix=dict(img='JPEGImages'), metainfo=dict(classes={SEEN}, split=(3, 2)), pipeline=[]))
""")
        done = tool('analysis_tools/hard_examples.py', own, place / 'one.pth', '--out', out, '--device', 'cpu')
        assert done.status == 1 and told in done.err and len(done.err.strip().splitlines()) == 1, done.err


def test_a_config_may_leave_the_seed_to_chance(place, tool, tmp_path):
    assert random_seed(Config(dict(randomness=dict(seed=3)))) == 3
    assert random_seed(Config(dict(randomness=None))) is random_seed(Config()) is None
    (tmp_path / 'free.py').write_text(
        ''.join(line + '\n' for line in Config.fromfile(place / 'student.py').pretty_text.splitlines()
                if not line.startswith('randomness')))
    assert 'randomness' not in Config.fromfile(tmp_path / 'free.py')
    done = tool('analysis_tools/hard_examples.py', tmp_path / 'free.py', place / 'one.pth', '--out', tmp_path / 'hard.txt',
                '--num', '1', '--device', 'cpu', '--score-thr', '0.1')
    assert done.status == 0 and len((tmp_path / 'hard.txt').read_text().split()) == 1, done.err

"""The data as a stage sees it: what the filter and merging say of each box, and the tool that draws it."""

import json
import random
import runpy

import cv2
import numpy as np
import pytest
import torch
from conftest import REPO, make_voc
from tiny import OLD, SEEN, instances, teacher_file, write_configs

from mmilmil.datasets import IncrementalVOCDataset
from mmilmil.evaluation.stage_images import StageCounts, StageImage, shown_images, spread
from mmilmil.models.merging import FATES, fates, merge_teacher_boxes
from mmilmil.visualization import Legend, Mark, MarkedImage, marked_page, sheet
from mmilmil.visualization.sheet import fonts_for

TOOL = 'analysis_tools/browse_stage.py'
# Old: ant, bee, cat; new: dog, emu; of a later stage: fox.
OBJECTS = {
    'both': [('dog', 5, 5, 20, 20), ('ant', 30, 30, 60, 60), ('fox', 40, 2, 60, 22), ('fox', 2, 40, 9, 60)],
    'difficult': [('emu', 5, 5, 30, 30), ('emu', 32, 32, 60, 60, True)],
    'old': [('bee', 5, 5, 40, 30)],
    'all_difficult': [('dog', 5, 5, 40, 30, True), ('cat', 2, 40, 20, 60)],
    'outside': [('dog', 10, 10, 30, 30), ('dog', 70, 10, 90, 20)],
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_voc(tmp_path_factory.mktemp('data') / 'voc', OBJECTS)


def recorded(data, **kwargs):
    dataset = IncrementalVOCDataset('ImageSets/Main/train.txt', data_root=str(data), lazy_init=True,
                                    metainfo=dict(classes=SEEN, split=(3, 2)), **kwargs)
    dataset.record = []
    dataset.full_init()
    return [StageImage(dataset, one) for one in dataset.record]


def test_the_filter_says_what_becomes_of_each_object(data):
    images = {image.filtered.img_id: image for image in recorded(data)}
    assert {name: image.filtered.dropped for name, image in images.items()} == {
        'both': '', 'difficult': '', 'outside': '', 'old': 'images without an object of the stage',
        'all_difficult': 'images whose objects of the stage are all ignored'}
    kinds = {name: [image.kind(one) for one in image.filtered.objects] for name, image in images.items()}
    assert kinds == {
        'both': ['kept', 'hidden old', 'hidden future', 'hidden future'], 'difficult': ['kept', 'ignored'],
        'old': ['hidden old'], 'all_difficult': ['ignored', 'hidden old'], 'outside': ['kept', 'left out']}
    assert images['both'].filtered.objects[0].bbox == (4, 4, 19, 19)  # 1 off, as VOC's count from 1
    assert images['difficult'].filtered.objects[1].reason == 'ignored (difficult or crowd)'
    assert images['outside'].filtered.objects[1].reason == 'without area inside their image'


def test_a_set_tells_the_same_as_its_report(data):
    images = recorded(data)
    report, counts = images[0].dataset.report, StageCounts.of(images)
    assert (counts.listed, counts.kept) == (report.images_listed, report.images_kept) == (5, 3)
    assert counts.objects['kept'] == report.boxes == dict(dog=2, emu=1)
    assert counts.objects['hidden old'].total() == report.hidden_old == 1
    assert counts.objects['hidden future'] == report.hidden_unlisted == dict(fox=2)
    assert counts.objects['left out'].total() == report.dropped == 1 and counts.teacher['merged'].total() == 0


def test_too_small_images_exemplars_and_testing(data):
    with pytest.raises(ValueError, match="in images too small, below filter_cfg\\['min_size'\\] = 65"):
        recorded(data, filter_cfg=dict(min_size=65))
    images = {image.filtered.img_id: image for image in recorded(data, replay=dict(per_class=1))}
    assert images['old'].filtered.replayed and not images['old'].filtered.dropped
    assert [images['all_difficult'].kind(one) for one in images['all_difficult'].filtered.objects] == ['hidden new', 'kept']
    images = recorded(data, test_mode=True)
    assert not any(image.filtered.dropped for image in images)
    assert StageCounts.of(images).objects['kept'] == dict(ant=1, bee=1, cat=1, dog=2, emu=1)


def test_merging_says_why_a_box_is_refused():
    annotated, ignored = torch.tensor([[0., 0., 10., 10.]]), torch.tensor([[100., 100., 200., 200.]])
    boxes = [[50, 50, 60, 60], [20, 20, 30, 30], [0, 0, 10, 9], [110, 110, 120, 120], [51, 50, 61, 60], [0, 0, 10, 8]]
    found = instances(boxes, [0, 1, 2, 0, 1, 2], [0.9, 0.4, 0.8, 0.9, 0.7, 0.2])
    assert fates(found, annotated, ignored, 0.5, 0.3, 0.4) == ['merged', 'score', 'annotated', 'ignored', 'nms', 'score']
    assert fates(found, annotated, ignored, 0.5, 0.3, None) == ['merged', 'score', 'annotated', 'ignored', 'merged', 'score']
    assert fates(found[:0], annotated, ignored, 0.5, 0.3, 0.4) == []


def test_what_is_called_merged_is_merged():
    rng = np.random.default_rng(0)
    for _ in range(20):
        low = rng.uniform(0, 50, (30, 2))
        boxes = np.hstack([low, low + rng.uniform(5, 30, (30, 2))]).tolist()
        found = instances(boxes[:20], [0] * 20, rng.uniform(0, 1, 20).tolist())
        gt, ignored = instances(boxes[20:25], [1] * 5), torch.tensor(boxes[25:]).float()
        settings = dict(score_thr=0.4, iou_thr=0.3, nms_iou_thr=0.4)
        told = fates(found, gt.bboxes, ignored, **settings)
        merged = merge_teacher_boxes(gt, found, ignored, **settings)
        assert set(told) <= {*FATES}
        assert sorted(merged.bboxes[5:].tolist()) == sorted(
            box for box, fate in zip(found.bboxes.tolist(), told) if fate == 'merged')


def test_images_show_everything_that_occurs_and_are_spread(data):
    images = recorded(data)
    chosen, unseen = shown_images(images, 5)
    assert len(chosen) == 5 and not unseen and chosen == images
    chosen, unseen = shown_images(images, 1)
    assert [image.filtered.img_id for image in chosen] == ['both']  # three kinds
    assert unseen == {'ignored: ignored (difficult or crowd)', 'left out: without area inside their image',
                      'images without an object of the stage', 'images whose objects of the stage are all ignored'}
    assert spread(range(10), 2) == [2, 7] and spread([3], 5) == [3] and spread([], 3) == []


def test_labels_of_a_crowded_image_cover_no_other():
    rng, image = random.Random(0), np.full((100, 150, 3), 90, np.uint8)
    marks = []
    for index in range(14):
        x, y = rng.uniform(0, 110), rng.uniform(0, 70)
        marks.append(Mark((x, y, x + 25, y + 20), '#aa3300', ('kept', 'refused', 'merged')[index % 3], f'name {index} 0.9'))
    legend = Legend([('kept', '#aa3300', 'kept')], {'old classes': {f'class {index}': '#aa3300' for index in range(200)}})
    picture = MarkedImage(image, 'a "name" <b> 图像.jpg', dict(one=marks), note='dropped: why')
    page = marked_page([picture], 'title $x$', legend, 700)
    texts = [text.get_text() for text in page.axes.texts]
    assert {mark.text for mark in marks} <= {*texts} and 'and 140 more' in texts
    boxes = np.array([text.get_window_extent(page.renderer).extents for text in page.axes.texts
                      if text.get_text().startswith('name')])
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    assert np.count_nonzero(np.clip(high - low, 0, None).prod(axis=-1)) == len(boxes)
    pixels = page.pixels()
    assert pixels.shape == (page.height, page.width, 3)
    with pytest.raises(ValueError, match='nothing to draw'):
        marked_page([], 'title', Legend())


def test_letters_that_no_font_has_are_told(monkeypatch):
    assert fonts_for(['plain <"$', 'new\nline']) == (['DejaVu Sans'], '')
    monkeypatch.setattr(sheet, '_system_fonts', lambda: [])
    assert fonts_for(['图a像']) == (['DejaVu Sans'], '像图')
    monkeypatch.setattr(sheet, '_system_fonts', lambda: ['some/font.ttf'])
    monkeypatch.setattr(sheet, '_letters', lambda file: frozenset('a'))
    assert fonts_for(['图']) == (['DejaVu Sans'], '图')


@pytest.fixture(scope='module')
def student(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp('student')
    return write_configs(folder, data, str(teacher_file(folder / 'teacher.pth', OLD)))


def test_the_tool(tool, student, tmp_path):
    base, stage = student
    out = tmp_path / 'a "b" <c>'
    done = tool(TOOL, stage, '--out', out, '--images', 5, '--score-thr', 0.15, '--cfg-options', 'model.merging.score_thr=0.2',
                'model.teacher.max_proposals=16')
    assert done.status == 0, done.err
    counts = json.loads((out / 'counts.json').read_text())
    assert counts['images'] == dict(listed=5, kept=3, replayed=0, unlabelled=0, dropped={
        'images without an object of the stage': 1, 'images whose objects of the stage are all ignored': 1})
    assert {kind: one['total'] for kind, one in counts['objects'].items()} == {
        'kept': 3, 'hidden old': 1, 'hidden new': 0, 'hidden future': 2, 'ignored': 1, 'left out': 1}
    boxes = {fate: one['total'] for fate, one in counts['teacher']['boxes'].items()}
    assert counts['teacher']['images'] == 3 and boxes['merged'] and boxes['score'] and boxes['annotated'] and boxes['nms']
    assert {*counts['teacher']['boxes']['merged']['classes']} <= {*OLD} and counts['merging']['score_thr'] == 0.2
    assert {path.name for path in out.iterdir()} == {'counts.json', *counts['files']} and len(counts['files']) == 6
    height, width, _ = cv2.imread(str(out / 'sheet.jpg')).shape
    assert width > 1400 and height > 1200
    assert f'{boxes["merged"]} merged' in done.out and '5 images listed, 3 kept' in done.out

    # Again, without a teacher: what was written before is replaced.
    done = tool(TOOL, stage, '--out', out, '--images', 1, '--cfg-options', 'model.teacher.checkpoint=gone.pth')
    assert done.status == 0 and 'the teacher gone.pth is not there; give --teacher' in done.out
    assert 'not on a picture: ' in done.out
    counts = json.loads((out / 'counts.json').read_text())
    assert counts['teacher'] is None and len([*out.iterdir()]) == 3
    # A first stage, whose later classes are all hidden.
    done = tool(TOOL, base, '--out', out, '--split', 'val')
    assert done.status == 0 and 'boxes are merged in training alone' in done.out
    assert json.loads((out / 'counts.json').read_text())['objects']['hidden future']['total'] == 8
    (out / 'mine.txt').write_text('kept')
    done = tool(TOOL, base, '--out', out)
    assert done.status == 1 and 'has files of something else (mine.txt)' in done.err and (out / 'sheet.jpg').is_file()


@pytest.mark.parametrize('stopped', [1, 2, 3, 4])
def test_a_folder_of_a_stopped_run_is_taken_again(tmp_path, stopped):
    """Stopped at each of its writes, which leaves a draft where the process was killed."""
    tool = runpy.run_path(str(REPO / 'tools' / TOOL))
    replace, before, write = tool['replace_files'], tool['written_before'], tool['write_atomically']
    replace(tmp_path, before(tmp_path), {'sheet.jpg': b'old', '01_a.jpg': b'old'}, dict(images=3))
    writes = []

    def stopping(content, path):
        writes.append(path)
        if len(writes) == stopped:
            path.with_name(f'{path.name}.part').write_bytes(b'dra')
            raise KeyboardInterrupt
        write(content, path)

    replace.__globals__['write_atomically'] = stopping
    with pytest.raises(KeyboardInterrupt):
        replace(tmp_path, before(tmp_path), {'sheet.jpg': b'new', '02_b.jpg': b'new'}, dict(images=4))
    replace.__globals__['write_atomically'] = write
    replace(tmp_path, before(tmp_path), {'sheet.jpg': b'last'}, dict(images=5))
    assert {path.name for path in tmp_path.iterdir()} == {'sheet.jpg', 'counts.json'}
    assert json.loads((tmp_path / 'counts.json').read_text()) == dict(images=5, files=['sheet.jpg'])


def test_a_users_mistakes_are_a_line(tool, student, tmp_path):
    base, stage = student
    (tmp_path / 'file').write_text('')
    for args, told in [
            ((base, '--teacher', 'x.pth'), 'has no teacher'),
            ((stage, '--teacher', tmp_path / 'gone.pth'), 'gone.pth does not exist: give the path'),
            ((stage, '--split', 'val', '--teacher', 'x.pth'), 'boxes are merged in training alone'),
            ((stage, '--out', tmp_path / 'file'), 'cannot be a folder'),
            ((stage, '--cfg-options', 'train_dataloader.dataset.type=VOCDataset'), 'which knows no stages'),
            ((stage, '--cfg-options', f'train_dataloader.dataset.data_root={tmp_path}'), 'train.txt'),
            ((tmp_path / 'gone.py', ), 'gone.py does not exist')]:
        done = tool(TOOL, *([*args, '--out', tmp_path / 'out'] if '--out' not in args else args))
        assert done.status == 1 and told in done.err, (args, done.err)
        assert len(done.err.strip().splitlines()) == 1 and done.err.startswith('error: '), done.err
    assert not (tmp_path / 'out').exists()


def test_names_of_all_kinds_many_classes_and_a_broken_image(tool, tmp_path):
    odd = ['the "quoted"', "it's", '<b>', '图像', *(f'class {index}' for index in range(196))]
    objects = {f'image{index}': [(name, 5, 5, 30, 30)] for index, name in enumerate(odd)}
    data = make_voc(tmp_path / 'voc', objects, size=(40, 40))
    base, _ = write_configs(tmp_path, data, old=tuple(odd))
    done = tool(TOOL, base, '--images', 4, '--out', tmp_path / 'out')
    assert done.status == 0, done.err
    assert json.loads((tmp_path / 'out/counts.json').read_text())['objects']['kept']['classes']['图像'] == 1
    (data / 'JPEGImages/image0.jpg').write_bytes(b'')
    done = tool(TOOL, base, '--images', 200, '--out', tmp_path / 'out')
    assert done.status == 1 and 'image0.jpg cannot be decoded' in done.err and (tmp_path / 'out/sheet.jpg').is_file()

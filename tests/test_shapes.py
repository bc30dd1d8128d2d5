"""The built-in drawn sets: content, determinism, and care with what is already in the folder."""

import filecmp
import json
import subprocess
import sys
from pathlib import Path

import cv2
import mmdet.datasets  # noqa: F401  (registers the pipeline's transforms)
import numpy as np
import pycocotools.mask as mask_utils
import pytest
from mmengine.registry import init_default_scope

from mmilmil import InputError
from mmilmil.data_tools import shapes as shapes_module
from mmilmil.data_tools.mask_outline import mask_outline
from mmilmil.data_tools.shape_scenarios import SCENARIOS, Planned
from mmilmil.data_tools.shapes import RECORD, ShapesSettings, draw_image, write_shapes
from mmilmil.datasets import IncrementalCocoDataset, IncrementalVOCDataset

MIXED = SCENARIOS['mixed']
CLASSES = MIXED.classes
SMALL = ShapesSettings(train=24, val=6, test=12, size=96)
TOOL = Path(__file__).parents[1] / 'tools' / 'make_shapes_dataset.py'


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'shapes'
    assert write_shapes(str(out), SMALL)
    return out


def load(root, split, **kwargs):
    return IncrementalVOCDataset(data_root=str(root), ann_file=f'ImageSets/Main/{split}.txt',
                                 metainfo={'classes': CLASSES, 'split': (4, 2)}, **kwargs)


@pytest.mark.parametrize('name', SCENARIOS)
def test_classes_are_alphabetical(name):
    """So the new ones come last also in the alphabetical order that configs have."""
    scenario = SCENARIOS[name]
    assert list(scenario.classes) == sorted(scenario.classes)
    assert (len(scenario.classes), scenario.old) == ((3, 2) if name == 'crowded' else (6, 4))


def test_folder_is_a_voc_style_set(shapes):
    for split, count in (('train', 24), ('val', 6), ('trainval', 30), ('test', 12)):
        dataset = load(shapes, split, keep='seen')
        assert dataset.report.images_listed == dataset.report.images_kept == count
        assert all(dataset.report.boxes.values())
        assert (dataset.report.clipped, dataset.report.dropped) == (0, 0) and not dataset.report.unlisted
        for index in range(count):
            info = dataset.get_data_info(index)
            assert 2 <= len(info['instances']) <= 5
            assert cv2.imread(info['img_path']).shape == (96, 96, 3)
    assert (shapes / 'classes.txt').read_text().split() == list(CLASSES)


def test_old_and_new_objects_share_images(shapes):
    assert load(shapes, 'train').report.hidden_old > 0


def drawn(scenario, count, size=160, seed=0):
    """The objects of the first images of a set."""
    return [draw_image(size, np.random.default_rng([seed, 0, index]), SCENARIOS[scenario], index)[1] for index in range(count)]


def test_crowded_has_a_dozen_old_objects_and_a_small_new_one_on_every_image():
    images = drawn('crowded', 12)
    for objects in images:
        assert [one.name for one in objects].count('triangle') == 1
        sides = [max(x2 - x1, y2 - y1) + 1 for name, (x1, y1, x2, y2), *_ in objects if name == 'triangle']
        assert 10 <= sides[0] <= 17
        assert 9 <= len(objects) - 1 <= 14
        taken = np.zeros((160, 160), int)  # no box on another
        for _, (x1, y1, x2, y2), *_ in objects:
            taken[y1 - 1:y2, x1 - 1:x2] += 1
        assert taken.max() == 1
    old = [one for objects in images for one in objects if one.name != 'triangle']
    assert {one.name for one in old} == {'circle', 'cross'} and 11 <= len(old) / 12 <= 13
    assert min(x2 - x1 for _, (x1, _, x2, _), *_ in old) > 16


@pytest.mark.parametrize('scenario', ['apart', 'look-alike'])
def test_apart_no_image_holds_objects_of_both_groups(scenario):
    classes = SCENARIOS[scenario].classes
    old, new = set(classes[:4]), set(classes[4:])
    images = [{one.name for one in objects} for objects in drawn(scenario, 18)]
    assert all(names <= old or names <= new for names in images)
    assert [names <= old for names in images] == [index % 6 < 4 for index in range(18)]
    assert set.union(*images) == set(classes) and max(map(len, images)) > 1


def test_look_alikes_share_most_of_their_pixels_with_an_old_class():
    """Intersection over union, where an unlike pair of the same scenario has less."""
    def mask(name):
        return shapes_module._shape_mask(Planned(name), 1000, np.random.default_rng(3)) > 127

    def iou(one, other):
        return (mask(one) & mask(other)).sum() / (mask(one) | mask(other)).sum()

    assert iou('squircle', 'square') > 0.85 and iou('squircle', 'circle') > 0.85
    # Areas of a disc with a hole of radius 0.28 or 0.55: 0.922 and 0.698 of the whole.
    assert iou('washer', 'circle') == pytest.approx(0.922, abs=0.02)
    assert iou('washer', 'ring') == pytest.approx(0.698 / 0.922, abs=0.02)
    assert iou('cross', 'square') < 0.7


def test_a_scenario_is_written_as_a_set_of_its_classes(tmp_path):
    settings = ShapesSettings.of_scenario('look-alike', train=6, val=None, test=2, size=96)
    assert settings == ShapesSettings(6, 150, 2, 96, 0, 'look-alike')
    assert ShapesSettings.of_scenario('mixed') == ShapesSettings()
    out = tmp_path / 'look_alike'
    small = ShapesSettings.of_scenario('look-alike', train=6, val=6, test=6, size=96)
    assert write_shapes(str(out), small) and not write_shapes(str(out), small)
    classes = SCENARIOS['look-alike'].classes
    assert (out / 'classes.txt').read_text().split() == list(classes)
    content = json.loads((out / 'coco/train.json').read_text())
    assert [one['name'] for one in content['categories']] == list(classes)
    report = IncrementalVOCDataset(data_root=str(out), ann_file='ImageSets/Main/train.txt',
                                   metainfo={'classes': classes, 'split': (4, 2)}).report
    assert (report.images_listed, report.images_kept, report.hidden_old) == (6, 2, 0)
    # Another scenario is another set: the folder is drawn again.
    assert write_shapes(str(out), ShapesSettings.of_scenario('apart', train=6, val=6, test=6, size=96))
    assert json.loads((out / RECORD).read_text())['scenario'] == 'apart'


@pytest.mark.parametrize('make', [ShapesSettings.of_scenario, lambda name: ShapesSettings(scenario=name)])
def test_no_such_scenario(make):
    with pytest.raises(InputError, match="scenario = 'crowd', use one of mixed, crowded, apart, look-alike"):
        make('crowd')


def test_boxes_are_tight(monkeypatch):
    masks = []
    monkeypatch.setattr(shapes_module, '_paint', lambda image, mask, rng: masks.append(mask > 127))
    for seed in range(20):
        masks.clear()
        image, objects = draw_image(160, np.random.default_rng(seed), MIXED, 3)
        assert image.shape == (160, 160, 3) and image.dtype == np.uint8
        assert objects[0][0] == 'square' and len(objects) == len(masks)
        for (_, (x1, y1, x2, y2), *_), mask in zip(objects, masks, strict=True):
            assert 1 <= x1 < x2 <= 160 and 1 <= y1 < y2 <= 160
            columns, rows = mask.any(axis=0), mask.any(axis=1)
            assert columns[x1 - 1] and columns[x2 - 1] and not columns[:x1 - 1].any() and not columns[x2:].any()
            assert rows[y1 - 1] and rows[y2 - 1] and not rows[:y1 - 1].any() and not rows[y2:].any()


def decoded(outline, height, width):
    return mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects([outline], height, width))).astype(bool)


def test_outlines_are_those_of_the_drawn_pixels(monkeypatch):
    """COCO's tools make the very same mask of an outline, hole and all, and so the same box and area."""
    masks = []
    monkeypatch.setattr(shapes_module, '_paint', lambda image, mask, rng: masks.append(mask > 127))
    for seed in range(12):
        masks.clear()
        _, objects = draw_image(160, np.random.default_rng(seed), MIXED, 2)  # a ring
        for one, mask in zip(objects, masks, strict=True):
            assert (decoded(one.outline, 160, 160) == mask).all() and one.area == mask.sum()
            x, y = one.outline[::2], one.outline[1::2]
            assert [min(x) + 1, min(y) + 1, max(x), max(y)] == one.box


def test_outline_by_hand():
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = 1
    x, y = (mask_outline(mask)[start::2] for start in (0, 1))
    assert sorted(zip(x, y)) == [(2, 1), (2, 3), (5, 1), (5, 3)]
    # The inside is to the right: its area by the shoelace formula, with y downwards, is positive.
    assert sum(a * d - b * c for a, b, c, d in zip(x, y, [*x[1:], x[0]], [*y[1:], y[0]])) == 2 * 6


@pytest.mark.parametrize('share', [.1, .5, .9])
def test_outline_of_any_pixels(share):
    """Parts apart, holes, parts in holes, pixels that touch at a corner, and all of it at the border."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        mask = rng.random(rng.integers(1, 20, 2)) < share
        mask[0, 0] = True
        assert (decoded(mask_outline(mask), *mask.shape) == mask).all()


@pytest.mark.parametrize('name', sorted({name for scenario in SCENARIOS.values() for name in scenario.classes}))
def test_outline_is_the_shape_it_is_called(name):
    """Corners (None for round) and whether the middle is filled."""
    corners, filled = {'circle': (None, True), 'cross': (12, True), 'ring': (None, False), 'square': (4, True),
                       'squircle': (None, True), 'star': (10, True), 'triangle': (3, True), 'washer': (None, False)}[name]
    contours = shapes_module._outline(name)
    assert max(np.abs(points).max() for points in contours) <= 1
    if corners:
        assert [len(points) for points in contours] == [corners]
    mask = shapes_module._shape_mask(Planned(name), 200, np.random.default_rng(0))
    ys, xs = np.nonzero(mask > 127)
    assert (mask[int(ys.mean()), int(xs.mean())] > 127) == filled


def test_coco_files_tell_what_the_xml_files_tell(shapes):
    init_default_scope('mmilmil')
    load_masks = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    for split, count in (('train', 24), ('val', 6), ('test', 12)):
        voc = load(shapes, split, keep='seen')
        coco = IncrementalCocoDataset(f'coco/{split}.json', data_root=str(shapes), data_prefix=dict(img='JPEGImages/'),
                                      metainfo={'classes': CLASSES, 'split': (4, 2)}, keep='seen', pipeline=load_masks)
        assert len(coco) == count and coco.report.boxes == voc.report.boxes
        for index in range(count):
            theirs, ours = voc.get_data_info(index), coco.get_data_info(index)
            assert ours['img_path'] == theirs['img_path']
            for xml, json_ in zip(theirs['instances'], ours['instances'], strict=True):
                assert xml['bbox_label'] == json_['bbox_label']
                # MMDetection takes a VOC box's last pixel for its border; COCO's reaches to the end of that pixel.
                x1, y1, x2, y2 = xml['bbox']
                assert json_['bbox'] == [x1, y1, x2 + 1, y2 + 1]
        masks = coco[0]['gt_masks']
        assert (masks.get_bboxes('hbox').tensor == coco[0]['gt_bboxes'].tensor).all()
        content = json.loads((shapes / f'coco/{split}.json').read_text())
        assert [one['id'] for one in content['annotations']] == list(range(1, len(content['annotations']) + 1))
        assert masks.areas.tolist() == [one['area'] for one in content['annotations'] if one['image_id'] == 1]


def test_same_seed_same_files_and_longer_sets_begin_alike(shapes, tmp_path):
    again, other = tmp_path / 'again', tmp_path / 'other'
    write_shapes(str(again), ShapesSettings(train=30, val=6, test=12, size=96))
    write_shapes(str(other), ShapesSettings(train=24, val=6, test=12, size=96, seed=1))
    names = [path.relative_to(shapes) for path in shapes.glob('*/*_0*')]
    assert len(names) == 2 * 42
    assert all(filecmp.cmp(shapes / name, again / name, shallow=False) for name in names)
    assert not any(filecmp.cmp(shapes / name, other / name, shallow=False) for name in names)


def test_made_folder_is_left_or_replaced_and_nothing_stays_behind(tmp_path):
    out = tmp_path / 'shapes'
    few = ShapesSettings(train=2, val=1, test=1, size=64)
    assert write_shapes(str(out), few) and not write_shapes(str(out), few)
    assert write_shapes(str(out), few, force=True)
    assert write_shapes(str(out), ShapesSettings(train=3, val=1, test=1, size=64))
    assert len((out / 'ImageSets/Main/train.txt').read_text().split()) == 3
    assert json.loads((out / RECORD).read_text())['train'] == 3
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']


def test_foreign_folder_is_not_touched_without_force(tmp_path):
    out = tmp_path / 'mine'
    out.mkdir()
    few = ShapesSettings(train=1, val=1, test=1, size=64)
    assert write_shapes(str(out), few)  # empty: fine
    (out / RECORD).write_text('[]')
    with pytest.raises(InputError, match='mine is not empty and was not made by make_shapes_dataset.py.*--force'):
        write_shapes(str(out), few)
    assert (out / RECORD).read_text() == '[]'
    assert write_shapes(str(out), few, force=True)
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='is a file'):
        write_shapes(str(tmp_path / 'file'), few, force=True)


def test_failure_half_way_leaves_the_old_folder(tmp_path):
    out = tmp_path / 'shapes'
    write_shapes(str(out), ShapesSettings(train=1, val=1, test=1, size=64))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shapes(str(out), ShapesSettings(train=9, val=1, test=1, size=64), progress=stop)
    assert json.loads((out / RECORD).read_text())['train'] == 1
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']


@pytest.mark.parametrize('setting', [{'train': 0}, {'test': -1}, {'size': 63}, {'seed': -1}])
def test_settings_out_of_range(setting):
    (name, value), = setting.items()
    with pytest.raises(InputError, match=f'{name} = {value}, use at least'):
        ShapesSettings(**setting)


def test_tool(tmp_path):
    def run(*args):
        return subprocess.run([sys.executable, '-W', 'ignore', TOOL, *args], capture_output=True, text=True,
                              check=False, cwd=tmp_path, env={'PYTHONPATH': str(TOOL.parents[1]), 'PATH': ''})

    done = run('--scenario', 'look-alike', '--train', '2', '--val', '1', '--test', '1', '--size', '64')
    assert done.returncode == 0 and 'drawn 4 of 4 images' in done.stdout and 'data/shapes_look_alike: written' in done.stdout
    assert (tmp_path / 'data/shapes_look_alike' / RECORD).is_file()
    failed = run('out', '--train', '0')
    assert failed.returncode == 1 and failed.stderr.endswith('error: shapes set: train = 0, use at least 1\n')

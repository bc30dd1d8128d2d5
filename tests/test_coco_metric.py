"""COCO's AP by class group: worked out by hand, beside stock CocoMetric, and through the tools."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from tiny import OBJECTS, OLD, ROOT, SEEN, stock_cfg

from mmilmil import InputError
from mmilmil.engine.hooks import MetricsFileHook
from mmilmil.evaluation import ap_matrix, chain_figures, incremental_coco_metric, mean_figures, results_table
from mmilmil.registry import METRICS

MEASURES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')
GROUPED = {'old', 'new', 'all', 'avg', 'groups', 'per_class'}
# Neither the ids nor their order are those of the labels that the tests use.
CATEGORIES = [{'id': 7, 'name': 'c'}, {'id': 3, 'name': 'a'}, {'id': 90, 'name': 'b'}, {'id': 1, 'name': 'd'}]
CATEGORY_OF = {category['name']: category['id'] for category in CATEGORIES}


def box(place, size=40):
    """A square, as (x, y, width, height), that never touches those of another place."""
    return [200. * place, 0., float(size), float(size)]


@pytest.fixture
def coco_file(tmp_path):
    """``coco_file(images, categories)`` writes a COCO file; objects of an image as (name, box) or (name, box, more)."""

    def write(images, categories=CATEGORIES):
        ids = {category['name']: category['id'] for category in categories}
        content = {
            'images': [dict(id=number, file_name=f'{number}.jpg', width=2000, height=2000) for number in range(len(images))],
            'categories': categories,
            'annotations': [dict(image_id=number, category_id=ids[name], bbox=bbox, **dict(*more))
                            for number, objects in enumerate(images) for name, bbox, *more in objects],
        }
        path = tmp_path / 'objects.json'
        path.write_text(json.dumps(content))
        return str(path)

    return write


def found(number, entries=()):
    """The sample of an image; detections as (label, box, score)."""
    boxes = np.array([bbox for _, bbox, _ in entries], dtype=float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return dict(img_id=number, ori_shape=(2000, 2000), pred_instances=dict(
        bboxes=torch.tensor(boxes, dtype=torch.float32), scores=torch.tensor([score for *_, score in entries]),
        labels=torch.tensor([label for label, *_ in entries], dtype=torch.long)))


def evaluate(ann_file, detections, classes=('a',), split=None):
    """Figures for the runner and the metric itself; detections by image."""
    metric = METRICS.build(dict(type='mmilmil.IncrementalCocoMetric', ann_file=ann_file))
    metric.dataset_meta = dict(classes=classes, split=split)
    for number, entries in enumerate(detections):  # a batch each
        metric.process({}, [found(number, entries)])
    return metric.evaluate(len(detections)), metric


def test_perfect(coco_file):
    path = coco_file([[('a', box(0, 20)), ('b', box(1, 50))], [('b', box(0, 100))]])
    detections = [[(0, box(0, 20), .9), (1, box(1, 50), .2)], [(1, box(0, 100), .5)]]
    figures, metric = evaluate(path, detections, ('a', 'b'), (1, 1))
    assert figures == pytest.approx(dict.fromkeys(figures, 1))
    assert {'old', 'new', 'all', 'avg', 'group0', 'group1', 'AP/a', 'AP/b'} <= figures.keys()
    assert metric.summary['images'] == 2 and metric.summary['boxes'] == 3


# Four boxes. By score: hit, miss, hit, hit; the fourth box is never found.
#   recall 1/4 1/4 2/4 3/4, precision 1/1 1/2 2/3 3/4; the best precision from there on: 1, 3/4, 3/4, 3/4.
# Of the 101 recalls 0, .01, ..., 1 the 26 to .25 have 1, the 50 to .75 have 3/4, the others 0.
KNOWN = [[('a', box(0)), ('a', box(1))]] * 2
KNOWN_FOUND = [[(0, box(0), .9), (0, box(5), .8)], [(0, box(0), .7), (0, box(1), .6)]]
KNOWN_AP = (26 * 1 + 50 * .75) / 101


def test_known_value(coco_file):
    figures, metric = evaluate(coco_file(KNOWN), KNOWN_FOUND)
    measures = ('AP50', 'AP75', 'APm')  # all boxes are of 40 * 40 pixels
    names = ['new', 'all', 'group0', 'AP/a', *(f'{name}_{mean}' for name in measures for mean in ('new', 'all', 'group0'))]
    assert figures == pytest.approx(dict.fromkeys(names, KNOWN_AP))
    assert metric.summary['per_class'] == pytest.approx({'a': KNOWN_AP})


@pytest.mark.parametrize('height, hits, at_75', [(82, 7, 1), (72, 5, 0), (49, 0, 0)])
def test_iou_thresholds(coco_file, height, hits, at_75):
    # IoU = height / 100 reaches so many of the ten thresholds .5, .55, ...
    figures, metric = evaluate(coco_file([[('a', box(0, 100))]]), [[(0, [0., 0., 100., height], .9)]])
    assert [figures[name] for name in ('all', 'AP50_all', 'AP75_all')] == pytest.approx([hits / 10, float(hits > 0), at_75])
    assert metric.summary['iou_thr'] == [.5, .55, .6, .65, .7, .75, .8, .85, .9, .95]


def test_area_ranges(coco_file):
    # By the area that the file tells (an outline's), else the box's: small is below 32 * 32, large above 96 * 96.
    objects = [('a', box(0, 31)), ('a', box(1, 33)), ('a', box(2, 97)), ('a', box(3, 97), {'area': 1000.}), ('b', box(4, 97))]
    # Found are the first and the third, and 'b'. Of the small ones that is one of two: 51 of the 101 recalls.
    figures, metric = evaluate(
        coco_file([objects]), [[(0, box(0, 31), .9), (0, box(2, 97), .8), (1, box(4, 97), .9)]], ('a', 'b'), (1, 1))
    assert [figures[f'{name}_old'] for name in ('APs', 'APm', 'APl')] == pytest.approx([51 / 101, 0, 1])
    # 'b' has neither small nor medium objects: no figure, not -1.
    assert not {'APs_new', 'APs_avg', 'APs_group1', 'APm_new'} & figures.keys()
    assert (figures['APs_all'], figures['APl_new'], figures['new']) == pytest.approx((51 / 101, 1, 1))
    small = metric.summary['APs']
    assert small['new'] is None and small['avg'] is None and small['groups'][1] is None and small['per_class']['b'] is None
    assert all(0 <= value <= 1 for value in figures.values())


def test_classes_are_matched_by_name(coco_file):
    # Labels go by metainfo.classes: neither the order of the file (c, a, b, d) nor that of the ids (d, a, c, b).
    path = coco_file([[('a', box(0)), ('b', box(1)), ('c', box(2)), ('d', box(3))]])
    places = {'a': 0, 'b': 1, 'c': 2, 'd': 3}
    for classes in (('b', 'd', 'a', 'c'), ('a', 'b', 'c', 'd'), ('d', 'b')):
        detections = [(label, box(places[name]), .9) for label, name in enumerate(classes) if name != 'b']
        _, metric = evaluate(path, [detections], classes)
        assert metric.summary['per_class'] == pytest.approx({name: float(name != 'b') for name in classes})
        assert metric.summary['classes'] == list(classes)


def test_groups(coco_file):
    # AP 1, 0 (not found), 51/101 (half of the boxes), 1.
    objects = [('a', box(0)), ('b', box(1)), ('c', box(2)), ('c', box(3)), ('d', box(4))]
    detections = [(0, box(0), .9), (2, box(2), .9), (3, box(4), .9)]
    figures, metric = evaluate(coco_file([objects]), [detections], ('a', 'b', 'c', 'd'), (2, 1, 1))
    half = 51 / 101
    assert [figures[f'group{index}'] for index in range(3)] == pytest.approx([.5, half, 1])
    assert figures['old'] == pytest.approx((1 + 0 + half) / 3) == figures['AP50_old']
    assert figures['new'] == pytest.approx(1)
    assert figures['all'] == pytest.approx((1 + 0 + half + 1) / 4)
    assert figures['avg'] == pytest.approx((figures['old'] + 1) / 2) != pytest.approx(figures['all'])
    assert metric.summary['groups'] == pytest.approx([.5, half, 1])
    first, metric = evaluate(coco_file([objects]), [detections], ('a', 'b', 'c', 'd'))
    assert not {'old', 'avg', 'AP50_old'} & first.keys() and first['new'] == first['all']


def test_objects_of_later_classes_do_not_count(coco_file):
    later = [('b', box(8)), ('c', box(9))]
    path = coco_file([[*KNOWN[0], *later], [*KNOWN[1], *later]])
    figures, metric = evaluate(path, KNOWN_FOUND)
    assert figures['all'] == pytest.approx(KNOWN_AP)
    assert metric.summary['boxes'] == 4 and list(metric.summary['per_class']) == ['a']


def test_image_without_an_object_counts(coco_file):
    figures, metric = evaluate(coco_file([[('a', box(0))], [('b', box(0))], []]), [[(0, box(0), .8)], [], [(0, box(0), .9)]])
    assert figures['all'] == pytest.approx(1 / 2)  # the false alarm comes first
    assert metric.summary['images'] == 3


@pytest.mark.parametrize('mark', ['iscrowd', 'ignore'])
def test_ignored_objects_are_dont_care(coco_file, mark):
    path = coco_file([*KNOWN, [('a', box(0, 100), {mark: 1}), ('b', box(1), {mark: 1})]])
    figures, metric = evaluate(path, [*KNOWN_FOUND, [(0, box(0, 100), .99), (0, box(0, 60), .98)]], ('a', 'b'))
    assert figures['AP/a'] == pytest.approx(KNOWN_AP)
    assert metric.summary['boxes'] == 4
    # Nothing but ignored objects: no AP.
    assert metric.summary['per_class']['b'] is None and figures['all'] == pytest.approx(KNOWN_AP)
    # Don't care for its own class only.
    figures, _ = evaluate(path, [*KNOWN_FOUND, [(0, box(1), .99)]], ('a', 'b'))
    assert figures['AP/a'] < KNOWN_AP


@pytest.mark.parametrize('key, spelt', [
    ('iscrowd', '0'), ('ignore', '0'), ('iscrowd', 'false'), ('image_id', '{image_id}'), ('category_id', '3'), ('bbox', None)])
def test_values_spelt_as_text_are_read_by_one_rule(coco_file, key, spelt):
    """Half of the annotations spell a value as text: all boxes count, as in training."""
    path = coco_file([[('a', box(0)), ('a', box(1))]] * 4)
    content = json.loads(Path(path).read_text())
    for entry in content['annotations'][::2]:
        entry[key] = spelt.format(**entry) if spelt else list(map(str, entry['bbox']))
    Path(path).write_text(json.dumps(content))
    figures, metric = evaluate(path, [[(0, box(0), .9), (0, box(1), .8)]] * 4)
    assert metric.summary['boxes'] == 8 and figures['all'] == 1
    figures, _ = evaluate(path, [[(0, box(0), .9)]] * 4)  # half of the boxes, none wrong
    assert figures['all'] == pytest.approx(51 / 101)


def test_image_ids_of_numbers_and_texts(coco_file):
    path = coco_file(KNOWN)
    text = Path(path).read_text().replace('"id": 1,', '"id": "second",').replace('"image_id": 1,', '"image_id": "second",')
    Path(path).write_text(text)
    metric = METRICS.build(dict(type='mmilmil.IncrementalCocoMetric', ann_file=path))
    metric.dataset_meta = dict(classes=('a', ), split=None)
    for image_id, entries in zip((0, 'second'), KNOWN_FOUND):
        metric.process({}, [found(image_id, entries)])
    assert metric.evaluate(2)['all'] == pytest.approx(KNOWN_AP)


@pytest.mark.parametrize('wrong, ap', [(99, 1 / 100), (100, 0)])
def test_a_hundred_detections_count(coco_file, wrong, ap):
    detections = [(0, box(9, 50 + number), .9) for number in range(wrong)]
    assert evaluate(coco_file([[('a', box(0))]]), [[*detections, (0, box(0), .5)]])[0]['all'] == pytest.approx(ap)


def test_no_detection_at_all(coco_file):
    figures, _ = evaluate(coco_file(KNOWN), [[], []])
    assert figures == dict.fromkeys(figures, 0.) and 'all' in figures


def test_evaluated_twice(coco_file):
    _, metric = evaluate(coco_file(KNOWN), KNOWN_FOUND)
    for number, entries in enumerate([[], KNOWN_FOUND[1]]):
        metric.process({}, [found(number, entries)])
    # Two of four boxes, none wrong: 51 of the 101 recalls.
    assert metric.evaluate(2)['all'] == pytest.approx(51 / 101) == metric.summary['all']


@pytest.mark.parametrize('order', ['cabd', 'bdac'])
def test_same_figures_as_stock(coco_file, order):
    """Stock CocoMetric takes labels in the file's order, names classes right if that is the ids', and rounds."""
    rng = np.random.default_rng(0)
    categories = sorted(CATEGORIES, key=lambda category: category['id'])
    in_file = [category['name'] for category in categories]
    images, detections = [], []
    for _ in range(25):
        corner, size = rng.uniform(0, 400, (8, 2)), rng.uniform(10, 160, (8, 2))
        boxes, names = np.hstack([corner, size]), rng.choice(in_file, 8)
        marks = [dict(id=len(images) * 6 + number + 1, area=float(one[2] * one[3]) * .7, iscrowd=int(number == 5))
                 for number, one in enumerate(boxes[:6])]
        images.append([(name, one.tolist(), mark) for name, one, mark in zip(names, boxes, marks)])
        # Six that are more or less right, two that are wrong, and as many of another class.
        moved = boxes + rng.normal(0, 6, boxes.shape).clip(-8, 8)
        detections.append([(name, one.tolist(), float(score)) for name, one, score in
                           zip([*names, *rng.choice(in_file, 8)], [*moved, *moved], rng.random(16))])
    path = coco_file(images, categories)

    def labelled(classes):
        return [[(classes.index(name), bbox, score) for name, bbox, score in entries] for entries in detections]

    stock = CocoMetric(ann_file=path, classwise=True)
    stock.dataset_meta = dict(classes=in_file)
    stock.process({}, [found(number, entries) for number, entries in enumerate(labelled(in_file))])
    theirs = stock.evaluate(len(images))
    ours, metric = evaluate(path, labelled(list(order)), tuple(order), (2, 2))

    flat = [ours['all'], *(ours[f'{name}_all'] for name in MEASURES[1:])]
    names = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
    assert flat == pytest.approx([theirs[f'coco/bbox_{name}'] for name in names], abs=6e-4)
    assert .1 < ours['all'] < .9 and len({round(value, 3) for value in flat}) == 6
    for name in order:
        assert metric.summary['per_class'][name] == pytest.approx(theirs[f'coco/{name}_precision'], abs=6e-4)


def test_told(coco_file, monkeypatch):
    told = []

    def tell(text, logger, level=logging.INFO):
        assert logger == 'current'
        told.append((level, text))

    monkeypatch.setattr(incremental_coco_metric, 'print_log', tell)
    path = coco_file([[('a', box(0)), ('a', box(1)), ('a', box(3), {'iscrowd': 1})]])
    evaluate(path, [[(0, box(0), .9), (0, box(5), .8), (0, box(6), .7)]], ('a', 'b', 'c'), (1, 2))
    (info, figures), (warning, without) = told
    assert (info, warning) == (logging.INFO, logging.WARNING)
    assert without == f'no AP for b, c: {path} has no box of it that is not ignored; left out of all means'
    title, _, columns, _, row, *_ = figures.splitlines()
    assert title == 'AP at IoU 0.5 to 0.95, 1 images, 2 boxes'
    half = f'{51 / 101:.3f}'
    assert [[cell.strip() for cell in line.strip('|').split('|')] for line in (columns, row)] == [
        ['class', 'group', 'boxes', 'detections', *MEASURES], ['a', '0', '2', '3', *[half] * 3, '-', half, '-']]
    told.clear()
    evaluate(path, [[]])
    assert len(told) == 1


def test_prefix_and_device_are_those_of_every_metric(coco_file):
    path = coco_file([[('a', box(0))]])
    metric = METRICS.build(dict(type='mmilmil.IncrementalCocoMetric', ann_file=path, prefix='coco', collect_device='gpu'))
    assert (metric.prefix, metric.collect_device) == ('coco', 'gpu')
    assert metric.summary is None  # before an evaluation


def test_outlines_are_not_kept(coco_file):
    """The area that stands beside them is."""
    path = coco_file([[('a', box(0, 97), {'area': 1000., 'segmentation': [[0, 0, 0, 97, 97, 97]]})]])
    figures, metric = evaluate(path, [[(0, box(0, 97), .9)]])
    assert figures['APs_all'] == pytest.approx(1) and 'segmentation' not in str(metric.files)


# Masks

MASK_MEASURES = ('segm_mAP', 'segm_mAP_50', 'segm_mAP_75', 'segm_mAP_s', 'segm_mAP_m', 'segm_mAP_l')


def rectangle(x, y, width, height):
    """A mask of an image of 100 x 120 pixels."""
    mask = np.zeros((100, 120), np.uint8)
    mask[y:y + height, x:x + width] = 1
    return mask


def polygon(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def runs(x, y, width, height, packed):
    """Run lengths, column by column."""
    if packed:
        found = mask_utils.encode(np.asfortranarray(rectangle(x, y, width, height)))
        return dict(size=[100, 120], counts=found['counts'].decode())
    counts = [100 * x + y, *[height, 100 - height] * width]
    counts[-1] += 100 * (120 - x - width) - y
    return dict(size=[100, 120], counts=counts)


@pytest.fixture
def mask_file(coco_file):
    """``mask_file(images, ...)`` writes a COCO file of such images, as ``coco_file``."""

    def write(images, *args):
        path = Path(coco_file(images, *args))
        content = json.loads(path.read_text())
        for image in content['images']:
            image.update(width=120, height=100)
        path.write_text(json.dumps(content))
        return str(path)

    return write


def masked(number, entries):
    """The sample of an image; detections as (label, box, score, mask)."""
    sample = found(number, [entry[:3] for entry in entries])
    masks = np.array([entry[3] for entry in entries], bool).reshape(-1, 100, 120)
    sample['pred_instances']['masks'] = torch.tensor(masks)
    return sample


def evaluate_masks(ann_file, detections, classes=('a', ), split=None):
    metric = METRICS.build(dict(type='mmilmil.IncrementalCocoMetric', ann_file=ann_file, metric=['bbox', 'segm']))
    metric.dataset_meta = dict(classes=classes, split=split)
    for number, entries in enumerate(detections):
        metric.process({}, [masked(number, entries)])
    return metric.evaluate(len(detections)), metric


@pytest.mark.parametrize('form', ['polygon', 'list', 'text'])
@pytest.mark.parametrize('height, hits, at_75', [(82, 7, 1), (72, 5, 0), (49, 0, 0)])
def test_masks_by_hand(mask_file, form, height, hits, at_75):
    """The box is right, of the mask so many rows of 100 are found: the IoU is height / 100."""
    place = (10, 0, 100, 100)
    mask = polygon(*place) if form == 'polygon' else runs(*place, packed=form == 'text')
    path = mask_file([[('a', list(place), {'segmentation': mask})]])
    figures, metric = evaluate_masks(path, [[(0, place, .9, rectangle(10, 0, 100, height))]])
    assert (figures['all'], figures['AP75_all'], figures['AP/a']) == pytest.approx((1, 1, 1))
    wanted = dict(segm_mAP=hits / 10, segm_mAP_50=float(hits > 0), segm_mAP_75=at_75, segm_mAP_l=hits / 10)
    names = [f'{measure}_{mean}' for measure in wanted for mean in ('new', 'all', 'group0')]
    assert {name: value for name, value in figures.items() if name.startswith('segm')} == pytest.approx(
        {name: wanted[name.rpartition('_')[0]] for name in names})
    assert metric.summary['segm_mAP']['per_class'] == pytest.approx({'a': hits / 10})
    assert metric.summary['all'] == metric.summary['per_class']['a'] == pytest.approx(1)


def test_masks_of_a_polygon_of_two_parts(mask_file):
    parts = [*polygon(0, 0, 20, 10), *polygon(40, 0, 20, 10)]
    path = mask_file([[('a', [0, 0, 60, 10], {'segmentation': parts})]])
    both = rectangle(0, 0, 20, 10) | rectangle(40, 0, 20, 10)
    figures, _ = evaluate_masks(path, [[(0, (0, 0, 60, 10), .9, both)]])
    assert figures['segm_mAP_all'] == pytest.approx(1)
    # One of the parts: an IoU of 1/2, the first threshold.
    figures, _ = evaluate_masks(path, [[(0, (0, 0, 60, 10), .9, rectangle(0, 0, 20, 10))]])
    assert (figures['all'], figures['segm_mAP_all'], figures['segm_mAP_50_all']) == pytest.approx((1, .1, 1))


def test_mask_groups_and_areas(mask_file):
    # Masks of 900 (small, though its box is medium), 1600 and 1600 pixels; of 'b' the wrong half is found.
    objects = [('a', [0, 0, 40, 40], {'segmentation': polygon(0, 0, 30, 30)}),
               ('b', [50, 0, 40, 40], {'segmentation': polygon(50, 0, 40, 40)}),
               ('c', [0, 50, 40, 40], {'segmentation': polygon(0, 50, 40, 40)}),
               ('d', [50, 50, 40, 40], {})]  # a later class: neither its box nor its mask is looked at
    detections = [(0, (0, 0, 40, 40), .9, rectangle(0, 0, 30, 30)), (1, (50, 0, 40, 40), .9, rectangle(70, 0, 40, 40)),
                  (2, (0, 50, 40, 40), .9, rectangle(0, 50, 40, 40))]
    figures, metric = evaluate_masks(mask_file([objects]), [detections], ('a', 'b', 'c'), (2, 1))
    assert (figures['old'], figures['new'], figures['APm_old']) == pytest.approx((1, 1, 1))
    assert [figures[f'segm_mAP_{mean}'] for mean in ('old', 'new', 'all', 'avg', 'group0', 'group1')] == pytest.approx(
        [.5, 1, 2 / 3, .75, .5, 1])
    assert metric.summary['segm_mAP_s']['per_class'] == {'a': pytest.approx(1), 'b': None, 'c': None}
    assert metric.summary['segm_mAP_m']['per_class'] == pytest.approx({'a': None, 'b': 0, 'c': 1})
    assert {*GROUPED, *MEASURES[1:], *MASK_MEASURES} <= metric.summary.keys()
    assert set(figures) <= set(metric.figure_names())


def test_a_crowds_mask_is_dont_care(mask_file):
    crowd = {'segmentation': runs(50, 0, 60, 60, packed=False), 'iscrowd': 1}
    path = mask_file([[('a', [0, 0, 40, 40], {'segmentation': polygon(0, 0, 40, 40)}), ('a', [50, 0, 60, 60], crowd)]])
    hit = (0, (0, 0, 40, 40), .8, rectangle(0, 0, 40, 40))
    # Before it a detection within the crowd, or one beside it.
    figures, _ = evaluate_masks(path, [[(0, (50, 0, 20, 20), .9, rectangle(50, 0, 20, 20)), hit]])
    assert (figures['all'], figures['segm_mAP_all']) == pytest.approx((1, 1))
    figures, _ = evaluate_masks(path, [[(0, (50, 0, 20, 20), .9, rectangle(50, 70, 20, 20)), hit]])
    assert (figures['all'], figures['segm_mAP_all']) == pytest.approx((1, 1 / 2))


def test_same_mask_figures_as_stock(mask_file):
    rng = np.random.default_rng(1)
    names = ['d', 'a', 'c', 'b']  # in the order of the ids, by which stock takes labels
    categories = sorted(CATEGORIES, key=lambda category: category['id'])
    images, detections = [], []
    for number in range(12):
        objects, entries = [], []
        for index in range(4):
            x, y, width, height = (*rng.integers(0, 60, 2).tolist(), *rng.integers(8, 40, 2).tolist())
            segmentation = polygon(x, y, width, height) if index % 2 else runs(x, y, width, height, packed=bool(index))
            name = names[rng.integers(4)]
            objects.append((name, [x, y, width, height], dict(
                id=number * 4 + index + 1, segmentation=segmentation, iscrowd=int(index == 2), area=width * height * .8)))
            dx, dy = rng.integers(-3, 4, 2).tolist()
            x, y = max(x + dx, 0), max(y + dy, 0)
            rows = max(height - int(rng.integers(0, 9)), 1)
            entries.append((names.index(name), (x, y, width, height), float(rng.random()), rectangle(x, y, width, rows)))
            entries.append((int(rng.integers(4)), (x, y, width, 5), float(rng.random()), rectangle(x, y, width, 5)))
        images.append(objects)
        detections.append(entries)
    path = mask_file(images, categories)
    stock = CocoMetric(ann_file=path, metric=['bbox', 'segm'], classwise=False)
    stock.dataset_meta = dict(classes=names)
    stock.process({}, [masked(number, entries) for number, entries in enumerate(detections)])
    theirs = stock.evaluate(len(images))
    ours, _ = evaluate_masks(path, detections, tuple(names), (2, 2))
    for measure in MASK_MEASURES[:-1]:  # no object is large
        assert ours[f'{measure}_all'] == pytest.approx(theirs[f'coco/{measure}'], abs=6e-4)
    assert ours['all'] == pytest.approx(theirs['coco/bbox_mAP'], abs=6e-4)
    assert .1 < ours['segm_mAP_all'] < .9 and ours['segm_mAP_all'] != ours['all']
    assert theirs['coco/segm_mAP_l'] == -1 and 'segm_mAP_l_all' not in ours


def test_no_mask_found_at_all(mask_file):
    figures, _ = evaluate_masks(mask_file([[('a', [0, 0, 40, 40], {'segmentation': polygon(0, 0, 40, 40)})]]), [[]])
    assert figures['segm_mAP_all'] == figures['all'] == 0


def test_masks_told(mask_file, monkeypatch):
    told = []
    monkeypatch.setattr(incremental_coco_metric, 'print_log', lambda text, **kwargs: told.append(text))
    path = mask_file([[('a', [0, 0, 40, 40], {'segmentation': polygon(0, 0, 40, 40)})]])
    evaluate_masks(path, [[(0, (0, 0, 40, 40), .9, rectangle(0, 0, 40, 20))]])
    boxes, masks = told[0].split('\nof masks\n')
    assert [cell.strip() for cell in masks.splitlines()[1].strip('|').split('|')] == ['class', 'group', *MASK_MEASURES]
    assert [cell.strip() for cell in masks.splitlines()[3].strip('|').split('|')] == [
        'a', '0', '0.100', '1.000', '0.000', '-', '0.100', '-']
    assert '| a     |     0 |     1 |          1 | 1.000 |' in boxes


@pytest.mark.parametrize('mask, told', [
    (None, r"objects\.json: the 'a' at \[0, 0, 40, 40\] of image 0 has no segmentation, but metric = .*'segm'\]"),
    ([[0, 0, 5]], r"the 'a' at .* has the polygon \[0, 0, 5\] in its segmentation"),
])
@pytest.mark.parametrize('more', [{}, {'iscrowd': 1}])
def test_masks_that_the_file_lacks(mask_file, mask, told, more):
    path = mask_file([[('a', [0, 0, 40, 40], {'segmentation': mask, **more})]])
    with pytest.raises(InputError, match=told):
        evaluate_masks(path, [[]])
    evaluate(path, [[]])  # of boxes nobody asks for it


@pytest.mark.parametrize('asked', ['segm', ['segm', 'bbox'], 'proposal', ['bbox', 'bbox'], []])
def test_other_metrics_are_refused(coco_file, asked):
    with pytest.raises(InputError, match=r"metric = .* of IncrementalCocoMetric: use 'bbox' or \['bbox', 'segm'\]"):
        METRICS.build(dict(type='mmilmil.IncrementalCocoMetric', ann_file=coco_file(KNOWN), metric=asked))


def test_metrics_file(coco_file, tmp_path):
    path = coco_file([[('a', box(0)), ('b', box(1))]])
    _, metric = evaluate(path, [[(0, box(0), .9)]], ('a', 'b'), (1, 1))
    runner = SimpleNamespace(work_dir=str(tmp_path), _load_from=None, test_evaluator=SimpleNamespace(metrics=[metric]))
    MetricsFileHook().after_test_epoch(runner)
    content = json.loads((tmp_path / 'metrics.json').read_text(), parse_constant=pytest.fail)  # NaN is not JSON
    one, half = pytest.approx(1), pytest.approx(.5)
    same = dict(old=one, new=0, all=half, avg=half, groups=[one, 0], per_class=dict(a=one, b=0))
    none = dict(old=None, new=None, all=None, avg=None, groups=[None, None], per_class=dict(a=None, b=None))
    assert content == dict(
        same, AP50=same, AP75=same, APs=none, APm=same, APl=none, classes=['a', 'b'], split=[1, 1], eval_mode='101points',
        iou_thr=[.5, .55, .6, .65, .7, .75, .8, .85, .9, .95], images=1, boxes=2,
        sets=[dict(file=path, images=1, boxes=2, classes=['a', 'b'])])
    # A table and a mean of such files say what they show.
    assert results_table({'x': content}).splitlines()[0].startswith('| AP50:95 (%) |')
    assert results_table({'x': mean_figures([content, content])}).splitlines()[0].startswith('| AP50:95 (%) |')
    at_50 = dict(content, iou_thr=.5)
    assert results_table({'x': at_50}).splitlines()[0].startswith('| AP50 (%) |')
    with pytest.raises(ValueError, match='iou_thr'):
        mean_figures([content, at_50])


def test_bad_input(coco_file, tmp_path):
    with pytest.raises(InputError, match=r'no file .*gone\.json'):
        evaluate(str(tmp_path / 'gone.json'), [])
    (tmp_path / 'broken.json').write_text('{')
    with pytest.raises(InputError, match=r'broken\.json is not valid JSON'):
        evaluate(str(tmp_path / 'broken.json'), [])
    path = coco_file(KNOWN)
    with pytest.raises(InputError, match=r'objects\.json does not list the image 2'):
        evaluate(path, [*KNOWN_FOUND, []])
    with pytest.raises(InputError, match=r'objects\.json lists 2 images, of which 1 are not evaluated'):
        evaluate(path, KNOWN_FOUND[:1])
    with pytest.raises(InputError, match=r"objects\.json has no category 'e', which metainfo.* 'd', 'a', 'c', 'b'"):
        evaluate(path, KNOWN_FOUND, ('a', 'e'))
    with pytest.raises(InputError, match='^metainfo of the evaluated dataset.* sums to 2'):
        evaluate(path, KNOWN_FOUND, ('a', 'b', 'c'), (1, 1))


# Two stages through the tools, on the configs of COCO 2017

CONFIG = """
_base_ = [f'{root}/configs/_base_/{{name}}.py' for name in (
    'models/frcnn_r18_fpn_small', 'datasets/coco17', 'schedules/sgd_coco', 'default_runtime')]
metainfo = dict(classes={old}, split=(3, ))
resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
train_pipeline = [*_base_.train_pipeline[:2], resize, *_base_.train_pipeline[3:]]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
model = {small}
loading = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader = dict(**loading, dataset=dict(metainfo=metainfo, pipeline=train_pipeline))
val_dataloader = dict(**loading, dataset=dict(metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = dict(**loading, dataset=dict(metainfo=metainfo, pipeline=test_pipeline))
train_cfg = dict(max_epochs=1)
"""
LATER_CONFIG = """
_base_ = ['./base.py', '{root}/configs/_base_/distillers/mfrrk.py']
metainfo = dict(classes={seen}, split=(3, 2))
model = dict(
    type='IncrementalFasterRCNN',
    teacher=dict(config='{{{{ fileDirname }}}}/base.py', checkpoint='{teacher}'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    roi_head=dict(bbox_head=dict(num_classes=5)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(
    dataset=dict(metainfo=metainfo, ann_file='annotations/choose_val.json', data_prefix=dict(img='train2017/')))
val_evaluator = dict(ann_file=f'{{_base_.data_root}}/annotations/choose_val.json')
test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(val_begin=1)
"""


def make_coco(root):
    """The objects of the tiny set in COCO's layout, categories in an order of their own."""
    rng = np.random.default_rng(0)
    ids = {name: 10 * number for number, name in enumerate(reversed(SEEN), start=1)}
    images = [dict(id=number, file_name=f'{name}.jpg', width=64, height=64) for number, name in enumerate(OBJECTS)]
    annotations = [
        dict(image_id=number, category_id=ids[name], bbox=[x1, y1, x2 - x1, y2 - y1])
        for number, objects in enumerate(OBJECTS.values()) for name, x1, y1, x2, y2 in objects]
    (root / 'annotations').mkdir(parents=True)
    categories = [dict(id=number, name=name) for name, number in ids.items()]
    for file, listed in (('instances_train2017', images), ('instances_val2017', images), ('choose_val', images[:2])):
        content = dict(images=listed, annotations=annotations, categories=categories)
        (root / f'annotations/{file}.json').write_text(json.dumps(content))
    for folder in ('train2017', 'val2017'):
        (root / folder).mkdir()
        for image in images:
            cv2.imwrite(str(root / folder / image['file_name']), rng.integers(0, 255, (64, 64, 3), np.uint8))
    return root


def test_two_stages_through_the_tools(tmp_path, tool, monkeypatch):
    monkeypatch.setenv('MMILMIL_COCO_ROOT', str(make_coco(tmp_path / 'data')))
    (tmp_path / 'base.py').write_text(CONFIG.format(root=ROOT, old=OLD, small=stock_cfg(len(OLD)).to_dict()))
    (tmp_path / 'later.py').write_text(LATER_CONFIG.format(root=ROOT, seen=SEEN, teacher=tmp_path / 'base/final.pth'))
    metrics = {}
    for stage in ('base', 'later'):
        config, work_dir = tmp_path / f'{stage}.py', tmp_path / stage
        done = tool('train.py', config, '--work-dir', work_dir)
        assert done.status == 0, done.err[-3000:]
        done = tool('test.py', config, work_dir / 'final.pth', '--work-dir', work_dir)
        assert done.status == 0, done.err[-3000:]
        metrics[stage] = json.loads((work_dir / 'metrics.json').read_text())
    base, later = metrics.values()
    assert {*GROUPED, *MEASURES[1:], 'classes', 'split', 'iou_thr', 'checkpoint'} <= later.keys() == base.keys()
    assert later['AP50'].keys() == GROUPED
    assert list(later['per_class']) == list(SEEN) and list(base['per_class']) == list(OLD)
    assert (base['images'], base['boxes'], later['boxes']) == (4, 6, 10)
    aps = list(later['per_class'].values())
    assert (later['old'], later['new'], later['all']) == pytest.approx((sum(aps[:3]) / 3, sum(aps[3:]) / 2, sum(aps) / 5))
    # No validation on the test set; the way to choose settings that the config tells does work.
    assert not (tmp_path / 'base/metrics_val.json').exists()
    assert json.loads((tmp_path / 'later/metrics_val.json').read_text())['images'] == 2

    assert results_table(metrics, teacher='base').startswith('| AP50:95 (%) |')
    figures = chain_figures(ap_matrix([base, later]), later['split'])
    assert figures['fpp'] == pytest.approx(base['all'] - later['old'])


def test_config_names_the_classes_in_the_order_of_the_ids(monkeypatch):
    monkeypatch.delenv('MMILMIL_COCO_ROOT', raising=False)
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/coco17.py')
    from mmdet.datasets import CocoDataset
    assert tuple(cfg.all_classes) == CocoDataset.METAINFO['classes']
    for split in ('val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert cfg[f'{split}_evaluator'].ann_file == f'data/coco/{dataset.ann_file}'

"""The metric against APs worked out by hand, and what it leaves in the work dir."""

import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import eval_map
from mmdet.structures.bbox import HorizontalBoxes

from mmilmil import InputError
from mmilmil.datasets import IncrementalVOCDataset
from mmilmil.engine.hooks import MetricsFileHook
from mmilmil.evaluation import incremental_voc_metric
from mmilmil.evaluation.average_precision import MODES, Image, class_results
from mmilmil.evaluation.class_groups import figures_tables, group_figures, group_means
from mmilmil.registry import HOOKS, METRICS
from mmilmil.stage import Stage

VOC = Path(os.environ.get('MMILMIL_VOC_ROOT', Path(__file__).parents[1] / 'data/VOCdevkit/VOC2007'))
VOC_CLASSES = ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable',
               'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')


def box(place):
    """Boxes of 20 pixels that never touch those of another place."""
    return [40. * place, 0., 40. * place + 19, 19.]


def sample(truth=(), found=(), difficult=()):
    """An image; boxes as (label, place), detections as (label, place, score)."""

    def instances(entries):
        return dict(bboxes=torch.tensor([box(place) for _, place, *_ in entries]).reshape(-1, 4),
                    labels=torch.tensor([label for label, *_ in entries], dtype=torch.long))

    scores = torch.tensor([score for *_, score in found])
    return dict(gt_instances=instances(truth), ignored_instances=instances(difficult),
                pred_instances=dict(instances(found), scores=scores))


def evaluate(samples, classes=('a',), split=None, **kwargs):
    """Figures for the runner and the metric itself."""
    metric = METRICS.build(dict(type='mmilmil.IncrementalVOCMetric', **kwargs))
    metric.dataset_meta = dict(classes=classes, split=split) if split else dict(classes=classes)
    for one in samples:  # a batch each
        metric.process({}, [one])
    return metric.evaluate(len(samples)), metric


def test_perfect():
    figures, metric = evaluate(
        [sample([(0, 0), (1, 1)], [(0, 0, .9), (1, 1, .2)]), sample([(1, 0)], [(1, 0, .5)])], ('a', 'b'), (1, 1))
    assert figures == dict.fromkeys(figures, 1.)
    assert metric.summary['images'] == 2 and metric.summary['boxes'] == 3


# Four boxes. By score: hit, miss, hit, hit; the fourth box is never found.
#   recall 1/4 1/4 2/4 3/4, precision 1/1 1/2 2/3 3/4; the best precision from there on: 1, 3/4, 3/4, 3/4.
# 11 points: 0, .1, .2 have 1; .3 ... .7 have 3/4; .8, .9, 1 have 0. Area: 1/4 of 1 and 2/4 of 3/4.
KNOWN = [
    sample([(0, 0), (0, 1)], [(0, 0, .9), (0, 5, .8)]),
    sample([(0, 0), (0, 1)], [(0, 0, .7), (0, 1, .6)]),
]
KNOWN_AP = {'11points': (3 * 1 + 5 * .75) / 11, 'area': .25 * 1 + .5 * .75}


def test_known_values():
    figures, metric = evaluate(KNOWN)
    ap, area = KNOWN_AP['11points'], KNOWN_AP['area']
    assert figures == pytest.approx({
        'new': ap, 'all': ap, 'group0': ap, 'AP/a': ap, 'area_new': area, 'area_all': area, 'area_group0': area
    })
    assert metric.summary['per_class'] == pytest.approx({'a': ap})
    figures, metric = evaluate(KNOWN, eval_mode='area')
    assert (figures['all'], figures['11points_all']) == pytest.approx((area, ap))
    assert (metric.summary['all'], metric.summary['11points']['all']) == pytest.approx((area, ap))


def test_second_detection_of_a_box_is_wrong():
    # recall 1, 1; precision 1, 1/2.
    assert evaluate([sample([(0, 0)], [(0, 0, .9), (0, 0, .8)])])[0]['all'] == pytest.approx(1)
    # The double stands before the second box: precision 1, 1/2, 2/3; recall 1/2, 1/2, 1.
    figures, _ = evaluate([sample([(0, 0), (0, 1)], [(0, 0, .9), (0, 0, .8), (0, 1, .7)])])
    assert figures['all'] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert figures['area_all'] == pytest.approx(.5 + .5 * 2 / 3)


def test_difficult_is_dont_care():
    plain, _ = evaluate(KNOWN)
    found_or_not = [sample(difficult=[(0, 0), (0, 1)], found=[(0, 0, .99), (0, 0, .98)])]
    figures, metric = evaluate(KNOWN + found_or_not)
    assert figures == plain
    assert metric.summary['boxes'] == 4
    # Don't care for its own class only.
    other = evaluate(KNOWN + [sample(difficult=[(1, 0)], found=[(0, 0, .99)])], ('a', 'b'))[0]
    assert other['AP/a'] < plain['AP/a']


def test_overlap_counts_pixels_as_the_devkit_does():
    # 10 of 20 pixel columns shared: 10 * 20 / (2 * 400 - 200) = 1/3 by pixels.
    one = sample([(0, 0)], [(0, 0, .9)])
    one['pred_instances']['bboxes'] = torch.tensor([[10., 0., 29., 19.]])
    assert evaluate([one], iou_thr=.333)[0]['all'] == pytest.approx(1)
    assert evaluate([one], iou_thr=.334)[0]['all'] == 0


def one_image(found=(), truth=(), difficult=()):
    """As :func:`sample` for :func:`class_results`."""

    def boxes(entries):
        return np.array([box(place) for _, place, *_ in entries]).reshape(-1, 4)

    def labels(entries):
        return np.array([label for label, *_ in entries], int)

    detections = np.column_stack([boxes(found), np.array([score for *_, score in found])])
    return Image(boxes(truth), labels(truth), boxes(difficult), labels(difficult), detections, labels(found))


def test_class_results_of_nothing():
    # Class 0 has a detection and no box, class 1 a box and no detection, class 2 neither, class 3 both.
    results = class_results([one_image([(0, 0, .9), (3, 3, .5)], [(1, 1), (3, 3), (3, 4)])], 4)
    assert [(one.boxes, one.detections) for one in results] == [(0, 1), (1, 0), (0, 0), (2, 1)]
    np.testing.assert_array_equal([one.recall for one in results], [np.nan, 0, np.nan, .5])
    for mode in MODES:
        np.testing.assert_allclose([one.ap[mode] for one in results],
                                   [np.nan, 0, np.nan, 6 / 11 if mode == '11points' else .5])
    assert class_results([one_image()], 1)[0].boxes == 0


def test_iou_threshold_is_one_half():
    # 20 of 20 rows, 14 and 13 of 20 columns shared: IoU 14 / 26 and 13 / 27.
    for shift, ap in ((6, 1), (7, 0)):
        image = one_image([(0, 0, .9)], [(0, 0)])
        image.detections[:, [0, 2]] += shift
        assert class_results([image], 1)[0].ap['area'] == ap


def test_of_equal_scores_the_first_image_comes_first():
    # Two scores in turn; of each, wrong and right ones in turn: after the k-th right one precision is k / (2 k).
    images = [one_image([(0, place, score)], [(0, 0)]) for _ in range(32) for place in (5, 0) for score in (.5, .9)]
    assert class_results(images, 1)[0].ap['area'] == pytest.approx(.5 * .5)
    # The other way round k / (2 k - 1).
    assert class_results(images[::-1], 1)[0].ap['area'] == pytest.approx(sum(k / (2 * k - 1) for k in range(1, 65)) / 128)


def test_same_figures_as_mmdetection():
    rng = np.random.default_rng(0)
    images = []
    for _ in range(25):
        corner = rng.uniform(0, 150, (6, 2))
        boxes = np.hstack([corner, corner + rng.uniform(15, 80, (6, 2))])
        labels = rng.integers(0, 3, 6)
        found = np.vstack([boxes + rng.normal(0, 6, boxes.shape), rng.uniform(0, 60, (4, 4)) + (0, 0, 60, 60)])
        found = np.hstack([found, rng.random((10, 1))])
        images.append(
            Image(boxes[:4], labels[:4], boxes[4:], labels[4:], found, np.append(labels, rng.integers(0, 3, 4))))
    annotations = [dict(bboxes=i.boxes, labels=i.labels, bboxes_ignore=i.ignored_boxes, labels_ignore=i.ignored_labels)
                   for i in images]
    detections = [[i.detections[i.detected_labels == label] for label in range(3)] for i in images]
    ours = class_results(images, 3)
    for mode in MODES:
        _, theirs = eval_map(detections, annotations, nproc=1, logger='silent', use_legacy_coordinate=True,
                             eval_mode=mode)
        assert [one.ap[mode] for one in ours] == pytest.approx([one['ap'] for one in theirs])
    assert [one.boxes for one in ours] == [one['num_gts'] for one in theirs]
    assert [one.detections for one in ours] == [one['num_dets'] for one in theirs]


# AP 1, 0 (not found), 6/11 (half of the boxes), 1.
FOUR = [sample([(0, 0), (1, 1), (2, 2), (2, 3), (3, 4)], [(0, 0, .9), (2, 2, .9), (3, 4, .9)])]
NAMES = ('a', 'b', 'c', 'd')


def test_groups():
    figures, metric = evaluate(FOUR, NAMES, (2, 1, 1))
    half = 6 / 11
    assert [figures[f'group{index}'] for index in range(3)] == pytest.approx([.5, half, 1])
    assert figures['old'] == pytest.approx((1 + 0 + half) / 3)
    assert figures['new'] == pytest.approx(1)
    assert figures['all'] == pytest.approx((1 + 0 + half + 1) / 4)
    assert figures['avg'] == pytest.approx((figures['old'] + figures['new']) / 2)
    assert figures['avg'] != pytest.approx(figures['all'])
    assert figures['area_group1'] == pytest.approx(.5)
    assert metric.summary['groups'] == pytest.approx([.5, half, 1])


def test_first_stage_has_no_old():
    figures, metric = evaluate(FOUR, NAMES)
    assert not {'old', 'avg', 'area_old', 'area_avg'} & set(figures)
    assert figures['new'] == figures['all'] == figures['group0']
    assert metric.summary['old'] is None and metric.summary['avg'] is None


def test_class_without_a_box():
    # 'd' has only a false detection and a difficult box: no AP; it weighs nothing in the means.
    samples = [sample([(0, 0), (1, 1), (2, 2)], [(0, 0, .9), (2, 2, .8), (3, 5, .7)], difficult=[(3, 6)])]
    figures, metric = evaluate(samples, NAMES, (2, 2))
    assert 'AP/d' not in figures
    assert (figures['old'], figures['new'], figures['all']) == pytest.approx((1 / 2, 1, 2 / 3))
    assert metric.summary['per_class']['d'] is None and metric.summary['area']['per_class']['d'] is None
    # A group of nothing but such classes has no mean, and there is no avg then.
    figures, metric = evaluate(samples, NAMES, (3, 1))
    assert 'new' not in figures and 'avg' not in figures and 'group1' not in figures
    assert metric.summary['new'] is None and metric.summary['groups'] == [pytest.approx(2 / 3), None]
    assert all(np.isfinite(value) for value in figures.values())


def test_tables_to_read():
    stage = Stage(('copper', 'pin-hole', 'spur'), (2, 1))
    first, second = group_figures(stage, [1, np.nan, .5]), group_figures(stage, [.25, .75, np.nan])
    lines = figures_tables(stage, dict(boxes=[12, 0, 3]), dict(AP=first, AP50=second)).splitlines()
    assert lines == [
        '+----------+-------+-------+-------+-------+',
        '| class    | group | boxes |    AP |  AP50 |',
        '+----------+-------+-------+-------+-------+',
        '| copper   |     0 |    12 | 1.000 | 0.250 |',
        '| pin-hole |     0 |     0 |     - | 0.750 |',
        '| spur     |     1 |     3 | 0.500 |     - |',
        '+----------+-------+-------+-------+-------+',
        '+--------+-------+-------+',
        '| mean   |    AP |  AP50 |',
        '+--------+-------+-------+',
        '| old    | 1.000 | 0.500 |',
        '| new    | 0.500 |     - |',
        '| all    | 0.750 | 0.500 |',
        '| avg    | 0.750 |     - |',
        '| group0 | 1.000 | 0.500 |',
        '| group1 | 0.500 |     - |',
        '+--------+-------+-------+',
    ]


def test_what_is_undefined_may_be_none():
    """As ``metrics.json`` has it."""
    means = group_means(Stage(('a', 'b', 'c'), (1, 1, 1)), [.5, None, 1])
    assert means == dict(old=.5, new=1, all=.75, avg=.75, groups=[.5, None, 1])


def test_told(monkeypatch):
    told = []

    def tell(text, logger, level=logging.INFO):
        assert logger == 'current'
        told.append((level, text))

    monkeypatch.setattr(incremental_voc_metric, 'print_log', tell)
    one = sample([(0, 0), (0, 1)], [(0, 0, .9), (0, 5, .8), (0, 6, .7)])
    evaluate([one], ('copper', 'pin-hole', 'spur'), (1, 2), iou_thr=.75)
    (info, figures), (warning, without) = told
    assert (info, warning) == (logging.INFO, logging.WARNING)
    assert without == ('no AP for pin-hole, spur: the evaluated split has no box of it that is not difficult; left out of all '
                       'means')
    title, _, columns, _, copper, *_ = figures.splitlines()
    assert title == 'AP at IoU 0.75, 1 images, 2 boxes'
    assert [[cell.strip() for cell in row.strip('|').split('|')] for row in (columns, copper)] == [
        ['class', 'group', 'boxes', 'detections', 'recall', 'AP 11points', 'AP area'],
        ['copper', '0', '2', '3', '0.500', '0.545', '0.500'],
    ]
    told.clear()
    evaluate([sample([(0, 0)])])
    assert len(told) == 1


def test_any_number_of_names():
    # Stock VOCMetric has the 20 names of VOC and nothing else.
    names = tuple(f'kind {label}' for label in range(23))
    truth = [(label, label) for label in range(23)]
    figures, metric = evaluate([sample(truth, [(label, label, .5) for label in (0, 22)])], names, (20, 3))
    assert list(metric.summary['per_class']) == list(names)
    assert [name for name in names if figures[f'AP/{name}'] == 1] == ['kind 0', 'kind 22']
    assert figures['new'] == pytest.approx(1 / 3)


def test_no_detection_at_all():
    figures, _ = evaluate([sample([(0, 0)])])
    assert figures == dict.fromkeys(figures, 0.)


def test_boxes_of_mmdetections_own_type_and_no_ignored_ones():
    one = sample([(0, 0)], [(0, 0, .9)])
    one['gt_instances']['bboxes'] = HorizontalBoxes(one['gt_instances']['bboxes'])
    del one['ignored_instances']
    assert evaluate([one])[0]['all'] == 1


def test_prefix_and_device_are_those_of_every_metric():
    figures, _ = evaluate(FOUR, NAMES, prefix='voc', iou_thr=1)  # boxes that match exactly
    assert figures['voc/all'] == pytest.approx((1 + 0 + 6 / 11 + 1) / 4) and {key[:4] for key in figures} == {'voc/'}
    assert METRICS.build(dict(type='mmilmil.IncrementalVOCMetric', collect_device='gpu')).collect_device == 'gpu'


def test_no_image_evaluated():
    metric = METRICS.build(dict(type='mmilmil.IncrementalVOCMetric'))
    metric.dataset_meta = dict(classes=('a', ))
    assert metric.summary is None
    with pytest.raises(InputError, match='^no image was evaluated'):
        metric.compute_metrics([])


def test_bad_input():
    with pytest.raises(InputError, match="eval_mode = '12points' of IncrementalVOCMetric: use '11points' or 'area'"):
        evaluate(FOUR, NAMES, eval_mode='12points')
    for iou_thr in (0, 1.5, [.5, .75]):
        with pytest.raises(InputError, match='iou_thr'):
            evaluate(FOUR, NAMES, iou_thr=iou_thr)
    with pytest.raises(InputError, match='^metainfo of the evaluated dataset.* sums to 3'):
        evaluate(FOUR, NAMES, (2, 1))
    bare = dict(sample(), img_path='x.jpg', gt_instances={})
    with pytest.raises(InputError, match='x.jpg came without annotations.*LoadAnnotations'):
        evaluate([bare])
    del bare['gt_instances'], bare['img_path']
    with pytest.raises(InputError, match='^an image came without annotations'):
        evaluate([bare])


def test_metrics_file(tmp_path):
    _, metric = evaluate(FOUR, NAMES, (2, 2))
    runner = SimpleNamespace(work_dir=str(tmp_path), _load_from=None,
                             test_evaluator=SimpleNamespace(metrics=[object(), metric]),
                             val_evaluator=SimpleNamespace(metrics=[object()]))
    hook = HOOKS.build(dict(type='mmilmil.MetricsFileHook'))
    assert isinstance(hook, MetricsFileHook)
    hook.after_val_epoch(runner, {})
    assert not list(tmp_path.iterdir())  # no such metric, no file
    hook.after_test_epoch(runner, {})
    assert [path.name for path in tmp_path.iterdir()] == ['metrics.json']
    content = json.loads((tmp_path / 'metrics.json').read_text())
    half = pytest.approx(6 / 11)
    new = pytest.approx((6 / 11 + 1) / 2)
    assert content == {
        'old': .5, 'new': new,
        'all': pytest.approx((1 + 0 + 6 / 11 + 1) / 4), 'avg': pytest.approx((.5 + (6 / 11 + 1) / 2) / 2),
        'groups': [.5, new],
        'per_class': {'a': 1, 'b': 0, 'c': half, 'd': 1},
        'area': {
            'old': .5, 'new': .75, 'all': .625, 'avg': .625, 'groups': [.5, .75],
            'per_class': {'a': 1, 'b': 0, 'c': .5, 'd': 1}
        },
        'classes': list(NAMES), 'split': [2, 2], 'eval_mode': '11points', 'iou_thr': .5, 'images': 1, 'boxes': 5,
        'sets': [dict(file=None, images=1, boxes=5, classes=list(NAMES))]  # samples of no dataset
    }
    runner.val_evaluator = runner.test_evaluator
    hook.after_val_epoch(runner, {})
    assert json.loads((tmp_path / 'metrics_val.json').read_text()) == content


def test_undefined_is_null_in_the_file(tmp_path):
    _, metric = evaluate(FOUR, (*NAMES, 'e'))
    runner = SimpleNamespace(work_dir=str(tmp_path), _load_from=None, test_evaluator=SimpleNamespace(metrics=[metric]))
    MetricsFileHook().after_test_epoch(runner)
    content = json.loads((tmp_path / 'metrics.json').read_text(), parse_constant=pytest.fail)  # NaN is not JSON
    assert content['old'] is None and content['avg'] is None and content['per_class']['e'] is None


@pytest.mark.skipif(not VOC.is_dir(), reason=f'no {VOC}: set MMILMIL_VOC_ROOT to the folder VOC2007 to run this test')
def test_voc2007_test_split():
    # Protocol 9: what a figure on VOC07 test stands on.
    dataset = IncrementalVOCDataset(
        'ImageSets/Main/test.txt', data_root=str(VOC), test_mode=True,
        metainfo=dict(classes=VOC_CLASSES, split=(15, 5)))
    truth = [instance for index in range(len(dataset)) for instance in dataset.get_data_info(index)['instances']]
    assert len(dataset) == 4952
    assert sum(not instance['ignore_flag'] for instance in truth) == 12032

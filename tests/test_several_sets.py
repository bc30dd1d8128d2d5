"""Test sets that annotate different classes: each class is measured where it is annotated, by hand and from end to end."""

import json

import cv2
import numpy as np
import pytest
import torch
from conftest import make_voc
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope

from mmilmil import InputError
from mmilmil.datasets.test_sets import check_sets
from mmilmil.engine.dry_run import dry_run
from mmilmil.evaluation import incremental_coco_metric, incremental_voc_metric
from mmilmil.registry import DATASETS, METRICS

CLASSES, SPLIT = ('ant', 'bee', 'cow'), (2, 1)
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
# Boxes of 20 x 20 pixels, 1-based with their last pixel, on the four quarters of an image.
PLACES = [(1, 1, 20, 20), (41, 1, 60, 20), (1, 41, 20, 60), (41, 41, 60, 60)]
# A annotates ant and bee, and of the cows on its images one by chance; B annotates cow, and one ant by chance.
SET_A = {'a1': [('ant', 0), ('ant', 1)], 'a2': [('ant', 0), ('bee', 1), ('cow', 2)]}
SET_B = {'a1': [('cow', 0)], 'b2': [('cow', 1), ('ant', 3)]}
# What a detector finds, as (label, place, score), by set and image.
#   ant: hit .9, miss .8 (on A), hit .7; on B there is a false alarm and a hit, neither of which counts.
#   bee: found. cow: on A false alarms and a hit of the highest scores, which do not count; on B hit .5, miss .4, no hit.
FOUND = {
    'A': {'a1': [(0, 0, .9), (0, 3, .8), (2, 0, .99)], 'a2': [(0, 0, .7), (1, 1, .6), (2, 2, .98), (2, 3, .97)]},
    'B': {'a1': [(2, 0, .5), (0, 0, .95), (1, 2, .96)], 'b2': [(2, 0, .4), (0, 3, .94)]},
}
# ant: 3 boxes; recall 1/3 1/3 2/3, precision 1 1/2 2/3. cow: 2 boxes; recall 1/2 1/2, precision 1 1/2.
AREA = dict(ant=1 / 3 + 1 / 3 * 2 / 3, bee=1, cow=.5)
# Of the 101 recalls 34 are up to 1/3, 33 more up to 2/3; 51 are up to 1/2.
COCO = dict(ant=(34 + 33 * 2 / 3) / 101, bee=1, cow=51 / 101)


def voc(root, objects, **kwargs):
    make_voc(root, {name: [(label, *PLACES[place]) for label, place in found] for name, found in objects.items()})
    return dict(type='IncrementalVOCDataset', data_root=str(root), ann_file='ImageSets/Main/test.txt', **common(kwargs))


def coco(root, objects, **kwargs):
    """Ids of images begin with 0 in every file."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = sorted({label for found in objects.values() for label, _ in found}, reverse=True)
    content = dict(images=[], annotations=[], categories=[dict(id=7 + number, name=name) for number, name in enumerate(names)])
    for number, (name, found) in enumerate(objects.items()):
        content['images'].append(dict(id=number, file_name=f'{name}.jpg', width=64, height=64))
        cv2.imwrite(str(root / f'{name}.jpg'), rng.integers(0, 255, (64, 64, 3), np.uint8))
        for label, place in found:
            x1, y1, x2, y2 = PLACES[place]
            content['annotations'].append(dict(image_id=number, category_id=7 + names.index(label),
                                               bbox=[x1 - 1, y1 - 1, x2 - x1, y2 - y1]))
    (root / 'test.json').write_text(json.dumps(content))
    return dict(type='IncrementalCocoDataset', data_root=str(root), ann_file='test.json', **common(kwargs))


def common(more):
    return dict(metainfo=dict(classes=CLASSES, split=SPLIT), test_mode=True, pipeline=PIPELINE, **more)


def build(*configs):
    init_default_scope('mmilmil')
    whole = dict(type='ConcatDataset', datasets=list(configs)) if len(configs) > 1 else configs[0]
    return DATASETS.build(Config(whole).to_dict())  # building takes settings out


def evaluate(dataset, metric, found=FOUND, names='AB'):
    """The metric after an evaluation through the loop's way: samples of the dataset, with detections."""
    metric = METRICS.build(dict(metric))
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        key = names[[part in sample.img_path for part in ('/A/', '/B/')].index(True)] if len(names) > 1 else names
        entries = found[key][sample.img_path.rpartition('/')[2].removesuffix('.jpg')]
        boxes = torch.tensor([PLACES[place] for _, place, _ in entries], dtype=torch.float32).reshape(-1, 4) - 1
        sample = sample.to_dict()
        sample['pred_instances'] = dict(bboxes=boxes, scores=torch.tensor([score for *_, score in entries]),
                                        labels=torch.tensor([label for label, *_ in entries], dtype=torch.long))
        metric.process({}, [sample])
    metric.evaluate(len(dataset))
    return metric.summary


OLD, NEW = dict(annotated=('ant', 'bee')), dict(annotated=['cow'])
VOC_METRIC = dict(type='IncrementalVOCMetric', eval_mode='area')


@pytest.fixture
def sets(tmp_path):
    """``sets(voc, coco)`` writes A in VOC's layout and B in COCO's."""

    def write(first, second, old=OLD, new=NEW):
        return first(tmp_path / 'A', SET_A, **old), second(tmp_path / 'B', SET_B, **new)

    return write


# The datasets


@pytest.mark.parametrize('layout', [voc, coco])
def test_objects_of_other_classes_are_taken_off(tmp_path, layout):
    dataset = build(layout(tmp_path / 'A', SET_A, **OLD))
    assert len(dataset) == 2
    labels = [[instance['bbox_label'] for instance in dataset.get_data_info(index)['instances']] for index in range(2)]
    assert labels == [[0, 0], [0, 1]]
    assert dataset.kept_classes == ('ant', 'bee')
    report = dataset.report
    assert (report.boxes, dict(report.not_annotated), report.hidden_old) == (dict(ant=3, bee=1), dict(cow=1), 0)
    assert 'testing, 2 of 3 seen classes' in report.summary()
    assert 'not measured here, boxes taken off: cow 1' in report.summary()
    everything = build(layout(tmp_path / 'all', SET_A))
    assert everything.report.boxes == dict(ant=3, bee=1, cow=1) and not everything.report.not_annotated
    assert 'testing, all seen classes' in everything.report.summary()
    assert 'not measured' not in everything.report.summary()


def test_what_a_sample_tells(tmp_path):
    config = voc(tmp_path / 'A', SET_A, annotated=('cow', 'emu', 'ant'))
    dataset = build(config)
    sample = dataset[1]['data_samples']
    assert sample.ann_file == f'{tmp_path}/A/ImageSets/Main/test.txt'
    assert sample.annotated == (0, 2)  # labels, in their order; a class of a later stage has none
    assert 'annotated also names emu, not in metainfo.classes: not measured' in dataset.report.summary()
    assert build(dict(config, annotated='bee'))[0]['data_samples'].annotated == (1, )
    assert build({**config, 'annotated': None})[0]['data_samples'].annotated == (0, 1, 2)
    views = dict(type='TestTimeAug', transforms=[[dict(type='Resize', scale=(64, 64)), dict(type='Resize', scale=(32, 32))],
                                                 [PIPELINE[3]]])
    samples = build(dict(config, pipeline=[PIPELINE[0], views]))[0]['data_samples']
    assert [one.annotated for one in samples] == [(0, 2)] * 2
    training = build(dict(config, annotated=None, test_mode=False))
    assert training.sample_meta == {} and 'annotated' not in training[0]['data_samples']


def test_a_file_without_the_other_classes(tmp_path):
    config = coco(tmp_path / 'B', {'b1': [('cow', 0)]}, **NEW)
    assert build(config).report.boxes == dict(cow=1)
    with pytest.raises(InputError, match=r"no category 'ant', which metainfo.classes names: .*by annotated=\[\.\.\.\]"):
        build(dict(config, annotated=None))
    with pytest.raises(InputError, match="no category 'bee', which annotated names"):
        build(dict(config, annotated=('bee', 'cow')))


@pytest.mark.parametrize('annotated', [(), [], [1], dict(ant=1), 3, ['ant', None]])
def test_names_that_are_none(tmp_path, annotated):
    with pytest.raises(InputError, match='dataset annotated = .*: list the names of the classes'):
        build(voc(tmp_path / 'A', SET_A, annotated=annotated))


@pytest.mark.parametrize('more', [dict(test_mode=False), dict(test_mode=False, keep='seen')])
def test_training_takes_none(tmp_path, more):
    with pytest.raises(InputError, match=r"annotated = \['cow'\] in training: .* leave it out, or set test_mode=True"):
        build({**voc(tmp_path / 'A', SET_A, **NEW), **more})


# The metrics


@pytest.mark.parametrize('first, second', [(voc, voc), (coco, coco), (voc, coco), (coco, voc)])
def test_voc_metric_by_hand(sets, first, second):
    summary = evaluate(build(*sets(first, second)), VOC_METRIC)
    assert summary['per_class'] == pytest.approx(AREA)
    assert (summary['old'], summary['new']) == pytest.approx(((AREA['ant'] + 1) / 2, .5))
    assert (summary['images'], summary['boxes']) == (4, 6)
    assert [(one['images'], one['boxes'], one['classes']) for one in summary['sets']] == [
        (2, 4, ['ant', 'bee']), (2, 2, ['cow'])]
    assert '/A/' in summary['sets'][0]['file'] and '/B/' in summary['sets'][1]['file']


def coco_metric(tmp_path, *names):
    files = [str(tmp_path / name / 'test.json') for name in names]
    return dict(type='IncrementalCocoMetric', ann_file=files if len(files) > 1 else files[0])


def test_coco_metric_by_hand(sets, tmp_path):
    """Both files have images 0 and 1."""
    dataset = build(*sets(coco, coco))
    summary = evaluate(dataset, coco_metric(tmp_path, 'A', 'B'))
    assert summary['per_class'] == pytest.approx(COCO)
    assert (summary['old'], summary['new']) == pytest.approx(((COCO['ant'] + 1) / 2, COCO['cow']))
    assert summary['AP50']['per_class'] == pytest.approx(COCO)
    assert (summary['images'], summary['boxes']) == (4, 6)
    assert summary['sets'] == [dict(file=f'{tmp_path}/A/test.json', images=2, boxes=4, classes=['ant', 'bee']),
                               dict(file=f'{tmp_path}/B/test.json', images=2, boxes=2, classes=['cow'])]
    assert evaluate(dataset, coco_metric(tmp_path, 'B', 'A')) == summary  # the dataset says which is the first


@pytest.mark.parametrize('layout', [voc, coco])
def test_equal_to_each_set_alone(sets, tmp_path, layout):
    configs = sets(layout, layout)
    metric = VOC_METRIC if layout is voc else coco_metric(tmp_path, 'A', 'B')
    both = evaluate(build(*configs), metric)
    alone = [evaluate(build(config), VOC_METRIC if layout is voc else coco_metric(tmp_path, name), names=name)
             for name, config in zip('AB', configs)]
    assert both['per_class'] == alone[0]['per_class'] | {'cow': alone[1]['per_class']['cow']}
    assert (both['old'], both['new']) == (alone[0]['old'], alone[1]['new'])
    assert alone[0]['per_class']['cow'] is None and alone[0]['new'] is None
    assert both['sets'] == alone[0]['sets'] + alone[1]['sets']
    # What a figure is made of is not changed by a set that does not measure it.
    assert alone[0]['old'] == evaluate(build({**configs[0], 'metainfo': dict(classes=CLASSES[:2], split=(2, ))}),
                                       VOC_METRIC if layout is voc else coco_metric(tmp_path, 'A'), names='A')['all']


def test_a_class_of_both_sets(tmp_path):
    for metric, layout, precision in ((VOC_METRIC, voc, 'area'), (coco_metric(tmp_path, 'A', 'B'), coco, 'coco')):
        root = 'voc' if layout is voc else ''
        configs = [layout(tmp_path / root / 'A', SET_A, **OLD),
                   layout(tmp_path / root / 'B', SET_B, annotated=('ant', 'cow'))]
        summary = evaluate(build(*configs), metric)
        # By score: miss .95 (there is no ant in B's a1), hit .94, hit .9, miss .8, hit .7 of 4 boxes; the fourth is not found.
        # Precision from there on: 2/3 at 1/4 and 2/4, 3/5 at 3/4.
        expected = .25 * 2 / 3 * 2 + .25 * 3 / 5 if precision == 'area' else (51 * 2 / 3 + 25 * 3 / 5) / 101
        assert summary['per_class']['ant'] == pytest.approx(expected)
        assert [one['classes'] for one in summary['sets']] == [['ant', 'bee'], ['ant', 'cow']]


@pytest.mark.parametrize('layout', [voc, coco])
def test_without_annotated_all_classes_count_everywhere(sets, tmp_path, layout):
    """As one set of all the images."""
    metric = VOC_METRIC if layout is voc else coco_metric(tmp_path, 'A', 'B')
    objects = SET_A | {'b1': SET_B['a1'], 'b2': SET_B['b2']}
    found = {'A': FOUND['A'] | {'b1': FOUND['B']['a1'], 'b2': FOUND['B']['b2']}}
    if layout is coco:  # a file has all categories, or annotated says which
        full = {name: [*objects_of, *[(label, 3) for label in CLASSES if name == 'a1']] for name, objects_of in SET_B.items()}
        configs = coco(tmp_path / 'A', SET_A), coco(tmp_path / 'B', full)
        objects = SET_A | {'b1': full['a1'], 'b2': full['b2']}
    else:
        configs = sets(layout, layout, {}, {})
    both = evaluate(build(*configs), metric)
    whole = evaluate(build(layout(tmp_path / 'whole/A', objects)),
                     VOC_METRIC if layout is voc else coco_metric(tmp_path, 'whole/A'), found, names='A')
    assert len(both.pop('sets')) == 2 and len(whole.pop('sets')) == 1
    assert both == whole


def test_tables_tell_the_sets(sets, tmp_path, monkeypatch):
    for module, layout, metric in ((incremental_voc_metric, voc, VOC_METRIC),
                                   (incremental_coco_metric, coco, coco_metric(tmp_path / 'coco', 'A', 'B'))):
        told = []
        monkeypatch.setattr(module, 'print_log', lambda text, told=told, **kwargs: told.append(text))
        root = tmp_path / layout.__name__
        configs = layout(root / 'A', SET_A, annotated=('ant', )), layout(root / 'B', SET_B, annotated=('ant', 'cow'))
        evaluate(build(*configs), metric)
        (_, first, second, *table), warning = told[0].splitlines(), told[1]
        assert first.startswith('set 0: ') and '/A/' in first and first.endswith(', 2 images, 3 boxes')
        assert second.startswith('set 1: ') and '/B/' in second and second.endswith(', 2 images, 3 boxes')
        cells = {line.split('|')[1].strip(): line.split('|')[3].strip() for line in table if line.startswith('| ')}
        assert [cells[name] for name in ('class', *CLASSES)] == ['set', '0, 1', '-', '1']
        assert warning == 'no AP for bee: no evaluated set annotates it; left out of all means'
        told.clear()
        evaluate(build(configs[1]), VOC_METRIC if layout is voc else coco_metric(root, 'B'), names='B')
        assert 'set 0' not in told[0] and '| set |' not in told[0]


def test_nothing_is_measured(tmp_path):
    dataset = build(voc(tmp_path / 'A', SET_A, annotated=['emu']))
    with pytest.raises(InputError, match=r'nothing can be measured: annotated of .*test\.txt names no class'):
        evaluate(dataset, VOC_METRIC, names='A')
    with pytest.raises(InputError, match='test_dataloader: no set annotates a class of metainfo.classes'):
        check_sets(dataset, 'test_dataloader')


# Sets and evaluator that do not fit


def try_out(dataset, metric):
    check_sets(dataset, 'val_dataloader')
    evaluator = Evaluator([dict(metric)])
    evaluator.dataset_meta = dataset.metainfo
    return dry_run(evaluator, dataset, 'val')


def test_files_of_the_coco_metric(sets, tmp_path):
    first, second = sets(coco, coco)
    both = build(first, second)
    assert try_out(both, coco_metric(tmp_path, 'A', 'B'))['old'] == 'all'
    (tmp_path / 'link').symlink_to(tmp_path / 'B')
    assert try_out(both, coco_metric(tmp_path, 'A', '../' + tmp_path.name + '/link'))
    with pytest.raises(InputError, match=r'/B/test\.json is evaluated, but ann_file of IncrementalCocoMetric names '
                       r'.*/A/test\.json: list the COCO files of all sets'):
        try_out(both, coco_metric(tmp_path, 'A'))
    with pytest.raises(InputError, match=r'/B/test\.json lists 2 images, of which 2 are not evaluated'):
        try_out(build(first), coco_metric(tmp_path, 'A', 'B'))
    content = json.loads((tmp_path / 'B/test.json').read_text())
    content['images'][1]['id'] = 9
    content['annotations'] = []
    (tmp_path / 'B/test.json').write_text(json.dumps(content))
    with pytest.raises(InputError, match=r'/B/test\.json does not list the image 1, which is evaluated'):
        try_out(both, coco_metric(tmp_path, 'A', 'B'))
    for wrong in ([], None, {}):
        with pytest.raises(InputError, match='ann_file = .* of IncrementalCocoMetric: name a COCO file, or list several'):
            METRICS.build(dict(type='IncrementalCocoMetric', ann_file=wrong))


def test_coco_metric_and_a_voc_set(sets, tmp_path):
    with pytest.raises(InputError, match=r'/A/ImageSets/Main/test\.txt is evaluated, but .* or use IncrementalVOCMetric'):
        try_out(build(*sets(voc, coco)), coco_metric(tmp_path, 'B'))

"""Test sets that annotate different classes: each class is measured where it is annotated, by hand and from end to end."""

import json
import pickle

import cv2
import numpy as np
import pytest
import torch
from conftest import make_voc
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from tiny import OBJECTS, OLD, SEEN, teacher_file, write_coco, write_configs

from mmilmil import InputError
from mmilmil.data_tools.check import check_config
from mmilmil.datasets import several_sets
from mmilmil.datasets.several_sets import check_sets
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
    """The summary of an evaluation of samples of the dataset, with detections.

    Args:
        found: Detections by set and image.
        names: Folders of the sets.
    """
    metric = METRICS.build(dict(metric))
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        name = next(name for name in names if len(names) == 1 or f'/{name}/' in f'/{sample.img_path}')
        entries = found[name][sample.img_path.rpartition('/')[2].removesuffix('.jpg')]
        boxes = torch.tensor([PLACES[place] for _, place, _ in entries], dtype=torch.float32).reshape(-1, 4) - 1
        sample = sample.to_dict()
        sample['pred_instances'] = dict(bboxes=boxes, scores=torch.tensor([score for *_, score in entries]),
                                        labels=torch.tensor([label for label, *_ in entries], dtype=torch.long))
        metric.process({}, [sample])
    metric.evaluate(len(dataset))
    return metric.summary


FIRST, SECOND = dict(annotated=('ant', 'bee')), dict(annotated=['cow'])
VOC_METRIC = dict(type='IncrementalVOCMetric', eval_mode='area')


@pytest.fixture
def sets(tmp_path):
    """``sets(voc, coco)`` writes A in VOC's layout and B in COCO's."""

    def write(first, second, old=FIRST, new=SECOND):
        return first(tmp_path / 'A', SET_A, **old), second(tmp_path / 'B', SET_B, **new)

    return write


# The datasets


@pytest.mark.parametrize('layout', [voc, coco])
def test_objects_of_other_classes_are_taken_off(tmp_path, layout):
    dataset = build(layout(tmp_path / 'A', SET_A, **FIRST))
    assert len(dataset) == 2
    labels = [[instance['bbox_label'] for instance in dataset.get_data_info(index)['instances']] for index in range(2)]
    assert labels == [[0, 0], [0, 1]]
    assert dataset.kept_classes == ('ant', 'bee')
    report = dataset.report
    assert (report.boxes, dict(report.not_annotated), report.hidden_old) == (dict(ant=3, bee=1), dict(cow=1), 0)
    assert 'testing, 2 of 3 seen classes' in report.summary()
    assert 'as annotated does not name them; boxes taken off: cow 1' in report.summary()
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
    config = coco(tmp_path / 'B', {'b1': [('cow', 0)]}, **SECOND)
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
        build({**voc(tmp_path / 'A', SET_A, **SECOND), **more})


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
        configs = [layout(tmp_path / root / 'A', SET_A, **FIRST),
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


@pytest.mark.parametrize('layout', [voc, coco])
def test_results_of_several_processes(sets, tmp_path, layout, monkeypatch):
    """They come as MMEngine's gathering brings them: pickled, and of every process every second image."""
    dataset = build(*sets(layout, layout))
    metric = VOC_METRIC if layout is voc else coco_metric(tmp_path, 'A', 'B')
    whole = evaluate(dataset, metric)

    def gather(results, size, *args, **kwargs):
        parts = [pickle.loads(pickle.dumps(results[rank::2], protocol=2)) for rank in range(2)]
        return [one for pair in zip(*parts) for one in pair][:size]

    monkeypatch.setattr('mmengine.evaluator.metric.collect_results', gather)
    assert evaluate(dataset, metric) == whole


def test_paths_are_compared_whole(sets, tmp_path, monkeypatch):
    """The dataset's is relative to its data_root, the metric's to the working directory."""
    first, second = sets(coco, coco)
    monkeypatch.chdir(tmp_path)
    dataset = build(dict(first, data_root='A'), dict(second, data_root='../' + tmp_path.name + '/B/'))
    summary = evaluate(dataset, dict(type='IncrementalCocoMetric', ann_file=['./B//test.json', tmp_path / 'A/test.json']))
    assert summary['per_class'] == pytest.approx(COCO)
    assert [one['file'] for one in summary['sets']] == ['A/test.json', f'../{tmp_path.name}/B/test.json']


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


@pytest.mark.parametrize('layout', [voc, coco])
def test_an_image_in_two_sets_of_one_class(tmp_path, layout):
    """By the file itself, whatever the folder it is reached by; in sets of different classes it may be."""
    first = layout(tmp_path / 'A', SET_A, annotated=('ant', 'bee'))
    second = layout(tmp_path / 'B', {'a2': [('cow', 0), ('ant', 1)]}, annotated=('cow', ))
    image = next((tmp_path / 'B').rglob('a2.jpg'))
    image.unlink()
    image.symlink_to(next((tmp_path / 'A').rglob('a2.jpg')))
    check_sets(build(first, second), 'val_dataloader')
    with pytest.raises(InputError) as caught:
        check_sets(build(first, dict(second, annotated=('ant', 'cow'))), 'val_dataloader')
    file = 'ImageSets/Main/test.txt' if layout is voc else 'test.json'
    assert str(caught.value) == (
        f'val_dataloader: the image {image} is both in {tmp_path}/A/{file} and in {tmp_path}/B/{file}, and both annotate '
        "'ant': it would count twice, or contradict itself. Take it out of one of them, or name the classes that each "
        'annotates by annotated=[...]')
    with pytest.raises(InputError, match="both annotate 'ant', 'bee'"):  # the same set twice
        check_sets(build(first, first), 'val_dataloader')


def test_sets_that_do_not_fit(tmp_path):
    first, second = voc(tmp_path / 'A', SET_A, **FIRST), voc(tmp_path / 'B', SET_B, **SECOND)
    other = dict(second, metainfo=dict(classes=CLASSES, split=(1, 2)))
    with pytest.raises(InputError, match=r'val_dataloader\.dataset\.datasets\[0\] and val_dataloader\.dataset\.datasets\[1\] '
                       r'have different metainfo, .*\(2, 1\).*\(1, 2\).*: give all sets of a loader the same'):
        check_sets(build(first, other), 'val_dataloader')
    with pytest.raises(InputError, match=r'datasets\[1\] .*/B/.*test\.txt\) is in training mode.* set test_mode=True'):
        check_sets(build(first, {**second, 'test_mode': False, 'annotated': None}), 'val_dataloader')
    foreign = dict(type='XMLDataset', data_root=str(tmp_path / 'B'), ann_file='ImageSets/Main/test.txt', test_mode=True,
                   data_prefix=dict(sub_data_root=''), metainfo=first['metainfo'], pipeline=PIPELINE)
    with pytest.raises(InputError, match=r'datasets\[1\] is a XMLDataset: of several sets .* each must be'):
        check_sets(build(first, foreign), 'val_dataloader')
    check_sets(build(foreign), 'val_dataloader')  # alone it may be anything


def test_classes_that_no_set_annotates_are_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(several_sets, 'print_log', lambda text, **kwargs: told.append(text))
    first, second = voc(tmp_path / 'A', SET_A, annotated=('ant', )), voc(tmp_path / 'B', SET_B, annotated=('cows', 'ant'))
    check_sets(build(first, second), 'test_dataloader')
    assert told == ["test_dataloader: no set annotates bee, cow (misspelt as 'cows'?): no AP, and left out of all means"]
    told.clear()
    check_sets(build(first, dict(second, annotated=('bee', 'cow'))), 'test_dataloader')
    check_sets(build({**first, 'annotated': None}), 'test_dataloader')
    assert not told


def test_dry_run_tries_every_set(tmp_path):
    first, second = voc(tmp_path / 'A', SET_A, **FIRST), voc(tmp_path / 'B', SET_B, **SECOND)
    with pytest.raises(InputError, match=r'val_dataloader\.dataset\.datasets\[1\]: its pipeline gives no data_samples'):
        try_out(build(first, dict(second, pipeline=PIPELINE[:3])), VOC_METRIC)
    image = tmp_path / 'B/JPEGImages/a1.jpg'
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(InputError, match=f'the image {image}: LoadImageFromFile fails'):
        try_out(build(first, second), VOC_METRIC)


# check_dataset.py


def config_of(role, *sets):
    whole = dict(type='ConcatDataset', datasets=list(sets)) if len(sets) > 1 else sets[0]
    return Config({f'{role}_dataloader': dict(dataset=whole)})


def test_check_dataset_shows_what_is_measured_where(tmp_path):
    first, second = voc(tmp_path / 'A', SET_A, **FIRST), coco(tmp_path / 'B', SET_B, **SECOND)
    report = check_config(config_of('test', first, second))
    assert not report.findings.errors
    a, b, where = report.stages
    assert a.startswith('test[0], testing, 2 of 3 seen classes: 2 of 2 images kept')
    cells = {line.split('|')[1].strip(): [cell.strip() for cell in line.split('|')[2:-1]] for line in a.splitlines()[2:]
             if line.startswith('| ')}
    # group, listed, kept, kept as ignored, hidden in kept images
    assert cells['ant'] == ['old', '3', '3', '0', '0'] and cells['cow'] == ['new', '1', '-', '0', '1']
    assert b.startswith('test[1], testing, 1 of 3 seen classes: 2 of 2 images kept')
    assert where == '\n'.join([
        'test, where each class is measured:',
        f'  test[0] ({tmp_path}/A/ImageSets/Main/test.txt, 2 images): ant, bee',
        f'  test[1] ({tmp_path}/B/test.json, 2 images): cow'])
    assert len(check_config(config_of('val', dict(first))).stages) == 1


@pytest.mark.parametrize('role', ['val', 'test'])
def test_check_dataset_tells_sets_that_do_not_fit(tmp_path, role):
    first, second = voc(tmp_path / 'A', SET_A, **FIRST), voc(tmp_path / 'B', SET_B, **SECOND)

    def errors(*sets):
        return check_config(config_of(role, *sets)).findings.errors.get('stops the run', {})

    assert not errors(first, second)
    # Every image is told, not the first alone.
    assert [f'{role}: the image {tmp_path}/A/JPEGImages/{name}.jpg is both in ' in text
            for name, text in zip(('a1', 'a2'), errors(first, dict(first, annotated=['bee', 'cow'])))] == [True, True]
    assert not errors(first, dict(first, annotated=['cow']))
    other, = errors(first, dict(second, metainfo=dict(classes=CLASSES, split=(3, ))))
    assert f'{role}[0] and {role}[1] have different metainfo' in other
    foreign, = errors(first, dict(type='CocoDataset'))
    assert f'{role}[1] is a CocoDataset: of several sets' in foreign
    nothing, = errors(dict(first, annotated=['emu']))
    assert 'no set annotates a class of metainfo.classes' in nothing
    notes = check_config(config_of(role, first)).findings.notes
    assert list(notes['class that no set annotates: it gets no AP']) == [f'{role}: cow']


# From end to end


@pytest.fixture
def chain(tmp_path):
    """A chain of two stages whose old classes are tested on a VOC folder and whose new ones on a COCO file: its last config."""
    data = make_voc(tmp_path / 'A', OBJECTS)
    write_coco(make_voc(tmp_path / 'B', {'one': OBJECTS['one'][1:2], 'five': [('emu', 5, 5, 40, 40)]}))
    files = write_configs(tmp_path, data)
    for file, pipeline in zip(files, ('test_pipeline', '_base_.test_pipeline')):
        file.write_text(f"""{file.read_text()}
sets = dict(_delete_=True, type='ConcatDataset', datasets=[
    dict(type='IncrementalVOCDataset', data_root='{tmp_path}/A', ann_file='ImageSets/Main/test.txt', annotated={OLD},
         test_mode=True, metainfo=metainfo, pipeline={pipeline}),
    dict(type='IncrementalCocoDataset', data_root='{tmp_path}/B', ann_file='coco/test.json', annotated={SEEN[3:]},
         data_prefix=dict(img='JPEGImages'), test_mode=True, metainfo=metainfo, pipeline={pipeline})])
val_dataloader['dataset'] = sets
test_dataloader['dataset'] = sets
test_dataloader['num_workers'] = 1
""")
    return files[1]


def test_a_chain_on_two_test_sets(chain, tmp_path, tool):
    done = tool('train_chain.py', chain, '--work-dir', tmp_path / 'runs')
    assert done.status == 0, done.err[-3000:]
    base, student = (json.loads((tmp_path / f'runs/{stage}/metrics.json').read_text()) for stage in ('base', 'student'))
    files = [f'{tmp_path}/A/ImageSets/Main/test.txt', f'{tmp_path}/B/coco/test.json']
    assert base['sets'] == [dict(file=files[0], images=4, boxes=6, classes=list(OLD)),
                            dict(file=files[1], images=2, boxes=0, classes=[])]
    assert student['sets'] == [base['sets'][0], dict(file=files[1], images=2, boxes=2, classes=list(SEEN[3:]))]
    assert json.loads((tmp_path / 'runs/student/metrics_val.json').read_text())['sets'] == student['sets']
    assert f'\nold: {files[0]} (4 images); new: {files[1]} (2 images)\n' in done.out
    assert 'do not compare' not in done.out and 'do not tell' not in done.out
    stock = Config.fromfile(tmp_path / 'runs/student/stock_config.py').test_dataloader.dataset
    assert stock.type == 'XMLDataset' and 'annotated' not in stock
    checked = tool('check_dataset.py', chain)
    assert f'test[1] ({files[1]}, 2 images): dog, emu' in checked.out
    collected = tool('analysis_tools/collect_results.py', tmp_path / 'runs', '--out', tmp_path / 'docs', '--chain', 'base',
                     'student', '--teacher', 'base')
    assert collected.status == 0, collected.err
    assert f'old: {files[0]} (4 images); new: {files[1]} (2 images)' in (tmp_path / 'docs/tables.md').read_text()


@pytest.mark.parametrize('name', ['train.py', 'train_chain.py', 'check_dataset.py'])
def test_a_contradiction_stops_before_training(chain, tmp_path, tool, name):
    """The image one.jpg is the same in both sets, and both annotate dog."""
    image = tmp_path / 'B/JPEGImages/one.jpg'
    image.unlink()
    image.symlink_to(tmp_path / 'A/JPEGImages/one.jpg')
    chain.write_text(chain.read_text().replace(f'annotated={OLD}', f'annotated={OLD[1:] + SEEN[3:]}'))
    teacher = ['--teacher', teacher_file(tmp_path / 'teacher.pth', OLD)] if name == 'train.py' else []
    where = ['--work-dir', tmp_path / 'runs'] if name != 'check_dataset.py' else []
    done = tool(name, chain, *teacher, *where)
    assert done.status == 1 and 'Traceback' not in done.err
    told = done.out if name == 'check_dataset.py' else done.err.strip().splitlines()[-1]
    assert f"{tmp_path}/A/ImageSets/Main/test.txt and in {tmp_path}/B/coco/test.json, and both annotate 'dog', 'emu'" in told
    assert not list((tmp_path).rglob('final.pth'))

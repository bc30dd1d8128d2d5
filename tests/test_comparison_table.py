"""The table and the picture of a comparison: figures worked out by hand, from what metrics.json and cost.json hold."""

import json
from math import nan

import cv2
import pytest

from mmilmil.evaluation.comparison_table import (
    MEAN,
    MethodRun,
    Over,
    comparison_table,
    lines_below,
    method_rows,
    rows_for_json,
    run_figures,
)
from mmilmil.visualization import MethodPoints, draw_methods


def metrics(split, aps):
    """What a metrics.json holds of classes a, b, c, ...; the means are worked out here on their own."""
    names = 'abcdefgh'[:len(aps)]
    ends = [sum(split[:index + 1]) for index in range(len(split))]
    groups = [sum(aps[end - size:end]) / size for end, size in zip(ends, split)]
    old = aps[:-split[-1]]
    means = dict(old=None, new=groups[-1], all=sum(aps) / len(aps), avg=None)
    if old:
        means['old'] = sum(old) / len(old)
        means['avg'] = (means['old'] + means['new']) / 2
    return dict(means, groups=groups, per_class=dict(zip(names, aps)), classes=list(names), split=list(split), iou_thr=.5)


def cost(step, memory=100., device='CPU, 2 cores', kept=(0, 0, 0)):
    return dict(step_seconds=step, step_seconds_with_data=2 * step, timed_steps=9, iterations=9, peak_memory_mib=memory,
                peak_memory_of='VmHWM', device=device, threads=1, processes=1,
                kept=dict(zip(('memory_bytes', 'images', 'image_bytes'), kept)))


# Three stages of 2 + 1 + 1 classes, as in test_forgetting.
STAGES = [metrics((2, ), [.8, .6]), metrics((2, 1), [.6, .7, .9]), metrics((2, 1, 1), [.4, .6, .5, .7])]
JOINT = MethodRun('s', 'joint', 0, [metrics((2, 1, 1), [.8, .8, .9, .7])], is_joint=True, cost=cost(.5))
CHAIN = MethodRun('s', 'ours', 0, STAGES, cost=cost(.3, 150., kept=(3_100_000, 40, 250_000)))
PLAIN = MethodRun('s', 'finetune', 0, [STAGES[0], STAGES[1], metrics((2, 1, 1), [0., 0., .1, .9])], cost=cost(.25))


def test_figures_of_a_run():
    found = run_figures(CHAIN, JOINT, PLAIN)
    assert [found[name] for name in ('old', 'new', 'all', 'avg')] == pytest.approx([.5, .7, .55, .6])
    # Group 0: .7 at first, .5 in the end; group 1: .9, then .5.
    assert found['forgetting'] == pytest.approx((.2 + .4) / 2) and found['fpp'] == pytest.approx(.2)
    assert found['gap'] == pytest.approx(.8 - .55) and found['all/joint'] == pytest.approx(.55 / .8)
    assert found['omega'] == pytest.approx((1.4 / 1.6 + 2.2 / 2.5 + 2.2 / 3.2) / 3)
    assert found['rsd'] == pytest.approx((.4 / .8 + .2 / .8 + .4 / .9) / 3) and found['rpd'] == pytest.approx(0)
    assert found['step'] == pytest.approx(.3 / .25) and found['step_seconds'] == .3 and found['peak_memory_mib'] == 150
    assert (found['memory_bytes'], found['images'], found['image_bytes']) == (3_100_000, 40, 250_000)


def test_joint_training_itself():
    found = run_figures(JOINT, JOINT, PLAIN)
    assert found['gap'] == 0 and found['all/joint'] == 1 and found['rsd'] == 0 and found['step'] == 2
    # One stage has nothing to forget, and what it keeps is all.
    assert [found[name] for name in ('forgetting', 'fpp', 'omega', 'images')] == [None] * 4


def test_what_is_not_there_is_undefined():
    bare = run_figures(MethodRun('s', 'ours', 0, STAGES))
    assert [bare[name] for name in ('gap', 'all/joint', 'omega', 'rsd', 'rpd', 'step', 'step_seconds', 'peak_memory_mib',
                                    'memory_bytes', 'images')] == [None] * 10
    assert bare['fpp'] == pytest.approx(.2)
    # A brought teacher was not measured: what was lost since is unknown, what joint training is ahead is not.
    part = run_figures(MethodRun('s', 'ours', 0, STAGES[1:], complete=False), JOINT)
    assert part['forgetting'] is part['fpp'] is part['omega'] is None and part['gap'] == pytest.approx(.25)


@pytest.mark.parametrize('change', [dict(device='GPU'), dict(threads=2), dict(processes=2)])
def test_steps_on_unlike_machines_do_not_compare(change):
    other = MethodRun('s', 'finetune', 0, PLAIN.stages, cost=dict(PLAIN.cost, **change))
    found = run_figures(CHAIN, JOINT, other)
    assert found['step'] is None and found['step_seconds'] == .3


def test_sets_that_differ():
    def on(file, figures):
        return dict(figures, sets=[dict(file=file, images=5, boxes=9, classes=figures['classes'])])

    elsewhere = MethodRun('s', 'joint', 0, [on('B', JOINT.stages[0])], is_joint=True)
    found = run_figures(MethodRun('s', 'ours', 0, [on('B', STAGES[0]), *(on('A', one) for one in STAGES[1:])]), elsewhere)
    assert found['gap'] is found['fpp'] is found['forgetting'] is None and found['all'] == pytest.approx(.55)


def test_over_seeds():
    assert (Over({0: .5, 1: .6, 2: .7}).mean, Over({0: .5, 1: .6, 2: .7}).spread) == (pytest.approx(.6), pytest.approx(.1))
    assert (Over({3: .5}).mean, Over({3: .5}).spread) == (.5, None)
    assert (Over({}).mean, Over({}).spread) == (None, None)


def two_splits():
    """On split s two seeds; on t one, without joint training."""
    again = MethodRun('s', 'ours', 1, [STAGES[0], STAGES[1], metrics((2, 1, 1), [.4, .6, .5, .9])], cost=cost(.35, 150.))
    joint = MethodRun('s', 'joint', 1, [metrics((2, 1, 1), [1., 1., 1., 1.])], is_joint=True)
    plain = MethodRun('s', 'finetune', 1, PLAIN.stages, cost=cost(.25))
    other = [metrics((1, ), [.8]), metrics((1, 1), [.6, .8])]
    return [CHAIN, PLAIN, JOINT, again, plain, joint, MethodRun('t', 'ours', 0, other)]


def test_rows():
    rows = method_rows(two_splits(), 'finetune')
    assert [(row.split, row.method, list(row.seeds)) for row in rows] == [
        ('s', 'ours', [0, 1]), ('s', 'finetune', [0, 1]), ('s', 'joint', [0, 1]), ('t', 'ours', [0]), (MEAN, 'ours', [0])]
    ours, mean = rows[0].figures, rows[-1].figures
    assert ours['all'].mean == pytest.approx((.55 + .6) / 2) and ours['all'].spread == pytest.approx(.025)
    # Each seed with the joint training of that seed: .8 - .55, and 1 - .6.
    assert ours['gap'].values == {0: pytest.approx(.25), 1: pytest.approx(.4)}
    assert ours['step'].mean == pytest.approx((1.2 + 1.4) / 2)
    assert mean['all'].values == {0: pytest.approx((.55 + .7) / 2)} and mean['gap'].mean is None


def test_runs_without_a_mean():
    with pytest.raises(ValueError, match='classes'):
        method_rows([CHAIN, MethodRun('s', 'ours', 1, STAGES[:2])])


def test_table():
    runs = two_splits()
    lines = comparison_table(method_rows(runs, 'finetune'), 'finetune').splitlines()
    table = [[cell.strip() for cell in line[1:-1].split('|')] for line in lines]
    assert table[0] == ['split', 'method', 'seeds', 'old', 'new', 'all', 'avg', 'forgetting', 'FPP', 'gap to joint',
                        'all/joint', 'Omega', 'RSD', 'RPD', 'step / finetune', 'peak MiB', 'kept memory', 'kept images']
    assert table[2][:7] == ['s', 'ours', '2', '50.0 ±0.0', '80.0 ±10.0', '57.5 ±2.5', '65.0 ±5.0']
    assert table[2][7:10] == ['30.0 ±0.0', '20.0 ±0.0', '32.5 ±7.5']
    assert table[2][14:] == ['1.30 ±0.10', '150 ±0', '1.55 MB', '20 (125.0 kB)']  # of the means
    assert table[4][1:3] == ['joint', '2'] and table[4][-2:] == ['-', 'all']
    assert table[5][:6] == ['t', 'ours', '1', '60.0', '80.0', '70.0'] and table[5][9:] == ['-'] * 9
    assert table[6][:2] == [MEAN, 'ours']
    told = lines_below(runs)
    assert told[0].startswith('old, new, all, avg: AP50 in per cent on test, mean over the seeds 0, 1 ± half of their range')
    assert 'CPU, 2 cores (1 thread)' in told[1] and 'VmHWM' in told[1] and len(told) == 2
    assert ' on val, seed 0. ' in lines_below(runs[:3], on_val=True)[0]


def test_nothing_is_minus_zero():
    runs = [MethodRun('s', 'ours', 0, [metrics((1, ), [.5]), metrics((1, 1), [.5000001, .7])])]
    row = comparison_table(method_rows(runs)).splitlines()[2]
    assert '-0.0' not in row and ' 0.0 ' in row


def test_rows_as_json():
    rows = rows_for_json(method_rows(two_splits(), 'finetune'))
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert rows[0]['figures']['gap']['values'] == {'0': pytest.approx(.25), '1': pytest.approx(.4)}
    assert rows[3]['figures']['gap'] == dict(mean=None, spread=None, values={}) and nan not in rows[3]['seeds']


# The picture


BLUE, ORANGE = (0xb2, 0x72, 0x00), (0x00, 0x5e, 0xd5)  # as OpenCV reads them


def places(image, color):
    found = (image == color).all(axis=2).nonzero()
    return found[1], found[0]


def drawn(tmp_path, panels):
    draw_methods(panels, 'AP50 (%) on test', str(tmp_path / 'a.png'))
    return cv2.imread(str(tmp_path / 'a.png'))


def test_picture(tmp_path):
    """Each mean is at its place: old at 0 and at 100 lie one scale apart, new at 50 in the middle of them."""
    low = MethodPoints('low', dict(old=(0., 0.), new=(.5, None), all=(.25, .1)))
    high = MethodPoints('high', dict(old=(1., None), new=(None, None), all=(.8, None)), is_joint=True)
    image = drawn(tmp_path, {'split': [low, high]})
    assert image.shape[1] == 1200
    below = 40  # the legend has the same marks
    (x, y), (new, row) = places(image[below:], BLUE), places(image[below:], ORANGE)
    middle = (y.min() + y.max()) / 2
    first, second = x[y < middle].mean(), x[y > middle].mean()
    assert second - first > 800 and new.mean() == pytest.approx((first + second) / 2, abs=2)
    assert row.max() < middle  # what is None is not drawn


def test_picture_grows_with_what_it_shows(tmp_path):
    one = [MethodPoints(f'method {index}', dict(old=(.1, .1), new=(.2, .1), all=(.15, .1))) for index in range(12)]
    small, large = drawn(tmp_path, {'a': one[:2]}), drawn(tmp_path, {'a': one, 'b': one[:3], 'c': one})
    assert small.shape[1] == large.shape[1] == 1200 and large.shape[0] > 2 * 12 * 30
    for wrong in ({}, {'a': []}):
        with pytest.raises(ValueError, match='nothing to draw'):
            drawn(tmp_path, wrong)

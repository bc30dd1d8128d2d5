import pytest

from mmilmil.evaluation import chains_table, mean_figures, results_table
from mmilmil.table_layout import ascii_table, markdown_table


def figures(classes, split, groups, **means):
    return dict(dict(old=None, new=None, all=None, avg=None), classes=list(classes), split=list(split), groups=groups,
                **means) | means


TEACHER = figures('abcd', (4, ), [.9], new=.9, all=.9)
TUNED = figures('abcd' 'ef', (4, 2), [0., .8], old=0., new=.8, all=.8 / 3, avg=.4)
ILMIL = figures('abcd' 'ef', (4, 2), [.882, .72], old=.882, new=.72, all=.828, avg=.801)
JOINT = figures('abcd' 'ef', (4, 2), [.92, .8], old=.92, new=.8, all=.88, avg=.86)


def test_plain():
    assert results_table({'teacher': TEACHER, 'fine-tuning': TUNED, 'ILMIL': ILMIL, 'joint': JOINT}) == '\n'.join([
        '| AP50 (%)    |  old |  new |  all |  avg |',
        '|-------------|-----:|-----:|-----:|-----:|',
        '| teacher     | 90.0 |    - |    - |    - |',
        '| fine-tuning |  0.0 | 80.0 | 26.7 | 40.0 |',
        '| ILMIL       | 88.2 | 72.0 | 82.8 | 80.1 |',
        '| joint       | 92.0 | 80.0 | 88.0 | 86.0 |',
    ])


def test_ratios():
    rows = {'first': TEACHER, 'ILMIL': ILMIL, 'all': JOINT}
    assert results_table(rows, teacher='first', joint='all') == '\n'.join([
        '| AP50 (%) |  old |  new |  all |  avg | old/teacher | new/joint | all/joint |',
        '|----------|-----:|-----:|-----:|-----:|------------:|----------:|----------:|',
        '| first    | 90.0 |    - |    - |    - |           - |         - |         - |',
        '| ILMIL    | 88.2 | 72.0 | 82.8 | 80.1 |        98.0 |      90.0 |      94.1 |',
        '| all      | 92.0 | 80.0 | 88.0 | 86.0 |       102.2 |     100.0 |     100.0 |',
    ])


def test_ratios_compare_the_same_classes_only():
    other = figures('bacdef', (4, 2), [.8, .7], old=.8, new=.7, all=.75, avg=.75)
    three = figures('abcdef', (3, 3), [.8, .7], old=.8, new=.7, all=.75, avg=.75)
    table = results_table({'t': TEACHER, 'j': JOINT, 'other': other, 'three': three}, teacher='t', joint='j')
    rows = {row.split('|')[1].strip(): [cell.strip() for cell in row.split('|')[6:9]] for row in table.splitlines()}
    assert rows['other'] == ['-', '-', '-']
    assert rows['three'] == ['-', '-', '85.2']


def test_chain_has_a_column_a_group():
    chain = figures('abcdefgh', (4, 2, 2), [.5, .6, .7], old=.8 / 1.5, new=.7, all=.575, avg=.6)
    lines = results_table({'1': TEACHER, '2': ILMIL, '3': chain}).splitlines()
    assert lines[0].endswith('| group 0 | group 1 | group 2 |')
    assert lines[2].endswith('|    90.0 |       - |       - |')
    assert lines[3].endswith('|    88.2 |    72.0 |       - |')
    assert lines[4].endswith('|    50.0 |    60.0 |    70.0 |')


def test_what_is_kept_of_earlier_stages_stands_below():
    memory = dict(ILMIL, kept=dict(memory_bytes=3_140_000, images=0, image_bytes=0))
    replay = dict(TUNED, kept=dict(memory_bytes=0, images=40, image_bytes=312_000))
    nothing = dict(TUNED, kept=dict(memory_bytes=0, images=0, image_bytes=0))
    assert results_table({'ILMIL': memory, 'replay': replay, 'fine-tuning': nothing}).splitlines()[-3:] == [
        '', 'ILMIL keeps of earlier stages: memory: 3.14 MB, no images',
        'replay keeps of earlier stages: 40 images, 312.0 kB']


def test_title_with_a_bar():
    assert results_table({'a|b': ILMIL}).splitlines()[2].startswith('| a\\|b ')


def test_undefined():
    empty = figures('abcdef', (4, 2), [.5, None], old=.5, all=.5)
    assert results_table({'x': empty}).splitlines()[2] == '| x        | 50.0 |   - | 50.0 |   - |'


def test_mean_over_seeds():
    other = figures('abcdef', (4, 2), [.9, .6], old=.9, new=.6, all=.8, avg=.751)
    mean = mean_figures([ILMIL, other])
    assert [mean[key] for key in ('old', 'new', 'all', 'avg')] == pytest.approx([.891, .66, .814, .776])
    assert mean['groups'] == pytest.approx([.891, .66])
    assert results_table({'mean': mean}).splitlines()[2] == '| mean     | 89.1 | 66.0 | 81.4 | 77.6 |'
    assert mean_figures([TEACHER, TEACHER])['old'] is None


def test_mean_of_other_classes_is_refused():
    with pytest.raises(ValueError, match='classes'):
        mean_figures([TEACHER, ILMIL])


def run(split, **per_class):
    return dict(classes=list(per_class), split=list(split), per_class=per_class)


def test_what_chains_forgot():
    """By hand: group 0 (a, b) has .8 at first, .6 in the end; c has .9, then .5; the final mean is .55, that of joint .775."""
    ours = [run((2, ), a=.9, b=.7), run((2, 1), a=.8, b=.6, c=.9), run((2, 1, 1), a=.7, b=.5, c=.5, d=.5)]
    joint = run((2, 1, 1), a=.8, b=.8, c=.9, d=.6)
    short = [run((1, ), x=.5), run((1, 1), x=.25, y=.75)]
    lines = chains_table({'ours': ours, 'other': short}, joint).splitlines()
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in (lines[0], *lines[2:])]
    assert cells[0] == ['chain', 'forgot of group 0', 'forgot of group 1', 'FPP', 'AbsGap', 'RelGap', 'Omega', 'RSD', 'RPD']
    # Omega: (.8/.8 + (2.3/3)/(2.5/3) + .55/.775) / 3; RSD: (.1/.8 + .3/.8 + .4/.9) / 3; RPD: .1/.6.
    assert cells[1] == ['ours', '20.0', '40.0', '20.0', '22.5', '29.0', '87.7', '31.5', '16.7']
    assert cells[2] == ['other', '25.0', '-', '25.0', '-', '-', '-', '-', '-']
    assert '-' in chains_table({'ours': ours}).splitlines()[2]


ROWS = [['', 'boxes', 'AP'], ['缺陷', 1234, '-'], ['a|b', 5, 0.25]]


def test_markdown_is_aligned_also_under_wide_letters():
    assert markdown_table(ROWS) == '\n'.join([
        '|      | boxes |   AP |',
        '|------|------:|-----:|',
        '| 缺陷 |  1234 |    - |',
        '| a\\|b |     5 | 0.25 |',
    ])


def test_ascii():
    assert ascii_table(ROWS) == '\n'.join([
        '+------+-------+------+',
        '|      | boxes |   AP |',
        '+------+-------+------+',
        '| 缺陷 |  1234 |    - |',
        '| a|b  |     5 | 0.25 |',
        '+------+-------+------+',
    ])


# From which sets the figures come

COCO = 'coco/instances_val2017.json'


def measured(figures, *sets):
    """Figures with their sets, each as (file, images, classes)."""
    return dict(figures, sets=[dict(file=file, images=images, boxes=9, classes=list(names)) for file, images, names in sets])


TEACHER_ON = measured(TEACHER, (COCO, 5000, 'abcd'), ('mine/test.json', 120, ''))
ILMIL_ON = measured(ILMIL, (COCO, 5000, 'abcd'), ('mine/test.json', 120, 'ef'))
JOINT_ON = measured(JOINT, (COCO, 5000, 'abcd'), ('mine/test.json', 120, 'ef'))


def below(table):
    """What is printed under a table; a blank line parts the two."""
    rows, _, told = table.partition('\n\n')
    assert all(line.startswith('|') for line in rows.splitlines())
    return told.splitlines()


def test_sets_are_told_below_the_table():
    rows = {'teacher': TEACHER_ON, 'ILMIL': ILMIL_ON, 'joint': JOINT_ON}
    table = results_table(rows, teacher='teacher', joint='joint')
    assert below(table) == ['old: coco/instances_val2017.json (5000 images); new: mine/test.json (120 images)']
    # All the rest is as it is without sets: the teacher's classes are measured where the student's old ones are.
    bare = {'teacher': TEACHER, 'ILMIL': ILMIL, 'joint': JOINT}
    assert table.partition('\n\n')[0] == results_table(bare, teacher='teacher', joint='joint')


def test_of_one_set_nothing_is_told():
    one = {'teacher': measured(TEACHER, (COCO, 9, 'abcd')), 'ILMIL': measured(ILMIL, (COCO, 9, 'abcdef')),
           # Of an earlier version, and of a stock dataset.
           'earlier': JOINT, 'stock': measured(ILMIL, (None, 9, 'abcdef'))}
    assert below(results_table(one)) == []


@pytest.mark.parametrize('sets, told', [
    ([('x', 5, 'abcd'), ('y', 4, 'cdef')],
     'a, b: x (5 images); c, d: x (5 images) and y (4 images), together; new: y (4 images)'),
    ([('a', 5, 'abc'), ('b', 4, 'ef')], 'a, b, c: a (5 images); d: no set annotates it; new: b (4 images)'),
    ([('a', 5, 'abcdef'), ('b', 4, 'abcdef')], 'all: a (5 images) and b (4 images), together'),
])
def test_classes_are_told_by_the_sets_they_come_from(sets, told):
    assert below(results_table({'x': measured(ILMIL, *sets)})) == [told]


def test_groups_of_a_chain_and_long_lists():
    chain = figures('abcdefgh', (4, 2, 2), [.5, .6, .7], old=.8 / 1.5, new=.7, all=.575, avg=.6)
    sets = ('a', 5, 'abcd'), ('b', 4, 'ef'), ('c', 3, 'gh')
    assert below(results_table({'x': measured(chain, *sets)})) == [
        'group 0: a (5 images); group 1: b (4 images); new: c (3 images)']
    many = [f'k{number}' for number in range(14)]
    wide = figures(many, (13, 1), [.5, .5], old=.5, new=.5, all=.5, avg=.5)
    assert below(results_table({'x': measured(wide, ('a', 5, many[:12]), ('b', 4, many[12:]))})) == [
        f'{", ".join(many[:10])} and 2 more: a (5 images); k12, k13: b (4 images)']


@pytest.mark.parametrize('other', [
    measured(TUNED, (COCO, 5000, 'abcd'), ('other/test.json', 120, 'ef')),  # another file
    measured(TUNED, (COCO, 4999, 'abcd'), ('mine/test.json', 120, 'ef')),  # another number of images
    measured(TUNED, (COCO, 5000, 'abcdef')),
    measured(TUNED, (COCO, 5000, 'abcd')),
])
def test_rows_of_different_sets(other):
    told = below(results_table({'ILMIL': ILMIL_ON, 'tuned': other, 'earlier': JOINT}))
    assert told[0] == 'measured on different sets, so these figures do not compare:'
    assert [line.partition(':')[0] for line in told[1:]] == ['- ILMIL', '- tuned']
    assert told[1] == '- ILMIL: old: coco/instances_val2017.json (5000 images); new: mine/test.json (120 images)'


def test_no_ratio_across_sets():
    elsewhere = measured(TEACHER, ('other.json', 5000, 'abcd'))
    rows = {'t': elsewhere, 'x': ILMIL_ON, 'j': measured(JOINT, ('other.json', 5000, 'abcdef'))}
    table = results_table(rows, teacher='t', joint='j').splitlines()
    assert [cell.strip() for cell in table[3].split('|')[6:9]] == ['-', '-', '-']
    assert [cell.strip() for cell in table[4].split('|')[6:9]] == ['102.2', '100.0', '100.0']


def test_rows_of_other_classes_are_told_each():
    other = figures('xyz', (2, 1), [.5, .5], old=.5, new=.5, all=.5, avg=.5)
    rows = {'t': TEACHER_ON, 'ours': ILMIL_ON, 'theirs': measured(other, ('b', 4, 'xyz'))}
    assert below(results_table(rows)) == [
        'ours: old: coco/instances_val2017.json (5000 images); new: mine/test.json (120 images)', 'theirs: all: b (4 images)']


def test_mean_tells_the_sets():
    mean = mean_figures([ILMIL_ON, ILMIL, measured(ILMIL, ('/other/machine/val.json', 5000, 'abcd'), ('test.json', 120, 'ef'))])
    assert mean['sets'] == ILMIL_ON['sets']
    assert below(results_table({'mean': mean})) == below(results_table({'x': ILMIL_ON}))
    assert 'sets' not in mean_figures([ILMIL, ILMIL])
    with pytest.raises(ValueError, match='runs measured on different sets have no common mean'):
        mean_figures([ILMIL_ON, measured(ILMIL, (COCO, 5000, 'abcd'), ('mine/test.json', 119, 'ef'))])


def test_chains_whose_stages_are_measured_on_different_sets():
    first, last = run((2, ), a=.9, b=.7), run((2, 1), a=.8, b=.6, c=.9)
    joint = measured(run((2, 1), a=.8, b=.8, c=.9), ('A', 5, 'ab'), ('B', 4, 'c'))
    student = measured(last, ('A', 5, 'ab'), ('B', 4, 'c'))
    alike = measured(first, ('A', 5, 'ab'), ('B', 4, ''))
    fine = chains_table({'x': [alike, student]}, joint)
    assert fine == chains_table({'x': [first, last]}, run((2, 1), a=.8, b=.8, c=.9))
    assert '| x     |              10.0 | 10.0 |' in fine  # .8 of group 0 at first, .7 in the end
    told = chains_table({'x': [measured(first, ('B', 4, 'ab')), student], 'y': [alike, student]}).splitlines()
    assert told[-2:] == ['', 'x: stage 1 measured classes on other sets than the last stage, so these figures do not tell what '
                         'was forgotten']
    other = measured(joint, ('C', 5, 'abc'))
    assert chains_table({'x': [alike, student]}, other) == chains_table({'x': [alike, student]})

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

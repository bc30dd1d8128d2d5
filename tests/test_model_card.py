"""The card beside a final model: what it tells, whatever classes and files are called."""

import json
import logging
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from tiny import OLD, SEEN

from mmilmil.engine.hooks.model_card import ModelCardHook
from mmilmil.engine.model_card import CARD_FILE, card_text, write_card

NASTY = ('traffic light', "driver's 'cap'", '<b>&', 'a|b', '汽车', '_under_ *star* `tick` [x](y)')
MODEL = "model = dict(type='IncrementalFasterRCNN', backbone=dict(type='ResNet'), teacher=dict(checkpoint='run 1/final.pth'))\n"


def meta(classes, split, **card):
    return dict(cfg=MODEL, dataset_meta=dict(classes=tuple(classes), split=tuple(split)), epoch=2, iter=8, seed=3, world_size=1,
                teacher='ab' * 32, experiment_name='my_run_20261127_090550', card=card)


def figures(classes, value=.5, **more):
    per_class = {name: value for name in classes}
    return dict(old=.25, new=.75, all=.5, avg=.5, per_class=per_class, images=7, boxes=9, iou_thr=.5, eval_mode='area',
                checkpoint='final.pth', **more)


def test_what_a_run_leaves(chain):
    """Of the trained and tested chain: the figures are those of its files, the boxes those that OBJECTS has."""
    final = torch.load(chain.runs / 'student/final.pth')
    text = (chain.runs / 'student' / CARD_FILE).read_text(encoding='utf-8')
    assert text.startswith('# student\n') and '`FasterRCNN`' in text
    assert '3 old classes, then 2 new ones.' in text
    assert f'- group 0, 3 classes: {", ".join(OLD)}\n- group 1, 2 classes: {", ".join(SEEN[3:])}\n' in text
    assert f'weights SHA-256 `{final["meta"]["teacher"]}`' in text and 'base/final.pth`' in text
    for name, file in (('test', 'metrics.json'), ('val', 'metrics_val.json')):
        found = json.loads((chain.runs / 'student' / file).read_text())
        row, = re.findall(rf'^\| {name} +\|(.*)\|$', text, re.MULTILINE)
        shown = [f'{100 * found[column]:.1f}' for column in ('old', 'new', 'all', 'avg')]
        assert [cell.strip() for cell in row.split('|')] == [str(found['images']), str(found['boxes']), *shown]
    counted, = final['meta']['card']['data']
    assert counted['kept'] == counted['listed']
    assert f'train.txt` (training, newest group): {counted["kept"]} images, {sum(counted["boxes"].values())} boxes; ' in text
    assert set(counted['boxes']) == set(SEEN[3:]) and counted['hidden_old'] > 0
    assert f'{counted["hidden_old"]} boxes of old classes hidden' in text
    listed = ', '.join(f'{name} {count}' for name, count in counted['boxes'].items())
    assert f'Classes with fewer than 20 boxes to train on: {listed}.' in text
    assert 'mmdet 3' in text and '- seed: 0\n' in text and "init_detector('stock_config.py', 'final.pth'" in text
    first = (chain.runs / 'base' / CARD_FILE).read_text(encoding='utf-8')
    assert 'a first stage' in first and 'without teacher: yes' in first and 'hidden' not in first.split('## Limits')[1]


def test_a_test_writes_it_again(chain, tmp_path, tool):
    """Of final.pth in its own folder; of another checkpoint nothing is told."""
    work = tmp_path / 'base'
    shutil.copytree(chain.runs / 'base', work)
    (work / CARD_FILE).unlink()
    assert tool('test.py', chain.base, work / 'epoch_1.pth', '--work-dir', work).status == 0
    assert not (work / CARD_FILE).exists()
    final = torch.load(work / 'final.pth')
    write_card(work, final['meta'])  # metrics.json is that of another checkpoint now
    assert 'No figure is of a test set' in (work / CARD_FILE).read_text()
    assert tool('test.py', chain.base, work / 'final.pth', '--work-dir', work).status == 0
    assert (work / CARD_FILE).read_text() == (chain.runs / 'base' / CARD_FILE).read_text().replace(
        str(chain.runs / 'base'), str(work))


def test_before_it_is_tested(tmp_path):
    write_card(tmp_path, meta('ab', (1, 1), data=[]), tested=False)
    text = (tmp_path / CARD_FILE).read_text()
    assert 'None yet: test it' in text and 'No figure is of a test set' in text
    (tmp_path / 'metrics_val.json').write_text('{')  # cut off: a card is no place to stop a training
    write_card(tmp_path, meta('ab', (1, 1)), tested=False)
    assert 'None yet' in (tmp_path / CARD_FILE).read_text() and not list(tmp_path.glob('*.part'))


@pytest.mark.parametrize('fault', ['InputError: .*model_card.md cannot be written', 'KeyError: .dataset_meta.'])
def test_a_fault_in_the_card_ends_no_training(tmp_path, caplog, fault):
    """It is told in one line; what comes after the hook, ``final.pth``, is written."""
    told = meta(SEEN, (3, 2))
    if 'KeyError' in fault:
        del told['dataset_meta']
    else:
        (tmp_path / f'{CARD_FILE}.part').mkdir()
    loader = SimpleNamespace(dataset=range(5))
    runner = SimpleNamespace(work_dir=str(tmp_path), cfg=SimpleNamespace(filename='a.py'), train_dataloader=loader,
                             logger=logging.getLogger('card'))
    ModelCardHook().before_final_model(runner, dict(meta=told))
    line, = caplog.records
    assert line.levelname == 'WARNING' and re.match(rf'.*model_card.md is not written \({fault}', line.message)
    assert '\n' not in line.message and told['card']['data'] == [dict(file='range', kept=5)]
    assert not (tmp_path / CARD_FILE).exists()


def test_names_of_all_kinds():
    data = dict(file='my `odd` | list <1>.txt', purpose='training, newest group', listed=3, kept=2,
                boxes={'a|b': 1, '汽车': 50})
    text = card_text("it's | a *run*", meta(NASTY, (4, 2), data=[data], config='a b/c`d`.py'), figures(NASTY))
    assert "# it's \\| a \\*run\\*" in text
    assert '``my `odd` | list <1>.txt``' in text and '`` a b/c`d`.py ``' not in text and '``a b/c`d`.py``' in text
    assert '&lt;b&gt;&amp;' in text and '<b>' not in text and '汽车' in text and 'traffic light' in text
    assert r'\_under\_ \*star\* \`tick\` \[x\](y)' in text
    assert 'fewer than 20 boxes to train on: a\\|b 1.' in text
    table = [line for line in text.splitlines() if line.startswith('| ') and '50.0' in line][1:]
    cells = [re.split(r'(?<!\\)\|', line) for line in table]
    assert len(table) == len(NASTY) and all(len(row) == 4 for row in cells)


@pytest.mark.parametrize('count, split', [(200, (150, 50)), (1, (1, ))])
def test_many_classes_and_one(count, split):
    classes = [f'class {index}' for index in range(count)]
    measured = dict(figures(classes), per_class={**dict.fromkeys(classes, .5), 'class 0': None})
    text = card_text('run', meta(classes, split), measured)
    assert len(re.findall(r'^\| class \d+ \|', text, re.MULTILINE)) == count
    assert 'Not measured, as there is no box of them: class 0.' in text
    assert ('of 1 class, learned at once' in text) == (count == 1)
    assert max(len(line) for line in text.splitlines() if line.startswith('| class')) < 40


def test_a_model_of_an_earlier_version():
    old = meta(SEEN, (3, 2))
    del old['card']
    text = card_text('run', old, figures(SEEN))
    assert 'Not noted: an earlier version' in text and 'versions' not in text
    old['cfg'] = 'no config('
    assert '`detector`' in card_text('run', old)

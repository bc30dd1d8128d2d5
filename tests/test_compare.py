"""tools/compare.py: which runs there are, what is told before any of them, how they are run, and what comes out of them."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import REPO

from mmilmil import InputError
from mmilmil.engine.comparison import check_comparison, compared_chains, final_figures, named_methods, runs_of
from mmilmil.engine.comparison_runs import run_stages, run_together
from mmilmil.engine.screen import Screen

METHODS = REPO / 'configs/methods'
PCB, FODA20X4 = (REPO / f'configs/ilmil/{name}.py' for name in ('frcnn_pcb_4+2', 'frcnn_foda20x4_10+5+5_step2'))


def methods(*names):
    return named_methods([None if name == 'default' else METHODS / f'{name}.py' for name in names])


def mine(folder: Path, text: str, name: str = 'mine') -> Path:
    path = folder / f'{name}.py'
    path.write_text(text)
    return path


# Which runs


def test_chains_of_a_comparison(tmp_path):
    chains = compared_chains([str(PCB), str(FODA20X4)], methods('default', 'finetune', 'joint'), [3, 5], tmp_path)
    names = 'default', 'finetune', 'joint'
    assert [(chain.seed, chain.split, chain.method) for chain in chains] == [
        (seed, config.stem, method) for seed in (3, 5) for config in (PCB, FODA20X4) for method in names]
    long = chains[-2].stages
    name = 'frcnn_foda20x4_10+5+5_step'
    assert [stage.work_dir for stage in long] == [
        tmp_path / 'seed5' / one for one in ('frcnn_foda20x4_10', f'{name}1_finetune', f'{name}2_finetune')]
    assert [stage.teacher for stage in long] == [None, long[0].work_dir, long[1].work_dir]
    # Of a seed, the first stage is shared: 4 runs of 4+2 and 6 of the chain.
    runs = runs_of(chains)
    assert len(runs) == 2 * (4 + 6) and runs[long[0].work_dir] == (long[0], 5)
    order = list(runs)
    assert all(order.index(stage.teacher) < order.index(stage.work_dir) for stage, _ in runs.values() if stage.teacher)


@pytest.mark.parametrize('configs, names, seeds, told', [
    ([PCB, PCB], ['default'], [0], 'frcnn_pcb_4.2.py is there twice: leave one out'),
    ([PCB], ['default'], [1, 2, 1], '--seeds: 1 is there twice'),
    ([PCB.with_name('frcnn_pcb_4.py')], ['default'], [0], 'frcnn_pcb_4.py is a first stage, .* of a later stage'),
    ([PCB.with_name('frcnn_pcb_4.py')], ['joint'], [0], 'frcnn_pcb_4.py is a first stage'),
    ([PCB.with_name('gfl_pcb_4+2.py')], ['default', 'no_rpn'], [0], 'the method no_rpn .*does not fit the detector'),
])
def test_chains_that_cannot_be(tmp_path, configs, names, seeds, told):
    with pytest.raises(InputError, match=told):
        compared_chains(list(map(str, configs)), methods(*names), seeds, tmp_path)


def test_two_methods_of_one_name(tmp_path):
    with pytest.raises(InputError, match='two are called joint, .*methods/joint.py and .*: give their files different names'):
        named_methods([METHODS / 'joint.py', None, mine(tmp_path, '', 'joint')])
    with pytest.raises(InputError, match='two are called default, default and default: leave one out'):
        named_methods([None, None])
    with pytest.raises(InputError, match='has the name of the stages as their configs say, default'):
        named_methods([mine(tmp_path, '', 'default')])


# What is told before anything is trained


@pytest.fixture
def compare(chain, tmp_path):
    """``compare(*methods, options=..., on_val=...)`` checks a comparison in runs/ whose teacher and default are trained."""
    for name in ('base', 'student'):
        shutil.copytree(chain.runs / name, tmp_path / 'runs/seed0' / name)
    base, student = (shutil.copy(path, tmp_path) for path in (chain.base, chain.student))

    def check(*names, options=(), on_val=False, seeds=(0, )):
        files = [name if isinstance(name, Path) else None if name == 'default' else METHODS / f'{name}.py' for name in names]
        chains = compared_chains([student], named_methods(files), seeds, tmp_path / 'runs')
        check_comparison(chains, tmp_path / 'runs', options, (), on_val)
        return chains

    check.base, check.student, check.runs = Path(base), Path(student), tmp_path / 'runs'
    return check


def test_other_methods_and_seeds_join(compare):
    compare('default')
    compare('joint', seeds=[1, 0])
    record = json.loads((compare.runs / 'settings.json').read_text())
    assert set(record['stages']) == {'base', 'student', 'student_joint'}
    # Of what is not begun nothing is held against anybody.
    method = mine(compare.runs, 'model = dict(distiller=dict(num_rois=8))\n')
    record['stages']['student_mine'] = record['stages']['student']
    (compare.runs / 'settings.json').write_text(json.dumps(record))
    compare(method)
    record = json.loads((compare.runs / 'settings.json').read_text())
    assert record['stages']['student_mine']['model']['distiller']['num_rois'] == 8


def test_comparison_of_other_settings(compare):
    compare('default')
    before = (compare.runs / 'settings.json').read_text()
    with pytest.raises(InputError, match=r'with other settings \(then with no --cfg-options, now with --cfg-options '
                       r'train_cfg.max_epochs=3 .*\): base: train_cfg.max_epochs: 2 -> 3; test_evaluator.eval_mode: .*11points'
                       r'.*Restore .*another --work-dir'):
        compare('default', options=['train_cfg.max_epochs=3', 'test_evaluator.eval_mode=11points'])
    compare.student.write_text(f'{compare.student.read_text()}\nmodel["merging"] = None\n')
    with pytest.raises(InputError, match='was begun with other settings: student: model.merging.* -> None. Restore'):
        compare('default', 'finetune')
    assert (compare.runs / 'settings.json').read_text() == before
    compare('joint', options=['train_dataloader.num_workers=0'])  # makes no other run


def test_stopped_run_of_other_settings(compare):
    """Begun is also what left a checkpoint, which a resumed training would refuse only when its turn comes."""
    method = mine(compare.runs, 'model = dict(merging=None)\n')
    compare(method)
    folder = compare.runs / 'seed0/student_mine'
    folder.mkdir()
    shutil.copy(compare.runs / 'seed0/student/epoch_1.pth', folder)
    mine(compare.runs, 'model = dict(distiller=None)\n')
    with pytest.raises(InputError, match='other settings: student_mine: model.distiller'):
        compare(method)


@pytest.mark.parametrize('options, told', [
    (['randomness.seed=3'], 'randomness.seed=3: a comparison sets seed and folder of its runs: give --seeds'),
    (['model.teacher.checkpoint=a.pth'], 'would give every stage the same teacher'),
    (['train_dataloader.dataset.ann_file=gone.txt', 'model.type=NoDetector'], 'NoDetector'),
])
def test_settings_that_no_run_takes(compare, options, told):
    with pytest.raises(InputError, match=told):
        compare('default', options=options)


@pytest.mark.parametrize('text, told', [
    ('model = dict(distiller=dict(fature=None))\n', 'student_mine: .*fature'),
    ('model = dict(\n', 'is no Python'),
    ("_base_ = 'a.py'\n", 'has a `_base_` of its own'),
])
def test_methods_that_do_not_fit(compare, text, told):
    with pytest.raises(InputError, match=told):
        compare('finetune', mine(compare.runs, text))
    assert not (compare.runs / 'settings.json').exists()


def test_figures_of_the_validation(compare):
    _, chain = compare('finetune', 'default', on_val=True)
    stage, = [stage for stage in chain.stages if stage.name == 'student']
    assert final_figures(stage, on_val=True) == json.loads((stage.work_dir / 'metrics_val.json').read_text())
    assert final_figures(stage)['checkpoint'] == 'final.pth'
    # Stopped between its last epoch and the validation, it has those of an earlier one.
    os.utime(stage.work_dir / 'metrics_val.json', ns=(0, 0))
    with pytest.raises(InputError, match='was stopped between its last epoch and the validation .*delete .*seed0/student to'):
        final_figures(stage, on_val=True)
    (compare.runs / 'settings.json').unlink()
    with pytest.raises(InputError, match='base has no validation at the end of its training'):
        compare('default', on_val=True, options=['train_cfg.val_begin=9'])


# How they are run: by tools that train nothing


TRAIN = """
import pathlib, sys, time
args = sys.argv
work_dir = pathlib.Path(args[args.index('--work-dir') + 1])
with open(work_dir.parents[1] / 'calls.txt', 'a') as calls:
    calls.write(f'{time.time()} train {work_dir.parent.name} {work_dir.name} {" ".join(args)}\\n')
print('training', work_dir.name)
if 'finetune' in work_dir.name:
    print('error: a fault of its own', file=sys.stderr)
    sys.exit(1)
time.sleep(.2)
(work_dir / 'final.pth').touch()
with open(work_dir.parents[1] / 'calls.txt', 'a') as calls:
    calls.write(f'{time.time()} trained {work_dir.parent.name} {work_dir.name}\\n')
"""
TEST = """
import json, pathlib, sys, time
work_dir = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
with open(work_dir.parents[1] / 'calls.txt', 'a') as calls:
    calls.write(f'{time.time()} test {work_dir.parent.name} {work_dir.name}\\n')
(work_dir / 'metrics.json').write_text(json.dumps(dict(checkpoint='final.pth')))
"""


@pytest.fixture
def fake_tools(tmp_path):
    folder = tmp_path / 'tools'
    folder.mkdir()
    (folder / 'train.py').write_text(TRAIN)
    (folder / 'test.py').write_text(TEST)
    return folder


def calls(work_dir: Path) -> list[list[str]]:
    return [line.split()[1:] for line in (work_dir / 'calls.txt').read_text().splitlines()]


def test_runs_and_failures(tmp_path, fake_tools, capfd):
    """Fine-tuning fails, and with it the stage that it would teach; all others are run, teachers first."""
    chains = compared_chains([str(FODA20X4)], methods('finetune', 'default', 'joint'), [3], tmp_path / 'runs')
    failed = run_stages(chains, ['train_cfg.max_epochs=1'], jobs=3, tools=fake_tools)
    name = 'frcnn_foda20x4_10+5+5_step'
    folder = tmp_path / 'runs/seed3'
    assert failed == {folder / f'{name}1_finetune': 'train.py failed with status 1',
                      folder / f'{name}2_finetune': f'its teacher, {folder / name}1_finetune, failed'}
    made = calls(tmp_path / 'runs')
    kinds = [call[0] for call in made if call[0] != 'test']
    assert kinds.count('train') == 5 and len(made) - len(kinds) == 4
    assert any(kinds[index:index + 2] == ['train', 'train'] for index in range(len(kinds)))  # at a time
    order = [call[:3] for call in made]
    for before, after in (('frcnn_foda20x4_10', f'{name}1'), (f'{name}1', f'{name}2')):
        assert order.index(['trained', 'seed3', before]) < order.index(['train', 'seed3', after])
    train = next(call for call in made if call[2] == f'{name}1' and call[0] == 'train')
    assert train[-3:] == ['--cfg-options', 'train_cfg.max_epochs=1', 'randomness.seed=3']
    assert train[train.index('--teacher') + 1] == f'{folder}/frcnn_foda20x4_10/final.pth'
    out = capfd.readouterr().out
    assert f'FAILED {folder}/{name}1_finetune: train.py failed with status 1\n    the end of ' in out
    assert f'    training {name}1_finetune\n    error: a fault of its own\n' in out and '[6/6]' in out


def test_one_that_fails_ends_the_others(tmp_path, fake_tools, capfd):
    """As in the demo, where nothing can be shown without all of them."""
    (fake_tools / 'train.py').write_text("import sys, time\nsys.exit('no') if 'joint' in sys.argv[-1] else time.sleep(1000)\n")
    joint = compared_chains([str(PCB)], methods('joint'), [0], tmp_path)[0].stages[-1]
    slow = replace(joint, work_dir=tmp_path / 'seed0/slow')
    begin = time.monotonic()
    failed = run_together([slow, joint], Screen(), lambda stage: [], jobs=2, tools=fake_tools, go_on=False)
    assert failed == {joint.work_dir: 'train.py failed with status 1'} and time.monotonic() - begin < 30
    assert f'FAILED {joint.work_dir}' in capfd.readouterr().out


def test_what_is_finished_is_skipped(tmp_path, fake_tools, monkeypatch):
    chains = compared_chains([str(PCB)], methods('default'), [0], tmp_path / 'runs')
    assert not run_stages(chains, tools=fake_tools)
    before = calls(tmp_path / 'runs')
    # Nothing is in the fake files that a check could read.
    monkeypatch.setattr('mmilmil.engine.chain.check_finished', lambda *args: None)
    assert not run_stages(chains, tools=fake_tools) and calls(tmp_path / 'runs') == before
    (tmp_path / 'runs/seed0/frcnn_pcb_4+2/metrics.json').unlink()
    assert not run_stages(chains, tools=fake_tools)
    assert calls(tmp_path / 'runs')[len(before):] == [['test', 'seed0', 'frcnn_pcb_4+2']]


def test_on_val_nothing_is_tested(tmp_path, fake_tools):
    chains = compared_chains([str(PCB)], methods('default'), [0], tmp_path / 'runs')
    failed = run_stages(chains, tools=fake_tools, on_val=True)
    assert [call[0] for call in calls(tmp_path / 'runs')] == ['train', 'trained']
    # The fake training leaves no validation, which is told of the run.
    assert 'no figures of its final model' in failed[tmp_path / 'runs/seed0/frcnn_pcb_4']


# From end to end


def test_killed_comparison_goes_on(chain, tool, tmp_path, monkeypatch):
    """`kill -9` while it trains ends the training too; called again it resumes, skips what is finished and writes all three."""
    runs = tmp_path / 'runs'
    for name in ('base', 'student'):
        shutil.copytree(chain.runs / name, runs / 'seed0' / name)
    training = runs / 'seed0/student_finetune'
    chains = compared_chains([str(chain.student)], methods('default', 'finetune'), [0], runs)
    child = os.fork()
    if child == 0:  # the comparison, without another import of everything
        run_stages(chains)
        os._exit(0)
    while not (training / 'epoch_1.pth').is_file():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), (training / 'output.log').read_text()
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not (training / 'metrics.json').exists()
    monkeypatch.chdir(tmp_path)
    done = tool('compare.py', chain.student, '--methods', 'finetune', 'default', '--work-dir', runs, '--out', 'out/here')
    assert done.status == 0, done.out + done.err
    assert 'student: already trained' in done.out and 'student_finetune: testing' in done.out
    assert 'student_finetune: resuming training' in done.out or 'student_finetune: already trained' in done.out
    table = (tmp_path / 'out/here/table.md').read_text()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines() if line[:9] == '| student']
    figures = {name: json.loads((runs / f'seed0/student{name}/metrics.json').read_text()) for name in ('', '_finetune')}
    assert [row[:2] for row in rows] == [['student', 'finetune'], ['student', 'default']]
    for row, name in zip(rows, ('_finetune', '')):
        assert row[3:7] == [f'{100 * figures[name][column]:.1f}' for column in ('old', 'new', 'all', 'avg')]
        kept = json.loads((runs / f'seed0/student{name}/cost.json').read_text())['kept']
        assert row[9] == '-' and row[-1] == '0'  # no joint training, no image kept
        assert row[-2] == (f'{kept["memory_bytes"] / 1e3:.1f} kB' if kept['memory_bytes'] else '0')
    assert rows[0][14] == '1.00'
    content = json.loads((tmp_path / 'out/here/comparison.json').read_text())
    assert content['made']['command'].startswith('python ') and str(chain.student) in content['made']['command']
    assert content['made']['versions']['mmdet'] and content['made']['machine']['cpu'] and content['failed'] == []
    assert json.loads((runs / 'comparison.json').read_text()) == content  # where tools/report.py finds it
    assert [run['work_dirs'] for run in content['runs']] == [
        ['seed0/base', f'seed0/student{name}'] for name in ('_finetune', '')]
    assert content['methods'] == dict(finetune='configs/methods/finetune.py', default=None)
    told = [run['stages'][-1].pop('kept', None) for run in content['runs']]
    assert told == [json.loads((runs / f'seed0/student{name}/cost.json').read_text())['kept'] for name in ('_finetune', '')]
    assert [run['stages'][-1] for run in content['runs']] == [figures['_finetune'], figures['']]
    assert all(run['cost']['timed_steps'] == run['cost']['iterations'] == 4 for run in content['runs'])
    assert (tmp_path / 'out/here/picture.png').stat().st_size > 5000


def test_mistakes_on_the_command_line(chain, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = tool('compare.py', chain.student, '--methods', 'joint', 'fine')
    assert done.status == 2 and "there is no method 'fine'" in done.err
    done = tool('compare.py', chain.student, '--methods', 'joint', mine(tmp_path, '', 'joint'))
    assert done.status == 1 and done.err.startswith('error: --methods: two are called joint')
    done = tool('compare.py', chain.student, '--methods', 'joint', '--finetune', 'tuned')
    assert done.status == 1 and 'error: --finetune tuned: it is none of --methods (joint)' in done.err
    (tmp_path / 'file').touch()
    done = tool('compare.py', chain.student, '--out', 'file')
    assert done.status == 1 and '--out file cannot be a folder' in done.err
    assert not (tmp_path / 'work_dirs').exists()

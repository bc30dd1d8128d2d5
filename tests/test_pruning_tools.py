"""tools/prune.py and what follows it, from end to end: recovery, an incremental stage, testing, loading elsewhere."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import REPO, run_tool
from mmengine.config import Config

from mmilmil.models import structure, teacher
from mmilmil.models.structure import equal

RECOVER = """
_base_ = './base.py'
model = dict(type='PrunedFasterRCNN', pruned='pruned/pruned.pth')
"""
STUDENT = """
_base_ = './student.py'
final = 'runs/recover/final.pth'
model = dict(pruned=final, teacher=dict(config='{{ fileDirname }}/recover.py', checkpoint=final))
"""
CONV = 'backbone.layer1.0.conv1'


@pytest.fixture(scope='session')
def cut_chain(chain, tmp_path_factory):
    """The chain's first stage pruned, recovered, and taught new classes with the pruned detector as its teacher."""
    folder = tmp_path_factory.mktemp('pruned')
    for config in (chain.base, chain.student):
        shutil.copy(config, folder)
    (folder / 'recover.py').write_text(RECOVER)
    (folder / 'small.py').write_text(STUDENT)
    full = chain.runs / 'base/final.pth'
    before = full.read_bytes()
    pruned = run_tool(REPO / 'tools/prune.py', 'base.py', full, '--ratio', 0.5, '--runs', 1, '--out', 'pruned', cwd=folder,
                      timeout=120)
    assert pruned.returncode == 0, pruned.stderr[-3000:]
    assert full.read_bytes() == before
    done = run_tool(REPO / 'tools/train_chain.py', 'small.py', '--work-dir', 'runs', cwd=folder, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return SimpleNamespace(folder=folder, runs=folder / 'runs', printed=pruned.stdout, output=done.stdout, full=full)


def content(path):
    return torch.load(path, weights_only=True)


def test_pruned_checkpoint(cut_chain):
    """Tensors and names only, and half of the channels of every unit."""
    small, full = content(cut_chain.folder / 'pruned/pruned.pth'), content(cut_chain.full)
    assert small['state_dict'].keys() == full['state_dict'].keys()
    assert len(small['state_dict'][f'{CONV}.weight']) == len(full['state_dict'][f'{CONV}.weight']) // 2
    for name in ('classes', 'split'):
        assert small['meta']['dataset_meta'][name] == full['meta']['dataset_meta'][name]
    channels = json.loads((cut_chain.folder / 'pruned/channels.json').read_text())
    assert channels[CONV] == small['meta']['structure'][CONV]['outputs'].sum()
    assert not list((cut_chain.folder / 'pruned').glob('*.part'))


def test_one_table_tells_before_and_after(cut_chain):
    rows = {cells[1].strip(): cells[2:5] for line in cut_chain.printed.splitlines() if len(cells := line.split('|')) == 6}
    for name in ('parameters (M)', 'GFLOPs, 64x64', 'file (MB)', 'latency (ms)', 'backbone and neck of it (ms)',
                 'AP50 on val (%)'):
        assert name in rows, cut_chain.printed
    before, after, ratio = map(float, rows['parameters (M)'])
    assert after < before and ratio == pytest.approx(after / before, abs=0.01)
    measured = json.loads((cut_chain.folder / 'pruned/pruning.json').read_text())
    assert f'{measured["after"]["parameters (M)"]:.4g}' == rows['parameters (M)'][1].strip()
    # The report of the stage that the recovered detector taught tells the same.
    assert f' {measured["after"]["parameters (M)"]:.4g} |' in (cut_chain.runs / 'small/report/report.md').read_text()


def test_structure_travels_through_every_stage(cut_chain):
    structure = content(cut_chain.folder / 'pruned/pruned.pth')['meta']['structure']
    for file in ('recover/final.pth', 'recover/epoch_2.pth', 'small/final.pth', 'small/epoch_2.pth'):
        assert equal(content(cut_chain.runs / file)['meta']['structure'], structure)
    assert '| small' in cut_chain.output and '| recover' in cut_chain.output


def test_testing_needs_config_and_file_only(cut_chain, tool, tmp_path, monkeypatch):
    """Neither the pruned checkpoint nor the teacher is there; the structure comes with the weights."""
    monkeypatch.chdir(tmp_path)
    done = tool('test.py', cut_chain.folder / 'small.py', cut_chain.runs / 'small/final.pth', '--work-dir', 'here')
    assert done.status == 0, done.err
    mine, theirs = (json.loads((folder / 'metrics.json').read_text())
                    for folder in (tmp_path / 'here', cut_chain.runs / 'small'))
    assert mine['per_class'] == theirs['per_class']
    # So does a full detector's config.
    done = tool('test.py', cut_chain.folder / 'student.py', cut_chain.runs / 'small/final.pth', '--work-dir', 'there')
    assert done.status == 0, done.err
    assert json.loads((tmp_path / 'there/metrics.json').read_text())['per_class'] == theirs['per_class']


def test_loads_in_a_fresh_process(cut_chain, tmp_path):
    code = ('import sys, torch; from mmdet.apis import init_detector; '
            'model = init_detector(sys.argv[1], sys.argv[2], device="cpu"); '
            'print(type(model).__name__, model.backbone.layer1[0].conv1.weight.shape[0])')
    shutil.copytree(cut_chain.runs / 'small', tmp_path / 'small')
    done = run_tool('-c', code, tmp_path / 'small/stock_config.py', tmp_path / 'small/final.pth', cwd=tmp_path)
    kept = content(cut_chain.runs / 'small/final.pth')['state_dict'][f'{CONV}.weight'].shape[0]
    assert done.stdout.split()[-2:] == ['PrunedFasterRCNN', str(kept)], done.stderr[-2000:]


def test_resumes(cut_chain, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(cut_chain.folder)
    shutil.copytree(cut_chain.runs / 'small', tmp_path / 'small')
    (tmp_path / 'small/final.pth').unlink()
    done = tool('train.py', 'small.py', '--resume', '--work-dir', tmp_path / 'small', '--cfg-options', 'train_cfg.max_epochs=3')
    assert done.status == 0, done.err
    assert content(tmp_path / 'small/final.pth')['meta']['epoch'] == 3
    # A full detector does not go on from a pruned one.
    done = tool('train.py', 'student.py', '--resume', tmp_path / 'small/epoch_3.pth', '--work-dir', tmp_path / 'other',
                '--cfg-options', f'model.teacher.checkpoint={cut_chain.full}')
    assert done.status == 1 and 'epoch_3.pth is pruned in ' in done.err and 'give model.pruned' in done.err


def test_prunes_again_by_its_own_channels(cut_chain, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(cut_chain.folder)
    (tmp_path / 'again.json').write_text(json.dumps({'backbone.*': 0.5}))
    done = tool('prune.py', 'small.py', cut_chain.runs / 'small/final.pth', '--config', tmp_path / 'again.json', '--runs', 1,
                '--no-eval', '--out', tmp_path / 'again')
    assert done.status == 0, done.err
    first, second = (content(path)['meta']['structure'][CONV]['outputs']
                     for path in (cut_chain.runs / 'small/final.pth', tmp_path / 'again/pruned.pth'))
    assert len(second) == len(first) and second.sum() == first.sum() / 2 and first[second].all()


def test_stock_config_of_a_pruned_detector(cut_chain):
    cfg = Config.fromfile(cut_chain.runs / 'small/stock_config.py')
    assert cfg.model.type == 'mmilmil.PrunedFasterRCNN' and cfg.custom_imports.imports == ['mmilmil']
    assert cfg.model.pruned == str(cut_chain.runs / 'small/final.pth')


@pytest.mark.parametrize(('flags', 'told'), [
    (('--ratio', 0), '--ratio 0.0 is not in (0, 1]'),
    (('--ratio', 1.2), '--ratio 1.2 is not in (0, 1]'),
    (('--target-flops', -1), '--target-flops -1.0 is not in (0, 1]'),
    (('--exclude', 'nack.*'), '--exclude nack.* fits no unit'),
    (('--config', 'gone.json'), 'the prune config gone.json cannot be read'),
    (('--config', 'wrong.json'), 'wrong.json names a unit bacbone.conv1'),
])
def test_bad_input(cut_chain, tool, monkeypatch, flags, told):
    monkeypatch.chdir(cut_chain.folder)
    (cut_chain.folder / 'wrong.json').write_text('{"bacbone.conv1": 4}')
    done = tool('prune.py', 'base.py', cut_chain.full, *flags, '--out', 'never')
    assert done.status == 1 and told in done.err
    assert not (cut_chain.folder / 'never').exists()


@pytest.mark.parametrize(('kind', 'told'), [
    (torch.nn.Linear, 'of another shape: roi_head.bbox_head.'),
    (None, 'computes something else than its masks leave, first in the layer backbone.conv1, '),
], ids=['shape', 'values'])
def test_file_that_would_fit_no_tool(cut_chain, tool, monkeypatch, kind, told):
    """It is loaded and run before it is kept: were one kind of layer not cut, or cut wrongly, nothing would be left."""
    monkeypatch.chdir(cut_chain.folder)
    real = structure._cut_layer
    if kind:
        monkeypatch.setattr(structure, '_cut_layer', lambda layer, *masks: isinstance(layer, kind) or real(layer, *masks))
    else:
        loaded = teacher.load_detector

        def wrong(*args):
            detector, classes = loaded(*args)
            if 'pruned' in str(args[0]):
                detector.backbone.conv1.weight.data += 1
            return detector, classes

        monkeypatch.setattr(teacher, 'load_detector', wrong)
    done = tool('prune.py', 'base.py', cut_chain.full, '--runs', 1, '--no-eval', '--out', 'never')
    assert done.status == 1 and told in done.err and 'Traceback' not in done.err
    assert not (cut_chain.folder / 'never').exists()


def test_size_must_be_known(cut_chain, tool, monkeypatch):
    monkeypatch.chdir(cut_chain.folder)
    (cut_chain.folder / 'free.py').write_text("_base_ = './base.py'\ntest_dataloader = dict(dataset=dict(pipeline=[]))\n")
    done = tool('prune.py', 'free.py', cut_chain.full, '--out', 'never')
    assert done.status == 1 and 'resizes to no fixed scale' in done.err and '--size HEIGHT WIDTH' in done.err


def test_checkpoint_of_another_config(cut_chain, chain, tool, monkeypatch):
    monkeypatch.chdir(cut_chain.folder)
    done = tool('prune.py', 'base.py', chain.runs / 'student/final.pth', '--out', 'never')
    assert done.status == 1 and 'does not fit' in done.err and 'fc_cls' in done.err
    done = tool('prune.py', 'base.py', cut_chain.folder / 'gone.pth', '--out', 'never')
    assert done.status == 1 and 'gone.pth does not exist' in done.err
    done = tool('prune.py', 'base.py', cut_chain.folder / 'pruned/pruned.pth', '--out', 'pruned')
    assert done.status == 1 and 'would overwrite' in done.err
    assert not (cut_chain.folder / 'never').exists()


# Pruning in the course of training

IN_TRAINING = """
_base_ = './base.py'
custom_imports = dict(imports=['mmilmil', 'mmilmil.pruning.training'], allow_failed_imports=False)
model = dict(_delete_=True, detector=_base_.model, checkpoint={full!r}, {settings})
"""


@pytest.mark.parametrize('settings', [
    "type='IterativePruning', ratio=0.5, every=1, times=2",
    "type='GroupFisherPruning', target_flops=0.97, size=(64, 64), interval=1",
], ids=['iterative', 'group_fisher'])
def test_pruning_while_training(cut_chain, tool, tmp_path, monkeypatch, settings):
    monkeypatch.chdir(cut_chain.folder)
    config = cut_chain.folder / f'in_training_{settings[6]}.py'
    config.write_text(IN_TRAINING.format(full=str(cut_chain.full), settings=settings))
    done = tool('train.py', config, '--work-dir', tmp_path / 'run')
    assert done.status == 0, done.err
    final = content(tmp_path / 'run/final.pth')
    structure = final['meta']['structure']
    full = content(cut_chain.full)['state_dict']
    assert final['state_dict'].keys() == full.keys()
    pruned = [name for name, masks in structure.items() if not all(mask.all() for mask in masks.values())]
    for name in pruned:
        assert final['state_dict'][f'{name}.weight'].numel() < full[f'{name}.weight'].numel()
    if 'Iterative' in settings:
        assert structure[CONV]['outputs'].sum() == len(structure[CONV]['outputs']) // 2
    else:
        assert pruned
    done = tool('test.py', config, tmp_path / 'run/final.pth', '--work-dir', tmp_path / 'run')
    assert done.status == 0, done.err
    tested, validated = (json.loads((tmp_path / 'run' / name).read_text()) for name in ('metrics.json', 'metrics_val.json'))
    assert tested['all'] == pytest.approx(validated['all'], abs=1e-6)  # the masked detector and the static one; one split

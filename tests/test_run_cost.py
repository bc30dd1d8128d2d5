"""What a training cost, as cost.json tells: on a clock that the test turns, by a run of the tools in test_compare."""

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmilmil import InputError
from mmilmil.checkpoint import from_plain, to_plain
from mmilmil.engine.hooks import RunCostHook, run_cost
from mmilmil.engine.hooks.run_cost import read_cost


@pytest.fixture
def clock(monkeypatch):
    """What the hook takes for the time and for the peak of its memory, which MMEngine's log sets back."""
    now = SimpleNamespace(seconds=100., peak=50.)
    monkeypatch.setattr(run_cost, '_now', lambda: now.seconds)
    monkeypatch.setattr(run_cost, 'peak_memory', lambda: now.peak)
    return now


def runner(folder, model=None, *datasets):
    inside = SimpleNamespace(datasets=datasets or [SimpleNamespace()])
    return SimpleNamespace(message_hub=MessageHub(str(folder)), work_dir=str(folder), iter=0, world_size=2,
                           model=model or SimpleNamespace(), train_dataloader=SimpleNamespace(dataset=inside))


def train(run, clock, epochs, hook=None):
    """Epochs of steps, each (seconds of loading, seconds of the step); a validation of an hour after each epoch."""
    hook = hook or RunCostHook()
    hook.before_train(run)
    for steps in epochs:
        hook.before_train_epoch(run)
        for loading, step in steps:
            clock.seconds += loading
            hook.before_train_iter(run, 0)
            clock.seconds += step
            hook.after_train_iter(run, 0)
            run.iter += 1
        clock.seconds += 3600
        hook.after_val_epoch(run)
    hook.after_train(run)
    return read_cost(Path(run.work_dir))


def test_medians(tmp_path, clock):
    found = train(runner(tmp_path), clock, [[(8., 4.), (.5, 1.)], [(.25, 2.), (.5, 1.5), (.25, 1.25)]])
    # Steps 4, 1, 2, 1.5, 1.25; with loading 12, 1.5, 2.25, 2, 1.5.
    assert (found['step_seconds'], found['step_seconds_with_data']) == (1.5, 2.)
    assert (found['timed_steps'], found['iterations'], found['processes']) == (5, 5, 2)
    assert found['kept'] == dict(memory_bytes=0, images=0, image_bytes=0)
    assert found['device'] and found['threads'] >= 1 and found['peak_memory_mib'] == 50


def test_a_resumed_run_has_all_steps(tmp_path, clock):
    """What a checkpoint carries is plain, and the steps after it are timed again."""
    first = runner(tmp_path / 'a')
    (tmp_path / 'a').mkdir()
    clock.peak = 70.
    train(first, clock, [[(0., 1.), (0., 2.)]])
    saved = to_plain(first.message_hub.state_dict())
    clock.peak = 60.
    train(first, clock, [[(0., 9.), (0., 9.)]])  # lost with the process
    again = runner(tmp_path / 'b')
    (tmp_path / 'b').mkdir()
    again.message_hub.load_state_dict(from_plain(saved))
    again.iter = 2
    found = train(again, clock, [[(0., 3.), (0., 4.), (0., 5.)]])
    assert (found['step_seconds'], found['timed_steps'], found['iterations'], found['peak_memory_mib']) == (3, 5, 5, 70)
    # Of a checkpoint of an earlier version only the steps since are known, which the numbers tell.
    (tmp_path / 'c').mkdir()
    old = runner(tmp_path / 'c')
    old.iter = 2
    found = train(old, clock, [[(0., 3.), (0., 5.)]])
    assert (found['step_seconds'], found['timed_steps'], found['iterations']) == (4, 2, 4)


def test_nothing_was_left_to_train(tmp_path, clock):
    found = train(runner(tmp_path), clock, [])
    assert found['step_seconds'] is None and found['timed_steps'] == 0 and found['peak_memory_mib'] is None


def test_what_is_kept(tmp_path, clock):
    model = SimpleNamespace(kept=dict(memory_bytes=3_000_000))
    sets = [SimpleNamespace(replayed=dict(images=20, bytes=1000)), SimpleNamespace(),
            SimpleNamespace(replayed=dict(images=1, bytes=5))]
    assert train(runner(tmp_path, model, *sets), clock, [[(0., 1.)]])['kept'] == dict(
        memory_bytes=3_000_000, images=21, image_bytes=1005)


def test_the_log_has_no_line_more(tmp_path, clock):
    """MMEngine's logs what begins with the name of a mode."""
    run = runner(tmp_path)
    train(run, clock, [[(0., 1.)]])
    assert all(not key.startswith(('train', 'val', 'test')) for key in run.message_hub.log_scalars)


def test_memory_of_this_process():
    resident = int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize() / 2**20
    assert 0.99 * resident < run_cost.peak_memory() < 1.01 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize('text', ['{', '[]', '{"kept": 3}'])
def test_a_file_that_is_none(tmp_path, text):
    assert read_cost(tmp_path) is None
    (tmp_path / 'cost.json').write_text(text)
    with pytest.raises(InputError, match=r'cost.json is no .*remove it'):
        read_cost(tmp_path)

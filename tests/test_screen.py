"""What the tools that run stages show: live view, plain lines, log, what comes last; and progress bars in a file."""

import io
import json
import logging
import os
import runpy
import shlex
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import REPO
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import EpochBasedTrainLoop
from rich.cells import cell_len

from mmilmil import InputError, progress_bar
from mmilmil.config import read_file
from mmilmil.engine import building, screen
from mmilmil.engine.chain_stages import ChainStage, stages_of
from mmilmil.engine.hooks.progress import ASKED, PROGRESS_FILE, ProgressHook
from mmilmil.engine.next_steps import closing_lines
from mmilmil.engine.processes import Start
from mmilmil.engine.screen import LiveScreen, PlainScreen, Screen, screen_for
from mmilmil.engine.stage_log import end_of_log
from mmilmil.engine.stage_state import StageState, State, figures_told, losses_told, place_told, time_told
from mmilmil.engine.stage_view import stage_view

TRAINS = dict(phase='train', done=30, total=80, epoch=3, epochs=8, share=.375, left=130.2,
              losses=dict(loss=.6278, loss_cls=.2, loss_bbox=.22, loss_kd_apart_cls=.13))
AP = dict(old=.8131, new=.6804, all=.7799)


def stage(folder: Path, name: str = 'one') -> ChainStage:
    work_dir = folder / name
    work_dir.mkdir(parents=True, exist_ok=True)
    return ChainStage(Path(f'{name}.py'), work_dir)


def write(work_dir: Path, progress=None, **files) -> None:
    for file, content in {PROGRESS_FILE: progress, **{f'{name}.json': content for name, content in files.items()}}.items():
        if content is not None:
            (work_dir / file).write_text(json.dumps(content))


# In words


def test_in_words():
    assert figures_told(AP) == 'AP old 81.3, new 68.0, all 78.0'
    assert figures_told(dict(old=None, new=.5, all=.5)) == 'AP all 50.0'
    assert figures_told(dict(old=None, all=None)) == figures_told({}) == ''
    assert losses_told(TRAINS['losses']) == 'loss 0.628 (bbox 0.22, cls 0.2, kd_apart_cls 0.13)'
    assert losses_told(TRAINS['losses'], 1) == 'loss 0.628 (bbox 0.22)' and losses_told(TRAINS['losses'], 0) == 'loss 0.628'
    assert losses_told(dict(loss=float('nan'))) == 'loss nan' and losses_told({}) == ''
    assert place_told(TRAINS) == 'epoch 3/8' and place_told(dict(TRAINS, epochs=None)) == 'step 30/80'
    assert place_told(dict(phase='val', done=1, total=5)) == 'val 1/5' and place_told({}) == 'starting'
    assert [time_told(seconds) for seconds in (-1, 59.6, 3725)] == ['0:00:00', '0:01:00', '1:02:05']


# What is known of a stage


def test_state_of_a_stage(tmp_path):
    row = StageState(stage(tmp_path), 'one')
    work_dir = row.stage.work_dir
    write(work_dir, dict(phase='test', done=1, total=1), metrics_val=AP)
    assert row.figures() == 'val AP old 81.3, new 68.0, all 78.0'
    row.enter(State.TRAINING)  # what a run of before left is none of this one's
    assert row.progress() == {} and row.figures() == '' and row.validated() is None
    for broken in ('', '[1]', '{"phase": "tr'):
        (work_dir / PROGRESS_FILE).write_text(broken)
        assert row.progress() == {}
    write(work_dir, TRAINS)
    os.utime(work_dir / 'metrics_val.json', ns=(7, 7))
    assert row.progress() == TRAINS and row.figures().startswith('val AP old 81.3') and row.validated() == 7
    (work_dir / 'metrics.json').write_text('{')  # while it is written
    assert row.figures().startswith('val')
    row.enter(State.TESTING)
    write(work_dir, metrics=dict(all=.5))
    assert row.figures() == 'test AP all 50.0'
    row.enter(State.DONE)
    assert row.spent > 0 and not (work_dir / PROGRESS_FILE).exists()


@pytest.fixture
def hub():
    hub = MessageHub.get_instance('screen')
    hub._log_scalars.clear()
    hub._runtime_info.clear()
    return hub


def test_hook(tmp_path, hub):
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    runner = SimpleNamespace(work_dir=str(tmp_path), iter=9, max_iters=40, epoch=0, max_epochs=4, message_hub=hub,
                             _train_loop=loop, val_dataloader=range(5), test_dataloader=range(4))
    hook = ProgressHook()

    def told():
        return json.loads((tmp_path / PROGRESS_FILE).read_text())

    for value in (1., 3.):
        hub.update_scalar('train/loss', value)
    hub.update_scalar('train/loss_cls', .5)
    hub.update_scalar('train/acc', 90.)
    hub.update_info('eta', 12.5)
    outputs = dict(loss=3., loss_cls=.5, acc=90.)
    hook.after_train_iter(runner, 9, outputs=outputs)
    first = dict(phase='train', done=10, total=40, epoch=1, epochs=4, share=.25, left=12.5, losses=dict(loss=2., loss_cls=.5))
    assert told() == first
    runner.iter = 10
    hook.after_train_iter(runner, 10, outputs=outputs)
    assert told() == first  # not in every step
    runner.iter = 39
    hook.after_train_iter(runner, 9, outputs=outputs)
    assert told()['done'] == 40
    runner.epoch = 4
    hook.after_val_iter(runner, 0)
    assert told() == dict(first, phase='val', done=1, total=5, epoch=4, share=1., left=None)
    hook.after_train(runner)
    assert told()['phase'] == 'finishing' and told()['left'] is None
    runner._train_loop = None
    ProgressHook().after_test_iter(runner, 0)
    assert told() == dict(phase='test', done=1, total=4, epoch=None, epochs=None, share=.25, left=12.5, losses={})
    runner.work_dir = str(tmp_path / 'gone')  # or a full disk: a training goes on
    hook.after_train(runner)


# The live view


def rows_of(folder, states):
    rows = []
    for name, state in states.items():
        row = StageState(stage(folder, name.replace('/', '_')), name)
        row.state = state
        rows.append(row)
    return rows


def lines_of(rows, width, height):
    lines = stage_view(rows, 'demo.py', 75, width, height).plain.splitlines()
    assert len(lines) < height and max(map(cell_len, lines)) <= width
    return lines


@pytest.mark.parametrize('width', [40, 80, 120])
def test_view(tmp_path, width):
    rows = rows_of(tmp_path, {'base': State.THERE, 'student [red]': State.TRAINING, '第二阶段的学生': State.TESTING,
                              'last': State.WAITING})
    write(rows[0].stage.work_dir, metrics=dict(all=.7))
    write(rows[1].stage.work_dir, TRAINS, metrics_val=AP)
    head, base, student, detail, tested, last = lines_of(rows, width, 24)
    assert head.strip() == 'demo.py: 1 of 4 stages done, 0:01:15'
    assert base.startswith('✓ base ') and 'already there' in base and '● student' in student and '● 第二阶段的' in tested
    assert last.startswith('· last') and last.rstrip().endswith('waiting')
    if width >= 80:
        assert '  epoch 3/8  0:02:10 left' in student and base.endswith('test AP all 70.0')
        bar = student.count('━'), student.count('╌')
        assert bar[0] == int(.375 * sum(bar)) > 2
        assert detail.startswith('    loss 0.628 (bbox 0.22') and detail.endswith('  val AP old 81.3, new 68.0, all 78.0')
    if width == 120:
        assert 'kd_apart_cls 0.13)' in detail


@pytest.mark.parametrize('height', [6, 12, 24])
def test_view_of_more_than_fits(tmp_path, height):
    states = {f'done {index}': State.DONE for index in range(20)}
    states.update({'runs 0': State.TRAINING, 'lost': State.FAILED, 'runs 1': State.TRAINING})
    states.update({f'later {index}': State.WAITING for index in range(20)})
    rows = rows_of(tmp_path, states)
    for row in rows:
        if row.state.runs:
            write(row.stage.work_dir, TRAINS)
    lines = lines_of(rows, 80, height)
    assert sum('●' in line for line in lines) == 2 and sum('✗ lost' in line for line in lines) == 1
    assert lines[1] == '✓ 20 more done'
    if height > 6:
        more = next(int(line.split()[1]) for line in lines if 'more waiting' in line)
        assert more + sum(line.startswith('· later') for line in lines) == 20


class Terminal(io.StringIO):
    """A terminal's end that keeps what is written."""

    encoding = 'utf-8'

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80x24, to be put in the place of stdout."""
    for name, value in dict(TERM='xterm', COLUMNS='80', LINES='24').items():
        monkeypatch.setenv(name, value)
    for name in ('NO_COLOR', 'FORCE_COLOR', 'TTY_COMPATIBLE', 'TTY_INTERACTIVE', ASKED):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_live_view_leaves_the_terminal_in_order(terminal, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', terminal)
    one, two = stage(tmp_path), stage(tmp_path, 'two')
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    shown = screen_for([one, two], 'demo.py')
    assert type(shown) is LiveScreen
    with pytest.raises(KeyboardInterrupt), shown:
        assert os.environ[ASKED] == '1' and signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
        shown.enter(one, State.TRAINING, 'one: training in one')
        shown.note('two: a setting is left out')
        shown.enter(one, State.FAILED, 'one: failed\n    the end of it')
        shown.enter(two, State.TESTING, 'two: testing')
        raise KeyboardInterrupt
    assert sys.stdout is terminal and ASKED not in os.environ
    assert {number: signal.getsignal(number) for number in before} == before
    text = terminal.getvalue()
    assert f'as {one.work_dir}/output.log' in text.replace('\n', '')
    assert 'two: a setting is left out' in text and 'one: training in one' not in text
    assert text.rindex('\x1b[?25h') > text.rindex('\x1b[?25l')  # the cursor is there
    view, _, below = text.rpartition('two')[2].partition('stopped')
    assert below.endswith('one: failed\n    the end of it\n') and below.startswith(('\x1b', '\n', ' '))


def test_killed_live_view(tmp_path):
    """SIGTERM ends the process by that signal, with the cursor at the beginning of a line."""
    read, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.environ.update(TERM='xterm', COLUMNS='80', LINES='24')
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdout = Terminal()
        shown = LiveScreen([stage(tmp_path)], 'demo.py')
        out = sys.stdout
        shown.__enter__()
        out.flush = lambda: os.write(write_end, out.getvalue().encode()) and out.truncate(0) is None and out.seek(0)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(3)
    os.close(write_end)
    with open(read, 'rb') as pipe:
        text = pipe.read().decode()
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
    assert 'one' in text and text.rstrip('\x00').rindex('\n') > text.rindex('waiting')
    assert '\x1b[?25l' not in text[text.rindex('\x1b[?25h'):]


# Plain lines


def test_which_screen(monkeypatch, terminal, tmp_path):
    stages = [stage(tmp_path)]
    monkeypatch.setattr(sys, 'stdout', terminal)
    assert type(screen_for(stages, 'x')) is LiveScreen
    assert type(screen_for(stages, 'x', verbose=True)) is Screen
    monkeypatch.setenv('TERM', 'dumb')
    assert type(screen_for(stages, 'x')) is PlainScreen
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(Terminal, 'encoding', 'latin-1')  # which has no letter for a bar
    assert type(screen_for(stages, 'x')) is PlainScreen
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    monkeypatch.setenv('FORCE_COLOR', '1')  # as in CI
    assert type(screen_for(stages, 'x')) is PlainScreen


def test_plain_lines(tmp_path, capsys, monkeypatch):
    one, seeds = stage(tmp_path), [ChainStage(Path('s.py'), tmp_path / f'seed{seed}/s') for seed in (0, 1)]
    shown = PlainScreen([one, *seeds])
    assert [row.name for row in shown._rows.values()] == ['one', 'seed0/s', 'seed1/s']
    shown.enter(one, State.TRAINING, 'one: training in one')
    row = shown._rows[one.work_dir]
    write(one.work_dir, TRAINS)
    shown._look_at(row)  # nothing to tell yet
    assert capsys.readouterr().out == f'one: training in one, log {one.work_dir}/output.log\n'
    write(one.work_dir, TRAINS, metrics_val=AP)
    shown._look_at(row)  # a validation, but the line before is no minute old
    assert capsys.readouterr().out == ''
    monkeypatch.setattr(screen, '_VALIDATIONS', 0.)
    for _ in range(3):  # once
        shown._look_at(row)
    assert capsys.readouterr().out == 'one: epoch 3/8, loss 0.628, val AP old 81.3, new 68.0, all 78.0, 0:02:10 left\n'
    monkeypatch.setattr(screen, '_QUIET', 0.)
    (one.work_dir / PROGRESS_FILE).unlink()
    shown._look_at(row)
    assert capsys.readouterr().out.startswith('one: starting, val AP')
    shown.enter(one, State.DONE)
    assert capsys.readouterr().out == 'one: done, 0:00:00, val AP old 81.3, new 68.0, all 78.0\n'


def test_a_stage_is_looked_at_while_it_enters(tmp_path, monkeypatch):
    """The watching thread may come as soon as the stage's state says that it trains."""
    one, looked = stage(tmp_path), []
    shown = PlainScreen([one])
    enter = StageState.enter

    def watched(row, state):
        enter(row, state)
        shown._look_at(row)
        looked.append(state)

    monkeypatch.setattr(StageState, 'enter', watched)
    shown.enter(one, State.TRAINING)
    assert looked == [State.TRAINING]


def test_plain_lines_of_a_chain(chain):
    """A few a stage; the log has the rest."""
    before_tables = chain.output[:chain.output.index('\n|')].splitlines()
    assert len(before_tables) <= 2 * 6 and 'mmengine' not in chain.output and 'Epoch(train)' not in chain.output
    for name in ('base', 'student'):
        log = chain.runs / name / 'output.log'
        assert f'{name}: training in {chain.runs / name}, log {log}\n' in chain.output
        told = figures_told(json.loads((chain.runs / name / 'metrics.json').read_text()))
        assert any(line.startswith(f'{name}: done, 0:') and line.endswith(f'test {told}') for line in before_tables)
        text = log.read_text()
        assert 'Epoch(train)' in text and 'Epoch(test)' in text and 'Config:' in text
        assert not list((chain.runs / name).glob('.progress*'))


# Logs and failures


def test_one_process_writes_into_the_log(tmp_path):
    tool, log = tmp_path / 'tool.py', tmp_path / 'a b.log'
    log.write_text('before\n')
    start = Start(log=log)
    assert start == Start()
    tool.write_text('import sys; print("out"); print("err", file=sys.stderr); sys.exit(0 if sys.argv[1] == "well" else 4)')
    start('name', tmp_path, tool, 'well')
    assert sorted(log.read_text().split()) == ['before', 'err', 'out']
    with pytest.raises(InputError, match=f'^name: tool.py failed with status 4: see {log}$'):
        start('name', tmp_path, tool, 'ill')
    tool.write_text('import os, pathlib\npathlib.Path(os.environ["MMILMIL_FAILURES"], "0").write_text("it is dark")\nexit(1)')
    with pytest.raises(InputError, match='^name: it is dark$'):
        start('name', tmp_path, tool)
    tool.write_text('import os, signal\nos.kill(os.getpid(), signal.SIGKILL)')
    with pytest.raises(InputError, match='^name: tool.py was ended by SIGKILL, as the system does where memory runs out'):
        start('name', tmp_path, tool)


def test_end_of_a_log(tmp_path):
    log = tmp_path / 'log'
    log.write_bytes(b'before\n' + b''.join(b'line %d\n' % index for index in range(20)) + b'\xff\n')
    lines = end_of_log(log, 7).splitlines()
    assert lines[:3] == ['', f'    the end of {log}:', '    line 6'] and lines[-1] == '    \ufffd' and len(lines) == 17
    assert end_of_log(tmp_path / 'none') == ''


def test_failed_stage_is_told_with_the_end_of_its_log(chain, tool, tmp_path):
    """And where the whole log is; the child's own line is the last one."""
    done = tool('train_chain.py', chain.base, '--work-dir', tmp_path, '--cfg-options', 'model.backbone.depth=19')
    log = tmp_path / 'base/output.log'
    assert done.status == 1 and done.err.startswith('error: base: ') and len(done.err.splitlines()) == 1
    assert f'base: failed\n    the end of {log}:\n' in done.out and 'Traceback' not in done.err


def test_verbose_shows_it_all(chain, tool, tmp_path, monkeypatch):
    """The stages write where the chain does."""
    logs = []
    monkeypatch.setattr(Start, '__call__', lambda self, name, *args: logs.append(self.log))
    for more in (['--verbose'], []):
        done = tool('train_chain.py', chain.base, '--work-dir', tmp_path, *more)
        assert 'base: training in' in done.out and ('output.log' in done.out) == (not more)
    assert logs == [None, None, tmp_path / 'base/output.log', tmp_path / 'base/output.log']


# What train.py writes


def test_environment_variable_is_told_once(tmp_path, monkeypatch):
    monkeypatch.setenv('MMILMIL_SCREEN_TEST', 'here')
    (tmp_path / 'a.py').write_text("model = dict(type='X', a='{{$MMILMIL_SCREEN_TEST:there}}')\n")
    logger, told = MMLogger.get_instance('screen-once'), []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logger.handlers = [handler]
    for _ in range(3):
        assert read_file(str(tmp_path / 'a.py')).model.a == 'here'
    logger.info('another')
    logger.info('another')
    assert len([line for line in told if 'MMILMIL_SCREEN_TEST' in line]) == 1 and told.count('another') == 2


@pytest.mark.parametrize('is_terminal', [True, False])
def test_a_terminal_does_not_get_the_config(tmp_path, monkeypatch, is_terminal):
    out = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, 'stdout', out)
    runner = building.BriefRunner.__new__(building.BriefRunner)
    runner.cfg = Config(dict(marked=1))
    runner._log_dir, runner._timestamp, runner._experiment_name = str(tmp_path), 'x', f'brief-{is_terminal}'
    runner._randomness_cfg, runner._seed, runner._launcher, runner._distributed, runner._world_size = {}, 0, 'none', False, 1
    runner.logger = runner.build_logger()
    runner._log_env(dict())
    runner.logger.info('Hooks will be executed in the following order:\nmany')
    runner.logger.info('Epoch(train) [1]')
    file = (tmp_path / 'x.log').read_text()
    for part in ('System environment', 'Config:\nmarked = 1', 'many'):
        assert part in file and (part in out.getvalue()) != is_terminal
    assert 'Epoch(train) [1]' in file and 'Epoch(train) [1]' in out.getvalue()
    assert (f'environment, config and hooks stand in {tmp_path}/x.log' in out.getvalue()) == is_terminal


# What comes last


def parsed(monkeypatch, command: str):
    """What a tool makes of a command line, which is to be pasted."""
    python, tool, *args = shlex.split(command)
    assert python == 'python'
    monkeypatch.setattr(sys, 'argv', [tool, *args])
    return runpy.run_path(tool)['parse_args']()


def test_commands_that_come_last(chain, monkeypatch, tmp_path):
    last = stages_of(str(chain.student), str(chain.runs))[-1]
    lines = dict(line.split(': ', 1) for line in closing_lines(last, REPO / 'tools').splitlines())
    assert list(lines) == ['use it', 'add a class', 'prune it', 'export it']
    config, checkpoint = str(chain.runs / 'student/student.py'), str(chain.runs / 'student/final.pth')
    assert Path(config).is_file() and Path(checkpoint).is_file()
    for what in ('use it', 'prune it', 'export it'):
        args = parsed(monkeypatch, lines[what])
        assert (args.config, args.checkpoint) == (config, checkpoint) and args.out.startswith(f'{chain.runs}/student/')
    source = Path(parsed(monkeypatch, lines['use it']).source)
    assert source == chain.data / 'JPEGImages' and list(source.glob('*.jpg'))
    args = parsed(monkeypatch, lines['add a class'])
    assert args.teacher == [config, checkpoint] and args.ann == 'path/to/your/data'


def test_where_the_report_is_and_what_does_not_fit(chain, tmp_path):
    text = (chain.runs / 'student/student.py').read_text()
    other = ChainStage(Path('x.py'), tmp_path / "a b'c/x")
    other.work_dir.mkdir(parents=True)
    report = other.work_dir / 'report/index.html'
    cfg = Config.fromfile(chain.runs / 'student/student.py')
    cfg.model.type = 'IncrementalRetinaNet'
    cfg.test_dataloader.dataset.data_root = 'gone'
    (other.work_dir / 'x.py').write_text(cfg.pretty_text)
    lines = dict(line.split(': ', 1) for line in closing_lines(other, REPO / 'tools', report).splitlines())
    assert list(lines) == ['report', 'use it', 'add a class', 'export it'] and text
    assert shlex.split(lines['report']) == [str(report)]
    assert shlex.split(lines['use it'])[2] == 'path/to/your/images'
    assert shlex.split(lines['export it'])[3] == str(other.work_dir / 'final.pth')


# Progress bars


def test_progress_in_a_file(monkeypatch, capsys):
    now = [0.]
    monkeypatch.setattr(progress_bar.time, 'monotonic', lambda: now[0])
    for _ in progress_bar.tracked(range(4000), 'teacher'):
        now[0] += 1
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == '' and '\r' not in err
    assert lines[0] == 'teacher: 30 of 4000 images, 1:06:10 left' and lines[1].startswith('teacher: 90 of 4000')
    assert lines[-1] == 'teacher: 4000 of 4000 images, done in 1:06:40' and 8 < len(lines) < 14
    with pytest.raises(KeyError), progress_bar.progress_bar('fetch', 2000000, 'B', 500000, unit_scale=True) as bar:
        bar.update(100000)
        now[0] += 60
        bar.update(400000)
        raise KeyError
    assert capsys.readouterr().err.splitlines() == [
        'fetch: 1.00M of 2.00MB, 02:00 left', 'fetch: 1.00M of 2.00MB, stopped after 01:00']
    assert list(progress_bar.tracked(iter('ab'), 'look', unit='batch')) == ['a', 'b']
    assert capsys.readouterr().err == 'look: 2 batches, done in 00:00\n'
    assert list(progress_bar.tracked('a', 'look', unit='batch')) == ['a']
    assert capsys.readouterr().err == 'look: 1 of 1 batch, done in 00:00\n'


def test_progress_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    assert len(list(progress_bar.tracked(range(3), 'teacher'))) == 3
    assert '3/3' in terminal.getvalue() and '100%' in terminal.getvalue()

"""A training run's options, with the distiller: mixed precision, accumulated gradients, averaged weights, scaled rate."""

import json

import pytest
import torch
from conftest import REPO, make_voc
from mmdet.models import ResNet
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from probe import ADDABLE, PROBED
from tiny import OBJECTS, build, student_cfg, teacher_file, write_configs

TERMS = {f'loss_kd_{term}' for term in ('feature', 'rpn_cls', 'rpn_reg', 'roi_cls', 'roi_reg', 'score')}
AVERAGED = PROBED.replace("dict(type='ProbeHook')", "dict(type='EMAHook', momentum=0.3), dict(type='ProbeHook')")


@pytest.fixture
def train(tmp_path, tool):
    """``train(config, *flags)`` trains ``base``, ``student`` or a config given as text, four images in two epochs."""
    teacher = teacher_file(tmp_path / 'teacher.pth')
    write_configs(tmp_path, make_voc(tmp_path / 'data', OBJECTS), teacher=str(teacher))

    def run(config, *flags, work_dir='work'):
        path = tmp_path / f'{config}.py'
        if '\n' in config:
            path = tmp_path / 'changed.py'
            path.write_text(config)
        return tool('train.py', path, '--work-dir', tmp_path / work_dir, *flags)

    return run


def logged(work_dir) -> list[dict]:
    """What the run wrote after each of its epochs."""
    lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return [json.loads(line) for line in lines if 'loss' in json.loads(line)]


def every_term_is_there(work_dir) -> None:
    """Protocol 14 in a run; that each term has a gradient is told by test_student.py, under autocast as well."""
    for line in logged(work_dir):
        assert line.keys() >= TERMS
        assert all(0 <= line[term] < 100 for term in TERMS)


# Mixed precision


@pytest.mark.skipif(torch.cuda.is_available(), reason='float16 on a GPU')
@pytest.mark.parametrize('stage, flags', [('base', ('--cfg-options', 'optim_wrapper.dtype=bfloat16')), ('student', ())],
                         ids=['base', 'student'])
def test_amp_without_a_gpu_is_bfloat16(train, tmp_path, monkeypatch, stage, flags):
    seen, forward = set(), ResNet.forward

    def spy(self, inputs):
        outputs = forward(self, inputs)
        seen.add((torch.is_grad_enabled() and self.training, outputs[0].dtype))
        return outputs

    monkeypatch.setattr(ResNet, 'forward', spy)
    done = train(stage, '--amp', *flags)
    assert done.status == 0, done.err[-3000:]
    # Validation, without gradient, is not in mixed precision; the teacher is.
    assert seen == {(True, torch.bfloat16), (False, torch.float32), *[(False, torch.bfloat16)] * (stage == 'student')}
    final = torch.load(tmp_path / 'work/final.pth', weights_only=True)['state_dict']
    assert {value.dtype for value in final.values()} == {torch.float32, torch.int64}
    assert all(torch.isfinite(value).all() for value in final.values())
    if stage == 'student':
        every_term_is_there(tmp_path / 'work')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
@pytest.mark.parametrize('stage', ['base', 'student'])
def test_amp_on_a_gpu(train, tmp_path, stage, dtype):
    done = train(stage, '--amp', '--cfg-options', f'optim_wrapper.dtype={dtype}')
    assert done.status == 0, done.err[-3000:]
    final = torch.load(tmp_path / 'work/final.pth', weights_only=True)['state_dict']
    assert all(torch.isfinite(value).all() for value in final.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason='float16 on a GPU')
def test_float16_needs_a_gpu(train, tmp_path):
    done = train('student', '--amp', '--cfg-options', 'optim_wrapper.dtype=float16')
    assert done.status == 1
    told = done.err.strip().splitlines()[-1]
    assert told.startswith("error: optim_wrapper.dtype = 'float16'") and 'bfloat16' in told


# Accumulated gradients


def test_accumulated_gradients_make_the_step_of_the_whole_batch(train, tmp_path):
    options = 'train_dataloader.batch_size=1', 'optim_wrapper.accumulative_counts=2'
    assert train(ADDABLE, '--cfg-options', *options, work_dir='halves').status == 0
    assert train(ADDABLE, work_dir='whole').status == 0
    halves, whole = (torch.load(tmp_path / f'{name}/rank0.pth') for name in ('halves', 'whole'))
    assert (len(halves['weights']), len(whole['weights'])) == (8, 4)
    name = 'backbone.conv1.weight'
    start = torch.load(tmp_path / 'teacher.pth')['state_dict'][name]
    history = [start, *(weights[name] for weights in halves['weights'])]
    assert [torch.equal(before, after) for before, after in zip(history, history[1:])] == [True, False] * 4
    for step in range(4):
        for name, value in whole['weights'][step].items():
            assert torch.allclose(value, halves['weights'][2 * step + 1][name], rtol=1e-3, atol=1e-5), (step, name)


# Averaged weights


def test_averaged_weights_are_the_final_ones(train, tmp_path, tool):
    done = train(AVERAGED)
    assert done.status == 0, done.err[-3000:]
    work_dir = tmp_path / 'work'
    history = [step['roi_head.bbox_head.fc_cls.weight'] for step in torch.load(work_dir / 'rank0.pth')['weights']]
    average = history[0]
    for weights in history[1:]:
        average = 0.7 * average + 0.3 * weights
    final, last = (torch.load(work_dir / name, weights_only=True) for name in ('final.pth', 'epoch_2.pth'))
    assert torch.allclose(final['state_dict']['roi_head.bbox_head.fc_cls.weight'], average, atol=1e-6)
    assert not torch.allclose(average, history[-1], atol=1e-4)
    assert final.keys() == {'meta', 'state_dict'}
    assert all(torch.equal(value, last['state_dict'][name]) for name, value in final['state_dict'].items())
    # No teacher in the average: the student's weights, and the number of steps.
    assert last['ema_state_dict'].keys() == {f'module.{name}' for name in final['state_dict']} | {'steps'}

    # They are what was validated, and what is tested.
    assert tool('test.py', tmp_path / 'changed.py', work_dir / 'final.pth', '--work-dir', work_dir).status == 0
    tested, validated = (json.loads((work_dir / name).read_text()) for name in ('metrics.json', 'metrics_val.json'))
    assert tested.pop('checkpoint') == 'final.pth'
    assert tested == validated


def test_an_average_elsewhere_leaves_the_teacher_alone(tmp_path):
    """``EMAHook(device='cpu')`` beside a student on a GPU; here the average has no storage at all."""
    student = build(student_cfg(teacher_file(tmp_path / 'teacher.pth')))
    average = ExponentialMovingAverage(student, device='meta')
    assert {weight.device.type for weight in average.parameters()} == {'meta'}
    assert {weight.device.type for weight in student.teacher.parameters()} == {'cpu'}


# Scaled learning rate


def test_learning_rate_follows_the_batch(train, tmp_path):
    """The configs' rate is for a batch of 4, these have 2 images in one."""
    assert train('student', '--auto-scale-lr').status == 0
    every_term_is_there(tmp_path / 'work')
    assert [line['lr'] for line in logged(tmp_path / 'work')] == pytest.approx([0.5e-3] * 2)


@pytest.mark.parametrize('name', ['shapes_4+2', 'pcb_4+2', 'foda20_15+5', 'voc_15', 'voc_15+5', 'vgg16_voc_19+1'])
def test_learning_rates_are_for_the_configs_own_batch(name):
    cfg = Config.fromfile(REPO / f'configs/ilmil/frcnn_{name}.py')
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=cfg.train_dataloader.batch_size)

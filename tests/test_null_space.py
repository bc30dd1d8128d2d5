"""Null-space projection: covariances and cuts by hand, what an update leaves alone, files, and a run that is resumed."""

import re
import shutil

import pytest
import torch
from mmengine.registry import init_default_scope
from tiny import OLD, ROOT, batch, build, stock_cfg
from torch import nn

from mmilmil import InputError
from mmilmil.engine.hooks import NullSpaceHook
from mmilmil.engine.resume_check import differences
from mmilmil.models.hashes import weights_hash
from mmilmil.models.null_space import Covariances, Projection, flat_from, gather, input_covariance, layers_of, projector

NSGP = ROOT / 'configs/methods/nsgp_repre.py'


# Formulas


def test_covariance_of_a_linear_layer():
    """Rows (1, 2) and (3, 4): X^T X = [[1 + 9, 2 + 12], [2 + 12, 4 + 16]]."""
    found = input_covariance(nn.Linear(2, 5), torch.tensor([[1., 2.], [3., 4.]]))
    assert found.tolist() == [[10, 14], [14, 20]] and found.dtype == torch.float64


def test_covariance_of_a_convolution():
    """1x1: rows are the cells' channels. Of two images the mean counts, (1, 0) and (0, 4) here."""
    layer = nn.Conv2d(2, 3, 1)
    image = torch.tensor([[[1., 0.]], [[0., 4.]]])
    assert input_covariance(layer, image[None]).tolist() == [[1, 0], [0, 16]]
    assert input_covariance(layer, torch.stack([2 * image, 0 * image])).tolist() == [[1, 0], [0, 16]]
    # 1x2 over (a, b, c) = (1, 2, 3): rows (1, 2) and (2, 3); with stride 2 the first alone, with padding (0, 1), (3, 0) too.
    row = torch.tensor([[[[1., 2., 3.]]]])
    for more, wanted in ((dict(), [[5, 8], [8, 13]]), (dict(stride=2), [[1, 2], [2, 4]]),
                         (dict(padding=(0, 1)), [[14, 8], [8, 14]])):
        assert input_covariance(nn.Conv2d(1, 1, (1, 2), **more), row).tolist() == wanted


@pytest.mark.parametrize('spectrum, start', [
    ([10., 9., 0.1, 0.], 2),    # second differences -7.9, 8.8
    ([5., 5., 5., 0., 0.], 3),  # 0, -5, 5
    ([9., 1., 0.5, 0.2], 1),    # 7.5, 0.2
    ([9., 1.], 1), ([9.], 1)])
def test_where_a_spectrum_is_flat(spectrum, start):
    assert flat_from(torch.tensor(spectrum)) == start


def test_long_spectra_are_smoothed():
    """A fall from 1 to 0 before value 100, smoothed by a Gaussian of sigma 10: its second derivative is largest 10 after."""
    step = (torch.arange(200) < 100).double()
    assert flat_from(step[50:150]) == 50  # of 100 values, which are not smoothed
    assert flat_from(step) in (109, 110)


def test_projector():
    """Eigenvectors (1, 1), (1, -1) and the third axis, of eigenvalues 20, 0 and 0: the first is cut off."""
    covariance = torch.tensor([[10., 10., 0.], [10., 10., 0.], [0., 0., 0.]])
    wanted = torch.tensor([[0.5, -0.5, 0.], [-0.5, 0.5, 0.], [0., 0., 1.]])
    assert torch.allclose(projector(covariance), wanted, atol=1e-6)
    assert torch.allclose(projector(covariance, scaled=True), wanted / 2**0.5, atol=1e-6)
    assert projector(torch.eye(1), scaled=True).tolist() == [[0]]


# On a detector


class Plain(nn.Module):
    """A data preprocessor that leaves a batch as it is."""

    def forward(self, data):
        return data


class Trunk(nn.Module):
    """A convolution, a norm, and a layer with a bias; as backbone and neck of a detector."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(6, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4),
                                      nn.Conv2d(4, 4, 3, groups=4))
        self.neck = nn.Sequential(nn.Linear(5, 3))

    data_preprocessor = staticmethod(lambda inputs: dict(inputs=inputs))

    def extract_feat(self, inputs):
        return self.backbone[1](self.backbone[0](inputs))


def old_inputs():
    """Images that vary in two of six channels."""
    basis = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    cells = torch.randn(1, 8, 8, 2, generator=torch.Generator().manual_seed(1))
    return (cells @ basis).permute(0, 3, 1, 2)


@pytest.mark.parametrize('optimizer, lr', [(torch.optim.AdamW, 0.1), (torch.optim.SGD, 1e-4)])
@pytest.mark.parametrize('scaled', [False, True])
def test_old_outputs_stay(optimizer, lr, scaled):
    """Whatever the optimizer makes of a gradient, weight decay included."""
    torch.manual_seed(0)
    trunk, inputs = Trunk(), old_inputs()
    sums = gather(trunk, [inputs])
    assert trunk.training and list(sums) == ['backbone.0', 'neck.0'] == list(layers_of(trunk))
    # The old rows span 18 of 54 directions; a spectrum without noise falls to zero there.
    values = torch.linalg.eigvalsh(sums['backbone.0'].double()).flip(0)
    assert values[17] > 1 and values[18] < 1e-3
    sums['backbone.0'] = torch.eye(54) - projector_of_zeros(sums['backbone.0'])
    sums['neck.0'] = torch.diag(torch.tensor([1., 1., 0., 0., 0.]))
    layer = trunk.backbone[0]
    old, new = layer(inputs).detach(), torch.randn(1, 6, 8, 8)
    before = {name: value.clone() for name, value in trunk.named_parameters()}
    before_new = layer(new).detach()
    projection, step = Projection(trunk, sums, scaled), optimizer(trunk.parameters(), lr=lr, weight_decay=0.1)
    for _ in range(3):
        projection.remember()
        (layer(new).square().sum() + trunk.backbone(new).sum() + trunk.neck(torch.ones(1, 5)).sum()).backward()
        step.step()
        projection.apply()
    assert torch.allclose(layer(inputs), old, atol=1e-5)
    assert (layer(new) - before_new).abs().max() > 1e-2
    now = dict(trunk.named_parameters())
    for name in ('backbone.1.weight', 'backbone.1.bias', 'neck.0.bias'):
        assert torch.equal(now[name], before[name])
    assert not torch.equal(now['backbone.2.weight'], before['backbone.2.weight'])  # grouped: free
    moved = now['neck.0.weight'] - before['neck.0.weight']
    assert torch.equal(moved[:, :2], torch.zeros(3, 2)) and moved[:, 2:].abs().min() > 1e-4


def projector_of_zeros(covariance):
    values, vectors = torch.linalg.eigh(covariance.double())
    free = vectors[:, values < 1e-3]
    return (free @ free.T).float()


def test_norms_may_move_and_frozen_layers_have_no_projector():
    trunk = Trunk()
    trunk.backbone[0].weight.requires_grad_(False)
    projection = Projection(trunk, {'neck.0': torch.eye(5)}, hold_norms=False)
    projection.remember()
    with torch.no_grad():
        trunk.backbone[1].weight.add_(1)
        trunk.backbone[0].weight.add_(1)
    projection.apply()
    assert trunk.backbone[1].weight.tolist() == [2] * 4 and trunk.backbone[0].weight.abs().max() > 0.5


def test_of_a_detector(tmp_path):
    """All layers of its trunk; sums over batches and stages; a file."""
    detector = build(stock_cfg(len(OLD)))
    detector.data_preprocessor = Plain()
    inputs, _ = batch()
    one, two = (gather(detector, [dict(inputs=inputs)] * times) for times in (1, 2))
    assert one.keys() == layers_of(detector).keys() and len(one) == 28
    for name, layer in layers_of(detector).items():
        assert one[name].shape == 2 * (layer.weight[0].numel(), )
        assert torch.allclose(2 * one[name], two[name], rtol=1e-5) and one[name].trace() > 0
    detector_hash = weights_hash(detector.state_dict())
    file = tmp_path / 'covariance.pth'
    torch.save(Covariances(one, 2, detector_hash).content(), file)
    read = Covariances.load(file)
    read.check(detector_hash, detector, 'final.pth')
    joined = read.joined(one, 3, 'other')
    assert joined.images == 5 and joined.teacher == 'other'
    assert all(torch.equal(joined.sums[name], 2 * one[name]) for name in one)
    assert re.fullmatch(r'[\d.]+ MB of 28 layers and 2 images', str(read))
    with pytest.raises(InputError, match=r'covariance.pth are of another teacher .* than final.pth \(f{12}\): remove it'):
        read.check('f' * 64, detector, 'final.pth')
    read.sums['neck.lateral_convs.0.conv'] = torch.eye(3)
    with pytest.raises(InputError, match='have 3 inputs for neck.lateral_convs.0.conv, which has 8 in the student'):
        read.check(detector_hash, detector, 'final.pth')
    for content, text in ((dict(read.content(), version=2), 'are of version 2'), (dict(a=1), 'holds no covariances')):
        torch.save(content, file)
        with pytest.raises(InputError, match=text):
            Covariances.load(file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match='cannot be read'):
        Covariances.load(file)


# In a run


@pytest.mark.parametrize('name', ['scaled', 'hold_norms'])
def test_settings_of_the_hook(name):
    with pytest.raises(InputError, match=f'NullSpaceHook.{name} = 1: give True or False'):
        NullSpaceHook(**{name: 1})


def test_settings_count_in_resuming():
    runs = [dict(custom_hooks=[dict(type='NullSpaceHook', scaled=scaled), dict(type='MemoryHook', per_class=scaled)])
            for scaled in (True, False)]
    assert differences(*runs) == ['custom_hooks.0.scaled: True -> False']


@pytest.fixture(scope='module')
def folder(tmp_path_factory, chain):
    folder = tmp_path_factory.mktemp('nsgp')
    shutil.copytree(chain.runs / 'base', folder / 'base')
    return folder


def test_a_run_and_a_resumed_one(chain, tool, folder, tmp_path):
    """The first reads the old images, the second finds the file; stopped after an epoch, it ends with the same weights."""
    args = ('train.py', chain.student, '--method', NSGP, '--teacher', folder / 'base/final.pth', '--cfg-options')
    done = tool(*args[:-1], '--work-dir', folder / 'one', '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=2')
    assert done.status == 0, done.err[-3000:]
    text = done.out + done.err
    assert 'the 4 images that it was trained on are read once for it' in text and 'of 28 layers and 4 images' in text
    first = Covariances.load(folder / 'base/covariance.pth')
    last = Covariances.load(folder / 'one/covariance.pth')
    student = torch.load(folder / 'one/final.pth')['state_dict']
    assert last.images == 8 and last.teacher == weights_hash(student) != first.teacher
    teacher = torch.load(folder / 'base/final.pth')['state_dict']
    for name, weight in teacher.items():
        if re.match(r'(backbone|neck)\..*(bn\d|downsample\.1|bias)', name) and weight.is_floating_point():
            assert torch.equal(student[name], weight), name  # norms, their statistics and biases stand still
    for name in ('backbone.layer1.0.conv1.weight', 'neck.fpn_convs.0.conv.weight'):
        moved, free = (student[name] - teacher[name]).flatten(1).double(), projector(first.sums[name[:-7]]).double()
        assert moved.abs().max() > 0 and torch.allclose(moved @ free, moved, atol=1e-6)
    (folder / 'two').mkdir()
    shutil.copy(folder / 'one/epoch_1.pth', folder / 'two')
    done = tool(*args[:-1], '--work-dir', folder / 'two', '--resume', folder / 'two/epoch_1.pth', '--cfg-options',
                'default_hooks.checkpoint.max_keep_ckpts=2')
    assert done.status == 0, done.err[-3000:]
    assert 'are read once' not in done.out + done.err
    resumed = torch.load(folder / 'two/final.pth')['state_dict']
    assert all(torch.equal(resumed[name], student[name]) for name in student)


def test_runs_that_cannot_be(chain, tool, tmp_path):
    config = tmp_path / 'hooked.py'
    config.write_text(f"_base_ = {str(chain.base)!r}\ncustom_hooks = [dict(type='NullSpaceHook')]\n")
    done = tool('train.py', config, '--work-dir', tmp_path / 'run')
    assert done.status == 1 and 'this run has no teacher' in done.err, done.err
    init_default_scope('mmilmil')
    from mmilmil.engine.hooks.null_space import _configs_of
    model = type('Student', (), dict(teacher_cfg=dict(checkpoint='a.pth', config=dict(model={}))))
    with pytest.raises(InputError, match='a.pth does not tell which images .* no covariance.pth beside a.pth'):
        _configs_of(model)
    # A stage that was taught has the images of its teacher too.
    first = dict(model={}, train_dataloader={})
    last = dict(model=dict(teacher=dict(checkpoint='a.pth', config=first)), train_dataloader=dict(batch_size=2))
    model.teacher_cfg.update(checkpoint='b.pth', config=last)
    with pytest.raises(InputError, match='a.pth does not tell .* beside b.pth'):
        _configs_of(model)
    first['train_dataloader'] = dict(batch_size=4)
    assert [cfg.to_dict() for cfg in _configs_of(model)] == [last, first]

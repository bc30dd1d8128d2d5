"""Every loss against numbers worked out by hand, and what all of them promise.

The expected values are written as the arithmetic of the formula on scalars; no function of the package computes them.
"""

from functools import partial
from math import exp, log, sqrt

import pytest
import torch
from torch import tensor

from mmilmil import InputError
from mmilmil.models import losses
from mmilmil.models.losses.dense import elastic_selection
from mmilmil.registry import MODELS

pytestmark = pytest.mark.filterwarnings('error')  # as torch warns of a dimension that it had to guess


def value(loss):
    assert loss.dim() == 0 and loss.dtype == torch.float32
    return loss.item()


def softmax(*z):
    total = sum(exp(v) for v in z)
    return [exp(v) / total for v in z]


# --- feature ---------------------------------------------------------------------------------------------------------

FEATURES = ['FeatureMSELoss', 'FeatureHingeLoss', 'FeatureNormMSELoss']
# N=1, C=2, H=1, W=2. Channel 0 differs by (1, 0), channel 1 by (2, -1).
F_S = tensor([[[[2., 1.]], [[3., 0.]]]])
F_T = tensor([[[[1., 1.]], [[1., 1.]]]])
F_W = tensor([[[[3., 1.]]]])


def test_feature_mse():
    loss = losses.FeatureMSELoss(loss_weight=2.)
    assert value(loss(F_S, F_T)) == pytest.approx(2 * (1 + 0 + 4 + 1) / 4)
    # Mean over channels: location 0 (1 + 4) / 2, location 1 (0 + 1) / 2; weights 3 and 1.
    assert value(loss(F_S, F_T, F_W)) == pytest.approx(2 * (3 * 2.5 + 1 * 0.5) / 4)


def test_feature_mse_gradient():
    student = F_S.clone().requires_grad_()
    losses.FeatureMSELoss()(student, F_T).backward()
    assert torch.allclose(student.grad, tensor([[[[0.5, 0.]], [[1., -0.5]]]]))  # 2 (F_S - F_T) / 4


def test_feature_hinge():
    student, teacher = tensor([[[[0., 4.]]]]), tensor([[[[5., 1.]]]])
    # Centred: student (-2, 2), teacher (2, -2); gaps 4 and -4, of which only the first costs.
    loss = losses.FeatureHingeLoss(loss_weight=3.)
    assert value(loss(student, teacher)) == pytest.approx(3 * 4 / 2)
    # Weighted means: student 3, teacher 2; centred gaps 3 - -3 = 6 and -1 - 1 = -2.
    assert value(loss(student, teacher, tensor([[[[1., 3.]]]]))) == pytest.approx(3 * 6 * 1 / 4)
    # A constant added to a level is no knowledge.
    assert value(loss(teacher + 7, teacher)) == pytest.approx(0, abs=1e-6)


def test_feature_hinge_gradient():
    student = tensor([[[[0., 4.]]]], requires_grad=True)
    losses.FeatureHingeLoss()(student, tensor([[[[5., 1.]]]])).backward()
    # d/ds of (1/2) (g_T - (s_0 - mean s)): -1/2 (1 - 1/2) for s_0, +1/2 * 1/2 for s_1.
    assert torch.allclose(student.grad, tensor([[[[-0.25, 0.25]]]]))


def test_feature_norm_mse():
    teacher = tensor([[[[1., 2.]], [[3., 4.]]]])
    student = tensor([[[[2., 2.]], [[3., 2.]]]])
    loss = losses.FeatureNormMSELoss(loss_weight=2.)
    assert value(loss(student, teacher)) == pytest.approx(2 * (1 + 4) / (1 + 4 + 9 + 16))
    # Location 0: error 1, square 1 + 9; location 1: error 4, square 4 + 16.
    assert value(loss(student, teacher, F_W)) == pytest.approx(2 * (3 * 1 + 1 * 4) / (3 * 10 + 1 * 20))
    assert value(loss(100 * student, 100 * teacher)) == pytest.approx(2 * 5 / 30)


def test_feature_norm_mse_gradient():
    student = tensor([[[[2., 2.]], [[3., 2.]]]], requires_grad=True)
    losses.FeatureNormMSELoss()(student, tensor([[[[1., 2.]], [[3., 4.]]]])).backward()
    assert torch.allclose(student.grad, tensor([[[[2 / 30, 0.]], [[0., -4 / 30]]]]))


@pytest.mark.parametrize('name', FEATURES)
def test_feature_weight_and_shape(name):
    loss = getattr(losses, name)()
    student = F_S.clone().requires_grad_()
    zero = loss(student, F_T, torch.zeros(1, 1, 1, 2))
    zero.backward()
    assert value(zero) == 0 and torch.equal(student.grad, torch.zeros_like(F_S))
    assert value(loss(F_S, F_T, torch.full((1, 1, 1, 2), 5.))) == pytest.approx(value(loss(F_S, F_T)))
    with pytest.raises(InputError, match=r'\(1, 2, 1, 2\).*\(1, 1, 1, 2\)'):
        loss(F_S, F_T[:, :1])


@pytest.mark.parametrize('name', FEATURES)
def test_a_hint_does_not_depend_on_what_an_image_is_batched_with(name):
    """Alone, padded with anything, and beside a larger image of features a hundred times as large."""
    torch.manual_seed(0)
    loss = getattr(losses, name)()
    small, large = torch.randn(2, 1, 3, 4, 6), 100 * torch.randn(2, 1, 3, 8, 8)
    padded, weight = 1000 * torch.randn(2, 1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    padded[..., :4, :6], weight[..., :4, :6] = small, 1
    alone, beside = value(loss(*small)), value(loss(*large))
    assert alone > 0.1
    assert value(loss(*padded, weight)) == pytest.approx(alone, rel=1e-5)
    both = loss(*torch.cat([padded, large], dim=1), torch.cat([weight, torch.ones_like(weight)]))
    assert value(both) == pytest.approx((alone + beside) / 2, rel=1e-5)
    # Without weights too.
    both = loss(*torch.cat([small, large[..., :4, :6]], dim=1))
    assert value(both) == pytest.approx((alone + value(loss(*large[..., :4, :6]))) / 2, rel=1e-5)


@pytest.mark.parametrize('name', FEATURES)
def test_feature_weight_belongs_to_its_image_and_place(name):
    """One place counts in each image: what is left is the loss of its three numbers, and the mean over the images."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2)
    weight = torch.zeros(2, 1, 2, 2)
    weight[0, 0, 1, 0], weight[1, 0, 0, 1] = 1, 5

    def by_hand(mine, theirs):
        gaps = [t - s for s, t in zip(mine, theirs)]
        square = sum(gap**2 for gap in gaps)
        return dict(FeatureMSELoss=square / 3, FeatureNormMSELoss=square / sum(t**2 for t in theirs),
                    FeatureHingeLoss=sum(max(gap - sum(gaps) / 3, 0) for gap in gaps) / 3)[name]

    first = by_hand(student[0, :, 1, 0].tolist(), teacher[0, :, 1, 0].tolist())
    second = by_hand(student[1, :, 0, 1].tolist(), teacher[1, :, 0, 1].tolist())
    assert value(getattr(losses, name)()(student, teacher, weight)) == pytest.approx((first + second) / 2, rel=1e-5)


def test_feature_of_one_number():
    student, teacher = tensor([[[[1.]]]]), tensor([[[[3.]]]])
    assert value(losses.FeatureMSELoss()(student, teacher)) == 4
    assert value(losses.FeatureNormMSELoss()(student, teacher)) == pytest.approx(4 / 9)
    assert value(losses.FeatureHingeLoss()(student, teacher)) == 0  # its own mean


# --- rpn -------------------------------------------------------------------------------------------------------------

# N=1, K=3.
O_S, O_T = tensor([[0., 2., -1.]]), tensor([[2., 1., -1.]])
MASK = tensor([[True, True, False]])


def test_rpn_objectness_hinge():
    loss = losses.RPNObjectnessHingeLoss(loss_weight=6.)
    assert value(loss(O_S, O_T)) == pytest.approx(6 * 4 / 3)
    assert value(loss(O_S, O_T, MASK)) == pytest.approx(6 * 4 / 2)
    student = O_S.clone().requires_grad_()
    loss(student, O_T).backward()
    assert torch.allclose(student.grad, tensor([6 * -4 / 3, 0., 0.]))


def test_rpn_objectness_mse():
    loss = losses.RPNObjectnessMSELoss(loss_weight=6.)
    assert value(loss(O_S, O_T)) == pytest.approx(6 * (4 + 1) / 3)
    assert value(loss(O_S, O_T, MASK)) == pytest.approx(6 * (4 + 1) / 2)
    student = O_S.clone().requires_grad_()
    loss(student, O_T).backward()
    assert torch.allclose(student.grad, tensor([6 * -4 / 3, 6 * 2 / 3, 0.]))


def test_rpn_objectness_bce():
    def kl(s, t):
        p, q = 1 / (1 + exp(-s)), 1 / (1 + exp(-t))
        return q * log(q / p) + (1 - q) * log((1 - q) / (1 - p))

    loss = losses.RPNObjectnessBCELoss(loss_weight=3.)
    assert value(loss(O_S, O_T)) == pytest.approx(kl(0, 2) + kl(2, 1), rel=1e-5)
    assert value(loss(O_S, O_T, MASK)) == pytest.approx(3 * (kl(0, 2) + kl(2, 1)) / 2, rel=1e-5)
    student = O_S.clone().requires_grad_()
    loss(student, O_T).backward()
    assert torch.allclose(student.grad, O_S.sigmoid() - O_T.sigmoid())
    # Saturated logits stay finite.
    assert value(loss(tensor([-100.]), tensor([100.]))) == pytest.approx(300, rel=1e-5)


R_S = tensor([[[0., 0., 0., 0.], [1., 1., 1., 1.], [0., 0., 0., 0.]]])
R_T = tensor([[[1., 2., 0., 0.], [1., 1., 1., 3.], [0., 0., 0., 1.]]])


def test_rpn_delta():
    # o_T - o_S = 2, -1, 0: only anchor 0 passes the margin; its error is 1 + 4, over ALL 3 anchors.
    loss = losses.RPNDeltaLoss(loss_weight=3.)
    assert loss.margin == 0.1
    assert value(loss(R_S, R_T, O_S, O_T)) == pytest.approx(3 * 5 / 3)
    assert value(loss(R_S, R_T, O_S, O_T, MASK)) == pytest.approx(3 * 5 / 2)
    assert value(losses.RPNDeltaLoss(margin=None)(R_S, R_T, O_S, O_T)) == pytest.approx((5 + 4 + 1) / 3)
    # The margin is exclusive: the gap 0 of anchor 2 does not exceed a margin of 0.
    assert value(losses.RPNDeltaLoss(margin=0.)(R_S, R_T, O_S, O_T)) == pytest.approx(5 / 3)
    deltas, logits = R_S.clone().requires_grad_(), O_S.clone().requires_grad_()
    loss(deltas, R_T, logits, O_T).backward()
    assert logits.grad is None
    assert torch.allclose(deltas.grad, tensor([[-2., -4., 0., 0.], [0.] * 4, [0.] * 4]))


def test_rpn_foreground_delta():
    # sigmoid(o_T) > 0.5 where o_T > 0: anchors 0 and 1. Smooth-L1 with beta 1/9 is |d| - 1/18 beyond it.
    loss = losses.RPNForegroundDeltaLoss(loss_weight=2.)
    expected = (1 - 1 / 18) + (2 - 1 / 18) + (2 - 1 / 18)
    assert value(loss(R_S, R_T, O_S, O_T)) == pytest.approx(2 * expected / 2)
    only_first = tensor([[True, False, True]])
    assert value(loss(R_S, R_T, O_S, O_T, only_first)) == pytest.approx(2 * (3 - 2 / 18))
    # Inside beta: 0.5 d^2 / beta.
    assert value(losses.RPNForegroundDeltaLoss(beta=4.)(R_S, R_T, O_S, O_T)) == pytest.approx((0.5 + 2 + 2) / 4 / 2)
    assert value(losses.RPNForegroundDeltaLoss(threshold=0.99)(R_S, R_T, O_S, O_T)) == 0
    deltas = R_S.clone().requires_grad_()
    loss(deltas, R_T, O_S, O_T).backward()
    assert torch.allclose(deltas.grad, tensor([[-1., -1., 0., 0.], [0., 0., 0., -1.], [0.] * 4]))


@pytest.mark.parametrize('name', ['RPNObjectnessHingeLoss', 'RPNObjectnessMSELoss', 'RPNObjectnessBCELoss', 'RPNDeltaLoss',
                                  'RPNForegroundDeltaLoss'])
def test_an_rpn_term_does_not_depend_on_what_an_image_is_batched_with(name):
    """The other image has more anchors, larger gaps and another share of what the teacher calls objects."""
    torch.manual_seed(0)
    loss = getattr(losses, name)()

    def term(logits, deltas, mask=None):
        return value(loss(*(deltas if 'Delta' in name else ()), *logits, mask=mask))

    small = torch.randn(2, 1, 5), torch.randn(2, 1, 5, 4)
    large = 3 * torch.randn(2, 1, 9), 10 * torch.randn(2, 1, 9, 4)
    padded, mask = [1000 * torch.randn_like(value) for value in large], torch.zeros(1, 9).bool()
    mask[:, :5] = True
    for whole, part in zip(padded, small):
        whole[:, :, :5] = part
    alone, beside = term(*small), term(*large)
    assert 0 < alone != beside
    assert term(*padded, mask) == pytest.approx(alone, rel=1e-5)
    both = [torch.cat(pair, dim=1) for pair in zip(padded, large)]
    assert term(*both, torch.cat([mask, ~mask | mask])) == pytest.approx((alone + beside) / 2, rel=1e-5)


def test_an_image_without_a_counted_anchor_is_one_of_the_mean():
    """As the other image is then not counted for more."""
    mask = tensor([[False] * 3, [True] * 3])
    pair = O_S.expand(2, 3), O_T.expand(2, 3)
    assert value(losses.RPNObjectnessMSELoss()(*pair, mask)) == pytest.approx((0 + 5 / 3) / 2)


def test_rpn_of_one_anchor():
    for name, expected in dict(RPNObjectnessHingeLoss=4, RPNObjectnessMSELoss=4).items():
        assert value(getattr(losses, name)()(O_S[:, :1], O_T[:, :1])) == expected
    assert value(losses.RPNDeltaLoss()(R_S[:, :1], R_T[:, :1], O_S[:, :1], O_T[:, :1])) == 5


@pytest.mark.parametrize('mask', [None, MASK])
def test_an_image_twice_costs_what_it_costs_once(mask):
    for name, inputs in dict(RPNObjectnessHingeLoss=(O_S, O_T), RPNDeltaLoss=(R_S, R_T, O_S, O_T)).items():
        loss = getattr(losses, name)()
        twice = [torch.cat([given, given]) for given in inputs]
        both = None if mask is None else torch.cat([mask, mask])
        assert value(loss(*twice, mask=both)) == value(loss(*inputs, mask=mask)) > 0


def test_rpn_thresholds_are_exclusive_and_have_their_defaults():
    # The teacher's lead is 1/16, 1/4 and 1, beside the margin 0.1; sigmoid(0) is the threshold 1/2.
    student, teacher = torch.zeros(1, 3), tensor([[1 / 16, 1 / 4, 1.]])
    ours, theirs = torch.zeros(1, 3, 4), tensor([[[1., 0., 0., 0.], [2., 0., 0., 0.], [4., 0., 0., 0.]]])
    assert value(losses.RPNDeltaLoss()(ours, theirs, student, teacher)) == pytest.approx((4 + 16) / 3)
    assert value(losses.RPNDeltaLoss(margin=1 / 4)(ours, theirs, student, teacher)) == pytest.approx(16 / 3)
    foreground = losses.RPNForegroundDeltaLoss()
    assert value(foreground(ours, theirs, student, tensor([[0., -1., 1.]]))) == pytest.approx(4 - 1 / 18)


# --- roi: 2 old classes, 1 new class, background last ----------------------------------------------------------------

Z_S = tensor([[1., 0., 2., -1.], [0., 0., 0., 0.]])
Z_T = tensor([[2., 0., 1.], [0., 0., 0.]])


def unbiased_kd_by_hand(z_s, z_t, temperature=1.):
    p, q = softmax(*(v / temperature for v in z_s)), softmax(*(v / temperature for v in z_t))
    return -(q[0] * log(p[0]) + q[1] * log(p[1]) + q[2] * log(p[3] + p[2]))


def test_unbiased_kd():
    first, second = (unbiased_kd_by_hand(s, t) for s, t in zip(Z_S.tolist(), Z_T.tolist()))
    # The second row on paper: p = 1/4, q = 1/3, so the merged background has probability 1/2.
    assert second == pytest.approx(-(2 * log(1 / 4) + log(1 / 2)) / 3)
    assert value(losses.UnbiasedKDLoss(loss_weight=3.)(Z_S, Z_T)) == pytest.approx(3 * (first + second) / 2 / 3, rel=1e-5)
    assert value(losses.UnbiasedKDLoss(normalize=False)(Z_S, Z_T)) == pytest.approx((first + second) / 2, rel=1e-5)
    weighted = losses.UnbiasedKDLoss(normalize=False)(Z_S, Z_T, tensor([1., 3.]))
    assert value(weighted) == pytest.approx((first + 3 * second) / 4, rel=1e-5)
    warm = losses.UnbiasedKDLoss(temperature=2., normalize=False)(Z_S[:1], Z_T[:1])
    assert value(warm) == pytest.approx(unbiased_kd_by_hand(Z_S[0].tolist(), Z_T[0].tolist(), 2.), rel=1e-5)


def test_unbiased_kd_as_divergence():
    loss = losses.UnbiasedKDLoss(subtract_entropy=True)
    # Background 1 splits into new and background with log(e / 2) each: p_b + p_new is the teacher's background again.
    half = 1 - log(2)
    match = tensor([[2., 0., half, half]])
    assert value(loss(match, Z_T[:1])) == pytest.approx(0, abs=1e-6)
    entropy = [-sum(q * log(q) for q in softmax(*t)) for t in Z_T.tolist()]
    plain = [unbiased_kd_by_hand(s, t) for s, t in zip(Z_S.tolist(), Z_T.tolist())]
    assert value(loss(Z_S, Z_T)) == pytest.approx((sum(plain) - sum(entropy)) / 2 / 3, rel=1e-4)


def test_unbiased_kd_gradient():
    """Zero logits: d/dz_old = p - q, and the merged background shares p_m - q_b between its two columns."""
    student = torch.zeros(1, 4, requires_grad=True)
    losses.UnbiasedKDLoss(normalize=False)(student, Z_T[:1]).backward()
    q = softmax(2, 0, 1)
    rest = 0.5 * (1 - q[2] / 0.5) * 0.5  # p_b - q_b p_b / (p_b + p_new)
    assert torch.allclose(student.grad, tensor([[0.25 - q[0], 0.25 - q[1], rest, rest]]), atol=1e-6)


@pytest.mark.parametrize('temperature', [0, -1.])
def test_unbiased_kd_needs_a_temperature(temperature):
    with pytest.raises(InputError, match=f'temperature={temperature} must be greater than 0'):
        losses.UnbiasedKDLoss(temperature=temperature)
    cold = losses.UnbiasedKDLoss(temperature=.5, normalize=False)(Z_S[:1], Z_T[:1])
    assert value(cold) == pytest.approx(unbiased_kd_by_hand(Z_S[0].tolist(), Z_T[0].tolist(), .5), rel=1e-5)


def divergence(q, p):
    return sum(a * log(a / b) for a, b in zip(q, p))


def test_old_conditional_kd():
    # Old logits (1, 0) and (2, 0), at temperature 2 (0.5, 0) and (1, 0); the second rows agree.
    kl = divergence(softmax(1, 0), softmax(0.5, 0))
    loss = losses.OldConditionalKDLoss(temperature=2., loss_weight=3.)
    assert value(loss(Z_S, Z_T)) == pytest.approx(3 * 4 * (kl + 0) / 2, rel=1e-4)
    assert value(loss(Z_S, Z_T, tensor([1., 3.]))) == pytest.approx(3 * 4 * kl / 4, rel=1e-4)
    assert value(losses.OldConditionalKDLoss()(Z_S, Z_T)) == pytest.approx(4 * kl / 2, rel=1e-4)
    cold = losses.OldConditionalKDLoss(temperature=1.)(Z_S[:1], Z_T[:1])
    assert value(cold) == pytest.approx(divergence(softmax(2, 0), softmax(1, 0)), rel=1e-5)
    # Neither the new class nor the background matters, nor a constant that all old logits share.
    other = tensor([[4., 3., -8., 9.]]), tensor([[7., 5., -6.]])
    assert value(losses.OldConditionalKDLoss(temperature=2.)(*other)) == pytest.approx(4 * kl, rel=1e-4)
    assert value(loss(torch.randn(3, 3), torch.randn(3, 2))) == 0  # one old class is always that one


def test_old_conditional_kd_gradient():
    student = Z_S[:1].clone().requires_grad_()
    losses.OldConditionalKDLoss(temperature=2.)(student, Z_T[:1]).backward()
    # t^2 (p - q) / t.
    step = 2 * (softmax(0.5, 0)[0] - softmax(1, 0)[0])
    assert torch.allclose(student.grad, tensor([[step, -step, 0., 0.]]), atol=1e-6)


def test_mixed_kd():
    def unbiased(s, t):
        p = softmax(*s)
        return divergence(softmax(*t), [p[0], p[1], p[2] + p[3]])

    old = 4 * divergence(softmax(1, 0), softmax(0.5, 0)), 0
    background = softmax(2, 0, 1)[2], 1 / 3
    both = [2 * o + 2 * b * unbiased(s, t) for o, b, s, t in zip(old, background, Z_S.tolist(), Z_T.tolist())]
    # The second row on paper: p is 1/4, 1/4 and 1/2, q a third each.
    assert both[1] == pytest.approx(2 / 3 * (2 * log(4 / 3) + log(2 / 3)) / 3)
    assert value(losses.MixedKDLoss()(Z_S, Z_T)) == pytest.approx(sum(both) / 2, rel=1e-5)
    assert value(losses.MixedKDLoss(loss_weight=3.)(Z_S, Z_T, tensor([1., 3.]))) == pytest.approx(
        3 * (both[0] + 3 * both[1]) / 4, rel=1e-5)
    # Each part alone; only the first one has the temperature.
    first = losses.MixedKDLoss(temperature=1., background_weight=0.)(Z_S[:1], Z_T[:1])
    assert value(first) == pytest.approx(2 * divergence(softmax(2, 0), softmax(1, 0)), rel=1e-5)
    second = losses.MixedKDLoss(temperature=7., old_weight=0.)(Z_S[:1], Z_T[:1])
    assert value(second) == pytest.approx(2 * background[0] * unbiased(Z_S[0].tolist(), Z_T[0].tolist()), rel=1e-5)


def test_mixed_kd_settings():
    for name in ('old_weight', 'background_weight'):
        with pytest.raises(InputError, match=f'{name} of MixedKDLoss = -1'):
            losses.MixedKDLoss(**{name: -1})
    for name in ('MixedKDLoss', 'OldConditionalKDLoss'):
        with pytest.raises(InputError, match=f'{name}: temperature=0 must be greater than 0'):
            getattr(losses, name)(temperature=0)


def test_logit_mse():
    # Row 0: student's old and background (1, 0, -1), mean 0; teacher (2, 0, 1), mean 1, centred (1, -1, 0).
    loss = losses.LogitMSELoss(loss_weight=2.)
    assert value(loss(Z_S, Z_T)) == pytest.approx(2 * (0 + 1 + 1) / 3 / 2)
    assert value(loss(Z_S, Z_T, tensor([3., 1.]))) == pytest.approx(2 * (2 / 3) * 3 / 4)
    # Neither the new class nor a constant matters.
    assert value(loss(tensor([[7., 5., 99., 6.]]), Z_T[:1])) == pytest.approx(0, abs=1e-6)
    student = Z_S[:1].clone().requires_grad_()
    losses.LogitMSELoss()(student, Z_T[:1]).backward()
    # 2/3 of the centred gap (0, 1, -1), which has mean 0 already.
    assert torch.allclose(student.grad, tensor([[0., 2 / 3, 0., -2 / 3]]))


# Deltas of 2 old classes and 1 new one.
D_S = tensor([[0., 0., 0., 0., 1., 1., 1., 1., 9., 9., 9., 9.], [0.] * 12])
D_T = tensor([[0.5, 2., 0., 0., 1., 1., 1., 4.], [0.] * 8])


def test_roi_delta():
    # Row 0, smooth-L1 with beta 1: class 0 0.125 + 1.5, class 1 2.5. Squared: 0.25 + 4 and 9.
    smooth, square = (0.125 + 1.5, 2.5), (0.25 + 4, 9.)
    loss = losses.RoIDeltaLoss(loss_weight=2.)
    assert value(loss(D_S, D_T)) == pytest.approx(2 * sum(smooth) / 2 / 2)
    assert value(losses.RoIDeltaLoss(squared=True)(D_S, D_T)) == pytest.approx(sum(square) / 2 / 2)
    assert value(losses.RoIDeltaLoss(beta=2.)(D_S[:1], D_T[:1])) == pytest.approx((0.0625 + 1 + 2) / 2)
    assert value(loss(D_S, D_T, tensor([1., 0.]))) == pytest.approx(2 * sum(smooth) / 2)
    student = D_S.clone().requires_grad_()
    losses.RoIDeltaLoss()(student, D_T).backward()
    expected = torch.zeros(2, 12)
    expected[0, [0, 1, 7]] = tensor([-0.5, -1., -1.]) / 2 / 2
    assert torch.allclose(student.grad, expected)


def test_roi_delta_by_probability():
    q = softmax(2, 0, 1)
    loss = losses.RoIDeltaLoss(by_probability=True)
    expected = q[0] * 1.625 + q[1] * 2.5
    assert value(loss(D_S[:1], D_T[:1], teacher_logits=Z_T[:1])) == pytest.approx(expected, rel=1e-5)
    assert value(loss(D_S, D_T, tensor([1., 3.]), Z_T)) == pytest.approx(expected / 4, rel=1e-5)
    with pytest.raises(InputError, match='got None'):
        loss(D_S, D_T)
    with pytest.raises(InputError, match=r'class-agnostic heads on both sides; got \(2, 3\)'):
        loss(D_S, D_T[:, :4], teacher_logits=Z_T)


def test_roi_delta_of_class_agnostic_heads():
    # The one box counts with the probability of being any old class; error of row 0 1.625, of row 1 none.
    old = 1 - softmax(2, 0, 1)[2]
    mine, theirs = D_S[:, :4].clone().requires_grad_(), D_T[:, :4]
    loss = losses.RoIDeltaLoss(by_probability=True, loss_weight=2.)
    found = loss(mine, theirs, teacher_logits=Z_T)
    assert value(found) == pytest.approx(2 * old * 1.625 / 2, rel=1e-5)
    found.backward()
    assert torch.allclose(mine.grad[0], 2 * old * tensor([-0.5, -1., 0., 0.]) / 2, rtol=1e-5)
    # The teacher's background alone weighs: all sure of it, nothing is compared.
    assert value(loss(mine, theirs, teacher_logits=tensor([[0., 0., 90.]] * 2))) == pytest.approx(0, abs=1e-6)
    assert value(losses.RoIDeltaLoss()(mine, theirs)) == pytest.approx(1.625 / 2)


def test_score_l1():
    # Row 0: the best foreground class is the new one; row 1: every class has 1/4.
    best = softmax(1, 0, 2, -1)[2]
    loss = losses.ScoreL1Loss(loss_weight=2.)
    assert value(loss(Z_S, tensor([0.9, 0.2]))) == pytest.approx(2 * ((0.9 - best) + 0.05) / 2, rel=1e-5)
    # Background is no class to be sure of.
    assert value(loss(tensor([[0., 0., 0., 9.]]), tensor([0.]))) == pytest.approx(2 * softmax(0, 0, 0, 9)[0], rel=1e-4)


def test_score_l1_reaches_the_logits():
    student = Z_S[:1].clone().requires_grad_()
    losses.ScoreL1Loss()(student, tensor([0.9])).backward()
    p = softmax(1, 0, 2, -1)
    # -dp_2/dz: the probability lies below the target and must rise.
    expected = [p[2] * p[0], p[2] * p[1], -p[2] * (1 - p[2]), p[2] * p[3]]
    assert torch.allclose(student.grad, tensor([expected]), atol=1e-6)


def test_matched_score_l1():
    # Row 0 is matched to a box of class 1, though class 2 is the likeliest; row 1 to one of class 0, every class has 1/4.
    p = softmax(1, 0, 2, -1)
    loss = losses.MatchedScoreL1Loss(loss_weight=2.)
    assert value(loss(Z_S, tensor([0.9, 0.2]), tensor([1, 0]))) == pytest.approx(2 * ((0.9 - p[1]) + 0.05) / 2, rel=1e-5)


def test_which_class_the_score_terms_raise():
    """On a new object that looks like an old one the paper's form makes the old class surer, the matched form the new one."""
    logits, new = tensor([[2., 0., 1., -1.]]), tensor([2])
    gradients = []
    for loss in (losses.ScoreL1Loss(), losses.MatchedScoreL1Loss()):
        student = logits.clone().requires_grad_()
        loss(student, tensor([1.]), new).backward()
        gradients.append(student.grad[0])
    p = softmax(2, 0, 1, -1)
    assert torch.allclose(gradients[0], tensor([-p[0] * (1 - p[0]), p[0] * p[1], p[0] * p[2], p[0] * p[3]]), atol=1e-6)
    assert torch.allclose(gradients[1], tensor([p[2] * p[0], p[2] * p[1], -p[2] * (1 - p[2]), p[2] * p[3]]), atol=1e-6)


def test_unbiased_cross_entropy():
    p = softmax(1, 0, 2, -1)
    background, new, old = -log(p[3] + p[0] + p[1]), -log(p[2]), -log(p[1])
    logits, label = Z_S[:1].expand(3, 4), tensor([3, 2, 1])
    loss = losses.UnbiasedCrossEntropyLoss(num_old_classes=2, loss_weight=2.)
    assert value(loss(logits, label)) == pytest.approx(2 * (background + new + old) / 3, rel=1e-5)
    weight = tensor([1., 0., 3.])
    assert value(loss(logits, label, weight, avg_factor=4.)) == pytest.approx(2 * (background + 3 * old) / 4, rel=1e-5)
    assert value(loss(logits, label, reduction_override='sum')) == pytest.approx(2 * (background + new + old), rel=1e-5)
    each = loss(logits, label, reduction_override='none')
    assert torch.allclose(each, 2 * tensor([background, new, old]))


def test_unbiased_cross_entropy_gradient_and_limits():
    student = torch.zeros(1, 4, requires_grad=True)
    losses.UnbiasedCrossEntropyLoss(num_old_classes=2)(student, tensor([3])).backward()
    # -log(3/4): each of old and background p - p / (3/4) = 1/4 - 1/3, the new class p.
    assert torch.allclose(student.grad, tensor([[-1 / 12, -1 / 12, 1 / 4, -1 / 12]]))
    plain = losses.UnbiasedCrossEntropyLoss(num_old_classes=0)(Z_S, tensor([3, 1]))
    p = softmax(1, 0, 2, -1)
    assert value(plain) == pytest.approx((-log(p[3]) - log(1 / 4)) / 2, rel=1e-5)
    none = losses.UnbiasedCrossEntropyLoss(num_old_classes=2)(Z_S[:0], tensor([]).long(), reduction_override='none')
    assert none.shape == (0, )
    assert value(losses.UnbiasedCrossEntropyLoss(num_old_classes=3)(Z_S[1:], tensor([3]))) == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match='num_old_classes=4 leaves no class of 3'):
        losses.UnbiasedCrossEntropyLoss(num_old_classes=4)(Z_S, tensor([3, 1]))
    with pytest.raises(InputError, match='num_old_classes of UnbiasedCrossEntropyLoss = -1'):
        losses.UnbiasedCrossEntropyLoss(num_old_classes=-1)


def test_unbiased_cross_entropy_is_told_the_old_classes():
    told = losses.UnbiasedCrossEntropyLoss()
    with pytest.raises(InputError, match='does not know num_old_classes'):
        told(Z_S, tensor([3, 1]))
    told.set_num_old_classes(2)
    written = losses.UnbiasedCrossEntropyLoss(num_old_classes=2)
    written.set_num_old_classes(2)
    assert value(told(Z_S, tensor([3, 1]))) == value(written(Z_S, tensor([3, 1])))
    for number in (0, 1):
        with pytest.raises(InputError, match=f'num_old_classes = {number} .*knows 2 classes'):
            losses.UnbiasedCrossEntropyLoss(num_old_classes=number).set_num_old_classes(2)


def test_unbiased_cross_entropy_in_the_box_head():
    """MMDetection's own box head builds it and takes it for a plain softmax loss."""
    head = MODELS.build(
        dict(type='mmdet.Shared2FCBBoxHead', in_channels=2, fc_out_channels=4, roi_feat_size=1, num_classes=3,
             loss_cls=dict(type='mmilmil.UnbiasedCrossEntropyLoss', num_old_classes=2)))
    assert isinstance(head.loss_cls, losses.UnbiasedCrossEntropyLoss) and head.fc_cls.out_features == 4
    out = head.loss(Z_S.clone().requires_grad_(), torch.zeros(2, 12), torch.zeros(2, 5), tensor([3, 2]), torch.ones(2),
                    torch.zeros(2, 4), torch.zeros(2, 4))
    p = softmax(1, 0, 2, -1)
    assert value(out['loss_cls']) == pytest.approx((-log(1 - p[2]) - log(1 / 4)) / 2, rel=1e-5)
    assert 'acc' in out


# R=1, C=2, h=1, w=2: places of strength (1 + 9) / 2 = 5 and (0 + 4) / 2 = 2 to the teacher, (1 + 4) / 2 and 2 to the student.
A_T = tensor([[[[1., 0.]], [[3., 2.]]]])
A_S = tensor([[[[1., 0.]], [[2., 2.]]]])


def test_attentive_roi():
    theirs, mine = [2 * p for p in softmax(5, 2)], [2 * p for p in softmax(2.5, 2)]
    error = theirs[0] * 1 / 4  # one of four numbers differs, by 1, at the first place
    gap = (abs(theirs[0] - mine[0]) + abs(theirs[1] - mine[1])) / 2
    assert value(losses.AttentiveRoILoss(loss_weight=3.)(A_S, A_T)) == pytest.approx(3 * (error + gap), rel=1e-5)
    assert value(losses.AttentiveRoILoss(gamma=5.)(A_S, A_T)) == pytest.approx(error + 5 * gap, rel=1e-5)
    assert value(losses.AttentiveRoILoss(gamma=0.)(A_S, A_T)) == pytest.approx(error, rel=1e-5)
    # Each RoI has its own softmax: a second one, which agrees, halves it.
    both = losses.AttentiveRoILoss()(torch.cat([A_S, 5 + A_T]), torch.cat([A_T, 5 + A_T]))
    assert value(both) == pytest.approx((error + gap) / 2, rel=1e-5)
    with pytest.raises(InputError, match=r'\(1, 2, 1, 2\).*\(1, 1, 1, 2\)'):
        losses.AttentiveRoILoss()(A_S, A_T[:, :1])
    with pytest.raises(InputError, match='gamma of AttentiveRoILoss = -1'):
        losses.AttentiveRoILoss(gamma=-1)


def test_attentive_roi_gradient():
    """Without the second part: 2 S_T (F_S - F_T) / 4, and no gradient through the teacher's attention."""
    student = A_S.clone().requires_grad_()
    losses.AttentiveRoILoss(gamma=0.)(student, A_T).backward()
    assert torch.allclose(student.grad, tensor([[[[0., 0.]], [[-2 * 2 * softmax(5, 2)[0] / 4, 0.]]]]))


@pytest.mark.parametrize('name', ['UnbiasedKDLoss', 'LogitMSELoss', 'RoIDeltaLoss', 'OldConditionalKDLoss', 'MixedKDLoss'])
def test_roi_shapes_are_checked(name):
    loss = getattr(losses, name)()
    what = 'deltas' if name == 'RoIDeltaLoss' else 'logits'
    with pytest.raises(InputError, match=rf'{what} of the student \(2, 4\) .* of the teacher \(2, 8\) .*num_classes'):
        loss(torch.zeros(2, 4), torch.zeros(2, 8))
    for student, teacher in [((2, 8), (3, 4)), ((2, 8, 1), (2, 4)), ((2, 8), (2, 4, 1)), ((2, ), (2, ))]:
        with pytest.raises(InputError, match='rows'):
            loss(torch.zeros(student), torch.zeros(teacher))
    assert value(loss(torch.zeros(2, 4), torch.zeros(2, 4))) >= 0  # no new class: the widths are the same


def test_rpn_and_score_shapes_are_checked():
    for name in ('RPNObjectnessHingeLoss', 'RPNObjectnessMSELoss', 'RPNObjectnessBCELoss'):
        with pytest.raises(InputError, match=r'same anchors.*\(3, 1\).*\(3,\)'):
            getattr(losses, name)()(torch.zeros(3, 1), torch.zeros(3))  # would broadcast to (3, 3)
    for name in ('ScoreL1Loss', 'MatchedScoreL1Loss'):
        with pytest.raises(InputError, match='one target a RoI'):
            getattr(losses, name)()(torch.zeros(3, 4), torch.zeros(3, 1), torch.zeros(3).long())
    with pytest.raises(InputError, match='one target a RoI'):
        losses.MatchedScoreL1Loss()(torch.zeros(3, 4), torch.zeros(3), torch.zeros(2).long())


# --- dense: 2 old classes, 1 new class --------------------------------------------------------------------------------

DENSE = ['ResponseMSELoss', 'ResponseBCELoss', 'DistributionKDLoss', 'DenseDeltaKDLoss']
# N=2, K=3; nothing is selected in image 1, whose numbers differ.
P_S = tensor([[[1., 0., 9.], [0., 2., 9.], [5., 5., 9.]], [[7., 7., 7.]] * 3])
P_T = tensor([[[2., 1.], [0., 0.], [0., 0.]], [[0., 0.]] * 3])
SELECTED = tensor([[True, True, False], [False] * 3])


def logits_of(*responses):
    """Logits (1, K, 2) of which the second class has these probabilities and the first one is far below."""
    return tensor([[[-9., log(p / (1 - p))] for p in responses]])


def test_elastic_selection():
    # Mean 0.25, variance (0.65^2 + 0.55^2 + 8 * 0.15^2) / 10 = 0.0905, so mean + 2 std = 0.852 and mean + 1.8 std = 0.791.
    logits = logits_of(0.9, 0.8, *[0.1] * 8)
    assert elastic_selection(logits).tolist() == [[True] + [False] * 9]
    assert elastic_selection(logits, alpha=1.8).tolist() == [[True, True] + [False] * 8]
    # One of n sticks out by sqrt(n - 1) standard deviations of the population, whatever the two values are.
    one = logits_of(0.5, 0.5, 0.5, 0.8, 0.5, 0.5)
    only = [[False, False, False, True, False, False]]
    assert elastic_selection(one, alpha=sqrt(5) - 0.01).tolist() == only
    assert not elastic_selection(one, alpha=sqrt(5) + 0.01).any()
    assert elastic_selection(one.bfloat16()).dtype == torch.bool


def test_elastic_selection_looks_at_an_image_and_its_mask_alone():
    one = logits_of(0.5, 0.5, 0.5, 0.8, 0.5, 0.5)
    # Four anchors are left, one of which sticks out by sqrt(3).
    mask = tensor([[True, False, True, True, False, True]])
    masked = torch.where(mask[..., None], one, 99.)
    assert not elastic_selection(masked, mask).any()
    assert elastic_selection(masked, mask, alpha=1.7).tolist() == [[False, False, False, True, False, False]]
    # Another image changes nothing, and neither does one without anything to compare.
    batch = torch.cat([one, 3 * one.flip(1) + 1, one])
    masks = torch.cat([mask, ~mask | mask, mask & False])
    both = elastic_selection(batch, masks, alpha=1.7)
    assert both.tolist() == [[False, False, False, True, False, False], [False, False, True, False, False, False], [False] * 6]
    assert not elastic_selection(torch.full((1, 7, 2), 0.3)).any()  # nothing sticks out
    assert not elastic_selection(one, mask & (torch.arange(6) == 3), alpha=1.).any()  # nor does a single anchor
    assert elastic_selection(torch.zeros(2, 0, 3)).shape == (2, 0)


def test_response_mse():
    # Anchor 0 (1 + 1) / 2, anchor 1 (0 + 4) / 2; the new class does not count; image 1 counts zero.
    loss = losses.ResponseMSELoss(loss_weight=4.)
    assert value(loss(P_S, P_T, SELECTED)) == pytest.approx(4 * ((1 + 2) / 2 + 0) / 2)
    assert value(loss(P_S[1:], P_T[1:], ~SELECTED[1:])) == pytest.approx(4 * 49)
    student = P_S.clone().requires_grad_()
    loss(student, P_T, SELECTED).backward()
    expected = torch.zeros(2, 3, 3)
    # 2 (z_S - z_T) / 2 classes / 2 anchors / 2 images, times 4.
    expected[0, 0, :2], expected[0, 1, 1] = -1., 2.
    assert torch.allclose(student.grad, expected)


def test_response_bce():
    def kl(s, t):
        p, q = 1 / (1 + exp(-s)), 1 / (1 + exp(-t))
        return q * log(q / p) + (1 - q) * log((1 - q) / (1 - p))

    loss = losses.ResponseBCELoss(loss_weight=4.)
    first, second = kl(1, 2) + kl(0, 1), kl(2, 0)  # summed over the old classes
    assert value(loss(P_S, P_T, SELECTED)) == pytest.approx(4 * (first + second) / 2 / 2, rel=1e-5)
    student = P_S.clone().requires_grad_()
    loss(student, P_T, SELECTED).backward()
    expected = torch.zeros(2, 3, 3)
    expected[0, :2, :2] = (P_S[0, :2, :2].sigmoid() - P_T[0, :2].sigmoid())  # times 4 / 2 / 2
    assert torch.allclose(student.grad, expected, atol=1e-6)
    assert value(loss(torch.full((1, 1, 1), -100.), torch.full((1, 1, 1), 100.), tensor([[True]]))) == pytest.approx(400)


# Two bins a side. At temperature 2 the teacher's first side of anchor 0 has the probabilities 3/4 and 1/4, the last side of
# anchor 1 has 1/4 and 3/4, all others and the student's 1/2. Bins and sides taken the other way round would see others.
B_S = torch.zeros(2, 3, 8)
B_T = torch.full((2, 3, 8), 5.)
B_T[0, 0, 0] += 2 * log(3)
B_T[0, 1, 7] += 2 * log(3)
B_T[0, 2, 0] = B_T[1, :, 0] = 77.


def test_distribution_kd():
    kl = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    loss = losses.DistributionKDLoss(temperature=2., loss_weight=3.)
    assert value(loss(B_S, B_T, SELECTED)) == pytest.approx(3 * 4 * (kl / 4 + kl / 4) / 2 / 2, rel=1e-5)
    student = B_S.clone().requires_grad_()
    loss(student, B_T, SELECTED).backward()
    expected = torch.zeros(2, 3, 8)
    # T^2 (p - q) / T / 4 sides / 2 anchors / 2 images, times 3.
    step = 3 * 2 * 0.25 / 16
    expected[0, 0, :2], expected[0, 1, 6:] = tensor([-step, step]), tensor([step, -step])
    assert torch.allclose(student.grad, expected, atol=1e-6)
    # The divergence is the teacher's from the student's: turned round it is another number.
    assert value(loss(B_T, B_S, SELECTED)) == pytest.approx(3 * 4 * (0.5 * log(2 / 3) + 0.5 * log(2)) / 4 / 2, rel=1e-5)


def test_distribution_kd_settings():
    # Ten times the logits at temperature 20 are those at temperature 2, but for T^2; the default is 10.
    warm = value(losses.DistributionKDLoss(temperature=20.)(10 * B_S, 10 * B_T, SELECTED))
    assert warm == pytest.approx(100 * value(losses.DistributionKDLoss(temperature=2.)(B_S, B_T, SELECTED)), rel=1e-5)
    default = value(losses.DistributionKDLoss()(5 * B_S, 5 * B_T, SELECTED))
    assert default == pytest.approx(warm / 4, rel=1e-5)
    with pytest.raises(InputError, match='DistributionKDLoss: temperature=0 must be greater than 0'):
        losses.DistributionKDLoss(temperature=0)


def test_dense_delta_kd():
    # Smooth-L1 beyond beta 1/9 is |d| - 1/18: anchor 0 differs by 1 and 2, anchor 1 by 3 - 1.
    pair = torch.cat([R_S, R_S]), torch.cat([R_T, R_T])
    loss = losses.DenseDeltaKDLoss(loss_weight=4.)
    assert value(loss(*pair, SELECTED)) == pytest.approx(4 * ((3 - 2 / 18) + (2 - 1 / 18)) / 2 / 2)
    # Inside beta: 0.5 d^2 / beta.
    assert value(losses.DenseDeltaKDLoss(beta=4.)(*pair, SELECTED)) == pytest.approx((0.5 + 2 + 2) / 4 / 2 / 2)
    student = pair[0].clone().requires_grad_()
    loss(student, pair[1], SELECTED).backward()
    expected = torch.zeros(2, 3, 4)
    expected[0, 0, :2] = expected[0, 1, 3] = -1.
    assert torch.allclose(student.grad, expected)


def dense_pair(name, n, k):
    """Random outputs of student and teacher for n images of k anchors."""
    columns = dict(ResponseMSELoss=(6, 4), ResponseBCELoss=(6, 4), DistributionKDLoss=(12, 12), DenseDeltaKDLoss=(4, 4))[name]
    return tuple(2 * torch.randn(n, k, width) for width in columns)


@pytest.mark.parametrize('name', DENSE)
def test_a_dense_term_does_not_depend_on_what_an_image_is_batched_with(name):
    """Alone, padded with anything, and beside an image with more anchors, other responses and other gaps."""
    torch.manual_seed(0)
    loss = getattr(losses, name)()
    small, large = dense_pair(name, 1, 5), [3 * given for given in dense_pair(name, 1, 9)]
    padded, chosen = [1000 * torch.randn_like(given) for given in large], torch.zeros(1, 9).bool()
    for whole, part in zip(padded, small):
        whole[:, :5] = part
    chosen[:, [0, 3]] = True
    others = tensor([[True, False, True] * 3])
    alone, beside = value(loss(*small, chosen[:, :5])), value(loss(*large, others))
    assert 0 < alone != beside
    assert value(loss(*padded, chosen)) == pytest.approx(alone, rel=1e-5)
    both = [torch.cat(pair) for pair in zip(padded, large)]
    assert value(loss(*both, torch.cat([chosen, others]))) == pytest.approx((alone + beside) / 2, rel=1e-5)


@pytest.mark.parametrize('name', DENSE)
def test_nothing_selected_is_zero_with_a_graph(name):
    student, teacher = dense_pair(name, 2, 3)
    student.requires_grad_()
    loss = getattr(losses, name)()(student, teacher, torch.zeros(2, 3).bool())
    loss.backward()
    assert value(loss) == 0 and torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize('name', DENSE)
def test_dense_shapes_are_checked(name):
    loss = getattr(losses, name)()
    student, teacher = dense_pair(name, 2, 3)
    chosen = torch.ones(2, 3).bool()
    for others in ((teacher[:, :2], chosen), (teacher[:1], chosen), (teacher[..., None], chosen)):
        with pytest.raises(InputError, match=r'(?=.*anchors).*\(2, 3, \d+\).*\([12], [23], .*\)'):
            loss(student, *others)
    with pytest.raises(InputError, match=r'\(2, 3, 4\).*\(2, 3, 8\)'):
        loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, 8), chosen)
    for wrong in (chosen[:, :1], chosen[:1], chosen[..., None], chosen.float()):
        with pytest.raises(InputError, match=r'selected must be bool .* it is torch.* beside outputs \(2, 3, '):
            loss(student, teacher, wrong)


def test_what_a_box_loss_does_not_compare():
    chosen = torch.ones(2, 3).bool()
    for width in (4, 10):
        with pytest.raises(InputError, match=rf'\(2, 3, {width}\): .*use DenseDeltaKDLoss'):
            losses.DistributionKDLoss()(torch.zeros(2, 3, width), torch.zeros(2, 3, width), chosen)
    for width in (5, 8):
        with pytest.raises(InputError, match=rf'\(2, 3, {width}\): .*use DistributionKDLoss'):
            losses.DenseDeltaKDLoss()(torch.zeros(2, 3, width), torch.zeros(2, 3, width), chosen)
    for name, width in (('DistributionKDLoss', 8), ('DenseDeltaKDLoss', 4)):
        with pytest.raises(InputError, match=rf'\(2, 3, 1, {width}\)'):
            getattr(losses, name)()(torch.zeros(2, 3, 1, width), torch.zeros(2, 3, 1, width), chosen)
    for shape in ((2, 3), (2, 3, 0)):
        with pytest.raises(InputError, match='one old class'):
            elastic_selection(torch.zeros(shape))
    for wrong in (chosen.long(), chosen[:, :1]):
        with pytest.raises(InputError, match='mask must be bool'):
            elastic_selection(torch.zeros(2, 3, 1), wrong)


def test_beta_is_checked():
    for name in ('RPNForegroundDeltaLoss', 'RoIDeltaLoss', 'DenseDeltaKDLoss'):
        with pytest.raises(InputError, match=f'beta of {name} = -1'):
            getattr(losses, name)(beta=-1)


# --- what every loss promises ----------------------------------------------------------------------------------------

def maps(n):
    return torch.randn(n, 3, 4, 4)


def case(name, kwargs, make, zero_at_equality):
    return pytest.param(name, kwargs, make, zero_at_equality, id=name + '-'.join(['', *kwargs]))


def objectness(n):
    return torch.randn(2, n), torch.randn(2, n)


def anchors(n):
    # Teacher surer than the student, so that the one-sided terms are alive.
    return torch.randn(2, n, 4), torch.randn(2, n, 4), torch.randn(2, n), torch.randn(2, n) + 1


def deltas(n):
    return torch.randn(n, 12), torch.randn(n, 8)


def dense(name, n):
    return *dense_pair(name, 2, n), tensor([[True], [False]]) | (torch.arange(n) % 3 == 1)


# name, arguments, maker of (student, teacher, others...) for n rows, makes a teacher from a student where zero is due
CASES = [
    *[case(n, {}, lambda n: (maps(n), maps(n)), lambda s: s)
      for n in FEATURES],
    *[case(n, {}, objectness, lambda s: s)
      for n in ('RPNObjectnessHingeLoss', 'RPNObjectnessMSELoss', 'RPNObjectnessBCELoss')],
    case('RPNDeltaLoss', {}, anchors, lambda s: s),
    case('RPNDeltaLoss', dict(margin=None), anchors, lambda s: s),
    case('RPNForegroundDeltaLoss', {}, anchors, lambda s: s),
    *[case(n, {}, partial(dense, n), lambda s: s[..., :4] if s.size(-1) == 6 else s)
      for n in DENSE],
    case('UnbiasedKDLoss', {}, lambda n: (torch.randn(n, 6), torch.randn(n, 4)), None),
    case('UnbiasedKDLoss', dict(subtract_entropy=True), lambda n: (torch.randn(n, 6), torch.randn(n, 4)),
         lambda s: torch.cat([s[:, :3], s[:, 3:].logsumexp(1, keepdim=True)], 1)),
    case('OldConditionalKDLoss', {}, lambda n: (torch.randn(n, 6), torch.randn(n, 4)), lambda s: s[:, [0, 1, 2, 5]]),
    case('MixedKDLoss', {}, lambda n: (torch.randn(n, 6), torch.randn(n, 4)),
         lambda s: torch.cat([s[:, :3], s[:, 3:].logsumexp(1, keepdim=True)], 1)),
    case('LogitMSELoss', {}, lambda n: (torch.randn(n, 6), torch.randn(n, 4)), lambda s: s[:, [0, 1, 2, 5]]),
    case('RoIDeltaLoss', {}, deltas, lambda s: s[:, :8]),
    case('RoIDeltaLoss', dict(squared=True), deltas, lambda s: s[:, :8]),
    case('RoIDeltaLoss', dict(by_probability=True), lambda n: (*deltas(n), torch.ones(n), torch.randn(n, 3)),
         lambda s: s[:, :8]),
    case('AttentiveRoILoss', dict(gamma=0.5), lambda n: (maps(n), maps(n)), lambda s: s),
    case('ScoreL1Loss', {}, lambda n: (torch.randn(n, 4), torch.rand(n)), lambda s: s.softmax(1)[:, :-1].amax(1)),
    case('MatchedScoreL1Loss', {}, lambda n: (torch.randn(n, 4), torch.rand(n), torch.arange(n) % 3),
         lambda s: s.softmax(1).gather(1, (torch.arange(len(s)) % 3)[:, None]).squeeze(1)),
    case('UnbiasedCrossEntropyLoss', dict(num_old_classes=2), lambda n: (torch.randn(n, 4), torch.arange(n) % 4), None),
]
every_loss = pytest.mark.parametrize('name, kwargs, make, equal', CASES)


def test_every_exported_loss_is_a_case():
    assert {c.values[0] for c in CASES} == set(losses.__all__)
    for name in losses.__all__:
        assert MODELS.get(name) is getattr(losses, name)


@every_loss
def test_gradient_matches_finite_differences(name, kwargs, make, equal):
    torch.manual_seed(0)
    loss = getattr(losses, name)(**kwargs)
    student, *others = make(5)
    direction = torch.randn_like(student)
    student.requires_grad_()
    loss(student, *others).backward()
    assert student.grad.abs().sum() > 0
    step = 1e-3
    with torch.no_grad():
        numeric = (loss(student + step * direction, *others) - loss(student - step * direction, *others)) / (2 * step)
    assert numeric.item() == pytest.approx((student.grad * direction).sum().item(), rel=0.03, abs=2e-3)


@every_loss
def test_teacher_gets_no_gradient(name, kwargs, make, equal):
    torch.manual_seed(0)
    student, *others = make(5)
    student.requires_grad_()
    others = [o.requires_grad_() if o.is_floating_point() else o for o in others]
    getattr(losses, name)(**kwargs)(student, *others).backward()
    assert all(o.grad is None for o in others)


@every_loss
def test_zero_at_equality(name, kwargs, make, equal):
    if equal is None:
        pytest.skip('a cross entropy is not zero at equality')
    torch.manual_seed(0)
    student, _, *others = make(5)
    student.requires_grad_()
    loss = getattr(losses, name)(**kwargs)(student, equal(student).detach(), *others)
    assert value(loss) == pytest.approx(0, abs=1e-6)


@every_loss
def test_empty_input_is_zero_with_a_graph(name, kwargs, make, equal):
    student, *others = make(0)
    student.requires_grad_()
    loss = getattr(losses, name)(**kwargs)(student, *others)
    assert value(loss) == 0
    loss.backward()
    assert student.grad is not None


@every_loss
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_input_is_computed_in_float32(name, kwargs, make, equal, dtype):
    torch.manual_seed(0)
    loss = getattr(losses, name)(**kwargs)
    low = [x.to(dtype) if x.is_floating_point() else x for x in make(5)]
    low[0].requires_grad_()
    result = loss(*low)
    exact = loss(*[x.float() if x.is_floating_point() else x for x in low])
    assert value(result) == value(exact)
    result.backward()
    assert low[0].grad.isfinite().all() and low[0].grad.abs().sum() > 0


@every_loss
def test_autocast_changes_nothing(name, kwargs, make, equal):
    torch.manual_seed(0)
    loss = getattr(losses, name)(**kwargs)
    inputs = make(5)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = loss(*inputs)
    assert value(result) == value(loss(*inputs))


@every_loss
def test_no_loss_waits_for_a_gpu(name, kwargs, make, equal):
    """A meta tensor has a shape and no values: whatever would have to look at one, as indexing by a mask does, fails."""
    inputs = [given.to('meta') for given in make(5)]
    assert getattr(losses, name)(**kwargs)(*inputs).shape == ()


def test_the_selection_waits_for_no_gpu():
    logits, mask = torch.zeros(2, 5, 3, device='meta'), torch.ones(2, 5, device='meta').bool()
    assert elastic_selection(logits, mask).shape == (2, 5)
    with pytest.raises(NotImplementedError):
        logits[mask]


@every_loss
def test_a_loss_is_printed_with_its_settings(name, kwargs, make, equal):
    loss = getattr(losses, name)(**kwargs, loss_weight=0.25)
    assert repr(loss).startswith(f'{name}(') and 'loss_weight=0.25' in repr(loss)
    assert all(f'{key}={given!r}' in repr(loss) for key, given in kwargs.items())


def test_mask_of_nothing_is_zero():
    none = torch.zeros(1, 3, dtype=torch.bool)
    for name in ('RPNObjectnessHingeLoss', 'RPNObjectnessMSELoss', 'RPNObjectnessBCELoss'):
        assert value(getattr(losses, name)()(O_S, O_T, none)) == 0
    for name in ('RPNDeltaLoss', 'RPNForegroundDeltaLoss'):
        assert value(getattr(losses, name)()(R_S, R_T, O_S, O_T, none)) == 0


def test_weight_of_nothing_is_zero():
    none = torch.zeros(2)
    assert value(losses.UnbiasedKDLoss()(Z_S, Z_T, none)) == 0
    assert value(losses.LogitMSELoss()(Z_S, Z_T, none)) == 0
    assert value(losses.RoIDeltaLoss()(D_S, D_T, none)) == 0

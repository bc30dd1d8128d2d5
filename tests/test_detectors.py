"""Every supported detector: growth, the stock losses, what each distillation term teaches, and its checkpoint."""

import copy
import subprocess
import sys

import pytest
import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from tiny import (
    DENSE,
    DENSE_LAYERS,
    KINDS,
    OLD,
    SEEN,
    UNEQUAL,
    batch,
    build,
    detector_cfg,
    detector_file,
    distiller_of,
    instances,
    shake,
    taught,
)

from mmilmil import InputError
from mmilmil.models import Teacher, num_classes
from mmilmil.models.distillers.dense import DenseDistiller, _never_lowered
from mmilmil.models.views import DenseOutputs, flat
from mmilmil.registry import MODELS
from mmilmil.stock import stock_model_cfg

TWO_STAGE = tuple(kind for kind in KINDS if kind not in DENSE)
kinds = pytest.mark.parametrize('kind', KINDS)


def terms_of(kind):
    """By distillation term the parts of the student that it must teach."""
    if kind in DENSE:
        head = DENSE_LAYERS[kind]
        return {'loss_kd_feature': 'neck', 'loss_kd_cls': f'{head}cls', 'loss_kd_reg': f'{head}reg'}
    heads = 'roi_head.bbox_head.2.' if kind.startswith('cascade') else 'roi_head.bbox_head.'
    return {'loss_kd_feature': 'neck', 'loss_kd_cross_head': 'neck', 'loss_kd_rpn_cls': 'rpn_head.rpn_cls',
            'loss_kd_rpn_reg': 'rpn_head.rpn_reg', 'loss_kd_roi_cls': f'{heads}fc_cls', 'loss_kd_roi_reg': f'{heads}fc_reg',
            'loss_kd_score': f'{heads}fc_cls'}


@pytest.fixture(scope='module')
def teacher_of(tmp_path_factory):
    """Checkpoint of a decided teacher by kind, made once."""
    folder, made = tmp_path_factory.mktemp('teachers'), {}

    def make(kind):
        if kind not in made:
            made[kind] = detector_file(folder / f'{kind}.pth', kind)
        return made[kind]

    return make


@pytest.fixture
def make(teacher_of):
    """``make(kind, **changes)`` builds a student as the runner does."""
    return lambda kind, **changes: build(
        taught(detector_cfg(kind, len(SEEN)), teacher_of(kind), distiller_of(kind), **changes), seed=7)


def data(kind, *args, **kwargs):
    return batch(*args, masks='mask' in kind, **kwargs)


def losses_of(student, *data, seed=5):
    torch.manual_seed(seed)
    return student.loss(*data)


# Growth


@kinds
@torch.no_grad()
def test_old_outputs_are_the_teachers_right_after_growth(kind, make):
    student = make(kind).eval()
    inputs, samples = data(kind, shapes=UNEQUAL)
    metas = [sample.metainfo for sample in samples]
    assert num_classes(student) == len(SEEN) and student.teacher.num_classes == len(OLD)
    hers = student.teacher.view.observe(inputs, metas)
    if kind in DENSE:
        own = student.view.observe(inputs, metas)
        mine, theirs = flat(own.logits, len(SEEN)), flat(hers.logits, len(OLD))
        assert theirs.std() > 0.01
        assert torch.allclose(mine[:, :, :len(OLD)], theirs, atol=1e-5)
        for levels in zip(own.boxes, hers.boxes, strict=True):
            assert torch.allclose(*levels, atol=1e-5)
        return
    assert len(hers.heads) == (3 if kind.startswith('cascade') else 1)
    for index, head in enumerate(hers.heads):
        stage = (index, ) if kind.startswith('cascade') else ()
        levels = student.extract_feat(inputs)
        found = student.roi_head._bbox_forward(*stage, levels, bbox2roi(head.bboxes))
        assert torch.allclose(found['cls_score'][:, [*range(len(OLD)), len(SEEN)]], torch.cat(head.logits), atol=1e-4)
        deltas = torch.cat(head.deltas)
        assert torch.allclose(found['bbox_pred'][:, :deltas.size(1)], deltas, atol=1e-4)


# Losses


@kinds
@pytest.mark.parametrize('shapes', [None, UNEQUAL], ids=['equal', 'unequal'])
def test_without_teacher_knowledge_it_is_the_stock_detector(kind, make, shapes):
    student = make(kind, distiller=None, merging=None).train()
    stock = build(stock_model_cfg(taught(detector_cfg(kind, len(SEEN)), 'unused.pth', distiller_of(kind)))).train()
    stock.load_state_dict(student.state_dict())
    inputs, samples = data(kind, shapes=shapes, ignored=[[(0., 32., 32., 64.)]])
    mine, theirs = (losses_of(model, inputs, copy.deepcopy(samples)) for model in (student, stock))
    assert mine.keys() == theirs.keys() and len(mine) >= 2
    for name, value in theirs.items():
        for one, other in zip(*(v if isinstance(v, list) else [v] for v in (mine[name], value)), strict=True):
            assert torch.equal(one, other), name


@kinds
@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'bfloat16'])
def test_every_term_is_there_finite_and_teaches(kind, make, amp):
    # Few anchors, so that hardly one stands out by two standard deviations.
    student = shake(make(kind, **(dict(distiller=dict(alpha=1.0)) if kind in DENSE else {})), seed=3, amount=0.1).train()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        losses = losses_of(student, *data(kind, shapes=UNEQUAL))
    terms = terms_of(kind)
    for part in ('cls', 'reg'):  # an image has either, by whether its teacher sees an old object there
        if f'loss_kd_apart_{part}' in losses:
            losses[f'loss_kd_roi_{part}'] = losses[f'loss_kd_roi_{part}'] + losses.pop(f'loss_kd_apart_{part}')
    assert {name for name in losses if name.startswith('loss_kd')} == terms.keys()
    names, weights = zip(*student.named_parameters())
    for term, part in terms.items():
        assert losses[term].dtype == torch.float32 and torch.isfinite(losses[term]) and losses[term] > 0, term
        grads = torch.autograd.grad(losses[term], weights, retain_graph=True, allow_unused=True)
        assert max(grad.abs().sum() for name, grad in zip(names, grads) if grad is not None and name.startswith(part)) > 0, term
    total, _ = student.parse_losses(losses)
    total.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in weights if weight.grad is not None)


@kinds
def test_a_perfect_copy_costs_nothing(kind, make):
    """Student and teacher alike, in the same mode: all terms but the score are zero."""
    student = make(kind).eval()
    with torch.no_grad():  # new rows must not take probability from a softmax
        for name, weight in student.named_parameters():
            if name.endswith('fc_cls.bias'):
                weight[len(OLD):len(SEEN)] = -100
    losses = losses_of(student, *data(kind, shapes=UNEQUAL))
    for term in terms_of(kind).keys() - {'loss_kd_score'}:
        assert losses[term].item() == pytest.approx(0, abs=1e-4), term


@kinds
def test_batch_without_any_object(kind, make):
    student = make(kind).train()
    total, _ = student.parse_losses(losses_of(student, *data(kind, ((), ()), shapes=UNEQUAL)))
    total.backward()
    assert torch.isfinite(total)


@kinds
def test_merged_boxes_change_the_detectors_own_loss(kind, make):
    """The teacher's boxes are objects to it, and the batch stays as it was."""
    student = make(kind, distiller=None).train()
    inputs, samples = data(kind)
    before = copy.deepcopy(samples)
    apart = losses_of(student, inputs, samples)
    found = [instances([[44., 44., 60., 60.]], [1], [0.9]), instances([], [], [])]
    for one in found:
        one.masks = torch.ones(len(one), 64, 64, dtype=torch.bool)
    observe = student.teacher.observe
    student.teacher.observe = lambda *args, **kwargs: vars(known := observe(*args, **kwargs)).update(detections=found) or known
    merged = losses_of(student, inputs, samples)
    assert any(not torch.equal(torch.stack(a) if isinstance(a, list) else a, torch.stack(b) if isinstance(b, list) else b)
               for a, b in zip(apart.values(), merged.values()))
    for sample, old in zip(samples, before, strict=True):
        assert torch.equal(sample.gt_instances.bboxes, old.gt_instances.bboxes)
        assert 'scores' not in sample.gt_instances


@torch.no_grad()
def test_masks_of_a_flipped_image_are_those_of_the_input(make):
    """A cascade's test undoes the flip of an augmented test; here the input is what it is."""
    student = make('cascade_masks')
    inputs, samples = data('cascade_masks')
    found = {}
    for flip in (False, True):
        for sample in samples:
            sample.set_metainfo(dict(flip=flip, flip_direction='horizontal'))
        found[flip] = student.teacher.observe(inputs, samples, score_thr=0.05).detections
    assert sum(map(len, found[True])) > 0
    for one, other in zip(*found.values(), strict=True):
        assert torch.equal(one.masks, other.masks)


@pytest.mark.parametrize('kind', ['frcnn', 'gfl'])
def test_masks_without_a_mask_head_are_left_alone(kind, make):
    """As a pipeline with with_mask=True gives them to any detector."""
    assert losses_of(make(kind).train(), *batch(masks=True))


# The teacher's detections


@kinds
@torch.no_grad()
def test_detections_are_those_of_the_stock_detector(kind, teacher_of):
    teacher = Teacher.load(str(teacher_of(kind)), max_proposals=1000)
    inputs, samples = data(kind, shapes=UNEQUAL)
    cfg = teacher.detector.test_cfg.get('rcnn', teacher.detector.test_cfg)
    known = teacher.observe(inputs, samples, score_thr=cfg.score_thr)
    assert sum(map(len, known.detections)) > 0
    stock = teacher.detector.predict(inputs, copy.deepcopy(samples), rescale=False)
    for mine, theirs in zip(known.detections, stock, strict=True):
        theirs = theirs.pred_instances
        theirs = theirs[theirs.scores > cfg.score_thr]
        assert torch.allclose(mine.bboxes, theirs.bboxes, atol=1e-3) and torch.equal(mine.labels, theirs.labels)
        assert torch.allclose(mine.scores, theirs.scores, atol=1e-5)


# Old logits of a sigmoid


def test_gradient_that_would_lower_an_old_logit_is_stopped():
    logits = torch.zeros(1, 3, 1, 2, requires_grad=True)
    where = torch.zeros(1, 3, 1, 2, dtype=torch.bool)
    where[0, 0, 0] = True
    through = _never_lowered(logits, where)
    # A gradient of 1 lowers, one of -1 raises.
    (through * torch.tensor([[1., -1.], [1., -1.], [1., -1.]]).reshape(1, 3, 1, 2)).sum().backward()
    assert logits.grad.reshape(3, 2).tolist() == [[0., -1.], [1., -1.], [1., -1.]]


def test_kept_logits_are_those_of_the_class_that_the_teacher_sees(monkeypatch):
    """Two anchors a cell, two cells, two old classes and a new one; the teacher sees its second class at the last anchor."""
    seen = {}
    monkeypatch.setattr('mmilmil.models.distillers.dense._never_lowered', lambda level, where: seen.update(where=where))
    teacher = torch.full((1, 4, 1, 2), -5.)
    teacher[0, 3, 0, 1], teacher[0, 2, 0, 1] = 5., 4.
    known = DenseOutputs(strides=[(8, 8)], num_classes=2, logits=[teacher], boxes=[torch.zeros(1, 8, 1, 2)])
    student = DenseOutputs(strides=[(8, 8)], num_classes=3, logits=[torch.zeros(1, 6, 1, 2)], boxes=[torch.zeros(1, 8, 1, 2)])
    from test_student import NO_BOX, annotation
    DenseDistiller(alpha=1.0).kept(student, known, annotation([NO_BOX], input_shape=(8, 16)))
    # Channels are anchors times classes: the second anchor's second class is channel 4.
    assert seen['where'].nonzero().tolist() == [[0, 4, 0, 1]]


@pytest.mark.parametrize('kind', DENSE)
def test_own_loss_does_not_lower_what_the_teacher_sees(kind, make):
    """Without any annotation all is background to the student's loss."""
    student = make(kind, merging=None, distiller=dict(feature=None, cls=None, reg=None)).train()
    nothing = data(kind, ((), ()))
    grads = {}
    for keep in (True, False):
        student.distiller.keep_old = keep
        student.zero_grad()
        total, _ = student.parse_losses(losses_of(student, *nothing))
        total.backward()
        grads[keep] = torch.cat([weight.grad for name, weight in student.named_parameters()
                                 if name.startswith(f'{DENSE_LAYERS[kind]}cls') and name.endswith('bias')])
    old = (torch.arange(len(grads[True])) % len(SEEN)) < len(OLD)
    assert (grads[True][old] <= grads[False][old] * 1.0001).all() and (grads[True][old] < grads[False][old] * 0.999).any()
    assert torch.allclose(grads[True][~old], grads[False][~old], rtol=1e-4)


# The checkpoint


@kinds
def test_checkpoint_is_the_stock_detectors(kind, make, tmp_path):
    """Loaded strictly by stock MMDetection in a process that never imports mmilmil, with the same detections."""
    student = make(kind).eval()
    torch.save(student.state_dict(), tmp_path / 'weights.pth')
    Config(dict(model=stock_model_cfg(student_cfg_of(kind)).to_dict())).dump(tmp_path / 'stock.py')
    inputs, samples = data(kind)
    with torch.no_grad():
        found = student.predict(inputs, samples, rescale=False)
    wanted = [one.pred_instances.bboxes for one in found]
    torch.save(dict(inputs=inputs, metas=[dict(sample.metainfo) for sample in samples], wanted=wanted), tmp_path / 'data.pth')
    code = """
import sys, torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
register_all_modules()
folder = sys.argv[1]
model = MODELS.build(Config.fromfile(f'{folder}/stock.py').model).eval()
model.load_state_dict(torch.load(f'{folder}/weights.pth'))
data = torch.load(f'{folder}/data.pth')
with torch.no_grad():
    found = model.predict(data['inputs'], [DetDataSample(metainfo=meta) for meta in data['metas']], rescale=False)
assert all(torch.equal(one.pred_instances.bboxes, wanted) for one, wanted in zip(found, data['wanted'], strict=True))
assert 'mmilmil' not in sys.modules
"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def student_cfg_of(kind):
    return taught(detector_cfg(kind, len(SEEN)), 'unused.pth', distiller_of(kind))


# Bad input


@pytest.mark.parametrize('kind, method, words', [
    ('gfl', 'mfrrk', 'model.distiller is a MFRRKDistiller, whose terms a IncrementalGFL has no place for: .*dense.py'),
    ('frcnn', 'dense', 'model.distiller is a DenseDistiller, whose terms a IncrementalFasterRCNN has no place for: .*mfrrk.py'),
])
def test_a_distiller_of_the_other_family_is_refused(kind, method, words):
    with pytest.raises(InputError, match=words):
        MODELS.build(taught(detector_cfg(kind, len(SEEN)), 'gone.pth', method))


def test_a_term_without_a_place_is_refused():
    with pytest.raises(InputError, match='model.distiller has no setting rpn_cls'):
        MODELS.build(taught(detector_cfg('gfl', len(SEEN)), 'gone.pth', 'dense_distribution', distiller=dict(rpn_cls=None)))


@pytest.mark.parametrize('kind, method', [('gfl', 'dense'), ('atss', 'dense_distribution')])
def test_a_box_term_of_another_form_is_refused_before_training(kind, method, teacher_of):
    with pytest.raises(InputError, match='model.distiller.reg'):
        build(taught(detector_cfg(kind, len(SEEN)), teacher_of(kind), method))


@pytest.mark.parametrize('kind, hers', [('frcnn', 'cascade'), ('atss', 'gfl'), ('retinanet', 'frcnn')])
def test_a_teacher_of_another_family_is_refused(kind, hers, teacher_of):
    with pytest.raises(InputError, match=r'model.type is .* there and .* in the student'):
        build(taught(detector_cfg(kind, len(SEEN)), teacher_of(hers), distiller_of(kind)))


def test_cascade_stages_that_do_not_pair_up_are_refused(teacher_of):
    cfg = detector_cfg('cascade', len(SEEN))
    cfg.roi_head.update(num_stages=2, stage_loss_weights=[1, 0.5], bbox_head=cfg.roi_head.bbox_head[:2])
    cfg.train_cfg.rcnn = cfg.train_cfg.rcnn[:2]
    with pytest.raises(InputError, match='model.roi_head.num_stages is 3 there and 2 in the student'):
        build(taught(cfg, teacher_of('cascade'), 'mfrrk'))


def test_levels_that_do_not_pair_up_are_refused(teacher_of):
    cfg = detector_cfg('gfl', len(SEEN), neck=dict(num_outs=3), bbox_head=dict(anchor_generator=dict(strides=[8, 16, 32])))
    with pytest.raises(InputError, match='model.neck.num_outs is 4 there and 3 in the student'):
        build(taught(cfg, teacher_of('gfl'), 'dense_distribution'))


def test_what_keeps_the_old_classes_is_to_be_said():
    for name in ('distiller', 'merging'):
        cfg = taught(detector_cfg('frcnn', len(SEEN)), 'gone.pth', 'mfrrk')
        del cfg[name]
        with pytest.raises(InputError, match=f'model.{name} is not set: inherit it from configs/_base_/distillers'):
            MODELS.build(cfg)



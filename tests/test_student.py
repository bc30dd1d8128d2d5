"""The student: its losses against the stock detector's, the distillation terms, and their RoIs and boxes."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from tiny import OLD, ROOT, SEEN, batch, build, instances, shake, student_cfg, teacher_file

from mmilmil import InputError
from mmilmil.models import MFRRKDistiller, TeacherKnowledge, stock_model_cfg
from mmilmil.models.detectors.incremental_faster_rcnn import _matched_rows, _matched_scores
from mmilmil.models.distillers.mfrrk import free_cells
from mmilmil.registry import MODELS

STOCK_LOSSES = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc'}
# Each term and the parts of the student that it must teach.
TERMS = {
    'loss_kd_feature': ('backbone', 'neck'),
    'loss_kd_rpn_cls': ('backbone', 'neck', 'rpn_head.rpn_conv', 'rpn_head.rpn_cls'),
    'loss_kd_rpn_reg': ('backbone', 'neck', 'rpn_head.rpn_conv', 'rpn_head.rpn_reg'),
    'loss_kd_roi_cls': ('backbone', 'neck', 'roi_head.bbox_head.shared_fcs', 'roi_head.bbox_head.fc_cls'),
    'loss_kd_roi_reg': ('backbone', 'neck', 'roi_head.bbox_head.shared_fcs', 'roi_head.bbox_head.fc_reg'),
    'loss_kd_score': ('backbone', 'neck', 'roi_head.bbox_head.shared_fcs', 'roi_head.bbox_head.fc_cls'),
}
PAPER = Config.fromfile(ROOT / 'configs/_base_/distillers/ilmil_paper.py').paper_distiller
PEERS = dict(
    type='MFRRKDistiller',
    feature=dict(type='FeatureHingeLoss'),
    stages=(1, 3),
    levels=(0, ),
    rpn_cls=dict(type='RPNObjectnessBCELoss'),
    rpn_reg=dict(type='RPNDeltaLoss'),
    roi_cls=dict(type='LogitMSELoss'),
    roi_reg=dict(type='RoIDeltaLoss', squared=True),
    score=dict(type='MatchedScoreL1Loss'),
    exclude_iou=None)


@pytest.fixture
def checkpoint(tmp_path):
    return teacher_file(tmp_path / 'teacher.pth')


@pytest.fixture
def make(checkpoint):
    """``make(**changes)`` builds a student that has moved away from its teacher, ready to train."""

    def make(**changes):
        return shake(build(student_cfg(checkpoint, **changes)), seed=3, amount=0.1).train()

    return make


def losses_of(student, *data, seed=5):
    torch.manual_seed(seed)
    return student.loss(*data)


# The four losses of Faster R-CNN


@pytest.mark.parametrize('objects', [
    (((3, 8., 8., 40., 40.), ), ((4, 30., 20., 60., 50.), (3, 4., 4., 28., 28.))),
    ((), ((4, 30., 20., 60., 50.), )),
], ids=['objects everywhere', 'an image without'])
def test_without_teacher_knowledge_it_is_the_stock_detector(make, objects):
    """The re-stated loss flow gives MMDetection's numbers, ignored boxes included."""
    assigner = dict(assigner=dict(ignore_iof_thr=0.5))
    ignore = dict(train_cfg=dict(rpn=assigner, rcnn=assigner))
    student = make(distiller=None, merging=None, **ignore)
    stock = build(stock_model_cfg(student_cfg('unused.pth', distiller=None, merging=None, **ignore)))
    stock.load_state_dict(student.state_dict())
    inputs, samples = batch(objects, ignored=[[(0., 32., 32., 64.)]] * 2)
    mine = losses_of(student, inputs, copy.deepcopy(samples))
    theirs = losses_of(stock.train(), inputs, copy.deepcopy(samples))

    assert mine.keys() == theirs.keys() == STOCK_LOSSES
    for name, value in theirs.items():
        mine_, theirs_ = (torch.stack(v) if isinstance(v, list) else v for v in (mine[name], value))
        assert torch.equal(mine_, theirs_), name
    assert theirs['loss_bbox'] > 0
    # The ignored box is part of the comparison: without it the numbers are others.
    without = losses_of(student, *batch(objects))
    assert not torch.equal(torch.stack(without['loss_rpn_cls']), torch.stack(mine['loss_rpn_cls']))


def test_gradients_are_the_stock_detectors(make):
    student = make(distiller=None, merging=None)
    stock = build(stock_model_cfg(student_cfg('unused.pth', distiller=None, merging=None))).train()
    stock.load_state_dict(student.state_dict())
    for model in (student, stock):
        model.parse_losses(losses_of(model, *batch()))[0].backward()
    theirs = dict(stock.named_parameters())
    for name, weight in student.named_parameters():
        assert torch.allclose(weight.grad, theirs[name].grad, rtol=1e-5, atol=1e-7), name


def test_fine_tuning_does_not_ask_the_teacher(make):
    student = make(distiller=None, merging=None)
    student.teacher.observe = None  # not callable
    assert losses_of(student, *batch()).keys() == STOCK_LOSSES


# The distillation terms


def test_loss_keys(make):
    assert losses_of(make(), *batch()).keys() == STOCK_LOSSES | TERMS.keys()


@pytest.mark.parametrize('term', ['feature', 'rpn_cls', 'rpn_reg', 'roi_cls', 'roi_reg', 'score'])
def test_each_term_is_a_switch(make, term):
    losses = losses_of(make(distiller={term: None, 'type': 'MFRRKDistiller'}), *batch())
    assert losses.keys() == STOCK_LOSSES | TERMS.keys() - {f'loss_kd_{term}'}


def test_terms_do_not_change_the_stock_losses(make):
    """The distillation RoIs pass the head beside the sampled ones, not among them."""
    alone, beside = losses_of(make(distiller=None), *batch()), losses_of(make(), *batch())
    for name in ('loss_cls', 'loss_bbox', 'acc'):
        assert torch.allclose(alone[name], beside[name], rtol=1e-5), name


@pytest.mark.parametrize('distiller, change', [
    (dict(rpn_reg=None), dict(rpn_reg=None)),
    (dict(feature=dict(type='FeatureMSELoss', loss_weight=10.0)), dict(feature='FeatureMSELoss')),
])
def test_a_few_words_change_one_term(make, distiller, change):
    """As the README has it: what is not named stays the full method's."""
    made, full = make(distiller=distiller).distiller, make().distiller
    for term in ('feature', 'rpn_cls', 'rpn_reg', 'roi_cls', 'roi_reg', 'score'):
        wanted = change.get(term, type(getattr(full, term)).__name__)
        assert (wanted is None) == (getattr(made, term) is None)
        assert wanted in (None, type(getattr(made, term)).__name__)


@pytest.mark.parametrize('amp', [None, torch.bfloat16, torch.float16], ids=['float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize('distiller, terms', [
    (dict(type='MFRRKDistiller'), TERMS),
    (PEERS, TERMS),
    (PAPER, {'loss_kd_feature': ('backbone', ), 'loss_kd_score': TERMS['loss_kd_score']}),
], ids=['default', 'peers', 'paper'])
def test_every_term_is_there_finite_and_teaches(make, distiller, terms, amp):
    """Protocol 14: present, finite, float32, with a gradient of its own in the parts that it is about."""
    student = make(distiller=distiller)
    with torch.autocast('cpu', dtype=amp) if amp else nullcontext():
        losses = losses_of(student, *batch())
    assert losses.keys() == STOCK_LOSSES | terms.keys()
    names, weights = zip(*student.named_parameters())
    for term, parts in terms.items():
        loss = losses[term]
        assert loss.dtype == torch.float32 and loss.dim() == 0
        assert torch.isfinite(loss) and loss > 0, term
        grads = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        norms = {name: grad.float().norm() for name, grad in zip(names, grads) if grad is not None}
        assert all(torch.isfinite(norm) for norm in norms.values()), term
        for part in parts:
            assert max((norm for name, norm in norms.items() if name.startswith(part)), default=0) > 0, (term, part)


def test_a_perfect_copy_costs_nothing(checkpoint):
    """Student and teacher alike, in the same mode: all terms but the score are zero."""
    student = build(student_cfg(checkpoint)).eval()
    # The new rows must not take probability from the old ones' comparison: unbiased terms count them as background.
    with torch.no_grad():
        student.roi_head.bbox_head.fc_cls.bias[len(OLD):len(SEEN)] = -100
    losses = losses_of(student, *batch())
    for term in TERMS.keys() - {'loss_kd_score'}:
        assert losses[term].item() == pytest.approx(0, abs=1e-5), term


def test_batch_without_any_object(make):
    losses = losses_of(make(), *batch(((), ())))
    total, _ = make().parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()


def test_loss_weights_scale(make):
    cfg = dict(type='FeatureNormMSELoss', loss_weight=1.0)
    one = losses_of(make(distiller=dict(type='MFRRKDistiller', feature=cfg)), *batch())
    three = losses_of(make(distiller=dict(type='MFRRKDistiller', feature=dict(cfg, loss_weight=3.0))), *batch())
    assert three['loss_kd_feature'].item() == pytest.approx(3 * one['loss_kd_feature'].item(), rel=1e-5)


# Merged boxes


def test_teacher_boxes_join_the_targets_and_leave_the_batch_alone(make):
    student = make()
    inputs, samples = batch()
    before = copy.deepcopy(samples)
    observe = student.teacher.observe
    # One box apart from the annotated one, one on top of it, one unsure; nothing in the second image.
    found = [instances([[44., 44., 60., 60.], [8., 8., 40., 40.], [0., 44., 16., 60.]], [1, 0, 2], [0.9, 0.95, 0.4]),
             instances([], [], [])]
    student.teacher.observe = lambda *args, **kwargs: replace(observe(*args, **kwargs), detections=found)
    rpn, roi = [], []
    loss_by_feat, assign = student.rpn_head.loss_by_feat, student.roi_head.bbox_assigner.assign

    def spy_rpn(scores, deltas, gt, *args, **kwargs):
        rpn.extend(gt)
        return loss_by_feat(scores, deltas, gt, *args, **kwargs)

    def spy_roi(priors, gt, ignored):
        roi.append(gt)
        return assign(priors, gt, ignored)

    student.rpn_head.loss_by_feat, student.roi_head.bbox_assigner.assign = spy_rpn, spy_roi
    losses_of(student, inputs, samples)

    boxes = [[8., 8., 40., 40.], [44., 44., 60., 60.]]
    assert [gt.bboxes.tolist() for gt in roi] == [boxes, before[1].gt_instances.bboxes.tolist()]
    assert roi[0].labels.tolist() == [3, 1]
    assert roi[0].scores.tolist() == torch.tensor([1., 0.9]).tolist()
    assert rpn[0].bboxes.tolist() == boxes and rpn[0].labels.tolist() == [0, 0]
    for sample, old in zip(samples, before, strict=True):
        assert set(sample.gt_instances.keys()) == set(old.gt_instances.keys()) == {'bboxes', 'labels'}
        assert torch.equal(sample.gt_instances.bboxes, old.gt_instances.bboxes)
        assert torch.equal(sample.gt_instances.labels, old.gt_instances.labels)


def test_merging_threshold_reaches_the_teacher(make):
    student = make(merging=dict(score_thr=0.05, iou_thr=0.7))
    asked = []
    observe = student.teacher.observe
    student.teacher.observe = lambda *args, **kwargs: asked.append(kwargs) or observe(*args, **kwargs)
    losses_of(student, *batch())
    assert [kwargs['score_thr'] for kwargs in asked] == [0.05]


def test_distiller_sees_annotated_boxes_only(make):
    """Spared cells and left-out proposals are about new objects: a merged box of an old one must not count."""
    student = make()
    observe = student.teacher.observe
    found = [instances([[44., 44., 60., 60.]], [1], [0.9]), instances([], [], [])]
    student.teacher.observe = lambda *args, **kwargs: replace(observe(*args, **kwargs), detections=found)
    seen = {}
    student.distiller.forward = lambda outputs, *_: seen.update(outputs=outputs) or {}
    losses_of(student, *batch())
    outputs = seen['outputs']
    assert [boxes.tolist() for boxes in outputs.gt_bboxes] == [[[8., 8., 40., 40.]], [[30., 20., 60., 50.],
                                                                                    [4., 4., 28., 28.]]]
    assert outputs.input_shape == (64, 64)
    assert set(outputs.matched_scores.unique().tolist()) <= set(torch.tensor([1., 0.9]).tolist())
    assert len(outputs.matched_logits) == len(outputs.matched_scores) == len(outputs.matched_labels) > 0
    # The merged box, the only one with a score below 1, has label 1; the annotated ones 3 and 4.
    assert set(outputs.matched_labels.tolist()) <= {1, 3, 4}
    assert torch.equal(outputs.matched_labels == 1, outputs.matched_scores < 1)
    assert outputs.roi_logits.shape[1] == len(SEEN) + 1 and outputs.roi_deltas.shape[1] == 4 * len(SEEN)


# The pieces


def sampling(positives, negatives, matched):
    return SimpleNamespace(
        pos_priors=torch.zeros(positives, 4), neg_priors=torch.zeros(negatives, 4),
        pos_assigned_gt_inds=torch.tensor(matched))


def test_matched_rows_and_scores():
    # Image 0: rows 0-1 matched, 2-4 not; image 1: none matched, rows 5-6; image 2: row 7 matched, 8 not.
    sampled = [sampling(2, 3, [1, 0]), sampling(0, 2, []), sampling(1, 1, [2])]
    targets = [instances([[0] * 4] * 2, [3, 1], [1., 0.6]), instances([], [], []),
               instances([[0] * 4] * 3, [3, 1, 2], [1., 0.7, 0.8])]
    assert _matched_rows(sampled).tolist() == [0, 1, 7]
    assert _matched_scores(sampled, targets).tolist() == torch.tensor([0.6, 1., 0.8]).tolist()


def test_matched_scores_are_one_without_merging():
    assert _matched_scores([sampling(2, 0, [0, 0])], [instances([[0] * 4], [3])]).tolist() == [1., 1.]


# Ten pixels wide, side by side; the second half of the first image's row sits lower.
BOXES = [[10. * i, 0., 10. * i + 10, 10.] for i in range(6)]


def knowledge(*boxes):
    """Proposals with logits and deltas that tell which proposal of which image they belong to."""
    logits = [torch.tensor([[100. * i + j, 0.] for j in range(len(b))]).reshape(-1, 2) for i, b in enumerate(boxes)]
    deltas = [torch.tensor([[100. * i + j] * 4 for j in range(len(b))]).reshape(-1, 4) for i, b in enumerate(boxes)]
    proposals = [InstanceData(bboxes=torch.tensor(b).reshape(-1, 4)) for b in boxes]
    return TeacherKnowledge((), (), [], [], proposals, tuple(logits), tuple(deltas), [])


NO_BOX = torch.zeros(0, 4)


def drawn(distiller, known, gt):
    rois = distiller.choose_rois(known, gt)
    index = rois.logits[:, 0].long().tolist()
    assert torch.equal(rois.deltas, rois.logits[:, :1].expand(-1, 4))
    # Boxes, logits and deltas name the same proposals.
    boxes = [known.proposals[i // 100].bboxes[i % 100].tolist() for i in index]
    assert torch.cat(rois.bboxes).tolist() == boxes
    assert [len(b) for b in rois.bboxes] == [sum(i // 100 == n for i in index) for n in range(len(gt))]
    return index


def test_rois_are_drawn_out_of_the_best():
    distiller = MFRRKDistiller(candidates=4, num_rois=2)
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        index = drawn(distiller, knowledge(BOXES), [NO_BOX])
        assert len(set(index)) == 2
        seen.update(index)
    assert seen == {0, 1, 2, 3}  # at random out of the first four, never the others


def test_fewer_proposals_than_rois():
    assert sorted(drawn(MFRRKDistiller(num_rois=32), knowledge(BOXES, [], BOXES[:2]), [NO_BOX] * 3)) == [
        0, 1, 2, 3, 4, 5, 200, 201]


def test_proposals_on_annotated_boxes_are_left_out():
    # IoU of the annotated box (0, 0, 15, 10) with the proposals: 100/150, 50/200, 0, ...
    gt = torch.tensor([[0., 0., 15., 10.]])
    # A box over the second and third proposal, as wide as both: IoU 1/2 with either, which is not below 0.5.
    both = torch.tensor([[10., 0., 30., 10.]])
    known = knowledge(BOXES, BOXES)
    assert sorted(drawn(MFRRKDistiller(exclude_iou=0.5), known, [gt, both])) == [1, 2, 3, 4, 5, 100, 103, 104, 105]
    assert sorted(drawn(MFRRKDistiller(exclude_iou=0.25), known, [gt, NO_BOX])) == [2, 3, 4, 5, *range(100, 106)]
    assert sorted(drawn(MFRRKDistiller(exclude_iou=None), known, [gt, both])) == [*range(6), *range(100, 106)]


def test_candidates_are_counted_before_leaving_out():
    gt = torch.tensor([BOXES[0]])
    assert sorted(drawn(MFRRKDistiller(candidates=2, exclude_iou=0.5), knowledge(BOXES), [gt])) == [1]


def test_no_proposal_left():
    known = knowledge(BOXES[:1])
    rois = MFRRKDistiller().choose_rois(known, [torch.tensor(BOXES[:1])])
    assert rois.logits.shape == (0, 2) and rois.deltas.shape == (0, 4) and rois.bboxes[0].shape == (0, 4)


def test_free_cells():
    # 32x32 px in 4x4 cells: centres at 4, 12, 20, 28. The box covers x of 4 and 12 (its edge counts) and y of 4.
    mask = free_cells([torch.tensor([[0., 0., 12., 11.]]), NO_BOX], (4, 4), (32, 32))
    assert mask.shape == (2, 1, 4, 4)
    assert mask[0, 0].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert mask[1].min() == 1


def test_free_cells_of_an_oblong_map_and_several_boxes():
    # 20 high, 60 wide, in 2x3 cells: centres y 5, 15 and x 10, 30, 50. A box between centres covers none.
    boxes = torch.tensor([[45., 10., 55., 20.], [0., 0., 15., 6.], [11., 6., 29., 14.]])
    assert free_cells([boxes], (2, 3), (20, 60))[0, 0].tolist() == [[0, 1, 1], [1, 1, 0]]


def test_spare_new_leaves_annotated_cells_out_of_the_hint():
    off = dict.fromkeys(('rpn_cls', 'rpn_reg', 'roi_cls', 'roi_reg', 'score'))
    term = dict(off, feature=dict(type='FeatureMSELoss'), levels=(0, ))
    mine, theirs = torch.zeros(1, 1, 2, 2), torch.tensor([[[[4., 2.], [0., 0.]]]])
    boxes = [torch.tensor([[0., 0., 8., 8.]])]
    outputs = SimpleNamespace(stages=(), levels=(mine, ), gt_bboxes=boxes, input_shape=(16, 16))
    known = SimpleNamespace(stages=(), levels=(theirs, ))
    # (16 + 4) / 4 over all cells; without the first cell 4 / 3.
    assert MFRRKDistiller(**term, spare_new=False)(outputs, known, None)['loss_kd_feature'].item() == pytest.approx(5)
    assert MFRRKDistiller(**term)(outputs, known, None)['loss_kd_feature'].item() == pytest.approx(4 / 3)


def test_spare_new_leaves_annotated_cells_out_of_the_rpn_terms():
    terms = dict(
        dict.fromkeys(('feature', 'roi_cls', 'roi_reg', 'score')),
        rpn_cls=dict(type='RPNObjectnessHingeLoss'),
        rpn_reg=dict(type='RPNForegroundDeltaLoss'))
    # Two anchors a cell, two cells side by side; the box covers the left cell.
    teacher_logits = torch.tensor([[[[4., 2.]], [[0., 1.]]]])
    teacher_deltas = torch.zeros(1, 8, 1, 2)
    teacher_deltas[0, :4, 0, 0], teacher_deltas[0, 4:, 0, 1] = 1., 2.
    known = SimpleNamespace(rpn_logits=[teacher_logits], rpn_deltas=[teacher_deltas])
    outputs = SimpleNamespace(
        rpn_logits=[torch.zeros(1, 2, 1, 2)], rpn_deltas=[torch.zeros(1, 8, 1, 2)],
        gt_bboxes=[torch.tensor([[0., 0., 8., 8.]])], input_shape=(8, 16))
    everywhere = MFRRKDistiller(**terms, spare_new=False)(outputs, known, None)
    spared = MFRRKDistiller(**terms)(outputs, known, None)
    # Squared gaps 16, 0 (left) and 4, 1 (right).
    assert everywhere['loss_kd_rpn_cls'].item() == pytest.approx(21 / 4)
    assert spared['loss_kd_rpn_cls'].item() == pytest.approx(5 / 2)
    # The teacher calls three anchors objects, one of them on the left. Smooth L1 of a gap g is g - 1 / 18, four deltas each.
    assert everywhere['loss_kd_rpn_reg'].item() == pytest.approx(4 * (17 / 18 + 35 / 18) / 3)
    assert spared['loss_kd_rpn_reg'].item() == pytest.approx(4 * (35 / 18) / 2)


def test_hints_are_the_mean_over_the_chosen_maps():
    term = dict(feature=dict(type='FeatureMSELoss'), rpn_cls=None, rpn_reg=None, roi_cls=None, roi_reg=None, score=None,
                spare_new=False)
    maps = [torch.full((1, 1, 2, 2), float(value)) for value in (1, 2, 3, 4)]
    zero = [torch.zeros(1, 1, 2, 2)] * 2
    outputs = SimpleNamespace(stages=tuple(maps[:2]), levels=tuple(maps[2:]), gt_bboxes=[NO_BOX], input_shape=(4, 4))
    known = SimpleNamespace(stages=tuple(zero), levels=tuple(zero))
    found = MFRRKDistiller(**term, stages=(-1, ), levels=(0, 1))(outputs, known, None)
    assert found['loss_kd_feature'].item() == pytest.approx((4 + 9 + 16) / 3)


# Without its teacher


def test_testing_needs_no_teacher(make, tmp_path):
    trained = make()
    student = MODELS.build(student_cfg(tmp_path / 'gone.pth')).eval()
    student.load_state_dict(trained.state_dict())
    inputs, samples = batch()
    with torch.no_grad():
        found = student(inputs, samples, mode='predict')
        wanted = trained.eval()(inputs, copy.deepcopy(samples), mode='predict')
    for mine, theirs in zip(found, wanted, strict=True):
        assert torch.equal(mine.pred_instances.bboxes, theirs.pred_instances.bboxes)
        assert len(mine.pred_instances) > 0
    student.cpu().float()
    copy.deepcopy(student)


def test_training_without_the_teachers_file_stops(tmp_path):
    student = MODELS.build(student_cfg(tmp_path / 'gone.pth')).train()
    with pytest.raises(InputError, match='gone.pth does not exist'):
        student.loss(*batch())

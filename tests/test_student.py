"""The student: its losses against the stock detector's, the distillation terms, and their RoIs and boxes."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from tiny import OLD, ROOT, SEEN, TWO_IMAGES, UNEQUAL, batch, build, instances, shake, stock_cfg, student_cfg, teacher_file

from mmilmil import InputError
from mmilmil.engine.methods import lay_over
from mmilmil.models import MFRRKDistiller
from mmilmil.models.annotation import Annotation
from mmilmil.models.distillers.base import compared_cells
from mmilmil.models.views import DistillationRoIs, HeadKnowledge, HeadOutputs, TwoStageOutputs
from mmilmil.models.views.two_stage import matched_rows, matched_scores
from mmilmil.registry import MODELS
from mmilmil.stock import stock_model_cfg

STOCK_LOSSES = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc'}
# Each term and the parts of the student that it must teach.
TERMS = {
    'loss_kd_feature': ('backbone', 'neck'),
    'loss_kd_rpn_cls': ('backbone', 'neck', 'rpn_head.rpn_conv', 'rpn_head.rpn_cls'),
    'loss_kd_rpn_reg': ('backbone', 'neck', 'rpn_head.rpn_conv', 'rpn_head.rpn_reg'),
    'loss_kd_roi_cls': ('backbone', 'neck', 'roi_head.bbox_head.shared_fcs', 'roi_head.bbox_head.fc_cls'),
    'loss_kd_roi_reg': ('backbone', 'neck', 'roi_head.bbox_head.shared_fcs', 'roi_head.bbox_head.fc_reg'),
    'loss_kd_score': ('backbone', 'neck', 'roi_head.bbox_head.shared_fcs', 'roi_head.bbox_head.fc_cls'),
    'loss_kd_cross_head': ('backbone', 'neck'),
}
MFRRK = Config.fromfile(ROOT / 'configs/_base_/distillers/mfrrk.py').distiller.to_dict()
ILMIL = lay_over(Config.fromfile(ROOT / 'configs/ilmil/frcnn_pcb_4+2.py'),
                 ROOT / 'configs/methods/ilmil.py').model.distiller.to_dict()
PEERS = dict(
    _delete_=True,
    type='MFRRKDistiller',
    feature=dict(type='FeatureHingeLoss'),
    backbone_levels=(1, 3),
    neck_levels=(0, ),
    rpn_cls=dict(type='RPNObjectnessBCELoss'),
    rpn_reg=dict(type='RPNDeltaLoss'),
    roi_cls=dict(type='LogitMSELoss'),
    roi_reg=dict(type='RoIDeltaLoss', squared=True),
    score=dict(type='MatchedScoreL1Loss'),
    roi_feature=dict(type='AttentiveRoILoss'),
    cross_head=dict(type='UnbiasedKDLoss', subtract_entropy=True),
    cross_head_reg=dict(type='RoIDeltaLoss'),
    ranking='foreground',
    exclude_iou=None)
# Their gradient reaches what makes the features, and not the student's own head.
APART = {'loss_kd_apart_cls', 'loss_kd_apart_reg'}  # zero where the teacher sees old objects on every image
FEATURE_TERMS = {f'loss_kd_{term}': ('backbone', 'neck') for term in ('roi_feature', 'cross_head', 'cross_head_reg')}


shapes = pytest.mark.parametrize('shapes', [None, UNEQUAL], ids=['equal', 'unequal'])


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
@shapes
def test_without_teacher_knowledge_it_is_the_stock_detector(make, objects, shapes):
    """The re-stated loss flow gives MMDetection's numbers, ignored boxes included."""
    assigner = dict(assigner=dict(ignore_iof_thr=0.5))
    ignore = dict(train_cfg=dict(rpn=assigner, rcnn=assigner))
    student = make(distiller=None, merging=None, **ignore)
    stock = build(stock_model_cfg(student_cfg('unused.pth', distiller=None, merging=None, **ignore)))
    stock.load_state_dict(student.state_dict())
    inputs, samples = batch(objects, ignored=[[(0., 32., 32., 64.)]] * 2, shapes=shapes)
    mine = losses_of(student, inputs, copy.deepcopy(samples))
    theirs = losses_of(stock.train(), inputs, copy.deepcopy(samples))

    assert mine.keys() == theirs.keys() == STOCK_LOSSES
    for name, value in theirs.items():
        mine_, theirs_ = (torch.stack(v) if isinstance(v, list) else v for v in (mine[name], value))
        assert torch.equal(mine_, theirs_), name
    assert theirs['loss_bbox'] > 0
    # The ignored box is part of the comparison: without it the numbers are others.
    without = losses_of(student, *batch(objects, shapes=shapes))
    assert not torch.equal(torch.stack(without['loss_rpn_cls']), torch.stack(mine['loss_rpn_cls']))


@shapes
def test_gradients_are_the_stock_detectors(make, shapes):
    student = make(distiller=None, merging=None)
    stock = build(stock_model_cfg(student_cfg('unused.pth', distiller=None, merging=None))).train()
    stock.load_state_dict(student.state_dict())
    for model in (student, stock):
        model.parse_losses(losses_of(model, *batch(shapes=shapes)))[0].backward()
    theirs = dict(stock.named_parameters())
    for name, weight in student.named_parameters():
        assert torch.allclose(weight.grad, theirs[name].grad, rtol=1e-5, atol=1e-7), name


def test_fine_tuning_does_not_ask_the_teacher(make):
    student = make(distiller=None, merging=None)
    student.teacher.observe = None  # not callable
    assert losses_of(student, *batch()).keys() == STOCK_LOSSES


# The distillation terms


def test_loss_keys(make):
    assert losses_of(make(), *batch()).keys() == STOCK_LOSSES | TERMS.keys() | APART


@pytest.mark.parametrize('term', ['feature', 'rpn_cls', 'rpn_reg', 'roi_cls', 'roi_reg', 'score', 'cross_head'])
def test_each_term_is_a_switch(make, term):
    losses = losses_of(make(distiller={term: None}), *batch())
    assert losses.keys() == STOCK_LOSSES | APART | TERMS.keys() - {f'loss_kd_{term}'}


def test_terms_do_not_change_the_stock_losses(make):
    """The distillation RoIs pass the head beside the sampled ones, not among them."""
    alone, beside = losses_of(make(distiller=None), *batch()), losses_of(make(), *batch())
    for name in ('loss_cls', 'loss_bbox', 'acc'):
        assert torch.allclose(alone[name], beside[name], rtol=1e-5), name


@pytest.mark.parametrize('distiller, change', [
    (dict(rpn_reg=None), dict(rpn_reg=None)),
    (dict(feature=dict(_delete_=True, type='FeatureMSELoss', loss_weight=10.0)), dict(feature='FeatureMSELoss')),
])
def test_a_few_words_change_one_term(make, distiller, change):
    """As the README has it: what is not named stays the full method's."""
    made, full = make(distiller=distiller).distiller, make().distiller
    for term in ('feature', 'rpn_cls', 'rpn_reg', 'roi_cls', 'roi_reg', 'score'):
        wanted = change.get(term, type(getattr(full, term)).__name__)
        assert (wanted is None) == (getattr(made, term) is None)
        assert wanted in (None, type(getattr(made, term)).__name__)


@shapes
@pytest.mark.parametrize('amp', [None, torch.bfloat16, torch.float16], ids=['float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize('distiller, terms', [
    ({}, TERMS),
    (PEERS, TERMS | FEATURE_TERMS),
    (dict(ILMIL, _delete_=True), {'loss_kd_feature': ('backbone', ), 'loss_kd_score': TERMS['loss_kd_score']}),
], ids=['default', 'peers', 'ilmil'])
def test_every_term_is_there_finite_and_teaches(make, distiller, terms, amp, shapes):
    """Protocol 14: present, finite, float32, with a gradient of its own in the parts that it is about."""
    student = make(distiller=distiller)
    with torch.autocast('cpu', dtype=amp) if amp else nullcontext():
        losses = losses_of(student, *batch(shapes=shapes))
    assert losses.keys() - APART == STOCK_LOSSES | terms.keys()
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
        assert term not in FEATURE_TERMS or not any(name.startswith(('roi_head', 'rpn_head')) for name in norms), term


@shapes
def test_a_perfect_copy_costs_nothing(checkpoint, shapes):
    """Student and teacher alike, in the same mode: all terms but the score are zero."""
    student = build(student_cfg(checkpoint)).eval()
    # The new rows must not take probability from the old ones' comparison: unbiased terms count them as background.
    with torch.no_grad():
        student.roi_head.bbox_head.fc_cls.bias[len(OLD):len(SEEN)] = -100
    losses = losses_of(student, *batch(shapes=shapes))
    for term in TERMS.keys() - {'loss_kd_score'}:
        assert losses[term].item() == pytest.approx(0, abs=1e-5), term


def test_a_perfect_copy_of_the_features_costs_nothing(checkpoint):
    """Whatever the new rows are, as the teacher's head has none."""
    student = build(student_cfg(checkpoint, distiller=PEERS)).eval()
    losses = losses_of(student, *batch())
    for term in FEATURE_TERMS:
        assert losses[term].item() == pytest.approx(0, abs=1e-5), term


def test_the_teachers_head_is_asked_about_the_students_features():
    """A head that doubles: features 1 and 3 of two RoIs become logits, its own were 4 and 4."""
    mine, known = torch.tensor([1., 3.]).reshape(2, 1, 1, 1), torch.zeros(2, 3)
    known[:, 0] = 4.

    def head(features):
        logits = torch.zeros(len(features), 3)
        logits[:, 0] = 2 * features.flatten()
        return logits, features.flatten(1).repeat(1, 8)

    rois = DistillationRoIs([torch.zeros(2, 4)], known, torch.ones(2, 8), head=head)
    student = TwoStageOutputs(heads=[HeadOutputs(None, None, None, None, None, 0.5, mine)], rois=[rois])
    found = MFRRKDistiller(cross_head=dict(type='LogitMSELoss'), cross_head_reg=dict(type='RoIDeltaLoss', squared=True))(
        student, None, annotation([NO_BOX]))
    # Centred gaps of -2 and 2 in the first of three logits: 4 (4/9 + 1/9 + 1/9) / 3 each; deltas 1 and 3 for 1 and 1.
    assert found['loss_kd_cross_head'].item() == pytest.approx(0.5 * 4 * 6 / 9 / 3)
    assert found['loss_kd_cross_head_reg'].item() == pytest.approx(0.5 * (0 + 4 * 4) / 2)


@shapes
def test_batch_without_any_object(make, shapes):
    losses = losses_of(make(), *batch(((), ()), shapes=shapes))
    total, _ = make().parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()


def test_loss_weights_scale(make):
    cfg = dict(type='FeatureNormMSELoss', loss_weight=1.0)
    one = losses_of(make(distiller=dict(feature=cfg)), *batch())
    three = losses_of(make(distiller=dict(feature=dict(cfg, loss_weight=3.0))), *batch())
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


def test_distiller_spares_annotated_and_ignored_boxes_only(make):
    """Spared cells are about new objects: a merged box of an old one must not count."""
    student = make()
    observe = student.teacher.observe
    found = [instances([[44., 44., 60., 60.]], [1], [0.9]), instances([], [], [])]
    student.teacher.observe = lambda *args, **kwargs: replace(observe(*args, **kwargs), detections=found)
    seen = {}
    student.distiller.forward = lambda outputs, known, annotation: seen.update(outputs=outputs, annotation=annotation) or {}
    losses_of(student, *batch(ignored=[[(0., 50., 9., 59.)]], shapes=UNEQUAL))
    outputs, annotation = seen['outputs'], seen['annotation']
    assert [boxes.tolist() for boxes in annotation.all_bboxes] == [[[8., 8., 40., 40.], [0., 50., 9., 59.]],
                                                                [[30., 20., 60., 50.], [4., 4., 28., 28.]]]
    assert annotation.input_shape == (96, 96) and annotation.img_shapes == list(UNEQUAL)
    assert outputs.strides == [(4, 4), (8, 8), (16, 16), (32, 32)]
    head, = outputs.heads
    assert set(head.matched_scores.unique().tolist()) <= set(torch.tensor([1., 0.9]).tolist())
    assert len(head.matched_logits) == len(head.matched_scores) == len(head.matched_labels) > 0
    # The merged box, the only one with a score below 1, has label 1; the annotated ones 3 and 4.
    assert set(head.matched_labels.tolist()) <= {1, 3, 4}
    assert torch.equal(head.matched_labels == 1, head.matched_scores < 1)
    assert head.logits.shape[1] == len(SEEN) + 1 and head.deltas.shape[1] == 4 * len(SEEN)


def proposals_of(*boxes):
    """Knowledge of the first of two images: these proposals, on which the teacher is undecided."""
    bboxes = [torch.tensor(boxes), torch.zeros(0, 4)]
    logits, deltas = (tuple(torch.zeros(len(found), size) for found in bboxes) for size in (len(OLD) + 1, 4 * len(OLD)))
    return dict(proposals=[InstanceData(bboxes=found) for found in bboxes], heads=[HeadKnowledge(bboxes, logits, deltas)])


def test_distillation_rois_are_chosen_beside_annotated_and_ignored_boxes(make):
    """Not beside merged ones: on old objects the heads are to be compared."""
    student = make(distiller=dict(cross_head=None))  # the teacher's own head is not asked here
    observe = student.teacher.observe
    annotated, merged, ignored = (8., 8., 40., 40.), (44., 44., 60., 60.), (0., 50., 10., 60.)
    knowledge = proposals_of(annotated, merged, ignored)
    knowledge['detections'] = [instances([merged], [1], [0.9]), instances([], [], [])]
    student.teacher.observe = lambda *args, **kwargs: replace(observe(*args, **kwargs), **knowledge)
    chosen = []
    choose_rois = student.distiller.choose_rois
    student.distiller.choose_rois = lambda *args: chosen.append(choose_rois(*args)) or chosen[0]
    losses_of(student, *batch(ignored=[[ignored]]))
    assert [bboxes.tolist() for bboxes in chosen[0][0].bboxes] == [[list(merged)], []]


@pytest.mark.parametrize('cached', [False, True])
def test_teacher_boxes_on_ignored_objects_are_not_merged(make, cached):
    student = make(distiller=None)
    observe = student.teacher.observe
    # On a difficult object, within a crowd, apart from both.
    difficult, crowd, apart = (0., 50., 10., 60.), (40., 0., 64., 40.), (44., 44., 60., 60.)
    found = [instances([difficult, (50., 10., 58., 18.), apart], [0, 1, 2], [0.9] * 3), instances([apart], [0], [0.9])]
    student.teacher.observe = lambda *args, **kwargs: replace(observe(*args, **kwargs), detections=found)
    if cached:
        student.teacher_boxes, student._cache = 'boxes.jsonl', SimpleNamespace(look_up=lambda *_: found)
    targets = []
    assign = student.roi_head.bbox_assigner.assign
    student.roi_head.bbox_assigner.assign = lambda priors, gt, *args: targets.append(gt) or assign(priors, gt, *args)
    inputs, samples = batch(ignored=[[difficult, crowd]])
    del samples[1].ignored_instances  # as a sample of one's own may have none
    losses_of(student, inputs, samples)
    assert targets[0].bboxes.tolist() == [[8., 8., 40., 40.], list(apart)] and targets[0].labels.tolist() == [3, 2]
    assert targets[1].labels.tolist() == [4, 3, 0]


@pytest.mark.parametrize('part, loss', [('rpn', 'loss_rpn_cls'), ('rcnn', 'loss_cls')])
def test_ignored_objects_are_background_unless_the_assigners_say_otherwise(make, part, loss):
    """As protocol 2 has it, with its setting; every anchor and proposal lies on an ignored object."""
    inputs, samples = batch(ignored=[[(-100., -100., 200., 200.)]] * 2)

    def losses(ignore_iof_thr, seen):
        cfg = {part: dict(assigner=dict(ignore_iof_thr=ignore_iof_thr))}
        student = make(distiller=None, merging=None, train_cfg=cfg)
        assigner = (student.rpn_head.assigner if part == 'rpn' else student.roi_head.bbox_assigner)
        assign = assigner.assign
        assigner.assign = lambda *args: seen.append(assign(*args)) or seen[-1]
        found = losses_of(student, inputs, copy.deepcopy(samples))[loss]
        return sum(found) if isinstance(found, list) else found

    background, left_out = [], []
    assert losses(-1, background) != losses(0.5, left_out)
    assert len(background) == len(left_out) == 2
    for kept, ignored in zip(background, left_out, strict=True):
        assert (kept.gt_inds == 0).sum() > 10
        assert not (ignored.gt_inds == 0).any()


@pytest.mark.parametrize('rpn_proposal, number', [(dict(max_per_img=7), 7), (None, 50)])
def test_proposals_are_those_of_training(make, checkpoint, rpn_proposal, number):
    """By train_cfg.rpn_proposal as in MMDetection, whose test_cfg.rpn stands in where there is none."""
    changes = dict(train_cfg=dict(rpn_proposal=rpn_proposal), test_cfg=dict(rpn=dict(max_per_img=50)))
    student = make(distiller=None, merging=None, **changes)
    if rpn_proposal is None:
        del student.train_cfg['rpn_proposal']
    counts = []
    assign = student.roi_head.bbox_assigner.assign
    student.roi_head.bbox_assigner.assign = lambda priors, *args: counts.append(len(priors)) or assign(priors, *args)
    losses_of(student, *batch())
    assert counts == [number] * 2


# The number of old classes, which a loss may ask for


def unbiased(**kwargs):
    return dict(roi_head=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type='UnbiasedCrossEntropyLoss', **kwargs))))


def test_unbiased_classification_learns_the_number_of_old_classes(make):
    """Here three: a background RoI costs -log(p_b + p_ant + p_bee + p_cat)."""
    student = make(distiller=None, merging=None, **unbiased())
    assert student.roi_head.bbox_head.loss_cls.num_old_classes == len(OLD)
    written = make(distiller=None, merging=None, **unbiased(num_old_classes=len(OLD)))
    assert losses_of(student, *batch())['loss_cls'] == losses_of(written, *batch())['loss_cls']


@pytest.mark.parametrize('number', [0, 1, 5])
def test_another_number_of_old_classes_stops(checkpoint, number):
    with pytest.raises(InputError, match=f'num_old_classes = {number} in .*loss_cls, but the teacher knows 3 classes'):
        build(student_cfg(checkpoint, **unbiased(num_old_classes=number)))


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
    assert matched_rows(sampled).tolist() == [0, 1, 7]
    assert matched_scores(list(zip(sampled, targets))).tolist() == torch.tensor([0.6, 1., 0.8]).tolist()


def test_matched_scores_are_one_without_merging():
    assert matched_scores([(sampling(2, 0, [0, 0]), instances([[0] * 4], [3]))]).tolist() == [1., 1.]


# Ten pixels wide, side by side; the second half of the first image's row sits lower.
BOXES = [[10. * i, 0., 10. * i + 10, 10.] for i in range(6)]


def knowledge(*boxes):
    """Proposals with logits and deltas that tell which proposal of which image they belong to."""
    logits = [torch.tensor([[100. * i + j, 0.] for j in range(len(b))]).reshape(-1, 2) for i, b in enumerate(boxes)]
    deltas = [torch.tensor([[100. * i + j] * 4 for j in range(len(b))]).reshape(-1, 4) for i, b in enumerate(boxes)]
    proposals = [InstanceData(bboxes=torch.tensor(b).reshape(-1, 4)) for b in boxes]
    heads = [HeadKnowledge([found.bboxes for found in proposals], tuple(logits), tuple(deltas))]
    return TwoStageOutputs(proposals=proposals, heads=heads)


NO_BOX = torch.zeros(0, 4)


def annotation(annotated, ignored=None, img_shapes=None, input_shape=(16, 16)):
    """Of images with these boxes, each as large as the input unless told otherwise."""
    gt = [InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes)).long()) for boxes in annotated]
    metas = [dict(img_shape=shape) for shape in img_shapes or [input_shape] * len(gt)]
    return Annotation(gt, ignored or [NO_BOX] * len(gt), metas, input_shape)


def drawn(distiller, known, gt, ignored=None):
    rois, = distiller.choose_rois(known, annotation(gt, ignored))
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


def test_rois_are_drawn_out_of_those_that_the_teacher_takes_for_objects():
    """By its background probability, whatever the objectness, by which proposals are ordered."""
    known = knowledge(BOXES)
    head, = known.heads
    # Column 0 tells the proposal, the background is column 1: the difference decides.
    background = [5., 1., 9., 0., 3., 7.]
    known.heads = [replace(head, logits=(torch.tensor([[float(i), i + b] for i, b in enumerate(background)]), ))]
    assert sorted(drawn(MFRRKDistiller(candidates=3, ranking='foreground'), known, [NO_BOX])) == [1, 3, 4]
    # Those on annotated boxes are left out among them, and no others take their place.
    assert sorted(drawn(MFRRKDistiller(candidates=3, ranking='foreground'), known, [torch.tensor([BOXES[3]])])) == [1, 4]
    assert sorted(drawn(MFRRKDistiller(candidates=3), known, [NO_BOX])) == [0, 1, 2]


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


def test_proposals_on_ignored_objects_are_left_out():
    known = knowledge(BOXES, BOXES)
    # A crowd over the first three proposals and half of the fourth, whose IoU with each is 10/35 or less; a difficult object
    # on the second proposal alone, IoU 1/2 and so 1/2 of the proposal.
    ignored = [torch.tensor([[0., 0., 35., 10.]]), torch.tensor([[10., 0., 20., 5.]])]
    none = [NO_BOX, NO_BOX]
    assert sorted(drawn(MFRRKDistiller(exclude_iou=0.5), known, none, ignored)) == [4, 5, 100, 102, 103, 104, 105]
    # Of the third proposal 2/10 lie in the ignored box, which is as small: its IoU with it is 2/18.
    beside = [torch.tensor([[22., 0., 32., 10.]]), NO_BOX]
    assert sorted(drawn(MFRRKDistiller(exclude_iou=0.2), known, none, beside)) == [0, 1, 3, 4, 5, *range(100, 106)]
    assert sorted(drawn(MFRRKDistiller(exclude_iou=0.1), known, none, beside)) == [0, 1, 4, 5, *range(100, 106)]
    assert sorted(drawn(MFRRKDistiller(exclude_iou=None), known, none, ignored)) == [*range(6), *range(100, 106)]


def test_candidates_are_counted_before_leaving_out():
    gt = torch.tensor([BOXES[0]])
    assert sorted(drawn(MFRRKDistiller(candidates=2, exclude_iou=0.5), knowledge(BOXES), [gt])) == [1]


def test_defaults_of_the_drawing():
    """32 of the best 128, away from annotated boxes by an IoU below 0.3."""
    many = [[20. * i, 0., 20. * i + 10, 10.] for i in range(200)]
    known = knowledge(many)
    known.heads[0].logits[0][:, 0] = torch.arange(200)  # no room for another image
    every = MFRRKDistiller(num_rois=1000).choose_rois(known, annotation([NO_BOX], [NO_BOX]))[0]
    assert sorted(every.logits[:, 0].tolist()) == list(range(128))
    assert len(MFRRKDistiller().choose_rois(known, annotation([NO_BOX], [NO_BOX]))[0].logits) == 32
    # IoU 2.9 / 10 with the first proposal, 3.1 / 10 with the second, 3 / 10 and more from 0.3 on.
    near = torch.tensor([[0., 0., 10., 2.9], [20., 0., 30., 3.1]])
    assert sorted(drawn(MFRRKDistiller(), knowledge(many[:3]), [near])) == [0, 2]


def test_no_proposal_at_all():
    known = knowledge([], BOXES[:1])
    rois, = MFRRKDistiller().choose_rois(known, annotation([torch.tensor(BOXES[:1]), NO_BOX]))
    assert [len(boxes) for boxes in rois.bboxes] == [0, 1] and rois.logits.tolist() == [[100., 0.]]


def test_no_proposal_left():
    known = knowledge(BOXES[:1])
    rois = MFRRKDistiller().choose_rois(known, annotation([torch.tensor(BOXES[:1])], [NO_BOX]))[0]
    assert rois.logits.shape == (0, 2) and rois.deltas.shape == (0, 4) and rois.bboxes[0].shape == (0, 4)


def cells(*args):
    return compared_cells(*args)[:, 0].int().tolist()


def test_cells_inside_boxes_are_spared():
    # 32x32 px in 4x4 cells: centres at 4, 12, 20, 28. The box covers x of 4 and 12 (its edge counts) and y of 4.
    boxes = [torch.tensor([[0., 0., 12., 11.]]), NO_BOX]
    assert cells((4, 4), (8, 8), [(32, 32)] * 2, boxes) == [[[0, 0, 1, 1], [1] * 4, [1] * 4, [1] * 4], [[1] * 4] * 4]
    assert cells((4, 4), (8, 8), [(32, 32)] * 2) == [[[1] * 4] * 4] * 2


def test_every_edge_of_a_box_counts():
    # Centres at 4, 12, 20, 28: the box begins and ends on one, in both directions.
    boxes = [torch.tensor([[12., 4., 20., 12.]])]
    assert cells((4, 4), (8, 8), [(32, 32)], boxes) == [[[1, 0, 0, 1], [1, 0, 0, 1], [1] * 4, [1] * 4]]


def test_cells_of_an_oblong_map_and_several_boxes():
    # 20 high, 60 wide, in 2x3 cells: centres y 5, 15 and x 10, 30, 50. A box between centres covers none.
    boxes = torch.tensor([[45., 10., 55., 20.], [0., 0., 15., 6.], [11., 6., 29., 14.]])
    assert cells((2, 3), (10, 20), [(20, 60)], [boxes]) == [[[0, 1, 1], [1, 1, 0]]]


def test_cells_outside_the_image_do_not_count():
    # Centres at 4, 12, 20. Of images 20 px high and 13 wide, 12 px wide and 24 high: a centre on the border lies outside.
    assert cells((3, 3), (8, 8), [(20, 13), (24, 12)]) == [
        [[1, 1, 0], [1, 1, 0], [0, 0, 0]], [[1, 0, 0], [1, 0, 0], [1, 0, 0]]]
    # Both reasons at once.
    assert cells((3, 3), (8, 8), [(20, 13)], [torch.tensor([[0., 0., 8., 24.]])]) == [[[0, 1, 0], [0, 1, 0], [0, 0, 0]]]


def only(**terms):
    """Arguments of a distiller with these terms and no others."""
    return dict(dict.fromkeys(('feature', 'rpn_cls', 'rpn_reg', 'roi_cls', 'roi_reg', 'score')), **terms)


def test_spare_new_leaves_annotated_cells_out_of_the_hint():
    term = only(feature=dict(type='FeatureMSELoss'), neck_levels=(0, ))
    mine, theirs = torch.zeros(1, 1, 2, 2), torch.tensor([[[[4., 2.], [0., 0.]]]])
    student = TwoStageOutputs(neck_levels=(mine, ), strides=[(8, 8)])
    known, about = TwoStageOutputs(neck_levels=(theirs, )), annotation([torch.tensor([[0., 0., 8., 8.]])])
    # (16 + 4) / 4 over all cells; without the first cell 4 / 3.
    assert MFRRKDistiller(**term, spare_new=False)(student, known, about)['loss_kd_feature'].item() == pytest.approx(5)
    assert MFRRKDistiller(**term)(student, known, about)['loss_kd_feature'].item() == pytest.approx(4 / 3)


def test_cells_of_a_backbone_level_share_out_the_input():
    """Which tells no stride: three channels, 16x32 px in 2x4 cells, of which the box covers the left half."""
    mine, theirs = torch.zeros(1, 3, 2, 4), torch.tensor([1., 2., 3., 4.]).expand(1, 3, 2, 4)
    about = annotation([torch.tensor([[0., 0., 15., 16.]])], input_shape=(16, 32))
    distiller = MFRRKDistiller(**only(feature=dict(type='FeatureMSELoss')), backbone_levels=(0, ), neck_levels=())
    found = distiller(TwoStageOutputs(backbone_levels=(mine, )), TwoStageOutputs(backbone_levels=(theirs, )), about)
    assert found['loss_kd_feature'].item() == pytest.approx((9 + 16) / 2)


def test_spare_new_leaves_annotated_cells_out_of_the_rpn_terms():
    terms = only(rpn_cls=dict(type='RPNObjectnessHingeLoss'), rpn_reg=dict(type='RPNForegroundDeltaLoss'))
    # Two anchors a cell, two cells side by side; the box covers the left cell.
    teacher_logits = torch.tensor([[[[4., 2.]], [[0., 1.]]]])
    teacher_deltas = torch.zeros(1, 8, 1, 2)
    teacher_deltas[0, :4, 0, 0], teacher_deltas[0, 4:, 0, 1] = 1., 2.
    known = TwoStageOutputs(rpn_logits=[teacher_logits], rpn_deltas=[teacher_deltas])
    student = TwoStageOutputs(
        rpn_logits=[torch.zeros(1, 2, 1, 2)], rpn_deltas=[torch.zeros(1, 8, 1, 2)], strides=[(8, 8)])
    about = annotation([torch.tensor([[0., 0., 8., 8.]])], input_shape=(8, 16))
    everywhere = MFRRKDistiller(**terms, spare_new=False)(student, known, about)
    spared = MFRRKDistiller(**terms)(student, known, about)
    # Squared gaps 16, 0 (left) and 4, 1 (right).
    assert everywhere['loss_kd_rpn_cls'].item() == pytest.approx(21 / 4)
    assert spared['loss_kd_rpn_cls'].item() == pytest.approx(5 / 2)
    # The teacher calls three anchors objects, one of them on the left. Smooth L1 of a gap g is g - 1 / 18, four deltas each.
    assert everywhere['loss_kd_rpn_reg'].item() == pytest.approx(4 * (17 / 18 + 35 / 18) / 3)
    assert spared['loss_kd_rpn_reg'].item() == pytest.approx(4 * (35 / 18) / 2)


@pytest.mark.parametrize('spare_new', [True, False])
def test_new_tensors_are_made_where_the_inputs_are(spare_new):
    """Not on the default device, which here is another one; on it nothing can be computed with the inputs."""
    terms = only(feature=dict(type='FeatureMSELoss'), rpn_cls=dict(type='RPNObjectnessMSELoss'), neck_levels=(0, ))
    level, box, known = torch.ones(1, 1, 2, 2), torch.tensor([[0., 0., 8., 8.]]), knowledge(BOXES)
    student = TwoStageOutputs(neck_levels=(level, ), rpn_logits=[level], strides=[(8, 8)])
    teacher, about = TwoStageOutputs(neck_levels=(0 * level, ), rpn_logits=[0 * level]), annotation([box])
    with torch.device('meta'):
        found = MFRRKDistiller(**terms, spare_new=spare_new)(student, teacher, about)
        rois, = MFRRKDistiller().choose_rois(known, about)
    assert [loss.item() for loss in found.values()] == [1, 1]
    assert sorted(rois.logits[:, 0].tolist()) == [1, 2, 3, 4, 5]


def test_lists_that_do_not_fit_stop():
    with pytest.raises(ValueError, match='zip'):
        MFRRKDistiller().choose_rois(knowledge(BOXES, BOXES), annotation([NO_BOX] * 2, [NO_BOX]))
    with pytest.raises(ValueError, match='zip'):
        compared_cells((2, 2), (8, 8), [(16, 16)] * 2, [NO_BOX])
    logits = [torch.zeros(1, 1, 2, 2)] * 2
    with pytest.raises(ValueError, match='zip'):
        MFRRKDistiller(**only(rpn_cls=dict(type='RPNObjectnessMSELoss')))(
            TwoStageOutputs(rpn_logits=logits, strides=[(8, 8)]), TwoStageOutputs(rpn_logits=logits), annotation([NO_BOX]))


def test_hints_are_the_mean_over_the_chosen_maps():
    maps = [torch.full((1, 1, 2, 2), float(value)) for value in (1, 2, 3, 4)]
    zero = (torch.zeros(1, 1, 2, 2), ) * 2
    student = TwoStageOutputs(backbone_levels=tuple(maps[:2]), neck_levels=tuple(maps[2:]), strides=[(2, 2)] * 2)
    found = MFRRKDistiller(**only(feature=dict(type='FeatureMSELoss')), backbone_levels=(-1, ), neck_levels=(0, 1))(
        student, TwoStageOutputs(backbone_levels=zero, neck_levels=zero), annotation([NO_BOX], input_shape=(4, 4)))
    assert found['loss_kd_feature'].item() == pytest.approx((4 + 9 + 16) / 3)


def test_boxes_of_probable_classes_weigh_more_by_default():
    """By the teacher's softmax probability on the same RoI, not evenly."""
    rois = DistillationRoIs([torch.zeros(1, 4)], torch.tensor([[3., 1., 4.]]).log(),
                            torch.tensor([[2., 0., 0., 0., 0., 0., 0., 6.]]))
    distiller = MFRRKDistiller(roi_reg=MFRRK['roi_reg'])
    head = HeadOutputs(None, torch.zeros(1, 12), None, None, None)
    found = distiller(TwoStageOutputs(heads=[head], rois=[rois]), None, annotation([NO_BOX]))
    # Probabilities 3/8 and 1/8, smooth L1 1.5 and 5.5, weight 0.2.
    assert found['loss_kd_roi_reg'].item() == pytest.approx(0.2 * (3 * 1.5 + 5.5) / 8)


def test_images_without_an_old_object_have_terms_of_their_own():
    """Two RoIs of an image with a merged box and six of one without: each term is the mean of its own, times its share."""
    teacher = torch.zeros(8, 3)
    mine = torch.arange(8.)[:, None].repeat(1, 4) * torch.tensor([1., -1., 0., 0.])
    rois = DistillationRoIs([torch.zeros(2, 4), torch.zeros(6, 4)], teacher, torch.zeros(8, 8))
    head = HeadOutputs(mine, torch.zeros(8, 12), None, None, None)
    about = replace(annotation([NO_BOX] * 2), apart=(False, True))
    distiller = MFRRKDistiller(roi_cls=dict(type='LogitMSELoss'), apart_cls=dict(type='LogitMSELoss', loss_weight=10.0))
    found = distiller(TwoStageOutputs(heads=[head], rois=[rois]), None, about)
    # Of RoI k the old and the background logits are k, -k, 0, so that the mean square is 2 k^2 / 3.
    assert found['loss_kd_roi_cls'].item() == pytest.approx((0 + 1) * 2 / 3 / 8)
    assert found['loss_kd_apart_cls'].item() == pytest.approx(10 * (4 + 9 + 16 + 25 + 36 + 49) * 2 / 3 / 8)
    nowhere = distiller(TwoStageOutputs(heads=[head], rois=[rois]), None, replace(about, apart=(False, False)))
    assert nowhere['loss_kd_apart_cls'] == 0 and nowhere['loss_kd_roi_cls'].item() == pytest.approx(140 * 2 / 3 / 8)
    # Where nothing is merged, nobody knows, and all images are as they always were.
    assert distiller(TwoStageOutputs(heads=[head], rois=[rois]), None, annotation([NO_BOX] * 2)) == nowhere


def test_on_images_without_an_old_object_proposals_on_new_ones_stay():
    about = replace(annotation([torch.tensor(BOXES[:1])] * 2), apart=(False, True))
    known = knowledge(BOXES, BOXES)
    asked = MFRRKDistiller(apart_cls=dict(type='LogitMSELoss'))
    assert [len(boxes) for boxes in asked.choose_rois(known, about)[0].bboxes] == [len(BOXES) - 1, len(BOXES)]
    unasked = MFRRKDistiller(roi_cls=dict(type='LogitMSELoss'))
    assert [len(boxes) for boxes in unasked.choose_rois(known, about)[0].bboxes] == [len(BOXES) - 1] * 2


@pytest.mark.parametrize('score_thr, apart', [(0.05, False), (1.0, True)])
def test_the_student_tells_images_without_an_old_object(make, score_thr, apart, monkeypatch):
    """A threshold that no box passes: nothing is merged anywhere."""
    student, seen = make(merging=dict(score_thr=score_thr)), []
    forward = student.distiller.forward
    monkeypatch.setattr(student.distiller, 'forward', lambda *args: (seen.append(args[2].apart), forward(*args))[1])
    losses = losses_of(student, *batch())
    assert seen == [(apart, apart)] and (losses['loss_kd_apart_cls'] > 0) == apart == (losses['loss_kd_roi_cls'] == 0)


# What an image is batched with

HINTS = dict(feature=dict(_delete_=True, type='FeatureMSELoss'), backbone_levels=(1, 3))
DENSE = ('loss_kd_feature', 'loss_kd_rpn_cls', 'loss_kd_rpn_reg')


def dense_maps(heights, widths, seed):
    """Maps of one image of one level each: backbone and neck levels, RPN logits and deltas of two anchors a cell."""
    generator = torch.Generator().manual_seed(seed)
    return [[seed * torch.randn(1, channels, h, w, generator=generator) for h, w in zip(heights, widths)]
            for channels in (5, 3, 2, 8)]


def outputs_of(maps):
    backbone_levels, neck_levels, logits, deltas = maps
    return TwoStageOutputs(backbone_levels, neck_levels, strides=[(8, 8), (16, 16)], rpn_logits=logits, rpn_deltas=deltas)


def together(first, second):
    return [[torch.cat(pair) for pair in zip(*levels)] for levels in zip(first, second)]


@pytest.mark.parametrize('feature', ['FeatureMSELoss', 'FeatureHingeLoss', 'FeatureNormMSELoss'])
@pytest.mark.parametrize('spare_new', [True, False])
def test_dense_terms_do_not_depend_on_what_an_image_is_batched_with(feature, spare_new):
    """The same maps alone, in a larger tensor whose rest is full of noise, and beside a larger image."""
    distiller = MFRRKDistiller(feature=dict(type=feature), backbone_levels=(0, 1), neck_levels=(0, 1), spare_new=spare_new,
                               rpn_cls=MFRRK['rpn_cls'], rpn_reg=MFRRK['rpn_reg'])

    def terms(mine, theirs, boxes, img_shapes, input_shape):
        found = distiller(outputs_of(mine), outputs_of(theirs), annotation(boxes, None, img_shapes, input_shape))
        return torch.stack([found[name] for name in DENSE])

    # 30x50 px, padded to 32x64: cells of 8 and 16 px. The large image is square.
    small, large = ([dense_maps(*sides, seed) for seed in seeds]
                    for sides, seeds in ((((4, 2), (8, 4)), (1, 2)), (((8, 4), (8, 4)), (3, 4))))
    padded = [dense_maps((8, 4), (8, 4), seed) for seed in (50, 60)]
    for whole, part in zip(padded, small):
        for kind, own in zip(whole, part):
            for level, mine in zip(kind, own):
                level[..., :mine.size(-2), :mine.size(-1)] = mine
    box, other = torch.tensor([[0., 0., 20., 20.]]), torch.tensor([[10., 30., 64., 64.]])
    alone = terms(*small, [box], [(30, 50)], (32, 64))
    beside = terms(*large, [other], [(64, 64)], (64, 64))
    assert (alone > 0).all() and (alone - beside).abs().min() > 1e-3
    assert torch.allclose(terms(*padded, [box], [(30, 50)], (64, 64)), alone, rtol=1e-5)
    both = terms(*map(together, padded, large), [box, other], [(30, 50), (64, 64)], (64, 64))
    assert torch.allclose(both, (alone + beside) / 2, rtol=1e-5)


def one_image(inputs, samples, index, shape):
    """An image of a batch in a tensor of its own of this (height, width)."""
    height, width = samples[index].img_shape
    pixels = inputs.new_zeros(1, 3, *shape)
    pixels[0, :, :height, :width] = inputs[index, :, :height, :width]
    sample = copy.deepcopy(samples[index])
    sample.set_metainfo(dict(batch_input_shape=shape))
    return pixels, [sample]


def dense_terms(student, inputs, samples):
    found = losses_of(student, inputs, samples)
    return torch.stack([found[name] for name in DENSE])


@pytest.fixture
def still(make):
    """A student whose batch norm uses running statistics, so that images do not meet in the network itself."""
    return make(distiller=HINTS).eval()


def test_cells_of_a_level_that_does_not_divide_the_input(make, checkpoint):
    """The fifth level of a 96 px image has two cells of 64 px, not of 48 px: the second's centre lies on the border."""
    five = dict(neck=dict(num_outs=5), rpn_head=dict(anchor_generator=dict(strides=[4, 8, 16, 32, 64])))
    teacher_file(checkpoint, cfg=stock_cfg(len(OLD), **five))
    student = make(**five)
    masks = []
    student.distiller.rpn_cls.forward = lambda mine, theirs, mask: masks.append(mask) or mine.sum() * 0
    inputs, samples = batch(((), ), shapes=[(96, 96)])
    losses_of(student, inputs, samples)
    losses_of(student, *one_image(inputs, samples, 0, (128, 160)))
    anchors = [3 * (24 * 24 + 12 * 12 + 6 * 6 + 3 * 3), 3]
    assert [int(mask.sum()) for mask in masks] == [sum(anchors)] * 2
    assert [mask.shape[1] for mask in masks] == [anchors[0] + 3 * 4, 3 * (32 * 40 + 16 * 20 + 8 * 10 + 4 * 5 + 2 * 3)]


@shapes
def test_a_batch_costs_the_mean_of_its_images(still, shapes):
    """Through the network: each image in a tensor of the batch's size, so that its features are the same."""
    inputs, samples = batch(shapes=shapes)
    alone = [dense_terms(still, *one_image(inputs, samples, index, inputs.shape[-2:])) for index in range(2)]
    assert torch.allclose(dense_terms(still, inputs, samples), sum(alone) / 2, rtol=1e-4)
    assert not torch.allclose(alone[0], alone[1], rtol=0.01)


@pytest.mark.parametrize('spare_new', [True, False])
def test_padding_is_not_distilled(still, spare_new):
    """Alone, in four times its width, beside a larger image.

    Not equal to the last digit, since convolutions see what bias and batch norm make of the padding where they saw their own
    zeros: features near the border differ. With the padding among what is compared, the terms shrink to a fraction.
    """
    still.distiller.spare_new = spare_new
    inputs, samples = batch((TWO_IMAGES[0], ) * 2, shapes=((64, 64), (96, 256)))
    alone = dense_terms(still, *one_image(inputs, samples, 0, (64, 64)))
    wide = dense_terms(still, *one_image(inputs, samples, 0, (64, 256)))
    larger = dense_terms(still, *one_image(inputs, samples, 1, (96, 256)))
    assert torch.allclose(wide, alone, rtol=0.2), (wide, alone)
    beside = 2 * dense_terms(still, inputs, samples) - larger
    assert torch.allclose(beside, alone, rtol=0.2), (beside, alone)


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

"""The teacher's hygiene (protocol 6), its identity (protocol 7) and what it tells."""

import copy

import pytest
import torch
from mmcv.ops import nms
from mmengine.config import Config, ConfigDict
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from tiny import OLD, UNEQUAL, batch, build, instances, stock_cfg, student_cfg, teacher_file

from mmilmil import InputError
from mmilmil.engine.hooks.stage_check import check_teacher
from mmilmil.models import Teacher
from mmilmil.models.merging import merge_teacher_boxes
from mmilmil.stage import Stage

NUM_OLD = len(OLD)


@pytest.fixture
def checkpoint(tmp_path):
    return teacher_file(tmp_path / 'teacher.pth')


@pytest.fixture
def student(checkpoint):
    return build(student_cfg(checkpoint))


# Hygiene


def test_stays_in_eval_mode(student):
    student.train()
    assert student.training and student.backbone.bn1.training
    assert not any(module.training for module in student.teacher.modules())
    student.teacher.train()
    assert not any(module.training for module in student.teacher.modules())


def test_observing_changes_nothing_in_it(student):
    before = copy.deepcopy(student.teacher.state_dict())
    student.train()
    student.loss(*batch())
    after = student.teacher.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)  # batch-norm statistics too


def test_has_no_gradient(student):
    student.train()
    losses = student.loss(*batch())
    total, _ = student.parse_losses(losses)
    total.backward()
    assert not any(weight.requires_grad or weight.grad is not None for weight in student.teacher.parameters())
    assert sum(weight.grad is not None for weight in student.parameters()) > 20


def test_is_in_none_of_the_students_collections(student):
    stock = build(stock_cfg(len(OLD) + 2))
    hers = {id(weight) for weight in student.teacher.parameters()}
    assert len(hers) > 50
    assert not hers & {id(weight) for weight in student.parameters()}
    assert not {id(module) for module in student.teacher.modules()} & {id(module) for module in student.modules()}
    assert not {id(b) for b in student.teacher.buffers()} & {id(b) for b in student.buffers()}
    assert list(student.state_dict()) == list(stock.state_dict())
    assert not any(module is student.teacher for module in student.children())
    optimizer = build_optim_wrapper(student, dict(optimizer=dict(type='SGD', lr=0.1)))
    trained = {id(weight) for group in optimizer.optimizer.param_groups for weight in group['params']}
    assert trained and not hers & trained


def test_ema_and_copies_share_it(student):
    teacher = student.teacher
    assert copy.deepcopy(student).teacher is teacher
    averaged = ExponentialMovingAverage(student)
    assert averaged.module.teacher is teacher
    assert not any('teacher' in name for name in averaged.state_dict())
    assert sum(w.numel() for w in averaged.parameters()) == sum(w.numel() for w in student.parameters())
    averaged.update_parameters(student)


def test_moves_with_the_student(student):
    assert student.teacher.detector.backbone.conv1.weight.dtype == torch.float32
    student.double()
    assert {weight.dtype for weight in student.teacher.parameters()} == {torch.float64}
    assert student.teacher.detector.backbone.bn1.running_mean.dtype == torch.float64
    student.to(torch.float32)
    assert {weight.dtype for weight in student.teacher.parameters()} == {torch.float32}
    student.to('meta')
    assert {weight.device.type for weight in student.teacher.parameters()} == {'meta'}


def test_joins_the_student_where_that_is_already(checkpoint):
    student = build(student_cfg(checkpoint))
    student._keep_beside(None)
    student.double()
    assert {weight.dtype for weight in student.teacher.parameters()} == {torch.float64}


def test_images_follow_it_to_a_device(checkpoint):
    """Moved on its own, as tools/cache_teacher_boxes.py does; the data preprocessor puts images where it stands."""
    teacher = Teacher.load(checkpoint).to('meta')
    assert teacher.detector.data_preprocessor.device == torch.device('meta')
    assert {weight.device.type for weight in teacher.parameters()} == {'meta'}


def test_one_pass_a_batch(student):
    calls = []

    def count(name):
        return lambda *_: calls.append(name)

    her = student.teacher.detector
    for name, module in dict(backbone=her.backbone, neck=her.neck, rpn=her.rpn_head, shared_fc=her.roi_head.bbox_head,
                             own_backbone=student.backbone, own_head=student.roi_head.bbox_head).items():
        module.register_forward_hook(count(name))
    student.train()
    student.loss(*batch())
    # Her head is asked a second time, about the student's features.
    assert sorted(calls) == sorted(['backbone', 'neck', 'rpn', 'shared_fc', 'shared_fc', 'own_backbone', 'own_head'])


# What it tells


@pytest.mark.parametrize('shapes, side', [(None, 64), (UNEQUAL, 96)], ids=['equal', 'unequal'])
def test_knowledge_has_the_documented_shapes(student, shapes, side):
    inputs, samples = batch(shapes=shapes)
    known = student.teacher.observe(inputs, samples, score_thr=0.3)
    sides = [side // stride for stride in (4, 8, 16, 32)]
    assert [tuple(stage.shape) for stage in known.backbone_levels] == [(2, c, s, s) for c, s in zip((8, 16, 32, 64), sides)]
    assert [tuple(level.shape) for level in known.neck_levels] == [(2, 16, s, s) for s in sides]
    assert [tuple(logits.shape) for logits in known.rpn_logits] == [(2, 3, s, s) for s in sides]
    assert [tuple(deltas.shape) for deltas in known.rpn_deltas] == [(2, 12, s, s) for s in sides]
    assert len(known.proposals) == len(known.heads[0].logits) == len(known.heads[0].deltas) == len(known.detections) == 2
    for proposals, logits, deltas in zip(known.proposals, known.heads[0].logits, known.heads[0].deltas):
        count = len(proposals)
        assert 0 < count <= 50
        assert proposals.bboxes.shape == (count, 4)
        assert logits.shape == (count, NUM_OLD + 1) and deltas.shape == (count, 4 * NUM_OLD)
        assert torch.equal(proposals.scores, proposals.scores.sort(descending=True)[0])
    for sample, found, proposals in zip(samples, known.detections, known.proposals):
        # In the image itself, not in its padding.
        height, width = sample.img_shape
        for boxes in (found.bboxes, proposals.bboxes):
            assert (boxes >= 0).all() and (boxes <= torch.tensor([width, height, width, height])).all()
        assert found.bboxes.shape == (len(found), 4) and len(found.labels) == len(found)
        assert (found.scores > 0.3).all()
        assert found.labels.numel() == 0 or int(found.labels.max()) < NUM_OLD
    assert sum(map(len, known.detections)) > 0  # the tiny teacher is made to find something


def test_knowledge_has_no_gradient(student):
    known = student.teacher.observe(*batch())
    maps = [*known.backbone_levels, *known.neck_levels, *known.rpn_logits, *known.rpn_deltas, *known.heads[0].logits,
            *known.heads[0].deltas]
    assert not any(tensor.requires_grad for tensor in maps)
    assert not any(found.bboxes.requires_grad or found.scores.requires_grad for found in known.detections)


@pytest.mark.parametrize('shapes', [None, UNEQUAL], ids=['equal', 'unequal'])
def test_detections_are_those_of_the_stock_detector(student, shapes):
    inputs, samples = batch(shapes=shapes)
    her = student.teacher.detector
    known = student.teacher.observe(inputs, samples, score_thr=her.test_cfg.rcnn.score_thr)
    with torch.no_grad():
        stock = her.predict(inputs, samples, rescale=False)
    for mine, theirs in zip(known.detections, stock, strict=True):
        assert torch.allclose(mine.bboxes, theirs.pred_instances.bboxes, atol=1e-4)
        assert torch.equal(mine.labels, theirs.pred_instances.labels)
        assert torch.allclose(mine.scores, theirs.pred_instances.scores, atol=1e-6)


@pytest.mark.parametrize('method', ['linear', 'gaussian'])
def test_soft_nms_of_the_teacher(student, method):
    """It lowers scores, so the threshold is asked once more: what is above it then is what the stock detector has above it."""
    inputs, samples = batch()
    her = student.teacher.detector
    before = student.teacher.observe(inputs, samples, score_thr=0.3)
    soft = ConfigDict(type='soft_nms', iou_threshold=0.3, method=method, min_score=0.01)
    her.test_cfg.rcnn.nms = her.roi_head.test_cfg.nms = soft
    known = student.teacher.observe(inputs, samples, score_thr=0.3)
    with torch.no_grad():
        stock = [found.pred_instances for found in her.predict(inputs, samples, rescale=False)]
    scores, hard = (sorted(torch.cat([found.scores for found in seen.detections]).tolist()) for seen in (known, before))
    assert min(scores) > 0.3 and scores != hard
    for mine, theirs in zip(known.detections, stock, strict=True):
        theirs = theirs[theirs.scores > 0.3]
        assert torch.allclose(mine.bboxes, theirs.bboxes, atol=1e-4) and torch.equal(mine.labels, theirs.labels)
        assert torch.allclose(mine.scores, theirs.scores, atol=1e-6)
        # Merging suppresses by the lowered scores.
        added = merge_teacher_boxes(instances([], []), mine, score_thr=0.3, nms_iou_thr=0.4)
        assert added.scores.tolist() == mine.scores[nms(mine.bboxes, mine.scores, 0.4)[1]].tolist()


def test_number_of_proposals_can_be_bounded(checkpoint):
    known = Teacher.load(str(checkpoint), max_proposals=7).observe(*batch())
    assert [len(found) for found in known.proposals] == [7, 7]
    assert [len(logits) for logits in known.heads[0].logits] == [7, 7]


def test_images_without_a_proposal(student):
    student.teacher.detector.test_cfg.rpn.min_bbox_size = 1000
    student.teacher.detector.rpn_head.test_cfg.min_bbox_size = 1000
    known = student.teacher.observe(*batch())
    assert [len(found) for found in known.proposals] == [0, 0]
    assert [tuple(logits.shape) for logits in known.heads[0].logits] == [(0, NUM_OLD + 1)] * 2
    assert [len(found) for found in known.detections] == [0, 0]
    student.train()
    total, _ = student.parse_losses(student.loss(*batch()))
    total.backward()
    assert torch.isfinite(total)


# Reading it


def test_config_in_the_checkpoint_is_enough(checkpoint):
    teacher = Teacher.load(str(checkpoint))
    assert teacher.classes == OLD and teacher.num_classes == NUM_OLD
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    assert all(torch.equal(value, weights[name]) for name, value in teacher.detector.state_dict().items())


@pytest.mark.parametrize('kind', ['path', 'dict', 'model dict'])
def test_config_may_be_given(checkpoint, tmp_path, kind):
    cfg = Config(dict(model=stock_cfg(NUM_OLD)))
    cfg.dump(tmp_path / 'teacher.py')
    config = dict(path=str(tmp_path / 'teacher.py'), dict=cfg.to_dict()).get(kind, cfg.model)
    assert Teacher.load(str(checkpoint), config).num_classes == NUM_OLD


def test_student_can_be_a_teacher_and_its_own_teacher_is_not_asked(checkpoint, tmp_path):
    student = build(student_cfg(checkpoint))
    cfg = Config(dict(model=student_cfg(tmp_path / 'gone.pth')))
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(CLASSES=['a', 'b', 'c', 'd', 'e']))
    torch.save(dict(meta=meta, state_dict=student.state_dict()), tmp_path / 'next.pth')
    teacher = Teacher.load(str(tmp_path / 'next.pth'))
    assert type(teacher.detector).__name__ == 'FasterRCNN'
    assert teacher.classes == ('a', 'b', 'c', 'd', 'e')


def test_missing_checkpoint_names_the_command(tmp_path):
    missing = tmp_path / 'work' / 'base' / 'final.pth'
    with pytest.raises(InputError) as error:
        Teacher.load(str(missing), 'configs/ilmil/base.py')
    message = str(error.value)
    assert str(missing) in message and '\n' not in message
    assert f'python tools/train.py configs/ilmil/base.py --work-dir {missing.parent}' in message
    assert 'tools/train_chain.py' in message


def test_missing_checkpoint_without_config(tmp_path):
    with pytest.raises(InputError, match='model.teacher.checkpoint'):
        Teacher.load(str(tmp_path / 'final.pth'))


def test_missing_config(checkpoint):
    with pytest.raises(InputError, match='nowhere/base.py does not exist.*model.teacher.config'):
        Teacher.load(str(checkpoint), 'nowhere/base.py')


def test_checkpoint_without_classes(tmp_path):
    checkpoint = teacher_file(tmp_path / 'teacher.pth', classes=(), cfg=stock_cfg(NUM_OLD))
    with pytest.raises(InputError) as error:
        Teacher.load(str(checkpoint))
    assert str(checkpoint) in str(error.value) and 'meta.dataset_meta.classes' in str(error.value)


def test_checkpoint_without_config(checkpoint):
    content = torch.load(checkpoint)
    del content['meta']['cfg']
    torch.save(content, checkpoint)
    with pytest.raises(InputError) as error:
        Teacher.load(str(checkpoint))
    assert str(checkpoint) in str(error.value) and 'model.teacher.config' in str(error.value)


def test_config_in_the_checkpoint_is_never_run(checkpoint, tmp_path):
    """A file from elsewhere may hold any Python in the place of its config."""
    content = torch.load(checkpoint)
    content['meta']['cfg'] = f"_ = open({str(tmp_path / 'touched')!r}, 'w')\n" + content['meta']['cfg']
    torch.save(content, checkpoint)
    with pytest.raises(InputError, match='line 1 holds more than literals.*model.teacher.config') as error:
        Teacher.load(str(checkpoint))
    assert str(checkpoint) in str(error.value)
    assert not (tmp_path / 'touched').exists()


@pytest.mark.parametrize('changes', [
    dict(backbone=dict(depth=34)),
    dict(roi_head=dict(bbox_head=dict(num_classes=NUM_OLD + 1))),
    dict(neck=dict(out_channels=24), rpn_head=dict(in_channels=24),
         roi_head=dict(bbox_roi_extractor=dict(out_channels=24), bbox_head=dict(in_channels=24))),
], ids=['deeper', 'one class more', 'wider neck'])
def test_config_of_another_model(checkpoint, changes):
    with pytest.raises(InputError) as error:
        Teacher.load(str(checkpoint), dict(model=stock_cfg(NUM_OLD, **changes)))
    assert str(checkpoint) in str(error.value) and 'model.teacher.config' in str(error.value)


def test_names_that_do_not_fit_the_head(tmp_path):
    """A checkpoint that names other than its head's number of classes is wrong, whatever the student says."""
    checkpoint = teacher_file(tmp_path / 'teacher.pth', classes=OLD, cfg=stock_cfg(NUM_OLD + 1))
    with pytest.raises(InputError) as error:
        Teacher.load(str(checkpoint))
    assert str(checkpoint) in str(error.value)
    assert str(NUM_OLD) in str(error.value) and str(NUM_OLD + 1) in str(error.value)


@pytest.mark.parametrize('content', [b'', b'this is no checkpoint', b'a', b'\x80\x02garbage', b'PK\x03\x04'])
def test_unreadable_checkpoint(tmp_path, content):
    (tmp_path / 'teacher.pth').write_bytes(content)
    with pytest.raises(InputError) as error:
        Teacher.load(str(tmp_path / 'teacher.pth'))
    assert str(tmp_path / 'teacher.pth') in str(error.value)


# Being the right one

STAGE = Stage(('a', 'b', 'c', 'd'), (2, 1, 1))


def test_right_teacher():
    check_teacher(STAGE, ('a', 'b', 'c'), 'base.pth')


@pytest.mark.parametrize('classes', [
    ('a', 'c', 'b'), ('a', 'b'), ('a', 'b', 'x'), ('a', 'b', 'c', 'd'), ('A', 'b', 'c')])
def test_wrong_teacher_is_told_with_both_lists(classes):
    with pytest.raises(InputError) as error:
        check_teacher(STAGE, classes, 'base.pth')
    message = str(error.value)
    assert 'base.pth' in message and str(list(classes)) in message and "['a', 'b', 'c']" in message


def test_first_stage_needs_no_teacher():
    with pytest.raises(InputError, match=r'\(4,\) has one group'):
        check_teacher(Stage(('a', 'b', 'c', 'd'), (4, )), ('a', 'b'), 'base.pth')

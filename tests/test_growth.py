"""Growing the heads: the student starts as the teacher, plus rows for the new classes."""

import pytest
import torch
from mmdet.structures.bbox import bbox2roi
from tiny import OLD, SEEN, batch, build, shake, stock_cfg, student_cfg, teacher_file

from mmilmil import InputError
from mmilmil.models.growth import Growth, box_rows, grown_state_dict, sigmoid_rows, softmax_rows

NUM_OLD, NUM_SEEN = len(OLD), len(SEEN)
CLS, REG = 'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg'


def agnostic(value):
    return dict(roi_head=dict(bbox_head=dict(reg_class_agnostic=value)))


def rows(*values):
    return torch.tensor([[float(value)] for value in values])


def growth(teacher_agnostic=False, student_agnostic=False, classes=2):
    return Growth(teacher_agnostic, student_agnostic, classes)


def test_background_stays_last():
    # Teacher: two classes and background; fresh: four classes and background.
    grown = softmax_rows(rows(1, 2, 9), rows(10, 20, 30, 40, 90), growth())
    assert grown.flatten().tolist() == [1, 2, 30, 40, 9]
    assert softmax_rows(torch.tensor([1., 9.]), torch.tensor([10., 20., 90.]), growth()).tolist() == [1, 20, 9]


def test_box_rows_have_no_background():
    # One class grows to two, four rows each.
    grown = box_rows(rows(1, 2, 3, 4), rows(10, 20, 30, 40, 50, 60, 70, 80), growth())
    assert grown.flatten().tolist() == [1, 2, 3, 4, 50, 60, 70, 80]


def test_agnostic_rows_are_those_of_every_class():
    spread = growth(teacher_agnostic=True)
    assert box_rows(rows(1, 2, 3, 4), rows(*range(10, 22)), spread).flatten().tolist() == [1, 2, 3, 4] * 3
    assert box_rows(torch.tensor([1., 2., 3., 4.]), torch.zeros(8), spread).tolist() == [1, 2, 3, 4] * 2


def test_classes_of_a_sigmoid_grow_anchor_by_anchor():
    # Two anchors; one class grows to three: rows of the second anchor follow all rows of the first.
    grown = sigmoid_rows(rows(1, 2), rows(10, 20, 30, 40, 50, 60), growth(classes=3))
    assert grown.flatten().tolist() == [1, 20, 30, 2, 50, 60]
    # One point a cell, or a mask head: new classes to the end.
    assert sigmoid_rows(torch.tensor([1., 2.]), torch.tensor([10., 20., 30.]), growth(classes=3)).tolist() == [1, 2, 30]


# Box layers of teacher and student, as reg_class_agnostic has them.
PAIRS = {'wise to wise': (False, False), 'agnostic to agnostic': (True, True), 'agnostic to wise': (True, False)}


@pytest.fixture(params=PAIRS)
def pair(request, tmp_path):
    """A teacher and its student right after head growth."""
    hers, own = (agnostic(value) for value in PAIRS[request.param])
    checkpoint = teacher_file(tmp_path / 'teacher.pth', cfg=stock_cfg(NUM_OLD, **hers))
    student = build(student_cfg(checkpoint, **own), seed=7)
    return student.teacher.detector, student.eval()


@torch.no_grad()
def test_student_sees_what_the_teacher_sees(pair):
    teacher, student = pair
    inputs, samples = batch(shapes=[(96, 96)] * 2)
    levels, theirs = student.extract_feat(inputs), teacher.extract_feat(inputs)
    for mine, his in zip(levels, theirs, strict=True):
        assert torch.allclose(mine, his, rtol=0, atol=1e-6)
    proposals = [found.bboxes for found in teacher.rpn_head.predict(theirs, samples, rescale=False)]
    mine = [found.bboxes for found in student.rpn_head.predict(levels, samples, rescale=False)]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(mine, proposals, strict=True))

    rois = bbox2roi(proposals)
    assert len(rois) > 20
    mine, his = student.roi_head._bbox_forward(levels, rois), teacher.roi_head._bbox_forward(theirs, rois)
    assert mine['cls_score'].shape == (len(rois), NUM_SEEN + 1) and his['cls_score'].shape == (len(rois), NUM_OLD + 1)
    old_and_background = [*range(NUM_OLD), NUM_SEEN]
    assert torch.allclose(mine['cls_score'][:, old_and_background], his['cls_score'], rtol=1e-5, atol=1e-5)
    assert his['cls_score'].std() > 0.1  # something to compare

    agnostic, own_agnostic = (detector.roi_head.bbox_head.reg_class_agnostic for detector in (teacher, student))
    assert mine['bbox_pred'].shape == (len(rois), 4 if own_agnostic else 4 * NUM_SEEN)
    assert his['bbox_pred'].shape == (len(rois), 4 if agnostic else 4 * NUM_OLD)
    # Each old class's box; of a class-agnostic teacher the one box is every class's.
    wanted = his['bbox_pred'].repeat(1, NUM_OLD) if agnostic and not own_agnostic else his['bbox_pred']
    assert torch.allclose(mine['bbox_pred'][:, :wanted.size(1)], wanted, rtol=1e-5, atol=1e-5)
    coder = student.roi_head.bbox_head.bbox_coder
    his_boxes = teacher.roi_head.bbox_head.bbox_coder.decode(rois[:, 1:], wanted)
    assert torch.allclose(coder.decode(rois[:, 1:], mine['bbox_pred'])[:, :wanted.size(1)], his_boxes, atol=1e-3)


def test_new_rows_are_fresh_and_small(pair):
    teacher, student = pair
    weight = student.roi_head.bbox_head.fc_cls.weight
    new = weight[NUM_OLD:NUM_SEEN]
    assert 0.005 < new.std() < 0.02  # Normal(0, 0.01), MMDetection's initialisation of fc_cls
    assert student.roi_head.bbox_head.fc_cls.bias[NUM_OLD:NUM_SEEN].tolist() == [0.] * (NUM_SEEN - NUM_OLD)
    assert torch.equal(weight[-1], teacher.roi_head.bbox_head.fc_cls.weight[-1])
    assert teacher.roi_head.bbox_head.fc_cls.weight.std() > 0.05


def test_student_owns_its_weights(pair):
    teacher, student = pair
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    shake(student)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name])


def test_all_weights_but_the_class_rows_are_the_teachers():
    teacher, student = build(stock_cfg(2), seed=1).state_dict(), build(stock_cfg(3), seed=2)
    fresh, grown = student.state_dict(), grown_state_dict(teacher, student)
    assert grown.keys() == fresh.keys()
    for name, value in grown.items():
        assert value.shape == fresh[name].shape
        if not name.startswith((CLS, REG)):
            assert torch.equal(value, teacher[name]), name
    assert torch.equal(grown[f'{REG}.weight'][:8], teacher[f'{REG}.weight'])
    assert torch.equal(grown[f'{REG}.bias'][8:], fresh[f'{REG}.bias'][8:])


@pytest.mark.parametrize('name', ['neck.fpn_convs.0.conv.weight', f'{CLS}.bias'])
def test_rows_grow_in_the_class_layers_alone(name):
    """By the layer that they belong to, and in the first dimension only."""
    student = build(stock_cfg(3))
    weights = dict(build(stock_cfg(2)).state_dict())
    weights[name] = weights[name][:-1] if 'neck' in name else weights[name][:, None]
    with pytest.raises(InputError, match=rf'{name} has shape \({weights[name].shape[0]}, .* in the teacher and \('):
        grown_state_dict(weights, student)


def test_different_detectors_are_told_by_number_and_first_name():
    student = build(stock_cfg(3))
    weights = {'a.weight': rows(1), **{name: value for name, value in student.state_dict().items() if name != f'{CLS}.bias'}}
    with pytest.raises(InputError, match='2 weights are in one of them only, the first is a.weight'):
        grown_state_dict(weights, student)


def test_grown_rows_have_the_students_type():
    teacher = build(stock_cfg(2)).double().state_dict()
    grown = grown_state_dict(teacher, build(stock_cfg(3)))[f'{CLS}.weight']
    assert grown.dtype == torch.float32 and torch.equal(grown[:2], teacher[f'{CLS}.weight'][:2].float())


def test_shrinking_is_refused():
    with pytest.raises(InputError, match='only the class rows of the heads may differ, and only grow'):
        grown_state_dict(build(stock_cfg(3)).state_dict(), build(stock_cfg(2)))


def test_another_width_is_refused_by_name_and_shapes():
    wide = stock_cfg(3, roi_head=dict(bbox_head=dict(fc_out_channels=24)))
    with pytest.raises(InputError) as error:
        grown_state_dict(build(stock_cfg(2)).state_dict(), build(wide))
    assert 'roi_head.bbox_head.' in str(error.value) and '24' in str(error.value) and '16' in str(error.value)


def test_another_architecture_is_refused(tmp_path):
    deep = stock_cfg(NUM_OLD, backbone=dict(depth=34))
    checkpoint = teacher_file(tmp_path / 'teacher.pth', cfg=deep)
    with pytest.raises(InputError) as error:
        build(student_cfg(checkpoint))
    assert 'model.backbone.depth is 34 there and 18 in the student' in str(error.value)
    assert 'inherit' in str(error.value)


def test_other_weights_are_refused_by_name():
    with pytest.raises(InputError, match=r'different detectors: .* in one of them only, the first is backbone.layer1.2.'):
        grown_state_dict(build(stock_cfg(2)).state_dict(), build(stock_cfg(2, backbone=dict(depth=34))))


@pytest.mark.parametrize('classes', [OLD, OLD[:1]])
def test_class_wise_teacher_of_a_class_agnostic_student_is_refused(tmp_path, classes):
    """Of one class too, where the two layers have the same shape."""
    checkpoint = teacher_file(tmp_path / 'teacher.pth', classes=classes)
    with pytest.raises(InputError, match='reg_class_agnostic is False there and True in the student.*set these as they are'):
        build(student_cfg(checkpoint, **agnostic(True)))
    one, two = build(stock_cfg(1)), build(stock_cfg(2, **agnostic(True)))
    with pytest.raises(InputError, match='reg_class_agnostic is False in the teacher and True in the student'):
        grown_state_dict(one.state_dict(), two, one)


@pytest.mark.parametrize('hers, spread', [(False, False), (True, True)])
def test_one_class_is_told_apart_by_its_setting(tmp_path, hers, spread):
    """One class has four rows either way: those of the new class are fresh, or the class-agnostic ones."""
    checkpoint = teacher_file(tmp_path / 'teacher.pth', classes=OLD[:1], cfg=stock_cfg(1, **agnostic(hers)))
    student = build(student_cfg(checkpoint, num_classes=2))
    wanted = student.teacher.detector.roi_head.bbox_head.fc_reg.weight
    weight = student.roi_head.bbox_head.fc_reg.weight
    assert torch.equal(weight[:4], wanted)
    assert torch.equal(weight[4:], wanted) == spread


def test_same_number_of_classes_changes_nothing():
    weights = build(stock_cfg(3), seed=1).state_dict()
    grown = grown_state_dict(weights, build(stock_cfg(3), seed=2))
    assert all(torch.equal(grown[name], weights[name]) for name in weights)

"""Which teacher boxes join the ground truth."""

import pytest
import torch
from tiny import instances

from mmilmil.models.merging import merge_teacher_boxes

GT = [[0., 0., 10., 10.], [50., 50., 60., 60.]]


def merged(detections, gt=None, **kwargs):
    return merge_teacher_boxes(instances(GT, [4, 3]) if gt is None else gt, detections, **kwargs)


def test_score_must_be_higher_than_the_threshold():
    far = [[20., 20., 30., 30.], [30., 30., 40., 40.], [40., 20., 48., 30.]]
    out = merged(instances(far, [0, 1, 2], [0.5, 0.5 + 1e-6, 0.9]))
    assert out.bboxes.tolist() == [*GT, far[1], far[2]]
    assert out.labels.tolist() == [4, 3, 1, 2]


def test_iou_must_be_lower_than_the_threshold():
    # Against the first annotated box (0, 0, 10, 10), area 100: boxes 10 wide inside it have IoU height / 10.
    inside = [[0., 0., 10., 7.], [0., 0., 10., 6.9], [0., 0., 10., 7.1]]
    out = merged(instances(inside, [0, 1, 2], [0.9, 0.8, 0.7]))
    assert out.bboxes[2:].tolist() == torch.tensor([inside[1]]).tolist()  # 0.7 exactly is out, as is 0.71
    assert out.labels.tolist() == [4, 3, 1]


def test_iou_with_every_annotated_box_counts():
    # IoU 0.8 with the second annotated box, none with the first.
    out = merged(instances([[50., 50., 60., 58.]], [0], [0.99]))
    assert out.bboxes.tolist() == GT


def test_thresholds_can_be_chosen():
    found = instances([[0., 0., 10., 5.], [20., 20., 30., 30.]], [0, 1], [0.6, 0.3])
    assert merged(found).labels.tolist() == [4, 3, 0]
    assert merged(found, score_thr=0.2).labels.tolist() == [4, 3, 0, 1]
    assert merged(found, iou_thr=0.5).labels.tolist() == [4, 3]
    assert merged(found, score_thr=0.2, iou_thr=0.51).labels.tolist() == [4, 3, 0, 1]


def test_of_overlapping_detections_the_better_scored_stays():
    # IoU 0.5 of the first two, of different classes; the third stands alone.
    found = instances([[20., 20., 30., 30.], [20., 20., 30., 25.], [70., 0., 80., 10.]], [0, 1, 1], [0.6, 0.9, 0.7])
    assert sorted(merged(found).labels[2:].tolist()) == [0, 1, 1]
    assert merged(found, nms_iou_thr=0.6).scores[2:].tolist() == pytest.approx([0.9, 0.7, 0.6])
    out = merged(found, nms_iou_thr=0.4)
    assert out.bboxes[2:].tolist() == [[20., 20., 30., 25.], [70., 0., 80., 10.]]
    assert out.labels.tolist() == [4, 3, 1, 1]


def test_a_dropped_detection_suppresses_nothing():
    # The better-scored box lies on an annotated one and is dropped first; the other has IoU 1/3 with it and stays.
    found = instances([[0., 0., 10., 10.], [5., 0., 15., 10.]], [0, 1], [0.9, 0.6])
    assert merged(found, nms_iou_thr=0.2, iou_thr=0.4).labels.tolist() == [4, 3, 1]


def merged_beside(ignored, *found, gt=((100., 100., 110., 110.), ), **kwargs):
    """Boxes that are merged where these are ignored and only ``gt`` is annotated."""
    found = instances(found, [0] * len(found), [0.9] * len(found))
    return merged(found, gt=instances(gt, [4] * len(gt)), ignored=torch.tensor(ignored), **kwargs).bboxes.tolist()[len(gt):]


def test_detections_on_ignored_objects_are_left_out():
    # Against (0, 0, 10, 10), area 100: a box 20 wide and h high, half beside it, has IoU 10 h / (100 + 10 h), IoF 1/2; one 30
    # wide has IoF 1/3 and IoU 100 / 300 at h = 10.
    ignored = [[0., 0., 10., 10.], [200., 0., 210., 10.]]
    assert merged_beside(ignored, (0., 0., 10., 10.), (200., 1., 210., 10.)) == []
    assert merged_beside(ignored, (0., 0., 30., 10.), iou_thr=0.3) == []  # by its IoU of 1/3
    assert merged_beside(ignored, (0., 0., 30., 10.), iou_thr=0.34) == [[0., 0., 30., 10.]]
    assert merged_beside(ignored, (20., 0., 30., 10.)) == [[20., 0., 30., 10.]]


def test_detections_inside_an_ignored_crowd_are_left_out():
    """However small the IoU: here below 1/100."""
    crowd = [[0., 0., 100., 100.]]
    assert merged_beside(crowd, (50., 50., 60., 59.), (95., 0., 105., 10.)) == []  # all and exactly half of it inside
    assert merged_beside(crowd, (96., 0., 106., 10.)) == [[96., 0., 106., 10.]]  # 4/10 inside
    # Two crowds with 4/10 each are not one with 8/10, and an annotated box has no such rule.
    assert merged_beside([[0., 0., 4., 10.], [6., 0., 10., 10.]], (0., 0., 10., 10.), iou_thr=0.5) == [[0., 0., 10., 10.]]
    assert merged_beside([[200., 0., 210., 10.]], (0., 0., 10., 10.), gt=crowd) == [[0., 0., 10., 10.]]


@pytest.mark.parametrize('gt', [(), ((100., 100., 110., 110.), )], ids=['nothing annotated', 'annotated'])
def test_ignored_objects_beside_nothing_else(gt):
    assert merged_beside([[0., 0., 10., 10.]], (0., 0., 10., 10.), (20., 0., 30., 10.), gt=gt) == [[20., 0., 30., 10.]]
    assert merged_beside([[0., 0., 10., 10.]], gt=gt) == []


def test_scores_are_one_for_annotated_and_the_teachers_for_merged():
    out = merged(instances([[20., 20., 30., 30.], [0., 0., 9., 10.]], [0, 1], [0.75, 0.95]))
    assert out.scores.tolist() == [1., 1., 0.75]
    assert len(out) == 3


def test_no_ground_truth():
    out = merged(instances([[0., 0., 10., 10.], [1., 1., 2., 2.]], [2, 1], [0.9, 0.1]), gt=instances([], []))
    assert out.bboxes.tolist() == [[0., 0., 10., 10.]]
    assert out.labels.tolist() == [2]
    assert out.scores.tolist() == torch.tensor([0.9]).tolist()


def test_no_detections():
    out = merged(instances([], [], []))
    assert out.bboxes.tolist() == GT
    assert out.labels.tolist() == [4, 3]
    assert out.scores.tolist() == [1., 1.]


def test_neither():
    out = merged(instances([], [], []), gt=instances([], []))
    assert out.bboxes.shape == (0, 4) and out.labels.shape == (0, ) and out.scores.shape == (0, )
    assert out.labels.dtype == torch.int64


def test_inputs_stay_as_they_are():
    gt, found = instances(GT, [4, 3]), instances([[20., 20., 30., 30.]], [0], [0.9])
    merged(found, gt=gt)
    assert len(gt) == 2 and 'scores' not in gt
    assert len(found) == 1


def test_types_follow_the_ground_truth():
    found = instances([[20., 20., 30., 30.]], [0], [0.9])
    found.bboxes, found.scores = found.bboxes.double(), found.scores.double()
    out = merged(found)
    assert out.bboxes.dtype == out.scores.dtype == torch.float32 and out.labels.dtype == torch.int64

"""Counting right and wrong teacher boxes, by hand."""

import numpy as np

from mmilmil.evaluation.teacher_boxes import TeacherBoxes, match

BOX, FAR = (0, 0, 10, 10), (50, 50, 60, 60)


def scored(*rows):
    return np.array(rows, dtype=np.float32).reshape(-1, 5)


def test_an_object_is_found_once_and_by_its_own_class():
    detections = scored((*BOX, .6), (*BOX, .9), (*FAR, .9), (*FAR, .8))
    right, wrong = match(detections, np.array([0, 0, 0, 1]), np.array([BOX, FAR], dtype=np.float32), np.array([0, 1]))
    # The second has the higher score; the third is of the wrong class.
    assert right.tolist() == [False, True, False, True]
    assert wrong.tolist() == [True, False, True, False]


def test_an_ignored_object_is_neither_right_nor_wrong_to_find():
    detections = scored((*BOX, .6), (*BOX, .9), (*FAR, .9))
    right, wrong = match(
        detections, np.array([0, 0, 0]), np.array([BOX, FAR], dtype=np.float32), np.array([0, 0]), np.array([True, False]))
    assert right.tolist() == [False, False, True] and not wrong.any()


def test_nothing_detected_and_nothing_there():
    assert match(scored(), np.zeros(0, dtype=int), np.zeros((1, 4)), np.zeros(1, dtype=int))[0].shape == (0, )
    right, wrong = match(scored((*BOX, .9)), np.array([0]), np.zeros((0, 4)), np.zeros(0, dtype=int))
    assert not right.any() and wrong.all()


def add(boxes, detections, labels, *objects):
    """Add an image with these objects, as ``(box, label)`` or ``(box, label, ignored)``; labels 0 and 1 are old."""
    boxes.add(detections, np.array(labels, dtype=int), np.array([one[0] for one in objects], dtype=np.float32),
              np.array([one[1] for one in objects]), np.array([bool(one[2:]) for one in objects]), num_old=2)


def test_counts_by_band():
    boxes = TeacherBoxes()
    # Right at 0.9; wrong at 0.7 on an annotated box (IoU 0.5, which belongs to the band above it); below the first band.
    add(boxes, scored((*BOX, .9), (*FAR, .7), (*BOX, .5)), [0, 1, 0], (BOX, 0), ((50, 50, 60, 55), 2))
    add(boxes, scored(), [], (FAR, 0))
    assert (boxes.objects, boxes.found) == (2, 1)
    assert boxes.right.tolist() == [[0, 1], [0, 0], [0, 0], [0, 0]]
    assert boxes.wrong.tolist() == [[0, 0], [0, 0], [1, 0], [0, 0]]
    lines = boxes.table().splitlines()
    assert lines[0] == ('| IoU with an annotated box | right, score 0.5-0.8 | wrong, score 0.5-0.8 | right, score 0.8-1.0 '
                        '| wrong, score 0.8-1.0 |')
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert cells[2] == ['0.0-0.3', '0', '0', '1', '0'] and cells[4] == ['0.5-0.7', '0', '1', '0', '0']


def test_ignored_objects_are_counted_as_merging_treats_them():
    boxes = TeacherBoxes()
    crowd, difficult = (40, 40, 100, 100), (200, 0, 210, 10)
    # In a crowd of new objects, which it covers by 1/36: never merged. On a difficult new object with IoU 1/3 and IoF 1/3: in
    # the band of its IoU. On an old difficult object: don't care, and no object to be found.
    add(boxes, scored((*FAR, .9), (200, 0, 230, 10, .9), (*BOX, .9)), [0, 0, 1], (crowd, 2, True), (difficult, 3, True),
        (BOX, 1, True))
    assert (boxes.objects, boxes.found, boxes.on_ignored) == (0, 0, 1)
    assert boxes.right.sum() == 0 and boxes.wrong.tolist() == [[0, 0], [0, 1], [0, 0], [0, 0]]

"""Counting right and wrong teacher boxes, by hand."""

import numpy as np

from mmilmil.evaluation.teacher_boxes import TeacherBoxes, match

BOX, FAR = (0, 0, 10, 10), (50, 50, 60, 60)


def scored(*rows):
    return np.array(rows, dtype=np.float32).reshape(-1, 5)


def test_an_object_is_found_once_and_by_its_own_class():
    detections = scored((*BOX, .6), (*BOX, .9), (*FAR, .9), (*FAR, .8))
    right = match(detections, np.array([0, 0, 0, 1]), np.array([BOX, FAR], dtype=np.float32), np.array([0, 1]))
    # The second has the higher score; the third is of the wrong class.
    assert right.tolist() == [False, True, False, True]


def test_nothing_detected_and_nothing_there():
    assert match(scored(), np.zeros(0, dtype=int), np.zeros((1, 4)), np.zeros(1, dtype=int)).shape == (0, )
    assert match(scored((*BOX, .9)), np.array([0]), np.zeros((0, 4)), np.zeros(0, dtype=int)).tolist() == [False]


def test_counts_by_band():
    boxes = TeacherBoxes()
    # Right at 0.9; wrong at 0.7 on an annotated box (IoU 0.5, which belongs to the band above it); below the first band.
    boxes.add(
        scored((*BOX, .9), (*FAR, .7), (*BOX, .5)), np.array([0, 1, 0]), np.array([BOX], dtype=np.float32), np.array([0]),
        np.array([(50, 50, 60, 55)], dtype=np.float32))
    boxes.add(scored(), np.zeros(0, dtype=int), np.array([FAR], dtype=np.float32), np.array([0]), np.zeros((0, 4)))
    assert (boxes.objects, boxes.found) == (2, 1)
    assert boxes.right.tolist() == [[0, 1], [0, 0], [0, 0], [0, 0]]
    assert boxes.wrong.tolist() == [[0, 0], [0, 0], [1, 0], [0, 0]]
    lines = boxes.table().splitlines()
    assert lines[0] == ('| IoU with an annotated box | right, score 0.5-0.8 | wrong, score 0.5-0.8 | right, score 0.8-1.0 '
                        '| wrong, score 0.8-1.0 |')
    assert lines[2] == '| 0.0-0.3 | 0 | 0 | 1 | 0 |' and lines[4] == '| 0.5-0.7 | 0 | 1 | 0 | 0 |'

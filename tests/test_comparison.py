"""The picture that shows detectors side by side."""

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from mmilmil.class_colors import class_colors
from mmilmil.stage import Stage
from mmilmil.visualization import comparison, draw_comparison
from mmilmil.visualization.sheet import Cell, Sheet, shared

STAGE = Stage(('circle', 'square', 'star'), (2, 1))
CELL = 200


@pytest.fixture
def images():
    return [np.full((100, 100, 3), 90, np.uint8), np.full((50, 100, 3), 200, np.uint8)]


@pytest.fixture
def columns():
    return {
        'ground truth': [([[10, 20, 40, 60]], [0], None), ([], [], None)],
        'student': [([[10, 20, 40, 60], [50, 50, 90, 90]], [0, 2], [.9, .8]), ([[5, 5, 30, 30]], [1], [.1])],
    }


def draw(path, *args, **kwargs):
    draw_comparison(*args, str(path), cell_width=CELL, **kwargs)
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def cells(picture, columns=2, heights=(200, 100)):
    """The pictures of the grid, [row][column]."""
    tops = np.cumsum([comparison._TITLE, *(height + comparison._GAP for height in heights[:-1])])
    lefts = [comparison._MARGIN + index * (CELL + comparison._GAP) for index in range(columns)]
    return [[picture[top:top + height, left:left + CELL] for left in lefts] for top, height in zip(tops, heights)]


def has(picture, color):
    """Whether a pixel has this colour, as #rrggbb."""
    rgb = np.array([int(color[index:index + 2], 16) for index in (1, 3, 5)])
    return bool((np.abs(picture.astype(int) - rgb).max(axis=-1) < 8).any())


def test_grid(tmp_path, images, columns):
    picture = draw(tmp_path / 'a.png', images, columns, STAGE)
    legend = 26 * 3 + 24
    assert picture.shape == (comparison._TITLE + 200 + 100 + 2 * comparison._GAP + legend,
                             2 * comparison._MARGIN + 2 * CELL + comparison._GAP, 3)
    (truth, student), (empty, unsure) = cells(picture)
    circle, square, star = class_colors(STAGE.split)  # cool, cool and warm, as in all pictures
    assert has(truth, circle) and not has(truth, star)
    assert has(student, circle) and has(student, star)
    # Nothing to draw: no box, and one below the threshold.
    assert not has(empty, square) and not has(unsure, square)
    assert np.array_equal(empty[20:-20, 20:-20], np.full((60, 160, 3), 200))
    # Box (50, 50, 90, 90) is 100 .. 180 at twice the size, and coloured there.
    assert has(student[95:105, 120:150], star) and not has(student[130:150, 120:150], star)


def test_deterministic(tmp_path, images, columns):
    draw(tmp_path / 'a.png', images, columns, STAGE)
    draw(tmp_path / 'b.png', images, columns, STAGE)
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


def test_red_stays_red(tmp_path, columns):
    red = np.zeros((100, 100, 3), np.uint8)
    red[..., 0] = 255
    picture = draw(tmp_path / 'a.png', [red, red[:50]], columns, STAGE)
    assert (cells(picture)[1][0][50, 50] == (255, 0, 0)).all()


def test_missed_boxes_are_dashed(tmp_path, images, columns):
    columns['student'][0] = ([[12, 23, 42, 63]], [1], [.9])  # the right place, the wrong class
    picture = draw(tmp_path / 'a.png', images, columns, STAGE)
    circle = class_colors(STAGE.split)[0]
    (truth, student), _ = cells(picture)
    assert has(student, circle)
    picture = draw(tmp_path / 'b.png', images, columns, STAGE, truth=None)
    assert not has(cells(picture)[0][1], circle)
    assert has(cells(picture)[0][0], circle)


def test_labels_do_not_overlap():
    page = Sheet(400, 400)
    cell = Cell(page, 0, 0, 400, 400, 1.)
    boxes = np.array([[100, 100, 160, 160], [105, 98, 165, 158], [98, 104, 158, 164], [0, 0, 30, 30],
                      [370, 370, 400, 400]])
    for index, one in enumerate(boxes):
        cell.label(f'square 0.9{index}', one, boxes, '#0072b2')
    placed = np.array(cell.labels)
    common = shared(placed, placed)
    assert np.count_nonzero(common) == len(boxes)  # each with itself
    assert placed.min() >= 0 and placed.max() <= 400


def test_many_classes(tmp_path, images):
    stage = Stage(tuple(f'quite a long name {label}' for label in range(23)), (10, 10, 3))
    found = [([[5, 5, 60, 45]], [22], [.5])] * 2
    picture = draw(tmp_path / 'a.png', images, {'one': found}, stage)
    assert picture.shape[0] > 600 and has(cells(picture, 1)[0][0], class_colors(stage.split)[22])


def test_leaves_matplotlib_alone(tmp_path, images, columns):
    before = dict(mpl.rcParams)
    draw(tmp_path / 'a.png', images, columns, STAGE)
    assert dict(mpl.rcParams) == before


def test_bad_input(tmp_path, images, columns):
    with pytest.raises(ValueError, match='nothing to draw'):
        draw_comparison([], columns, STAGE, str(tmp_path / 'a.png'))
    columns['student'].pop()
    with pytest.raises(ValueError, match="'student' has 1 entries for 2 images"):
        draw_comparison(images, columns, STAGE, str(tmp_path / 'a.png'))

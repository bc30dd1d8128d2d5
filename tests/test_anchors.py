"""How anchors fit boxes: IoUs by hand, what is chosen for the small detector, and what is told."""

import numpy as np
import pytest
import tiny
import torch
from conftest import make_voc
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmilmil.data_tools.anchor_choice import choose, fit_lines
from mmilmil.data_tools.anchor_fit import Anchors, anchors_of, best_ious, fit_table, unmatched
from mmilmil.data_tools.check import check_config
from mmilmil.data_tools.training_scale import TrainBoxes, TrainingScale, scaled
from mmilmil.registry import TASK_UTILS

CONFIGS = tiny.ROOT / 'configs'
SQUARE = dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[4])  # 16 px, around the corners of cells of 4 px
SHIPPED = dict(type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32])


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmilmil')


def boxes(*rows, size=(64, 64), name='a'):
    """Boxes on images of one size, as corners."""
    rows = np.array(rows, dtype=float).reshape(-1, 4)
    return TrainBoxes(rows, np.array([name] * len(rows), dtype=object), np.tile(np.array(size, dtype=float), (len(rows), 1)))


def squares(side, number=20, size=(256, 256), name='a'):
    """Boxes of one size, anywhere."""
    corners = np.random.default_rng(0).uniform(0, size[0] - side, (number, 2))
    return boxes(*np.column_stack([corners, corners + side]), size=size, name=name)


@pytest.mark.parametrize(('box', 'iou'), [
    ((12, 12, 28, 28), 1),  # around (20, 20), a corner of cells
    ((13, 12, 29, 28), 15 * 16 / (2 * 256 - 15 * 16)),  # one pixel beside it
    ((14, 14, 30, 30), 14 * 14 / (2 * 256 - 14 * 14)),  # in the middle between four of them
    ((16, 16, 24, 24), 64 / 256),
    ((0, 0, 64, 64), 256 / 4096),
    ((56, 0, 64, 8), 64 / 256),  # the one around (60, 4), the last column, ends at 68
    ((63, 63, 64, 64), 1 / 256),
])
def test_best_iou_by_hand(box, iou):
    assert best_ious(boxes(box), Anchors(SQUARE, 0.3))[0] == pytest.approx(iou)


def test_the_grid_ends_with_the_padded_image():
    """In 40 x 40 px the last anchors stand around 36, padded to 64 around 60."""
    box = (32., 32., 40., 40.)
    wide = dict(SQUARE, strides=[32], scales=[0.5])  # 16 px around 0; around 32 where the image is padded to 64 px
    assert best_ious(boxes(box, size=(32, 32)), Anchors(wide, 0.3))[0] == 0
    assert best_ious(boxes(box, size=(32, 32)), Anchors(wide, 0.3, divisor=64))[0] == pytest.approx(64 / 256)


def test_as_all_anchors_tried_one_by_one():
    """MMDetection's own grid and IoU, on boxes anywhere, at the border too."""
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 100, (300, 2))
    data = boxes(*np.column_stack([corners, np.minimum(corners + rng.uniform(3, 90, (300, 2)), 128)]), size=(128, 96))
    generator = TASK_UTILS.build(dict(SHIPPED))
    grid = generator.grid_priors([(24, 32), (12, 16), (6, 8), (3, 4)], device='cpu')
    expected = bbox_overlaps(torch.tensor(data.boxes).float(), torch.cat(grid)).max(dim=1).values
    assert best_ious(data, Anchors(SHIPPED, 0.3, divisor=32)) == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize(('step', 'size', 'expected'), [
    (dict(type='Resize', scale=(256, 256), keep_ratio=True), (512, 256), (256, 128)),
    (dict(type='Resize', scale=(1333, 800), keep_ratio=True), (500, 1000), (667, 1333)),
    (dict(type='Resize', scale=(1333, 800), keep_ratio=True), (500, 500), (800, 800)),
    (dict(type='Resize', scale=(100, 50)), (10, 10), (100, 50)),
    (dict(type='Resize', scale_factor=0.5, keep_ratio=True), (10, 11), (5, 6)),
    (dict(type='RandomChoiceResize', scales=[(64, 64), (128, 128)], keep_ratio=True), (32, 16), (128, 64)),
    (dict(type='RandomResize', scale=(100, 100), ratio_range=(0.5, 2.0), keep_ratio=True), (10, 10), (200, 200)),
    (dict(type='RandomFlip', prob=0.5), (10, 20), (10, 20)),
])
def test_training_scale(step, size, expected):
    pipeline = [dict(type='LoadImageFromFile'), step]
    scale = TrainingScale.of(pipeline)
    found = scaled(boxes((1, 2, 3, 4), size=size), scale)
    assert tuple(found.sizes[0]) == expected
    factors = np.array(expected) / size
    assert found.boxes[0] == pytest.approx([1 * factors[0], 2 * factors[1], 3 * factors[0], 4 * factors[1]])


def test_a_resize_of_ones_own_is_not_guessed():
    assert TrainingScale.of([dict(type='MyResize', scale=(3, 3))]) is None
    assert TrainingScale.of([dict(type='Resize', scale_factor=(0.5, 2.0))]) is None


def test_what_a_box_needs():
    """The RPN's assigner: its lowest IoU where each box gets its best anchors, else that of a positive one."""
    cfg = tiny.stock_cfg(3)
    assert anchors_of(cfg).needed == 0.3
    cfg.train_cfg.rpn.assigner.match_low_quality = False
    assert anchors_of(cfg).needed == 0.7
    assert anchors_of(tiny.detector_cfg('retinanet', 3)).needed == 0  # every box gets its best anchor
    assert anchors_of(tiny.detector_cfg('rtmdet', 3)) == 'RTMDet has no anchors, but points'
    assert anchors_of(tiny.detector_cfg('gfl', 3)) == 'the ATSSAssigner of GFL has no IoU that an anchor has to reach'


def test_shares_by_class():
    """Squares of 16 px and of 8 px on the grid: the smaller ones reach 64 / 256."""
    large, small = boxes((12, 12, 28, 28), (16, 16, 32, 32)), boxes((16, 16, 24, 24), name='b')
    data = TrainBoxes(*(np.concatenate([getattr(large, part), getattr(small, part)]) for part in ('boxes', 'names', 'sizes')))
    anchors, scale = Anchors(SQUARE, 0.3), TrainingScale()
    assert unmatched(data, anchors, scale) == {'a': 0.0, 'b': 1.0}
    assert '| b     |     1 |         100.0% |            0.25 |         8 / 8 / 8 |' in fit_table(data, anchors, scale)
    lines = fit_lines(data, anchors, scale)
    assert "an IoU of 0.3 with boxes of 'b' (100.0%)" in lines[0] and "'a'" not in lines[0]
    assert 'anchor_generator.scales=[2, 4] (of no class more than 0.0% left)' in lines[1]
    # Twice as large, the small ones are 16 px; the large ones of 32 px reach 1/4. Half as much again, 12 px and 24 px.
    assert '; images of 1.5 times the size of the image files (of no class more than 0.0% left)' in lines[1]
    assert not fit_lines(large, anchors, scale)


class TestChoice:
    anchors = Anchors(SHIPPED, 0.3, divisor=32)

    def test_ordinary_boxes_keep_the_shipped_detector(self):
        choice = choose(squares(60), self.anchors)
        assert (choice.scales, choice.side, choice.why_side, choice.why_scales(0.3)) == ([8], 256, None, None)

    def test_small_boxes_get_smaller_anchors(self):
        """12 px: at best 144 / 1024 with an anchor of 32 px, 144 / 256 with one of 16."""
        choice = choose(squares(12), self.anchors)
        assert (choice.scales, choice.side) == ([4], 256)
        assert choice.why_scales(0.3) == (
            "anchor scales [4]: at 256x256 px with [8] no anchor would reach an IoU of 0.3 with 100.0% of the boxes of 'a'; "
            'with these it is at most 0.0% of any class')

    def test_small_and_very_large_boxes_get_both(self):
        """Anchors from 16 to 128 px reach at most a quarter of 256 x 256."""
        small, large = squares(12, name='b'), squares(256)
        data = TrainBoxes(*(np.concatenate([getattr(small, part), getattr(large, part)])
                            for part in ('boxes', 'names', 'sizes')))
        assert choose(data, self.anchors).scales == [4, 8]

    def test_tiny_boxes_get_larger_images(self):
        """24 px on 1024 px are 6 px at 256, 9 at 384."""
        choice = choose(squares(24, size=(1024, 1024)), self.anchors)
        assert (choice.scales, choice.side) == ([4], 384)
        assert choice.why_side == "images of 384x384 px: at 256x256 px 100.0% of the boxes of 'a' would have a side below 8 px"

    def test_images_are_not_made_larger_than_their_files(self):
        choice = choose(squares(5), self.anchors)
        assert (choice.scales, choice.side) == ([2, 4, 8], 256) and choice.why_side is None

    def test_the_least_bad_where_nothing_fits(self):
        """4 x 200 px: whatever the anchors, no IoU comes near."""
        data = boxes(*[(x, 20, x + 4, 220) for x in range(20, 200, 10)], size=(256, 256))
        assert choose(data, self.anchors).scales == [8]


def voc(folder, side, size=256):
    """Eight images with four objects of two classes and about one size."""
    rng = np.random.default_rng(0)
    images = {}
    for index in range(8):
        corners = rng.integers(1, size - side - 3, (4, 2)).tolist()
        images[f'i{index}'] = [('bolt' if number % 2 else 'nut', x, y, x + side + number, y + side)
                               for number, (x, y) in enumerate(corners)]
    return make_voc(folder, images, size=(size, size), splits=dict.fromkeys(('train', 'val', 'test'), list(images)))


SMALL = ('--split', '1+1', '--model', 'frcnn_r18_fpn_small')


def test_new_split_chooses_anchors_that_all_stages_share(tool, tmp_path):
    done = tool('new_split.py', '--ann', voc(tmp_path / 'small', 10), *SMALL, '--out', tmp_path / 'c')
    assert done.status == 0, done.err
    assert 'anchor scales [4]: at 256x256 px with [8] no anchor' in done.out and 'what would' not in done.out
    stages = [Config.fromfile(tmp_path / f'c/ilmil/frcnn_small_{split}.py') for split in ('1', '1+1')]
    assert [cfg.model.rpn_head.anchor_generator.scales for cfg in stages] == [[4], [4]]
    assert stages[0].model.rpn_head.anchor_generator.strides == [4, 8, 16, 32]
    text = (tmp_path / 'c/_base_/models/frcnn_r18_fpn_small_small.py').read_text()
    assert text.startswith('# The small detector for small') and 'no anchor would' in ' '.join(text.split())
    assert 'small R18-FPN' in (tmp_path / 'c/ilmil/frcnn_small_1.py').read_text()
    again = tool('new_split.py', '--ann', tmp_path / 'small', *SMALL, '--out', tmp_path / 'c')
    assert again.status == 0 and again.out.count('as it is: ') == 4
    report = check_config(stages[1]).text()
    assert 'train, how the anchors fit at 256x256 px' in report and 'no anchor can match' not in report


def test_new_split_chooses_larger_images(tool, tmp_path):
    done = tool('new_split.py', '--ann', voc(tmp_path / 'far', 10, 512), *SMALL, '--out', tmp_path / 'c')
    assert done.status == 0 and 'images of 512x512 px: at 256x256 px 100.0% of the boxes' in done.out, done.err
    cfg = Config.fromfile(tmp_path / 'c/ilmil/frcnn_far_1+1.py')
    shipped = Config.fromfile(CONFIGS / '_base_/datasets/voc_style_small.py')
    for role, place in (('train', 2), ('val', 1), ('test', 1)):
        pipeline, before = (one[f'{role}_dataloader'].dataset.pipeline for one in (cfg, shipped))
        assert pipeline[place] == dict(type='Resize', scale=(512, 512), keep_ratio=True)
        assert [step for index, step in enumerate(pipeline) if index != place] == [
            step for index, step in enumerate(before) if index != place]


def test_ordinary_data_has_the_files_of_before(tool, tmp_path):
    done = tool('new_split.py', '--ann', voc(tmp_path / 'usual', 60), *SMALL, '--out', tmp_path / 'c')
    assert done.status == 0 and 'anchor' not in done.out, done.err
    assert sorted(path.relative_to(tmp_path / 'c').as_posix() for path in (tmp_path / 'c').rglob('*.py')) == [
        '_base_/datasets/usual.py', 'ilmil/frcnn_usual_1+1.py', 'ilmil/frcnn_usual_1.py']
    assert (tmp_path / 'c/_base_/datasets/usual.py').read_text().count('pipeline') == 0
    cfg = Config.fromfile(tmp_path / 'c/ilmil/frcnn_usual_1.py')
    assert cfg.model.rpn_head.anchor_generator == SHIPPED


def test_another_detector_is_only_told(tool, tmp_path):
    """R50-FPN's images fit into 1000 x 600 px: 256 px become 600, so that 5 px are about 12."""
    done = tool('new_split.py', '--ann', voc(tmp_path / 'small', 5), '--split', '1+1', '--out', tmp_path / 'c')
    assert done.status == 0 and 'at 1000x600 px no anchor reaches an IoU of 0.3 with boxes of' in done.out, done.err
    assert 'model.rpn_head.anchor_generator.scales=[4]' in done.out
    assert not (tmp_path / 'c/_base_/models').exists()
    cfg = Config.fromfile(tmp_path / 'c/ilmil/frcnn_small_1.py')
    assert cfg.model.rpn_head.anchor_generator.scales == [8]
    assert 'boxes that no anchor can match' in check_config(cfg).findings.notes

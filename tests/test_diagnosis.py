"""Figures of a diagnosis against counts by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmilmil.evaluation.ap_gaps import KINDS, ap_gaps
from mmilmil.evaluation.average_precision import Image, class_results
from mmilmil.evaluation.confusion import BLOCKS, Confusion
from mmilmil.evaluation.diagnosis import most_lost
from mmilmil.evaluation.evaluated_sets import EvaluatedSet
from mmilmil.evaluation.image_subsets import subset_aps
from mmilmil.evaluation.logit_drift import LogitDrift
from mmilmil.evaluation.proposal_recall import ProposalRecall
from mmilmil.evaluation.sampled_positives import SampledPositives, groups_of

# Boxes of 9 x 9, which AP counts as 10 x 10 pixels, apart from one another.
A, B, C, FAR = (0, 0, 9, 9), (100, 0, 109, 9), (200, 0, 209, 9), (300, 300, 309, 309)
NEAR_A = (0, 0, 9, 29)  # 300 pixels: IoU 1/3 with A


def image(objects=(), detections=(), ignored=(), evaluated=None):
    """Objects and ignored ones as ``(box, label)``, detections as ``(box, label, score)``."""
    def split(rows, size):
        return (np.array([[*row[0], *row[2:]] for row in rows], dtype=np.float32).reshape(-1, size),
                np.array([row[1] for row in rows], dtype=int))
    return Image(*split(objects, 4), *split(ignored, 4), *split(detections, 5), evaluated or EvaluatedSet())


class TestConfusion:

    def blocks(self, *images, score_thr=0.3):
        confusion = Confusion(3, 2, score_thr)  # 0 and 1 are old, 2 is new
        for one in images:
            confusion.add(one)
        return confusion, {name: count for name, count in confusion.blocks().items() if count}

    def test_each_object_counts_once(self):
        """A by its own class, B taken for new, C missed as its detection has IoU 1/3; that one is on background."""
        confusion, blocks = self.blocks(image(
            [(A, 0), (B, 1), (C, 2)], [(A, 0, .9), (B, 2, .8), ((200, 0, 209, 29), 2, .7)]))
        assert confusion.matrix.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
        assert blocks == {'old right': 1, 'old taken for new': 1, 'new missed': 1, 'background taken for new': 1}

    def test_the_highest_score_takes_the_object(self):
        """The new class first, the right one on top of it; low scores count nowhere."""
        confusion, blocks = self.blocks(image([(A, 0)], [(A, 0, .5), (A, 2, .6), (A, 1, .2)]))
        assert blocks == {'old taken for new': 1}
        assert confusion.on_top.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
        _, blocks = self.blocks(image([(A, 0)], [(A, 0, .6), (A, 2, .5)]))
        assert blocks == {'old right': 1, 'new on top of old': 1}

    def test_all_blocks(self):
        _, blocks = self.blocks(
            image([(A, 0), (B, 0), (C, 2)], [(A, 1, .9), (C, 0, .9), (FAR, 1, .9)]),
            image([(A, 2), (B, 2)], [(A, 2, .9), (A, 1, .8)]))
        assert blocks == {
            'old taken for another old': 1, 'old missed': 1, 'new taken for old': 1, 'background taken for old': 1,
            'new right': 1, 'new missed': 1, 'old on top of new': 1}
        assert set(blocks) <= set(BLOCKS)

    def test_what_counts_nowhere(self):
        """On an ignored object; a class that the set does not measure."""
        confusion, blocks = self.blocks(
            image([], [(A, 0, .9)], ignored=[(A, 2)]), image([], [(A, 0, .9)], evaluated=EvaluatedSet('f', frozenset({2}))))
        assert not blocks and not confusion.matrix.any()

    def test_of_two_objects_it_takes_the_nearer_that_is_free(self):
        near = (0, 0, 9, 12)  # 10 x 13 pixels: IoU 10/13 with A
        confusion, _ = self.blocks(image([(A, 0), (near, 1)], [(near, 1, .9), (near, 1, .8)]))
        assert confusion.matrix[:2].tolist() == [[0, 1, 0, 0], [0, 1, 0, 0]]


class TestGaps:

    def gaps(self, *images):
        """Base APs of the classes 0 (old), 1 (old), 2 (new), and those that a repair changes, by kind."""
        aps, repaired = ap_gaps(images, 3, 2)
        assert list(repaired) == list(KINDS)
        return aps, {kind: values.tolist() for kind, values in repaired.items()
                     if not np.array_equal(values, aps, equal_nan=True)}

    def test_old_taken_for_new(self):
        """The false new detection stands before the right one; repaired, it finds the old object."""
        aps, repaired = self.gaps(image([(A, 0), (B, 2)], [(A, 2, .9), (B, 2, .8)]))
        assert aps.tolist() == pytest.approx([0, np.nan, .5], nan_ok=True)
        assert repaired == {'old taken for new': pytest.approx([1, np.nan, 1], nan_ok=True)}

    def test_an_object_that_is_found_is_not_found_again(self):
        aps, repaired = self.gaps(image([(A, 0), (B, 2)], [(A, 0, .3), (A, 2, .9), (B, 2, .8)]))
        assert aps.tolist() == pytest.approx([1, np.nan, .5], nan_ok=True)
        assert repaired == {'old taken for new': pytest.approx([1, np.nan, 1], nan_ok=True)}

    def test_new_taken_for_old_and_within_a_group(self):
        aps, repaired = self.gaps(image([(A, 2), (B, 1)], [(A, 0, .9), (B, 0, .8)]), image([(A, 0)], [(A, 0, .7)]))
        assert aps.tolist() == pytest.approx([1 / 3, 0, 0])
        assert repaired == {'new taken for old': pytest.approx([.5, 0, 1]),
                            'old taken for another old': pytest.approx([.5, 1, 0])}

    def test_misplaced(self):
        """IoU 1/3: of two for one object the higher score finds it, the other goes."""
        aps, repaired = self.gaps(image([(A, 0), (B, 0)], [(NEAR_A, 0, .9), (NEAR_A, 0, .8), (B, 0, .7)]))
        assert aps[0] == pytest.approx(1 / 2 / 3)  # recall 1/2 at precision 1/3
        assert repaired['misplaced'][0] == pytest.approx(1)
        # B is found and A has detections that were meant for it: none is missed.
        assert set(repaired) == {'misplaced'}

    def test_found_twice_background_and_missed(self):
        aps, repaired = self.gaps(image([(A, 0), (B, 0)], [(A, 0, .9), (A, 0, .8), (FAR, 0, .95)]))
        assert aps[0] == pytest.approx(1 / 2 / 2)
        assert repaired['background taken for old'][0] == pytest.approx(1 / 2)
        # B first, then FAR, A and A again: recall 1/2 at precision 1, the rest at 2/3.
        assert repaired['old missed'][0] == pytest.approx((1 + 2 / 3) / 2)
        # The second one of A stands behind all that is found.
        assert set(repaired) == {'background taken for old', 'old missed'}
        _, repaired = self.gaps(image([(A, 0), (B, 0)], [(A, 0, .9), (A, 0, .8), (B, 0, .7)]))
        assert set(repaired) == {'found twice'} and repaired['found twice'][0] == 1

    def test_new_missed_of_a_class_of_which_nothing_is_found(self):
        aps, repaired = self.gaps(image([(A, 2)]), image([(A, 0)], [(A, 0, .9)]))
        assert aps.tolist() == pytest.approx([1, np.nan, 0], nan_ok=True)
        assert repaired == {'new missed': pytest.approx([1, np.nan, 1], nan_ok=True)}

    def test_ignored_objects(self):
        """Of its class: neither right nor wrong. Of another: repaired by taking the detection away."""
        aps, repaired = self.gaps(image([(B, 2)], [(A, 2, .9), (B, 2, .8)], ignored=[(A, 2)]))
        assert aps[2] == 1 and not repaired
        aps, repaired = self.gaps(image([(B, 2)], [(A, 2, .9), (B, 2, .8)], ignored=[(A, 0)]))
        assert aps[2] == .5 and repaired == {'old taken for new': pytest.approx([np.nan, np.nan, 1], nan_ok=True)}

    def test_classes_that_a_set_does_not_measure(self):
        aps, repaired = self.gaps(image([(A, 2)], [(A, 2, .8)]),
                                  image([(A, 0)], [(A, 2, .9), (A, 0, .9)], evaluated=EvaluatedSet('f', frozenset({0, 1}))))
        assert aps.tolist() == pytest.approx([1, np.nan, 1], nan_ok=True) and not repaired

    def test_nothing_detected(self):
        aps, repaired = self.gaps(image([(A, 0)]))
        assert aps[0] == 0 and set(repaired) == {'old missed'}

    def test_unrepaired_it_is_the_metrics_ap(self):
        rng = np.random.default_rng(0)

        def boxes(number):
            corners = rng.integers(0, 30, (number, 2))
            return np.column_stack([corners, corners + rng.integers(10, 25, (number, 2))]).tolist()
        images = [image([(box, rng.integers(3)) for box in boxes(4)],
                        [(box, rng.integers(3), round(rng.random(), 1)) for box in boxes(20)],
                        [(box, rng.integers(3)) for box in boxes(1)]) for _ in range(20)]
        aps, _ = ap_gaps(images, 3, 2)
        assert aps.tolist() == [result.ap['area'] for result in class_results(images, 3)]
        assert 0 < aps.min() < aps.max() < 1


def test_ap_on_images_of_new_objects_alone():
    """On an image of an old object a new one is seen, first of all; on one with both the new one is missed."""
    images = [
        image([(A, 2)], [(A, 2, .8)]),
        image([(A, 0)], [(A, 2, .9)]),
        image([(A, 0), (B, 2)]),
        image([(A, 2)], [(A, 2, .7)], ignored=[(B, 0)]),
    ]
    # All: recall 2/3 at 2/3. Holding: recall 2/3 at 1. Alone: the first image.
    assert subset_aps(images, [2], 3) == {
        'all': dict(images=4, ap=pytest.approx(4 / 9)), 'holding': dict(images=3, ap=pytest.approx(2 / 3)),
        'alone': dict(images=1, ap=1.0)}
    assert subset_aps(images, [0, 1], 3)['alone'] == dict(images=1, ap=0.0)
    assert subset_aps(images[:1], [0, 1], 3)['holding'] == dict(images=0, ap=None)


def test_recall_of_proposals():
    recall = ProposalRecall(3)
    near = (0, 0, 9, 18)  # IoU 81 / 162 with A, which is enough
    recall.add(np.array([near, FAR], dtype=np.float32), np.array([A, B], dtype=np.float32), np.array([0, 2]))
    recall.add(np.zeros((0, 4)), np.array([A], dtype=np.float32), np.array([2]))
    recall.add(np.array([A]), np.zeros((0, 4)), np.zeros(0, dtype=int))
    assert recall.of(slice(2)) == dict(objects=1, found=1, recall=1.0)
    assert recall.of(slice(2, None)) == dict(objects=2, found=0, recall=0.0)
    assert recall.of(slice(1, 2))['recall'] is None


def test_drift_of_logits():
    """The teacher says 3/4 and 1/4, the student 1/2 each; a second object moves as a whole."""
    drift = LogitDrift()
    assert drift.means() == dict(objects=0, kl=None, difference=None, same=None)
    drift.add(torch.tensor([[0., 0.], [6., 5.]]), torch.tensor([[math.log(3), 0.], [2., 1.]]))
    kl = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    # Centred, the teacher's are +-log(3)/2, the student's 0.
    assert drift.means() == dict(objects=2, kl=pytest.approx(kl / 2), difference=pytest.approx(math.log(3) / 2 / 2), same=1.0)
    drift.add(torch.zeros(0, 2), torch.zeros(0, 2))
    drift.add(torch.tensor([[0., 1.]]), torch.tensor([[1., 0.]]))
    assert drift.means()['same'] == pytest.approx(2 / 3)


def test_groups_of_sampled_positives():
    assert groups_of([1, 0, 2, 2, 3], ['annotated new', 'annotated old']) == [
        'annotated old', 'annotated new', 'merged old', 'merged old', 'merged old']


def test_the_sentence():
    gaps = dict.fromkeys(KINDS, dict(old=0., new=0., all=0.))
    gaps['new missed'] = dict(old=0., new=.3, all=.1)
    gaps['old taken for new'] = dict(old=.05, new=.2, all=.125)
    assert most_lost(dict(ap=dict(all=.5), gaps=gaps)) == (
        "Most AP is lost by 'old taken for new': without it all would be 62.5 in the place of 50.0, +12.5 points (old +5.0, "
        "new +20.0); next is 'new missed', +10.0.")
    assert most_lost(dict(ap=dict(all=1.), gaps=dict.fromkeys(KINDS, dict(old=0., new=0., all=0.)))) == (
        'No kind of error costs AP: all is 100.0.')


class Detector:
    """Two samplers, and a loss that calls each once an image with what they are to find: places of objects, by image."""

    class Sampler:


        def sample(self, assigned, proposals, gt, **kwargs):
            return SimpleNamespace(pos_assigned_gt_inds=torch.tensor(assigned))

    def __init__(self, rpn, roi, taught):
        self.rpn, self.roi, self.taught = rpn, roi, taught
        self.rpn_head = SimpleNamespace(sampler=self.Sampler())
        self.roi_head = SimpleNamespace(bbox_sampler=self.Sampler())

    def loss(self, inputs, samples):
        for sampler, found in ((self.rpn_head.sampler, self.rpn), (self.roi_head.bbox_sampler, self.roi)):
            for places, number in zip(found, self.taught):
                sampler.sample(places, None, SimpleNamespace(bboxes=torch.zeros(number, 4)))


def test_positives_of_a_step():
    """An image with one new object and two merged ones, one with an old and a new one, as joint training has it."""
    samples = [SimpleNamespace(gt_instances=SimpleNamespace(labels=torch.tensor(labels))) for labels in ([2], [0, 2])]
    detector = Detector(rpn=([1, 2, 2], [1]), roi=([0, 1], [0, 0, 1]), taught=(3, 2))
    own = detector.rpn_head.sampler, detector.roi_head.bbox_sampler
    positives = SampledPositives()
    positives.add(detector, None, samples, num_old=2)
    detector.rpn, detector.roi = ([], []), ([0], [])
    positives.add(detector, None, samples, num_old=2)
    assert positives.steps == 2 and (detector.rpn_head.sampler, detector.roi_head.bbox_sampler) == own
    assert positives.means() == {
        'objects': {'annotated new': 2.0, 'annotated old': 1.0, 'merged old': 2.0},
        'rpn': {'annotated new': .5, 'annotated old': 0.0, 'merged old': 1.5},
        'roi': {'annotated new': 1.5, 'annotated old': 1.0, 'merged old': .5}}

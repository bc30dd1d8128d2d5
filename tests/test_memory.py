"""The feature memory: its choice, its file, its replay; which boxes the samplers show."""

import copy
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.config import Config
from mmengine.structures import InstanceData
from tiny import (
    OLD,
    ROOT,
    batch,
    build,
    detector_cfg,
    detector_file,
    instances,
    shake,
    stock_cfg,
    student_cfg,
    taught,
    teacher_file,
)

from mmilmil import InputError
from mmilmil.models import Teacher
from mmilmil.models.hashes import weights_hash
from mmilmil.models.memory import FeatureMemory, roi_shape
from mmilmil.models.memory_building import Candidates, _of_background, _of_objects, _own, _spread, build_memory, herd
from mmilmil.models.memory_drift import carried_over, channel_map, drift, left_over
from mmilmil.models.merging import merge_teacher_boxes
from mmilmil.models.replay import _partners
from mmilmil.models.sampling import NewFirst
from mmilmil.models.views.base import box_heads

SHAPE = (16, 3, 3)  # of tiny's box head


def memory_of(teacher: Teacher, shape: tuple[int, int, int] = SHAPE) -> FeatureMemory:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % (len(OLD) + 1)
    return FeatureMemory(torch.randn(12, *shape, generator=generator), labels, OLD, teacher.fingerprint)


@pytest.fixture
def checkpoint(tmp_path):
    return teacher_file(tmp_path / 'teacher.pth')


@pytest.fixture
def remembered(checkpoint, tmp_path):
    """A teacher's checkpoint with a memory beside it."""
    torch.save(memory_of(Teacher.load(str(checkpoint))).content(), tmp_path / 'memory.pth')
    return checkpoint


def test_herding_by_hand():
    """Unit codes at 0, 90 and 45 degrees: the mean points to 45, which is chosen first; then the mean of two is nearest with
    either end, and the first counts."""
    codes = torch.tensor([[2., 0.], [0., 3.], [1., 1.]])
    assert herd(codes, 2).tolist() == [2, 0]
    assert herd(codes, 9).tolist() == [2, 0, 1]
    assert herd(codes, 0).tolist() == []


def test_candidates_are_a_uniform_draw():
    hits = torch.zeros(10)
    for seed in range(400):
        candidates = Candidates(3, torch.Generator().manual_seed(seed))
        for number in range(10):
            candidates.add(torch.tensor([float(number)]), torch.ones(1))
        kept = torch.cat(candidates.features).long()
        assert len(set(kept.tolist())) == 3
        hits[kept] += 1
    assert hits.min() > 80 and hits.max() < 160  # 120 expected


def test_the_file_keeps_eight_bits(tmp_path, checkpoint):
    memory = memory_of(Teacher.load(str(checkpoint)))
    torch.save(memory.content(), tmp_path / 'memory.pth')
    read = FeatureMemory.load(tmp_path / 'memory.pth')
    step = memory.features.flatten(1).abs().amax(dim=1) / 127
    assert ((read.features - memory.features).abs().flatten(1).amax(dim=1) <= step / 2 * 1.001).all()
    assert torch.equal(read.labels, memory.labels) and read.classes == OLD and read.teacher == memory.teacher
    assert read.nbytes == 12 * (16 * 9 + 4 + 8) and read.counts == [3, 3, 3, 3]
    assert 'no images: 3 to 3 RoI tensors of each of 3 classes, 3 of background' in str(read)


@pytest.mark.parametrize('change, told', [
    (dict(version=2), 'version 2, and this mmilmil reads 1: update mmilmil'),
    (dict(kind='other'), 'is no feature memory'),
    (dict(labels=torch.arange(5)), '12 tensors and 5 labels'),
    (dict(labels=torch.full((12, ), 9)), 'which do not fit'),
    (dict(scale=None), 'is incomplete'),
    (None, 'cannot be read'),
])
def test_what_is_no_memory_is_told(tmp_path, checkpoint, change, told):
    content = memory_of(Teacher.load(str(checkpoint))).content()
    path = tmp_path / 'memory.pth'
    torch.save(content | (change or {}), path)
    if change is None:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=told) as error:
        FeatureMemory.load(path)
    assert str(path) in str(error.value)


def test_it_is_used_where_it_lies_beside_the_teacher(remembered, tmp_path):
    assert build(student_cfg(remembered, memory=dict(per_step=4))).kept == dict(memory_bytes=12 * (16 * 9 + 12))
    assert build(student_cfg(remembered, memory=None)).memory is None
    (tmp_path / 'memory.pth').rename(tmp_path / 'other.pth')
    assert build(student_cfg(remembered, memory=dict(per_step=4))).memory is None
    named = dict(file=str(tmp_path / 'other.pth'))
    assert len(build(student_cfg(remembered, memory=named)).memory) == 12
    with pytest.raises(InputError, match='there is no feature memory'):
        assert build(student_cfg(remembered, memory=dict(file='gone.pth'))).memory


@pytest.mark.parametrize('change, told', [
    (dict(teacher='0' * 64), 'is of another teacher'),
    (dict(classes=['ant', 'cat', 'bee']), "knows the classes .'ant', 'cat', 'bee'."),
])
def test_a_memory_of_another_detector_is_refused(remembered, tmp_path, change, told):
    content = torch.load(tmp_path / 'memory.pth')
    torch.save(content | change, tmp_path / 'memory.pth')
    with pytest.raises(InputError, match=told):
        assert build(student_cfg(remembered, memory=dict())).memory


def test_a_memory_of_other_tensors_is_left_unused_or_refused_where_it_is_named(remembered, tmp_path, capfd):
    file = tmp_path / 'memory.pth'
    torch.save(torch.load(file) | dict(values=torch.zeros(12, 16, 7, 7, dtype=torch.int8)), file)
    assert build(student_cfg(remembered, memory=dict())).kept == dict(memory_bytes=0)
    with pytest.raises(InputError, match=r'has RoI tensors of \(16, 7, 7\), and .* takes \(16, 3, 3\)'):
        assert build(student_cfg(remembered, memory=dict(file=str(file)))).memory


@pytest.mark.parametrize('memory, told', [
    (dict(per_step=-1), 'model.memory.per_step = -1'),
    (dict(weight=1.), 'model.memory has no setting weight'),
    ('yes', "model.memory = 'yes'"),
    (dict(reg_weight=-1), 'model.memory.reg_weight = -1'),
    (dict(file=3), 'model.memory.file = 3: give the path'),
])
def test_wrong_settings_are_told(checkpoint, memory, told):
    with pytest.raises(InputError, match=told):
        build(student_cfg(checkpoint, memory=memory))


def test_a_one_stage_detector_has_no_memory(tmp_path):
    file = detector_file(tmp_path / 'teacher.pth', 'gfl')
    with pytest.raises(InputError, match='has none: leave it out'):
        build(taught(detector_cfg('gfl', 5), file, 'dense_distribution', memory=dict()))


def test_replay_is_cross_entropy_and_old_deltas(remembered):
    """All 12 tensors at once, so the draw does not matter; the sums are those of the formula."""
    student = shake(build(student_cfg(remembered, memory=dict(per_step=99, loss_weight=2.0, reg_weight=3.0))), seed=3).train()
    losses = student.loss(*batch())
    memory, head = student.memory, student.roi_head.bbox_head
    logits, deltas = head(memory.features)
    target = memory.labels.masked_fill(memory.labels == len(OLD), 5)  # the student's background
    assert torch.allclose(losses['loss_memory_cls'], 2 * F.cross_entropy(logits, target))
    known_logits, known = student.teacher.detector.roi_head.bbox_head(memory.features)
    error = F.smooth_l1_loss(deltas[:, :12], known, reduction='none').unflatten(1, (3, 4)).sum(2)
    by_roi = (error * known_logits.softmax(1)[:, :3]).sum(1)
    assert torch.allclose(losses['loss_memory_reg'], 3 * by_roi.mean())
    losses['loss_memory_cls'].backward()
    assert head.fc_cls.weight.grad[3:5].abs().sum() > 0  # rows of new classes meet old objects
    assert all(weight.grad is None for weight in student.backbone.parameters())


def test_a_soft_replay_is_cross_entropy_to_what_the_teacher_says(remembered):
    """Rows of new classes have 0, background is the last of both."""
    student = shake(build(student_cfg(remembered, memory=dict(per_step=99, soft=True))), seed=3).train()
    losses = student.loss(*batch())
    memory = student.memory
    log_p = student.roi_head.bbox_head(memory.features)[0].log_softmax(1)
    known = student.teacher.detector.roi_head.bbox_head(memory.features)[0].softmax(1)
    by_roi = -(known[:, :3] * log_p[:, :3]).sum(1) - known[:, 3] * log_p[:, 5]
    assert torch.allclose(losses['loss_memory_cls'], by_roi.mean())


def test_new_objects_count_as_if_they_lay_in_the_memory(remembered):
    """Of the 12 tensors 9 are of the three old classes, so each of them counts a quarter, and so each of the two new ones."""
    student = shake(build(student_cfg(remembered, memory=dict(per_step=99, loss_weight=2.0, balance=True))), seed=3).train()
    seen = []
    handle = student.replay.register_forward_pre_hook(lambda module, args: seen.extend(args[5]))
    found = student.loss(*batch())['loss_memory_new']
    handle.remove()
    (logits, labels), = seen
    new = labels >= len(OLD)
    assert new.any() and not new.all()
    assert torch.allclose(found, 2 * 2 * 0.25 * F.cross_entropy(logits[new], labels[new]))
    found.backward()
    assert student.backbone.conv1.weight.grad.abs().sum() > 0  # the trunk learns from it too
    losses = student.replay(student.memory, student, student.teacher.detector, matched=[(logits[~new], labels[~new])])
    assert losses['loss_memory_new'] == 0


@pytest.mark.parametrize('score_thr, share', [(0.05, 0.25), (1.0, 1.0)])
def test_images_that_show_old_objects_leave_it_less(remembered, score_thr, share):
    """The teacher sees old objects on every image, or on none by a threshold that no box passes."""
    def loss(**more):
        student = build(student_cfg(remembered, memory=dict(per_step=99, **more), merging=dict(score_thr=score_thr))).train()
        return student.loss(*batch())

    whole, less = loss(balance=True), loss(balance=True, least_share=0.25)
    for name in ('loss_memory_cls', 'loss_memory_reg', 'loss_memory_new'):
        assert torch.allclose(less[name], share * whole[name])
    assert whole['loss_memory_cls'] > 0


def test_mixed_and_mirrored_tensors_keep_their_label(remembered):
    """Tensors that are constant by label stay so when mixed within it; of a ramp from left to right half are mirrored."""
    student = build(student_cfg(remembered, memory=dict(per_step=99, mix=True, flip=True))).train()
    labels = torch.arange(4).repeat_interleave(50)
    ramp = torch.arange(3.).expand(200, *SHAPE) + 10 * labels[:, None, None, None]
    memory = FeatureMemory(ramp, labels, OLD, 'hash')
    seen = []
    head = student.roi_head.bbox_head
    handle = head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    torch.manual_seed(0)
    student.replay.per_step = 200
    student.replay(memory, student, student.teacher.detector)
    handle.remove()
    shown = seen[0]
    mirrored = shown[:, 0, 0, 0] > shown[:, 0, 0, 2]
    assert 70 < mirrored.sum() < 130
    upright = torch.where(mirrored[:, None, None, None], shown.flip(-1), shown)
    base = upright[:, 0, 0, 0]
    assert torch.allclose(base % 10, torch.zeros(200), atol=1e-4) and base.unique().numel() == 4
    assert torch.allclose(upright, ramp[:1] + base[:, None, None, None], atol=1e-4)


def test_partners_have_the_same_label():
    labels = torch.tensor([0, 1, 1, 2])
    for seed in range(20):
        torch.manual_seed(seed)
        partners = _partners(torch.tensor([3, 0, 1, 2]), labels)
        assert labels[partners].tolist() == [2, 0, 1, 1]
    torch.manual_seed(0)
    assert {int(_partners(torch.tensor([1]), labels)) for _ in range(50)} == {1, 2}


def test_mixing_takes_less_than_half_of_the_partner(remembered):
    """Tensors of zeros and of ones with one label: mixed they stay below and above a half."""
    student = build(student_cfg(remembered, memory=dict(per_step=2, mix=True))).train()
    memory = FeatureMemory(torch.tensor([0., 1.])[:, None, None, None].expand(2, *SHAPE), torch.zeros(2).long(), OLD, 'hash')
    seen = []
    handle = student.roi_head.bbox_head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for seed in range(30):
        torch.manual_seed(seed)
        student.replay(memory, student, student.teacher.detector)
    handle.remove()
    values = torch.stack(seen)[:, :, 0, 0, 0].sort(dim=1).values
    assert (values[:, 0] <= 0.5).all() and (values[:, 1] >= 0.5).all() and ((values > 0) & (values < 1)).any()


def test_the_memory_of_a_detector(checkpoint):
    """Objects of every class, and background; a second time the same; the stage before keeps its share."""
    teacher = Teacher.load(str(checkpoint))
    inputs, samples = batch((((0, 8., 8., 40., 40.), (1, 30., 30., 60., 60.)), ((2, 30., 20., 60., 50.), )))
    batches = [dict(inputs=list(inputs), data_samples=samples)] * 2
    detector = copy.deepcopy(teacher.detector)
    detector.data_preprocessor = _AsItIs()

    def made(**more):
        return build_memory(detector, batches, OLD, range(3), 'hash', per_class=2, background=3, **more)

    memory = made()
    assert memory.features.shape[1:] == SHAPE and memory.counts[:3] == [2, 2, 2] and 1 <= memory.counts[3] <= 3
    assert torch.equal(memory.features, made().features)
    assert not detector.training
    # A later stage: the earlier memory's classes, the newest one's own, both kinds of background.
    before = FeatureMemory(torch.ones(8, *SHAPE), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]), OLD[:2], 'other')
    later = build_memory(detector, batches, OLD, [2], 'hash', per_class=2, background=3, before=before)
    assert later.counts[:3] == [2, 2, 2] and later.counts[3] >= 1
    assert (later.features[later.labels < 2] == 1).all() and (later.features[later.labels == 2] != 1).any()


# An object, then proposals: with an IoU of 0.8 and 0.5, a part of it (0.4), hardly a part (0.1), two free ones.
BOXES = torch.tensor([(0., 0., 100., 100.), (0., 0., 100., 80.), (0., 0., 50., 100.), (0., 0., 40., 100.), (0., 0., 10., 100.),
                      (200., 0., 300., 100.), (400., 0., 500., 100.)])
PLACES = torch.arange(7.)[:, None, None, None]


def places(candidates):
    return sorted(feature.item() for feature in candidates.features)


def test_looks_at_an_object_are_its_box_and_proposals_from_half_an_iou_on():
    found = {0: Candidates(99, torch.Generator())}
    _of_objects(BOXES, instances([tuple(BOXES[0].tolist())], [0]), PLACES, PLACES.flatten(1), found, torch.Generator())
    assert places(found[0]) == [0, 1, 2]
    # Of more than three proposals three are drawn, and not always the same.
    many = torch.cat([BOXES[:1], BOXES[1:2].repeat(6, 1)])
    drawn = set()
    for seed in range(20):
        found = {0: Candidates(99, torch.Generator())}
        _of_objects(many, instances([tuple(BOXES[0].tolist())], [0]), PLACES, PLACES.flatten(1), found,
                    torch.Generator().manual_seed(seed))
        assert len(places(found[0])) == 4 and places(found[0])[0] == 0
        drawn.add(tuple(places(found[0])))
    assert len(drawn) > 3
    # A proposal is a look at the object that it shows most of, and classes of other stages are left out.
    found = {0: Candidates(99, torch.Generator())}
    pair = torch.tensor([(0., 0., 100., 100.), (0., 0., 100., 80.), (0., 0., 100., 82.)])
    both = instances([(0., 0., 100., 100.), (0., 0., 100., 80.)], [0, 1])
    _of_objects(pair, both, PLACES[:3], PLACES[:3].flatten(1), found, torch.Generator())
    assert places(found[0]) == [0]


def test_background_is_near_misses_and_parts_of_objects():
    scores = torch.tensor([(0.9, 0., 0.1)] * 5 + [(0.2, 0., 0.8), (0.25, 0., 0.75)])
    gt = instances([tuple(BOXES[0].tolist())], [0])

    def found(scores, **more):
        free = Candidates(99, torch.Generator())
        _of_background(BOXES, gt, more.get('ignored'), PLACES, PLACES.flatten(1), scores, {0: None}, free, torch.Generator())
        return places(free)

    assert found(scores) == [3, 4, 6]  # the two free ones that lean most to an object, 4 of 0.9 and 6 of 0.25, and the part, 3
    # What leans to a class that is not annotated here is never kept, and where the detector is sure of it nothing near it is.
    other = scores.clone()
    other[6] = torch.tensor([0., 0.6, 0.4])
    assert found(other) == [3, 4, 5]
    assert found(scores, ignored=instances([tuple(BOXES[6].tolist())], [0])) == [3, 4, 5]
    # In a crowd, which covers each of its objects, the detector is right to see objects.
    assert found(scores, ignored=instances([(0, 0, 500, 500)], [0])) == []


def test_earlier_background_is_thinned_evenly():
    """Of eight, the first four of one stage and the others of the next, four stay, two of each."""
    assert _spread(torch.arange(8), 4).tolist() == [0, 2, 4, 6]
    assert _spread(torch.arange(3), 4).tolist() == [0, 1, 2]


def test_a_kept_tensor_does_not_keep_its_batch():
    batch_of_rois = torch.zeros(100, 4)
    kept, = _own(batch_of_rois[3])
    assert kept.untyped_storage().nbytes() == 16


class _AsItIs(torch.nn.Module):

    def forward(self, data, training=False):
        return dict(inputs=torch.stack(data['inputs']), data_samples=data['data_samples'])


def test_stored_weights_hash_is_the_teachers(checkpoint):
    teacher = Teacher.load(str(checkpoint))
    assert teacher.fingerprint == weights_hash(torch.load(checkpoint)['state_dict'])


# What the samplers show


def sampled(annotated, gt_inds, labels=None, **settings):
    labels = torch.tensor([3 if one else 0 for one in annotated] if labels is None else labels)
    gt = InstanceData(bboxes=torch.zeros(len(annotated), 4), labels=labels,
                      annotated=torch.tensor(annotated))
    gt_inds = torch.tensor(gt_inds)
    assigned = AssignResult(len(annotated), gt_inds, torch.ones(len(gt_inds)), torch.zeros(len(gt_inds), dtype=torch.long))
    priors = InstanceData(priors=torch.arange(len(gt_inds))[:, None].repeat(1, 4).float())
    stock = RandomSampler(num=8, pos_fraction=0.5, add_gt_as_proposals=settings.pop('add', False))
    return NewFirst(stock, **settings).sample(assigned, priors, gt)


def test_half_of_the_positives_are_kept_for_annotated_objects():
    """Four positives are drawn; of ten priors two are on the annotated object 1, eight on the teacher's box 2."""
    for seed in range(20):
        torch.manual_seed(seed)
        result = sampled([True, False], [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 0], share=0.5)
        assert sorted(result.pos_assigned_gt_inds.tolist()) == [0, 0, 1, 1]
        assert len(result.neg_inds) == 1  # what is left out is no background


def test_what_annotated_objects_do_not_need_the_teachers_boxes_get():
    result = sampled([True, False], [1, 2, 2, 2, 2, 2, 0], share=0.5)
    assert sorted(result.pos_assigned_gt_inds.tolist()) == [0, 1, 1, 1]


def test_ground_truth_that_is_added_counts():
    """Both boxes are added to the proposals: one positive each, so that two of the four are left, for the annotated one."""
    for seed in range(20):
        torch.manual_seed(seed)
        result = sampled([True, False], [1, 2, 2, 2, 2, 2, 2], share=0.5, add=True)
        assert sorted(result.pos_assigned_gt_inds.tolist())[:2] == [0, 0]


def test_annotated_old_objects_are_not_new():
    """As on exemplars: room is kept for the object of the new class, 3, and not for the annotated one of class 0."""
    for seed in range(20):
        torch.manual_seed(seed)
        result = sampled([True, True], [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 0], labels=[3, 0], share=0.5, first_new=3)
        assert sorted(result.pos_assigned_gt_inds.tolist()) == [0, 0, 1, 1]


def test_not_taught_they_are_neither_positive_nor_negative():
    result = sampled([True, False], [1, 2, 2, 0, 0, -1], taught=False)
    assert result.pos_inds.tolist() == [0] and sorted(result.neg_inds.tolist()) == [3, 4]


def test_the_student_samples_as_merging_says(checkpoint):
    """The RPN's positives and the RoI head's, by whether the box is the teacher's."""
    def positives(**merging):
        student = build(student_cfg(checkpoint, merging=dict(score_thr=0.05, **merging))).train()
        seen = {}
        for name, owner, key in (('rpn', student.rpn_head, 'sampler'), ('roi', student.roi_head, 'bbox_sampler')):
            stock = getattr(owner, key)
            setattr(owner, key, _Watching(stock, seen.setdefault(name, [])))
        torch.manual_seed(0)
        student.loss(*batch())
        return {name: sum(int((~gt.annotated[result.pos_assigned_gt_inds]).sum()) for result, gt in calls)
                for name, calls in seen.items()}

    before = positives(rpn=True, annotated_share=0.0)
    assert before['rpn'] > 0 and before['roi'] > 0
    assert positives(rpn=False)['rpn'] == 0
    assert positives(rpn=True, annotated_share=1.0)['roi'] < before['roi']


class _Watching:

    def __init__(self, sampler, calls):
        self.sampler, self.calls = sampler, calls

    def __getattr__(self, name):
        return getattr(self.sampler, name)

    def sample(self, assigned, priors, gt, **kwargs):
        result = self.sampler.sample(assigned, priors, gt, **kwargs)
        self.calls.append((result, gt))
        return result


def test_an_exemplar_is_no_image_without_old_objects(checkpoint, monkeypatch):
    """Its old object is annotated; the distiller looks at the new one alone."""
    student = build(student_cfg(checkpoint, merging=dict(score_thr=1.0))).train()
    seen = []
    forward = student.distiller.forward
    monkeypatch.setattr(student.distiller, 'forward', lambda *args: (seen.append(args[2]), forward(*args))[1])
    student.loss(*batch((((3, 8., 8., 40., 40.), (0, 30., 30., 60., 60.)), ((4, 30., 20., 60., 50.), ))))
    assert seen[0].apart == (False, True)
    assert [len(boxes) for boxes in seen[0].annotated] == [1, 1]
    assert seen[0].annotated[0].tolist() == [[8., 8., 40., 40.]]


def test_merged_boxes_are_told_apart():
    """A teacher can be as sure as the annotation."""
    merged = merge_teacher_boxes(instances([(0, 0, 9, 9)], [3]), instances([(20, 20, 30, 30)], [0], [1.0]))
    assert merged.annotated.tolist() == [True, False] and merged.scores.tolist() == [1.0, 1.0]


def test_drift_is_the_linear_map_between_two_detectors(checkpoint):
    """A student whose maps are the teacher's, each channel doubled and moved by 3: W = 2 and b = 3, and so the memory."""
    teacher = Teacher.load(str(checkpoint)).detector
    teacher.data_preprocessor = _AsItIs()
    student = copy.deepcopy(teacher)
    student.extract_feat = lambda inputs: tuple(2 * level + 3 for level in teacher.extract_feat(inputs))
    inputs, samples = batch()
    weight, bias = drift(teacher, student, [dict(inputs=list(inputs), data_samples=samples)] * 40)
    memory = FeatureMemory(teacher.neck.fpn_convs[0].conv.weight.detach()[:4, :, :, :], torch.zeros(4).long(), OLD, 'hash')
    seen = carried_over(memory, weight, bias)
    cells = drift_cells(teacher, inputs)
    mapped = cells @ weight.T + bias
    assert (mapped - (2 * cells + 3)).abs().max() < 0.05 * (2 * cells + 3).abs().max()
    assert torch.allclose(seen.features, torch.einsum('oc,nchw->nohw', weight, memory.features) + bias[:, None, None])
    # Nothing moved: nothing is changed.
    weight, bias = drift(teacher, teacher, [dict(inputs=list(inputs), data_samples=samples)])
    assert torch.allclose(weight, torch.eye(16), atol=1e-3) and bias.abs().max() < 1e-3


def test_the_map_of_channels_by_hand():
    """Two channels over cells that span them: swapped, one of them tripled, and moved. Of no RoI nothing is known."""
    before = torch.tensor([[[[0., 1.], [0., 2.]], [[0., 0.], [1., 5.]]]])
    after = torch.stack([3 * before[:, 1] + 4, before[:, 0] - 1], dim=1)
    weight, bias = channel_map(before.repeat(10**5, 1, 1, 1), after.repeat(10**5, 1, 1, 1))
    assert torch.allclose(weight, torch.tensor([[0., 3.], [1., 0.]]), atol=0.05)
    assert torch.allclose(bias, torch.tensor([4., -1.]), atol=0.05)
    weight, bias = channel_map(before[:0], after[:0])
    assert torch.equal(weight, torch.eye(2)) and not bias.any()


@pytest.mark.parametrize('rois, moved', [(5, 2 * 20 / (2 * 20 + 20.02)), (5000, 2 * 20000 / (2 * 20000 + 40))])
def test_what_few_rois_show_counts_little(rois, moved):
    """All n = 4 R cells go from 1 to 3. With u = n / 1000 + 20 of them unmoved the solution is w - 1 = b = 2n / (2n + u)."""
    weight, bias = channel_map(torch.ones(rois, 1, 2, 2), torch.full((rois, 1, 2, 2), 3.))
    assert weight.item() - 1 == pytest.approx(moved, rel=1e-5) and bias.item() == pytest.approx(moved, rel=1e-5)


def test_a_memory_that_follows_is_seen_as_the_student_sees(remembered):
    """The student's neck gives twice the teacher's: its head gets the memory doubled, and has to say of it what the teacher's
    says of the memory itself."""
    student = build(student_cfg(remembered, memory=dict(per_step=99, follow=True), norm_eval=True)).train()
    for convolution in student.neck.fpn_convs:
        convolution.conv.weight.data *= 2
        convolution.conv.bias.data *= 2
    moved = []
    handle = student.replay.register_forward_pre_hook(lambda module, args: moved.extend(args[4]))
    student.loss(*batch())
    handle.remove()
    before, after = moved
    assert len(before) and torch.allclose(after, 2 * before, atol=1e-4)
    moved = [pooled.repeat(1000, 1, 1, 1) for pooled in moved]
    labels = torch.zeros(len(before)).long()
    memory, head = FeatureMemory(before, labels, OLD, 'hash'), student.roi_head.bbox_head
    for follow, features in ((True, 2 * before), (False, before)):
        student.replay.follow = follow
        student.replay.per_step = len(before)
        losses = student.replay(memory, student, student.teacher.detector, moved=moved)
        logits, deltas = head(features)
        known_logits, known = student.teacher.detector.roi_head.bbox_head(before)
        error = F.smooth_l1_loss(deltas[:, :12], known, reduction='none').unflatten(1, (3, 4)).sum(2)
        assert torch.allclose(losses['loss_memory_cls'], F.cross_entropy(logits, labels), rtol=0.01)
        assert torch.allclose(losses['loss_memory_reg'], (error * known_logits.softmax(1)[:, :3]).sum(1).mean(), rtol=0.02)


def test_what_the_map_leaves():
    """One channel, cells 1, 2 and 6 that become 2, 3 and 4, by 2 x - 1: 1 and 0 and -7 are left."""
    before, after = (torch.tensor(cells).reshape(1, 1, 1, 3) for cells in ([1., 2., 6.], [2., 3., 4.]))
    assert left_over(before, after, torch.tensor([[2.]]), torch.tensor([-1.])).flatten().tolist() == [1, 0, -7]


def test_a_tensor_that_follows_gets_what_is_left_of_a_roi(remembered):
    """A trunk that stands still but for one cell of one RoI in two: half of what is replayed has that change, and no other."""
    student = build(student_cfg(remembered, memory=dict(per_step=99, follow=True, residual=True), norm_eval=True)).train()
    before = torch.randn(2000, *SHAPE, generator=torch.Generator().manual_seed(3))
    after = before.clone()
    after[::2, 0, 0, 0] += torch.tensor([5., -5.]).repeat(500)  # no part of it is linear in the channels
    seen = []
    student.roi_head.bbox_head.register_forward_pre_hook(lambda head, args: seen.append(args[0]))
    memory = FeatureMemory(torch.ones(400, *SHAPE), torch.zeros(400).long(), OLD, 'hash')
    student.replay.per_step = 400
    torch.manual_seed(0)
    student.replay(memory, student, student.teacher.detector, moved=(before, after))
    change = seen[0] - 1
    hit = change[:, 0, 0, 0].abs() > 4.5
    assert 160 < hit.sum() < 240
    change[:, 0, 0, 0] -= 5 * change[:, 0, 0, 0].sign() * hit
    assert change.abs().max() < 0.5
    student.replay.residual = False
    student.replay(memory, student, student.teacher.detector, moved=(before, after))
    assert (seen[1] - 1).abs().max() < 0.5


def test_a_residual_is_of_a_map(checkpoint):
    with pytest.raises(InputError, match='model.memory.residual = True .* model.memory.follow is False'):
        build(student_cfg(checkpoint, memory=dict(residual=True)))


@pytest.mark.parametrize('kind', ['frcnn', 'cascade', 'cascade_wise', 'maskrcnn'])
def test_the_default_replays_in_any_two_stage_detector(tmp_path, kind):
    """In bfloat16 as well; heads learn from it."""
    file = detector_file(tmp_path / 'teacher.pth', kind)
    teacher = Teacher.load(str(file))
    torch.save(memory_of(teacher, roi_shape(teacher.detector)).content(), tmp_path / 'memory.pth')
    settings = Config.fromfile(ROOT / 'configs/_base_/distillers/mfrrk.py').memory
    student = build(taught(detector_cfg(kind, 5), file, 'mfrrk', memory=settings, norm_eval=True)).train()
    shake(student)
    assert student.replay.follow and student.replay.soft and student.memory is not None
    losses = []
    for context in (nullcontext(), torch.autocast('cpu', dtype=torch.bfloat16)):
        torch.manual_seed(0)
        with context:
            losses.append({name: loss for name, loss in student.loss(*batch(masks=kind == 'maskrcnn')).items()
                           if 'memory' in name})
    assert losses[0].keys() == {'loss_memory_cls', 'loss_memory_reg', 'loss_memory_new'}
    for name, loss in losses[0].items():
        assert loss.item() > 0 and losses[1][name].item() == pytest.approx(loss.item(), rel=0.2)
    losses[0]['loss_memory_cls'].backward()
    for head in box_heads(student):
        assert head.fc_cls.weight.grad.abs().sum() > 0


def test_a_shared_head_comes_before_what_the_memory_holds():
    """As in a detector of one level ("C4"): the box head takes what the shared head makes of the pooled features."""
    cfg = stock_cfg(3)
    cfg.backbone.update(base_channels=64, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, ))
    del cfg['neck']
    cfg.rpn_head.update(in_channels=256, feat_channels=16)
    cfg.rpn_head.anchor_generator.strides = [16]
    cfg.roi_head = dict(
        type='StandardRoIHead', shared_head=dict(type='ResLayer', depth=18, stage=3, stride=2),
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=6), out_channels=256, featmap_strides=[16]),
        bbox_head=dict(type='BBoxHead', with_avg_pool=True, roi_feat_size=3, in_channels=512, num_classes=3))
    detector = build(cfg).eval()
    detector.data_preprocessor = _AsItIs()
    inputs, samples = batch()
    batches = [dict(inputs=list(inputs), data_samples=samples)]
    memory = build_memory(detector, batches, OLD, range(3), 'hash', per_class=2, background=3)
    assert memory.features.shape[1:] == (512, 3, 3) and memory.fits(detector)
    seen = carried_over(memory, *drift(detector, detector, batches))
    assert torch.allclose(seen.features, memory.features, atol=1e-2)


def drift_cells(detector, inputs):
    level = detector.extract_feat(inputs)[0]
    return level.permute(0, 2, 3, 1).reshape(-1, 16).detach()


# The tool


def test_the_tool_makes_what_a_stage_leaves(chain, tool, tmp_path, monkeypatch):
    """Of a file and of a URL, whose file comes from the folder of the user's own weights: the same mirrored images too."""
    left = FeatureMemory.load(chain.runs / 'base/memory.pth')
    own = tmp_path / 'own'
    own.mkdir()
    (own / 'published.pth').write_bytes((chain.runs / 'base/final.pth').read_bytes())
    monkeypatch.setenv('MMILMIL_WEIGHTS', str(own))
    for number, checkpoint in enumerate([own / 'published.pth', 'https://example.com/published.pth']):
        done = tool('build_memory.py', chain.base, checkpoint, '--out', tmp_path / f'{number}.pth', '--device', 'cpu')
        assert done.status == 0, done.err[-3000:]
        made = FeatureMemory.load(tmp_path / f'{number}.pth')
        assert f'{tmp_path / f"{number}.pth"}: {made}' in done.out
        assert made.fingerprint == left.fingerprint and made.teacher == left.teacher


@pytest.mark.parametrize('checkpoint, told', [
    ('https://example.com/published.pth', '--out is missing: https://example.com/published.pth lies in no folder of yours'),
    ('gone.pth', 'gone.pth'),
])
def test_the_tool_is_told_a_checkpoint_that_it_can_read(chain, tool, tmp_path, monkeypatch, checkpoint, told):
    monkeypatch.chdir(tmp_path)
    done = tool('build_memory.py', chain.base, checkpoint)
    assert done.status == 1 and told in done.err and 'Traceback' not in done.err
    assert not list(tmp_path.iterdir())

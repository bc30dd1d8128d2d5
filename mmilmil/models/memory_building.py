"""Making a feature memory: candidates from annotated images, and the choice among them."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures.bbox import bbox2roi, bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .memory import FeatureMemory
from .merging import IGNORED_IOF
from .precision import full_precision
from .views.base import box_heads

LOOK_IOU = 0.5
"""A proposal with this IoU with an object, or more, is one more look at it, if it has no more with another."""
PART_IOU = 0.2
"""From here to a look, a proposal shows a part of an object, or little of one, which is background to the RoI head."""
FREE_IOU = 0.3
"""A proposal whose IoU with every annotated or ignored object is lower is no object at all."""
LOOKS = 4
"""Candidates of one object, at most: its box, and proposals drawn at random, loose ones too: on those new rows fire."""
CROWD = 8
"""Times the tensors to be kept, as many candidates of a class are looked at, so that one set's size does not set the time."""
SURE = 0.3
"""Score from which on the detector sees an object of a class that is not annotated."""
HALF = torch.finfo(torch.float16).max
"""The largest number of half precision, in which candidates wait."""
NEAR_MISSES = 2
"""Background candidates of an image without an object, at most: those that the detector leans most to take for one."""
PARTS = 2
"""Background candidates of an image that show a part of an object, at most, drawn at random."""


class Candidates:
    """Pooled tensors of one label, with what the head makes of them before its classifier; a uniform draw of all that came.

    Args:
        limit: Number that is kept at a time.
        generator: For the draw.
    """

    def __init__(self, limit: int, generator: torch.Generator) -> None:
        self.limit = limit
        self.generator = generator
        self.seen = 0
        self.features: list[Tensor] = []
        self.codes: list[Tensor] = []

    def add(self, feature: Tensor, code: Tensor) -> None:
        """Add one, (C, h, w) and (D,)."""
        self.seen += 1
        # Of 80 classes with 256 channels a hundred thousand wait here, which a memory keeps in a byte an element.
        feature = feature.clamp(-HALF, HALF).half()
        if len(self.features) < self.limit:
            self.features.append(feature)
            self.codes.append(code)
            return
        place = int(torch.randint(self.seen, (1, ), generator=self.generator))
        if place < self.limit:  # reservoir sampling: each that came is kept with the same probability
            self.features[place], self.codes[place] = feature, code

    def chosen(self, number: int) -> list[Tensor]:
        """The tensors that herding chooses."""
        if not self.features:
            return []
        return [self.features[index] for index in herd(torch.stack(self.codes), number).tolist()]


def herd(codes: Tensor, number: int) -> Tensor:
    """Indices of at most ``number`` codes (N, D) whose mean stays nearest to the mean of all, in the order of their choice.

    Herding (Welling 2009), as iCaRL (Rebuffi 2017, algorithm 4) chooses exemplars: each step takes the code that brings the
    mean of the chosen ones nearest to that of all.
    """
    codes = codes / codes.norm(dim=1, keepdim=True).clamp(min=torch.finfo(codes.dtype).tiny)
    mean, total = codes.mean(dim=0), torch.zeros_like(codes[0])
    free = torch.ones(len(codes), dtype=torch.bool)
    chosen = []
    for count in range(1, min(number, len(codes)) + 1):
        distance = ((total + codes) / count - mean).square().sum(dim=1)
        index = int(distance.masked_fill(~free, torch.inf).argmin())
        chosen.append(index)
        free[index] = False
        total = total + codes[index]
    return torch.tensor(chosen, dtype=torch.long)


def _spread(kept: Tensor, number: int) -> Tensor:
    """So many of them at most, in even steps: what each stage before has chosen keeps its part."""
    if len(kept) <= number:
        return kept
    return kept[torch.arange(number) * len(kept) // number]


@torch.no_grad()
def build_memory(detector: nn.Module, batches: Iterable[dict], classes: Sequence[str], annotated: Sequence[int],
                 fingerprint: str, per_class: int = 160, background: int = 640, before: FeatureMemory | None = None,
                 seed: int = 0) -> FeatureMemory:
    """The memory of a trained two-stage detector.

    Args:
        detector: The detector.
        batches: Annotated batches, as a training loader gives them.
        classes: Names of all its classes, in label order.
        annotated: Labels of the classes that the batches' annotation names wherever they are. Background is taken where the
            detector leans to one of these; what it takes for another class may be an object that nobody annotated.
        fingerprint: Hash of the detector's weights.
        per_class: Tensors of each class.
        background: Tensors of background.
        before: The memory of the stage before, whose classes come first; what it knows is kept, its background too, and the
            new background shares the room.
        seed: Of the draws.
    """
    mode, generator = detector.training, torch.Generator().manual_seed(seed)
    detector.eval()
    try:
        found = {label: Candidates(CROWD * per_class, generator) for label in annotated}
        free = Candidates(CROWD * background, generator)
        for batch in batches:
            data = detector.data_preprocessor(batch)
            _look(detector, data['inputs'], data['data_samples'], found, free, generator)
    finally:
        detector.train(mode)
    kept, labels = [], []
    if before is not None:
        old = len(before.classes)
        shares = dict.fromkeys(range(old), per_class) | {old: background // 2}
        for label, share in shares.items():
            mine = _spread(before.features[before.labels == label], share)
            kept.append(mine)
            labels.append(torch.full((len(mine), ), len(classes) if label == old else label))
        background -= len(kept[-1])
    for label, candidates in found.items():
        chosen = candidates.chosen(per_class)
        kept += [feature[None] for feature in chosen]
        labels.append(torch.full((len(chosen), ), label))
    chosen = free.chosen(background)
    kept += [feature[None] for feature in chosen]
    labels.append(torch.full((len(chosen), ), len(classes)))
    return FeatureMemory(torch.cat(kept).float(), torch.cat(labels), tuple(classes), fingerprint)


def _look(detector: nn.Module, inputs: Tensor, samples: list, found: dict[int, Candidates], free: Candidates,
          generator: torch.Generator) -> None:
    """Add what a batch shows."""
    levels = detector.extract_feat(inputs)
    proposals = detector.rpn_head.predict(levels, samples, rescale=False)
    objects, ignored, _ = unpack_gt_instances(samples)
    boxes = [torch.cat([gt.bboxes, found.bboxes]) for gt, found in zip(objects, proposals)]
    roi_head = detector.roi_head
    head = box_heads(detector)[0]
    codes: list[Tensor] = []
    handle = head.fc_cls.register_forward_pre_hook(lambda layer, args: codes.append(args[0]))
    try:
        stage = (0, ) if isinstance(roi_head.bbox_head, nn.ModuleList) else ()
        seen = roi_head._bbox_forward(*stage, levels, bbox2roi(boxes))
    finally:
        handle.remove()
    counts = [len(of_image) for of_image in boxes]
    scores = full_precision(seen['cls_score']).softmax(dim=1)
    parts = zip(boxes, objects, ignored, seen['bbox_feats'].split(counts), codes[0].split(counts), scores.split(counts))
    for of_image, gt, others, features, code, score in parts:
        _of_objects(of_image, gt, features, code, found, generator)
        _of_background(of_image, gt, others, features, code, score, found, free, generator)


def _of_objects(boxes: Tensor, gt: InstanceData, features: Tensor, codes: Tensor, found: dict[int, Candidates],
                generator: torch.Generator) -> None:
    overlap, nearest = bbox_overlaps(boxes, gt.bboxes).max(dim=1) if len(gt) else (boxes.new_zeros(0), boxes.new_zeros(0))
    for index, label in enumerate(gt.labels.tolist()):
        if label not in found:
            continue
        looks = (overlap >= LOOK_IOU) & (nearest == index)
        looks[:len(gt)] = False  # the annotated boxes, of which its own is the first look
        for place in [index, *_draw(looks, LOOKS - 1, generator)]:
            found[label].add(*_own(features[place], codes[place]))


def _of_background(boxes: Tensor, gt: InstanceData, ignored: InstanceData | None, features: Tensor, codes: Tensor,
                   scores: Tensor, found: dict[int, Candidates], free: Candidates, generator: torch.Generator) -> None:
    taken = gt.bboxes if ignored is None else torch.cat([gt.bboxes, ignored.bboxes])
    score, leaning = scores[:, :-1].max(dim=1)
    annotated = torch.tensor([label in found for label in leaning.tolist()], device=boxes.device, dtype=torch.bool)
    # What it takes for a class that is not annotated here may be such an object, whatever its other boxes lean to.
    taken = torch.cat([taken, boxes[~annotated & (score > SURE)]])
    annotated[:len(gt)] = False  # the objects themselves
    if ignored is not None and len(ignored):  # single objects of a crowd, of which one is a small part
        annotated &= ~(bbox_overlaps(boxes, ignored.bboxes, mode='iof') >= IGNORED_IOF).any(dim=1)
    overlap = bbox_overlaps(boxes, taken).max(dim=1).values if len(taken) else torch.zeros_like(score)
    index = (annotated & (overlap < FREE_IOU)).nonzero().squeeze(1)
    near = index[score[index].topk(min(NEAR_MISSES, len(index))).indices].tolist()
    parts = _draw(annotated & (overlap >= PART_IOU) & (overlap < LOOK_IOU), PARTS, generator)
    for place in dict.fromkeys([*near, *parts]):
        free.add(*_own(features[place], codes[place]))


def _draw(mask: Tensor, number: int, generator: torch.Generator) -> list[int]:
    """At most so many of the places that are marked, at random."""
    places = mask.nonzero().squeeze(1).tolist()
    return [places[index] for index in torch.randperm(len(places), generator=generator)[:number].tolist()]


def _own(*rows: Tensor) -> Iterator[Tensor]:
    """Copies on CPU; a view would keep the tensors of its whole batch."""
    return (row.detach().cpu().clone() for row in rows)

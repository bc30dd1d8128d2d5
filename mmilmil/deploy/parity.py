"""Whether an exported model finds what the detector in torch finds, and how fast each of them is."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from ..errors import InputError
from ..runtime.detector import Detector
from .images import Images
from .model import Arrays, fitted

BOX_TOLERANCE = 0.01
"""Pixels of the resized image."""
SCORE_TOLERANCE = 1e-4
NOISE, NOISY_RUNS = 0.01, 8
"""How much a pixel is changed by at most, in grey levels, and how often, to see what rounding alone decides."""
MOST_BY_NOISE = 5
"""More than this per cent of torch's detections, and more than this number, noise may not explain."""
_NOISY = 10
"""How many times as far as the tolerances noise may move a detection which is still the same one."""


@dataclass
class Difference:
    """What two lists of detections in an image differ in.

    Attributes:
        box: Largest difference of a coordinate of detections that belong together, in pixels.
        score: Largest difference of their scores.
        at_threshold: Detections of one list alone whose score is, within :data:`SCORE_TOLERANCE`, that from which on one
            counts: rounding decides on which side it is.
        by_noise: Detections of one list alone on which both agree where the pixels are changed by no more than :data:`NOISE`,
            as where two boxes overlap by just what suppression allows.
        others: Other detections of one list alone, by score.
    """

    box: float = 0.0
    score: float = 0.0
    at_threshold: int = 0
    by_noise: int = 0
    others: list[float] = field(default_factory=list)


@dataclass
class Parity:
    """The comparison over several images.

    Attributes:
        images: How many.
        source: Where they are from.
        real: Whether they are of the config's sets.
        left_out: Images that do not fit into the model's fixed input.
        detections: Torch's, in all.
        box, score, at_threshold, by_noise: As those of :class:`Difference`, the largest or the sum.
        unmatched: Detections of one side alone that neither a threshold nor noise explains.
        worst: The image with most of them, or the largest difference of a box.
        torch_ms, onnx_ms: Median time of an image from input tensor to detections, in milliseconds, at one thread, each image
            by both in turn; the first one counts only where it is alone.
    """

    source: str
    real: bool
    images: int = 0
    left_out: int = 0
    detections: int = 0
    box: float = 0.0
    score: float = 0.0
    at_threshold: int = 0
    by_noise: int = 0
    unmatched: int = 0
    worst: str = ''
    torch_ms: float = 0.0
    onnx_ms: float = 0.0

    def as_dict(self) -> dict:
        """As plain data."""
        return asdict(self)


def difference(wanted: Arrays, found: Arrays, score_thr: float, max_per_img: int,
               noisy: Iterable[tuple[Arrays, Arrays]] = ()) -> Difference:
    """Put the detections of two lists together and tell what differs.

    Two belong together which have one label and differ by no more than the tolerances; their order does not count, as equal
    scores have none.

    Args:
        wanted, found: The two lists.
        score_thr: Score from which a detection counts.
        max_per_img: Length of a full list, whose lowest score is such a threshold too.
        noisy: Both lists of the image with noise, several times; as many are asked for as are needed.
    """
    result = Difference()
    partners, result.box, result.score = _partners(wanted, found)
    lost, added = _alone(wanted, found, partners)
    thresholds = [score_thr, *(float(one[1][-1]) for one in (wanted, found) if len(one[1]) == max_per_img)]
    for scores, alone in ((wanted[1], lost), (found[1], added)):
        near = {place for place in alone if any(abs(float(scores[place]) - one) <= SCORE_TOLERANCE for one in thresholds)}
        result.at_threshold += len(near)
        alone -= near
    left = len(lost) + len(added)
    noisy = iter(noisy)
    while (lost or added) and (pair := next(noisy, None)) is not None:
        alone = _alone(*pair, _partners(*pair)[0])
        for places, mine, theirs, still in zip((lost, added), (wanted, found), pair, alone):
            places &= set(_partners(mine, tuple(values[sorted(still)] for values in theirs), _NOISY)[0])
    result.others = [float(one[1][place]) for one, alone in ((wanted, lost), (found, added)) for place in sorted(alone)]
    result.by_noise = left - len(result.others)
    return result


def _alone(some: Arrays, others: Arrays, partners: dict[int, int]) -> tuple[set[int], set[int]]:
    """Places of either list's detections that have no partner."""
    return set(range(len(some[1]))) - set(partners), set(range(len(others[1]))) - set(partners.values())


def _partners(some: Arrays, others: Arrays, times: float = 1) -> tuple[dict[int, int], float, float]:
    """Places of the detections that belong together, within so many times the tolerances, and the largest differences of their
    boxes and scores."""
    boxes = np.abs(some[0][:, None] - others[0][None]).max(axis=2, initial=0.0)
    scores = np.abs(some[1][:, None] - others[1][None])
    same = (some[2][:, None] == others[2][None]) & (boxes <= times * BOX_TOLERANCE) & (scores <= times * SCORE_TOLERANCE)
    free, partners = set(range(len(others[1]))), {}
    for row, fits in enumerate(same):
        if fitting := [place for place in np.flatnonzero(fits) if place in free]:
            partners[row] = min(fitting, key=lambda place: boxes[row, place])
            free.remove(partners[row])
    pairs = tuple(np.array([*partners.items()], int).reshape(-1, 2).T)
    return partners, float(boxes[pairs].max(initial=0.0)), float(scores[pairs].max(initial=0.0))


@torch.no_grad()
def compare(detector: nn.Module, model: Detector, images: Images) -> Parity:
    """Run both on images.

    Args:
        detector: The stock detector, in eval mode on the CPU.
        model: The exported one, of one thread.
        images: What to run them on.

    Returns:
        Also where they differ; :func:`check` tells.
    """
    metadata, found = model.metadata, Parity(images.source, images.real)
    times, worst = ([], []), (-1, -1.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for image in images:
            try:
                pixels = fitted(image.pixels, metadata, image.name)
            except InputError:
                found.left_out += 1
                continue
            shape = np.array(image.shape, np.int64)
            by_torch, taken = timed(predicted, detector, pixels, image.shape)
            by_onnx, taken_too = timed(model.run, pixels.numpy(), shape)
            noisy = ((predicted(detector, changed, image.shape), model.run(changed.numpy(), shape))
                     for changed in with_noise(pixels, metadata.std))
            one = difference(by_torch, by_onnx, metadata.score_thr, metadata.max_per_img, noisy)
            found.images += 1
            found.detections += len(by_torch[1])
            found.box, found.score = max(found.box, one.box), max(found.score, one.score)
            found.at_threshold += one.at_threshold
            found.by_noise += one.by_noise
            found.unmatched += len(one.others)
            if (len(one.others), one.box) > worst:
                worst, found.worst = (len(one.others), one.box), image.name
            times[0].append(taken)
            times[1].append(taken_too)
    finally:
        torch.set_num_threads(threads)
    if not found.images:
        raise InputError(f'none of the {found.left_out} images fits into the input of {metadata.input_size}: export with '
                         '--dynamic, or with a larger --size')
    # The first pass of either one prepares the others.
    found.torch_ms, found.onnx_ms = (1e3 * statistics.median(one[1:] or one) for one in times)
    return found


def check(parity: Parity) -> None:
    """Stop where an exported model finds something else.

    Raises:
        InputError: names the image with the largest difference; or noise explains so much that nothing is compared.
    """
    if parity.unmatched:
        raise InputError(f'the exported model does not find what torch finds: {parity.unmatched} detections on '
                         f'{parity.images} images have no partner within {BOX_TOLERANCE} pixels and {SCORE_TOLERANCE} of the '
                         f'score, with noise of {NOISE} grey levels either, most of them on {parity.worst}; nothing is kept')
    if parity.by_noise > max(MOST_BY_NOISE, parity.detections * MOST_BY_NOISE // 100):
        raise InputError(f'the exported model cannot be compared with torch: noise of {NOISE} grey levels gains or loses '
                         f'{parity.by_noise} of {parity.detections} detections on {parity.images} images: the detector is not '
                         'trained far enough; nothing is kept')


def with_noise(pixels: Tensor, std: Sequence[float] | None) -> Iterator[Tensor]:
    """A prepared image (1, 3, H, W) with :data:`NOISE`, :data:`NOISY_RUNS` times; ``std`` is what it was divided by, if at
    all."""
    generator = torch.Generator().manual_seed(0)
    largest = NOISE / torch.tensor(std or (1, 1, 1), dtype=pixels.dtype).view(1, 3, 1, 1)
    for _ in range(NOISY_RUNS):
        yield pixels + largest * (2 * torch.rand(pixels.shape, generator=generator) - 1)


def predicted(detector: nn.Module, pixels: Tensor, shape: tuple[int, int]) -> Arrays:
    """Detections of the stock detector's own ``predict`` in a prepared image (1, 3, H, W)."""
    size = tuple(pixels.shape[-2:])
    sample = DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=size, batch_input_shape=size,
                                         scale_factor=(1.0, 1.0)))
    found = detector.predict(pixels, [sample], rescale=False)[0].pred_instances
    return found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy()


def timed(run: Callable[..., Arrays], *args) -> tuple[Arrays, float]:
    """Detections and the seconds that they took."""
    start = time.perf_counter()
    found = run(*args)
    return found, time.perf_counter() - start

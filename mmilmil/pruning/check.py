"""Whether a pruned detector that was loaded from its file computes what the masked one does."""

import torch
from torch import Tensor, nn

from ..errors import InputError
from .analysis import ANALYSIS_SIZE, failing_place

Outputs = dict[str, list[Tensor]]
"""By name of a layer, its outputs; one that is called several times has several."""

_TOLERANCE = 1e-3
"""Of a layer's largest output: sums over other numbers of channels have another order."""


def check_pruned(loaded: nn.Module, wanted: Outputs) -> None:
    """Run a pruned detector and compare it with the masked one layer by layer.

    Args:
        loaded: The static detector.
        wanted: :func:`layer_outputs` of MMRazor's, its choices made; its layers leave out masked channels.

    Raises:
        InputError: it does not run, or a layer computes something else; the first such layer is named.
    """
    found = layer_outputs(loaded)
    for name, tensors in wanted.items():
        if not _close(found.get(name, ()), tensors):
            raise InputError(f'the pruned {type(loaded).__name__} computes something else than its masks leave, first in the '
                             f'layer {name}, so it is not kept: leave the units around that layer whole (--exclude)')


def _close(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return len(found) == len(wanted) and all(
        mine.shape == theirs.shape and torch.allclose(mine, theirs, rtol=0, atol=_TOLERANCE * float(theirs.abs().max()))
        for mine, theirs in zip(found, wanted))


@torch.no_grad()
def layer_outputs(detector: nn.Module) -> Outputs:
    """What each layer with weights gives for one image of noise and two RoIs on it, in the order of computation.

    Raises:
        InputError: the detector does not run; the layer is named.
    """
    detector.eval()
    outputs: Outputs = {}
    handles = [
        layer.register_forward_hook(lambda _, __, output, name=name: outputs.setdefault(name, []).append(output))
        for name, layer in detector.named_modules() if isinstance(getattr(layer, 'weight', None), Tensor)]
    height, width = ANALYSIS_SIZE
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0.0, 0.0, 0.0, width / 2, height / 2], [0.0, width / 4, height / 4, width, height]])
    try:
        levels = detector.extract_feat(image)
        detector.rpn_head(levels)
        detector.roi_head._bbox_forward(levels, rois)
    except Exception as error:  # layers that do not fit fail in any way
        first = ' '.join(f'{type(error).__name__}: {error}'.split())[:300]
        raise InputError(f'the pruned {type(detector).__name__} does not run, it fails in {failing_place(error, detector)} '
                         f'({first}), so it is not kept: leave the units around that layer whole (--exclude)') from error
    finally:
        for handle in handles:
            handle.remove()
    return outputs

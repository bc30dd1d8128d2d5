"""The parts of a detector that know its classes."""

from torch import nn


def as_list(part: nn.Module | None) -> list[nn.Module]:
    """One head, the heads of a cascade, or none, as a list."""
    if part is None:
        return []
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def class_heads(detector: nn.Module) -> dict[str, nn.Module]:
    """Box and mask heads by their name in the detector's state dict: of a cascade several, ``roi_head.bbox_head.0`` and so on.

    Args:
        detector: A one-stage or two-stage detector.
    """
    owner, prefix = (detector.roi_head, 'roi_head.') if hasattr(detector, 'roi_head') else (detector, '')
    heads = {}
    for kind in ('bbox_head', 'mask_head'):
        part = getattr(owner, kind, None)
        several = isinstance(part, nn.ModuleList)
        heads.update({f'{prefix}{kind}{f".{index}" if several else ""}': head for index, head in enumerate(as_list(part))})
    return heads


def num_classes(detector: nn.Module) -> int:
    """How many classes a detector knows, by its first box head."""
    return next(iter(class_heads(detector).values())).num_classes

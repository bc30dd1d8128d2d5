"""The small detector's file in `_base_/models` where a user's data needs other anchors than the shipped one has."""

from collections.abc import Sequence

from .code_text import comment

SMALL = 'frcnn_r18_fpn_small'


def small_detector_config(name: str, scales: Sequence[int], why: str, base: str) -> str:
    """The file.

    Args:
        name: What the data is called.
        scales: Of its anchor generator.
        why: The reason, for a comment.
        base: The shipped detector's file, relative to the new one's folder.
    """
    return '\n'.join([
        comment(f'The small detector for {name}, written by tools/new_split.py; {why}.'),
        f'_base_ = {base!r}',
        f'model = dict(rpn_head=dict(anchor_generator=dict(scales={list(scales)})))',
    ]) + '\n'

"""The files in `_base_/datasets`: of a user's own annotations, and of a shipped set with other classes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ..data_tools.layouts import SPLITS
from ..data_tools.own_data import OwnData
from .code_text import comment, tuple_of_names


def root_text(root: Path, name: str) -> str:
    """The folder of a set as code, with the environment variable ``MMILMIL_<NAME>_ROOT`` where MMEngine can read one there."""
    text = str(root)
    if re.fullmatch(r'[\w./-]+', text):  # MMEngine takes a variable's default for a regular expression, without blanks
        text = f'{{{{$MMILMIL_{name.upper()}_ROOT:{text}}}}}'
    return repr(text)


def dataset_config(data: OwnData, name: str, classes: Sequence[str], base: str, side: Optional[int] = None,
                   why: str = '') -> str:
    """The file in ``_base_/datasets``.

    Args:
        data: The data.
        name: What it is called, a word; its folder can be set by the environment variable ``MMILMIL_<NAME>_ROOT``.
        classes: All classes in label order.
        base: The file that it inherits pipelines and loaders from, relative to its own folder.
        side: Of the square that images fit into, in pixels, in the place of that of the pipelines, whose third step of training
            and second step of testing resizes them.
        why: The reason for ``side``, for a comment.
    """
    lines = [
        f'# {name}: written by tools/new_split.py.',
        f'_base_ = {base!r}',
        f'data_root = {root_text(data.root, name)}',
        '# In label order; a stage config takes the first ones.',
        tuple_of_names('all_classes', classes),
        '',
    ]
    if side is not None:
        lines += [
            comment(f'{why}.'),
            f"resize = dict(type='Resize', scale={(side, side)}, keep_ratio=True)",
            'train_pipeline = [*_base_.train_pipeline[:2], resize, *_base_.train_pipeline[3:]]',
            'test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]',
        ]
    for split in SPLITS:
        pipeline = '' if side is None else f', pipeline={"train" if split == "train" else "test"}_pipeline'
        settings = ', '.join(f'{key}={value!r}' for key, value in data.settings[split].items())
        lines += [f'{split}_dataloader = dict(', '    dataset=dict(',
                  f"        type='{data.kind}', data_root=data_root,", f'        {settings}{pipeline}))']
    if data.kind == 'IncrementalCocoDataset':
        for split in ('val', 'test'):
            ann_file = data.settings[split]['ann_file'].replace('{', '{{').replace('}', '}}')
            path = repr(f'{{data_root}}/{ann_file}')
            lines.append(f"{split}_evaluator = dict(\n    _delete_=True, type='IncrementalCocoMetric', ann_file=f{path})")
    return '\n'.join(lines) + '\n'


def reordered_config(dataset: str, classes: Sequence[str], base: str) -> str:
    """The file in ``_base_/datasets`` for a shipped set with other classes or another order of them.

    Args:
        dataset: The shipped set's name.
        classes: The classes in label order.
        base: Its file, relative to the new one's folder.
    """
    return '\n'.join([
        f"# {dataset} with classes of one's own choice; written by tools/new_split.py.",
        f'_base_ = {base!r}',
        '# In label order; a stage config takes the first ones.',
        tuple_of_names('all_classes', classes),
    ]) + '\n'

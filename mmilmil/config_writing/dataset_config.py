"""The files in `_base_/datasets`: of a user's own annotations, and of a shipped set with other classes."""

import re
from collections.abc import Sequence

from ..data_tools.layouts import SPLITS
from ..data_tools.own_data import OwnData


def dataset_config(data: OwnData, name: str, classes: Sequence[str], base: str) -> str:
    """The file in ``_base_/datasets``.

    Args:
        data: The data.
        name: What it is called, a word; its folder can be set by the environment variable ``MMILMIL_<NAME>_ROOT``.
        classes: All classes in label order.
        base: The file that it inherits pipelines and loaders from, relative to its own folder.
    """
    root = str(data.root)
    if re.fullmatch(r'[\w./-]+', root):  # MMEngine takes a variable's default for a regular expression, without blanks
        root = f'{{{{$MMILMIL_{name.upper()}_ROOT:{root}}}}}'
    lines = [
        f'# {name}: written by tools/new_split.py.',
        f'_base_ = {base!r}',
        f'data_root = {root!r}',
        '# In label order; a stage config takes the first ones.',
        _names_tuple(classes),
        '',
    ]
    for split in SPLITS:
        settings = ', '.join(f'{key}={value!r}' for key, value in data.settings[split].items())
        lines += [f'{split}_dataloader = dict(', '    dataset=dict(',
                  f"        type='{data.kind}', data_root=data_root,", f'        {settings}))']
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
        _names_tuple(classes),
    ]) + '\n'


def _names_tuple(classes: Sequence[str]) -> str:
    if len(classes) == 1:
        return f'all_classes = ({classes[0]!r}, )'
    lines, line = [], 'all_classes = ('
    for index, name in enumerate(classes):
        item = f'{name!r}' + (', ' if index < len(classes) - 1 else ')')
        if len(line + item) > 120:
            lines.append(line.rstrip())
            line = ' ' * len('all_classes = (')
        line += item
    return '\n'.join([*lines, line])

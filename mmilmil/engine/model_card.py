"""The card of a final model: what it was made of, what it can do, and what its figures do not say."""

import html
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from ..atomic_write import write_atomically
from ..checkpoint import config_values
from ..errors import InputError
from ..stage import Stage
from ..table_layout import markdown_table
from .hooks.metrics_file import TEST_FILE, VAL_FILE, read_figures
from .work_dir import FINAL_CHECKPOINT

CARD_FILE = 'model_card.md'
"""Beside ``final.pth``."""

FEW_BOXES = 20
"""A class with fewer boxes to train on, or to be measured on, is named among the limits."""

_COUNTED = dict(ignored='boxes ignored', hidden_old='boxes of old classes hidden', replayed='images of earlier stages replayed',
                unlabelled='images without annotation')
_PARTS = ('backbone', 'neck', 'rpn_head', 'roi_head', 'bbox_head', 'mask_head')


def card_text(name: str, meta: Mapping, test: Optional[Mapping] = None, val: Optional[Mapping] = None) -> str:
    """The card in Markdown.

    Args:
        name: Of the run.
        meta: Of ``final.pth``, with ``card`` of :class:`~mmilmil.engine.hooks.model_card.ModelCardHook` where a run of this
            version made it.
        test: Content of ``metrics.json``, where it is of this model.
        val: Content of ``metrics_val.json``.
    """
    stage = Stage.from_metainfo(meta['dataset_meta'])
    made = meta.get('card') or {}
    cfg = _config(meta)
    parts = [f'# {_plain(name)}', _kind(stage, cfg), '## Classes', _classes(stage), '## Data', _data(made),
             '## Training', _training(meta, made, cfg), '## Figures', *_figures(stage, test, val), '## Limits',
             '\n'.join(f'- {line}' for line in _limits(stage, made, test, val, cfg)), '## Use', _use(), _BELOW]
    return '\n\n'.join(part for part in parts if part) + '\n'


def write_card(work_dir: Path, meta: Mapping, tested: bool = True) -> None:
    """Write :data:`CARD_FILE`.

    Args:
        work_dir: Folder of the run, with its figures so far.
        meta: See :func:`card_text`.
        tested: Whether ``metrics.json`` is of this model, where there is one.

    Raises:
        InputError: the file cannot be written.
    """
    figures = {}
    for file in (TEST_FILE, VAL_FILE)[not tested:]:
        with suppress(OSError, InputError):  # a card tells what there is
            figures[file] = read_figures(work_dir / file)
    test = figures.get(TEST_FILE)
    test = test if test and test.get('checkpoint') == FINAL_CHECKPOINT and not test.get('fused') else None
    write_atomically(card_text(_name(work_dir, meta), meta, test, figures.get(VAL_FILE)).encode(), work_dir / CARD_FILE)


_BELOW = (f'*Written by mmilmil beside `{FINAL_CHECKPOINT}` and again by each test of it: keep text of your own in another '
          'file.*')


def _name(work_dir: Path, meta: Mapping) -> str:
    return re.sub(r'_\d{8}_\d{6}$', '', meta.get('experiment_name') or '') or work_dir.resolve().name


def _config(meta: Mapping) -> dict:
    with suppress(ValueError, TypeError, KeyError):
        return config_values(meta['cfg'])
    return {}


def _kind(stage: Stage, cfg: Mapping) -> str:
    model = cfg.get('model') or {}
    model = model.get('detector', model) if isinstance(model.get('detector'), Mapping) else model
    kind = re.sub('^(Incremental|Pruned)', '', str(model.get('type') or 'detector'))
    parts = [f'{part} {_code(model[part]["type"])}' for part in _PARTS
             if isinstance(model.get(part), Mapping) and model[part].get('type')]
    made_of = f' ({", ".join(parts)})' if parts else ''
    what = f'A detector, {_code(kind)}{made_of}, of {_many(len(stage.classes), "class", "es")}'
    if not stage.old:
        return f'{what}, learned at once: a first stage.'
    return (f'{what}, learned in {len(stage.split)} stages: {_many(len(stage.old), "old class", "es")}, then '
            f'{_many(len(stage.new), "new one")}.')


def _classes(stage: Stage) -> str:
    return '\n'.join(f'- group {index}, {_many(len(group), "class", "es")}: {", ".join(map(_plain, group))}'
                     for index, group in enumerate(stage.groups))


def _data(made: Mapping) -> str:
    sets = made.get('data')
    if not sets:
        return 'Not noted: an earlier version of mmilmil trained it.'
    lines = []
    for one in sets:
        kept, listed = one.get('kept'), one.get('listed')
        more = [f'{one[key]} {what}' for key, what in _COUNTED.items() if one.get(key)]
        images = f'{kept} images' if listed is None or listed == kept else f'{kept} of {listed} images'
        boxes = f', {sum(one["boxes"].values())} boxes' if one.get('boxes') is not None else ''
        purpose = f' ({_plain(one["purpose"])})' if one.get('purpose') else ''
        lines.append(f'- {_code(one["file"])}{purpose}: {images}{boxes}{"; " if more else ""}{", ".join(more)}')
    return '\n'.join(lines)


def _training(meta: Mapping, made: Mapping, cfg: Mapping) -> str:
    teacher = (cfg.get('model') or {}).get('teacher') or {}
    lines = [
        ('config', made.get('config') and _code(made['config'])),
        ('teacher', teacher.get('checkpoint') and f'{_code(teacher["checkpoint"])}, weights SHA-256 '
         f'{_code(meta.get("teacher") or "not noted")}'),
        ('without teacher', None if teacher else 'yes'),
        ('epochs', meta.get('epoch')), ('iterations', meta.get('iter')), ('seed', meta.get('seed')),
        ('processes', meta.get('world_size')),
        ('versions', ', '.join(f'{_plain(name)} {_plain(found)}' for name, found in (made.get('versions') or {}).items()))]
    return '\n'.join(f'- {what}: {value}' for what, value in lines if value not in (None, ''))


def _figures(stage: Stage, test: Optional[Mapping], val: Optional[Mapping]) -> list[str]:
    found = [(name, figures) for name, figures in (('test', test), ('val', val)) if figures]
    if not found:
        return [f'None yet: test it (`tools/test.py` writes `{TEST_FILE}`, and this card again).']
    names = ('old', 'new', 'all', 'avg') if stage.old else ('all', )
    rows = [['AP (%)', 'images', 'boxes', *names]]
    rows += [[name, figures.get('images', '-'), figures.get('boxes', '-'), *(_percent(figures.get(column)) for column in names)]
             for name, figures in found]
    per_class = [['AP (%) by class', *(name for name, _ in found)]]
    per_class += [[_plain(label), *(_percent((figures.get('per_class') or {}).get(label)) for _, figures in found)]
                  for label in stage.classes]
    measured = [f'{name}: {_measure(figures)}' for name, figures in found]
    return [markdown_table(rows), '; '.join(measured) + '.', _table(per_class)]


def _measure(figures: Mapping) -> str:
    ious = figures.get('iou_thr') or .5
    at = f'IoU {ious[0]:g} to {ious[-1]:g}' if isinstance(ious, Sequence) else f'IoU {ious:g}'
    mode = f', {_plain(figures["eval_mode"])}' if figures.get('eval_mode') else ''
    sets = ', '.join(_code(one.get('file')) for one in figures.get('sets') or () if one.get('file'))
    return f'AP at {at}{mode}{f" on {sets}" if sets else ""}'


def _limits(stage: Stage, made: Mapping, test: Optional[Mapping], val: Optional[Mapping], cfg: Mapping) -> list[str]:
    lines = ['The figures are of one run with one seed, on images like those of its data; they say nothing of other cameras, '
             'places or times.',
             'AP is over all scores. Which score to trust, and how often it errs there, has to be looked at for each use.']
    if not test:
        lines.append('No figure is of a test set. Those of val may have chosen its settings, and are then too good.')
    sets = made.get('data') or ()
    boxes: dict[str, int] = {}
    for one in sets:
        for label, count in (one.get('boxes') or {}).items():
            boxes[label] = boxes.get(label, 0) + count
    if few := [f'{_plain(label)} {count}' for label, count in boxes.items() if count < FEW_BOXES]:
        lines.append(f'Classes with fewer than {FEW_BOXES} boxes to train on: {", ".join(few)}.')
    figures = test or val or {}
    if unknown := [_plain(label) for label in stage.classes if (figures.get('per_class') or {label: 0}).get(label) is None]:
        lines.append(f'Not measured, as there is no box of them: {", ".join(unknown)}.')
    if stage.old:
        hidden = sum(one.get('hidden_old') or 0 for one in sets)
        lines.append('Boxes of old classes on the images of this stage were hidden'
                     f'{f" ({hidden} of them)" if hidden else ""}: what nothing else told of them could be learned as '
                     'background.')
        lines.append('How much was forgotten is the difference to the stages before, which stand in their own cards.')
    lines.append('What is none of its classes is background to it, or taken for one of them.')
    return lines


def _use() -> str:
    return ('Stock MMDetection loads it without mmilmil:\n\n```python\n'
            'from mmdet.apis import inference_detector, init_detector\n\n'
            f"model = init_detector('stock_config.py', '{FINAL_CHECKPOINT}', device='cpu')\n"
            "result = inference_detector(model, 'image.jpg')\n```")


def _table(rows: Sequence[Sequence[Any]]) -> str:
    """With names of any width, which are not padded."""
    head, *body = [[str(cell) for cell in row] for row in rows]
    return '\n'.join(f'| {" | ".join(row)} |' for row in (head, ['---', *['---:'] * (len(head) - 1)], *body))


def _percent(value: Optional[float]) -> str:
    return '-' if value is None else f'{100 * value:.1f}'


def _many(count: int, what: str, ending: str = 's') -> str:
    return f'{count} {what}{ending if count != 1 else ""}'


def _plain(text: Any) -> str:
    """A text that Markdown shows as it is, in one line, in a table too."""
    text = html.escape(' '.join(str(text).split()), quote=False)
    return re.sub(r'([\\`*_\[\]|#~])', r'\\\1', text)


def _code(text: Any) -> str:
    """A text as code, whatever quotes and bars it has."""
    text = ' '.join(str(text).split())
    fence = '`' * (1 + max((len(run) for run in re.findall('`+', text)), default=0))
    pad = ' ' if text.startswith('`') or text.endswith('`') else ''
    return f'{fence}{pad}{text}{pad}{fence}'

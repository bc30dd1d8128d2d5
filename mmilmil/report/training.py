"""What the logs of a training tell: losses, learning rate, cost, and what it was made of."""

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..engine.loss_groups import LOSS_GROUPS, is_loss_term, loss_group
from ..engine.work_dir import FINAL_CHECKPOINT
from ..models.memory import MEMORY_FILE
from ..table_layout import size_told
from ..version import __version__
from . import charts
from .judged import Pair, teacher_boxes
from .page import Chart, Commands, Facts, Note, Section, Table, Tiles
from .run import Run, is_run

PRUNING_FILE = 'pruning.json'
TEACHER_BOXES_FILE = 'teacher_boxes.json'
_SHARE = 0.01  # of the total, by which its terms may miss it


def training_section(run: Run) -> Section:
    """Losses by term and learning rate over the steps."""
    steps = run.steps
    if not steps:
        return Section('Training', [Note('There is no log of the training (vis_data/scalars.json in the folders of its '
                                         'starts): it is written while train.py runs and cannot be added '
                                         'later.', missing=True)])
    places = [line['step'] for line in steps]
    parts = _parts(steps)
    blocks: list[object] = []
    if parts:
        total = {'total': (places, [line['loss'] for line in steps])}
        series = {group: (places, [sum(values) if (values := [one for one in row if one is not None]) else None
                                   for row in zip(*terms.values())]) for group, terms in parts.items()}
        inks = ('text', *(f's{LOSS_GROUPS.index(group)}' for group in parts))
        blocks.append(Chart(charts.curves({**total, **series}, 'step', 'loss', inks=inks),
                            'The total loss and its parts, means over the last steps before each line of the log.'))
        sums = [sum(value for value in row if value is not None) for row in zip(*(values for _, values in series.values()))]
        apart = [(step, summed, line['loss']) for step, summed, line in zip(places, sums, steps)
                 if abs(summed - line['loss']) > _SHARE * abs(line['loss'])]
        if apart:
            step, summed, whole = max(apart, key=lambda one: abs(one[1] - one[2]))
            blocks.append(Note(f'In {len(apart)} of {len(steps)} lines of the log the terms do not add up to the total; '
                               f'furthest off at step {step}: {summed:.4g} of {whole:.4g}.', missing=True))
    rates = [(line['step'], line['lr']) for line in steps if isinstance(line.get('lr'), int | float)]
    if rates:
        blocks.append(Chart(charts.curves({'learning rate': tuple(zip(*rates))}, 'step', 'learning rate', inks=('all', )),
                            'The learning rate.'))
    if len(run.validations) > 1:
        epochs = [step for step, _ in run.validations]
        series = {name: (epochs, [100 * line[name] if isinstance(line.get(name), float) else None
                                  for _, line in run.validations]) for name in ('old', 'new', 'all')}
        series = {name: one for name, one in series.items() if any(value is not None for value in one[1])}
        blocks.append(Chart(charts.curves(series, 'epoch or step', 'AP (%)', bounds=(0, 100), marks=True,
                                          inks=tuple(series)), 'Figures of the validations.'))
    for group, terms in parts.items():
        blocks.append(Chart(charts.small_curves(terms, places, 'step'),
                            f'Terms of {group}, weighted as in the total, each with a scale of its own.'))
    return Section('Training', blocks, f'{steps[-1]["step"]} steps, {len(steps)} lines of log.')


def _parts(steps: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[float | None]]]:
    """By group that has a term, and by term, the values by line of the log, ``None`` where a line has none."""
    found: dict[str, dict[str, list[float | None]]] = {group: {} for group in LOSS_GROUPS}
    for name in dict.fromkeys(key for line in steps for key in line if is_loss_term(key)):
        group, term = loss_group(name)
        values = [line.get(name) for line in steps]
        found[group][term] = [value if isinstance(value, int | float) else None for value in values]
    return {group: terms for group, terms in found.items() if terms}


def teacher_section(run: Run, pair: Pair | None) -> Section:
    """How right the teacher's boxes are, and how many a step."""
    model = run.training_config.get('model') or {}
    if not run.has_teacher:
        return Section("The teacher's boxes", [])
    merging = model.get('merging')
    score_thr = float(merging.get('score_thr', 0.5)) if isinstance(merging, dict) else None
    blocks: list[object] = []
    if score_thr is None:
        blocks.append(Note("In this run the teacher's boxes are not merged into the ground truth."))
    measured = _json(run, TEACHER_BOXES_FILE)
    if measured:
        boxes, images = measured['right'] + measured['wrong'], measured['images']
        batch = (run.training_config.get('train_dataloader') or {}).get('batch_size', 1)
        blocks.append(Tiles([
            ('Precision, training images', _share(measured['right'], boxes),
             f'of {boxes} boxes with a score above {measured.get("score_thr", 0.5):g} on {images} images'),
            ('Recall, training images', _share(measured['found'], measured['objects']),
             f'of {measured["objects"]} old objects that the stage hides'),
            ('Boxes a step', f'{boxes / images * batch:.1f}' if images else '-',
             f'{boxes / max(images, 1):.2f} an image, {batch} images a step and process')]))
    elif score_thr is not None:
        command = shlex.join(['python', 'tools/analysis_tools/teacher_boxes.py', str(run.config_file or 'CONFIG'), '--out',
                              str(run.folder / TEACHER_BOXES_FILE)])
        blocks.append(Note('How many boxes a step the training images get, and how many are right there, tells: '
                           f'{command}; then build the report again.', missing=True))
    blocks += teacher_boxes(pair, score_thr)
    names = dict.fromkeys(name for line in run.shown for name in line if name.startswith(('teacher/', 'boxes/')))
    if names:
        logged = {name: [line.get(name) for line in run.shown] for name in names}
        blocks.append(Chart(charts.small_curves(logged, [line['step'] for line in run.shown], 'step'),
                            'What the training showed: boxes a step that it was trained on, those that the teacher found, the '
                            'share of these that was merged, and their mean score.'))
    return Section("The teacher's boxes", blocks, "In a new stage old objects are not annotated: the teacher's detections "
                   'stand for them.')


def _share(part: int, whole: int) -> str:
    return f'{100 * part / whole:.1f} %' if whole else '-'


def cost_section(run: Run) -> Section:
    """Time of a step, memory, and what is kept of old data."""
    blocks: list[object] = []
    if cost := run.cost:
        kept = cost['kept']
        tiles = [('Step', f'{cost["step_seconds"]:.3f} s', 'median, without loading its batch')] if cost.get(
            'step_seconds') is not None else []
        if cost.get('peak_memory_mib'):
            of = 'of the GPU' if cost.get('peak_memory_of') == 'max_memory_allocated' else 'of the process'
            tiles.append(('Peak memory', f'{cost["peak_memory_mib"]:.0f} MiB', of))
        tiles.append(('Memory of old classes', size_told(kept.get('memory_bytes', 0)), 'replayed in this training'))
        tiles.append(('Replayed images', str(kept.get('images', 0)),
                      size_told(kept['image_bytes']) if kept.get('image_bytes') else 'of old classes'))
        blocks += [Tiles(tiles), Facts([
            ('device', f'{cost.get("device", "-")}, threads: {cost.get("threads", "-")}, '
             f'processes: {cost.get("processes", "-")}'),
            ('steps', f'{cost.get("iterations", "-")}, of which {cost.get("timed_steps", "-")} were timed')])]
    sizes = [(name, what) for name, what in ((FINAL_CHECKPOINT, 'the detector'), (
        MEMORY_FILE, 'what it leaves of its classes to the next stage')) if (run.folder / name).is_file()]
    if sizes:
        blocks.append(Table([['file', 'size'], *(
            [f'{name}, {what}', size_told((run.folder / name).stat().st_size)] for name, what in sizes)]))
    return Section('Cost, and what is kept', blocks)


def pruned_section(run: Run) -> Section:
    """Sizes and latency of a pruned detector, before and after."""
    pruned = (run.training_config.get('model') or {}).get('pruned')
    if not isinstance(pruned, str):
        return Section('Pruned', [])
    measured = _pruning(pruned)
    if not measured or not all(isinstance(measured.get(name), dict) for name in ('before', 'after')):
        return Section('Pruned', [Note(f'The structure is that of {pruned}; sizes and latency are in a {PRUNING_FILE} that '
                                       'tools/prune.py writes beside it: prune again to have them.', missing=True)])
    rows = [['', 'before', 'after', 'after / before']]
    for name, before in measured['before'].items():
        after = measured['after'].get(name)
        if isinstance(before, int | float) and isinstance(after, int | float):
            rows.append([name, f'{before:.4g}', f'{after:.4g}', f'{after / before:.3f}' if before else '-'])
    return Section('Pruned', [Table(rows)], f'Of {pruned}, measured when tools/prune.py cut it.')


def _pruning(checkpoint: str, steps: int = 20) -> dict[str, Any] | None:
    """What prune.py measured of a pruned checkpoint, or of the one that it was trained further from."""
    folder = Path(checkpoint).parent
    if found := _read(folder / PRUNING_FILE):
        return found
    before = (Run(folder).training_config.get('model') or {}).get('pruned') if is_run(folder) and steps else None
    return _pruning(before, steps - 1) if isinstance(before, str) else None


def _json(run: Run, name: str) -> dict[str, Any] | None:
    found = _read(run.folder / name)
    if found is not None and not all(
            isinstance(found.get(key), int) for key in ('right', 'wrong', 'found', 'objects', 'images')):
        run.problems.append(f'{run.folder / name} is no file of tools/analysis_tools/teacher_boxes.py: remove it')
        return None
    return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def made_of_section(run: Run) -> Section:
    """Config, classes, teacher, seed, versions, data, and the commands that do it again."""
    facts = [('folder', str(run.folder.resolve())), ('config', str(run.config_file or 'none is there'))]
    stage, config = run.stage, run.training_config
    model = config.get('model') or {}
    if model.get('type'):
        facts.append(('detector', model['type']))
    if stage:
        names = ['classes'] if len(stage.groups) == 1 else [f'group {index}' for index in range(len(stage.groups))]
        if len(names) > 1:
            names[-1] += ' (new)'
        facts += [(f'{name}, {len(group)}', ', '.join(group)) for name, group in zip(names, stage.groups)]
    if run.has_teacher:
        facts.append(('teacher', str(model['teacher'].get('checkpoint'))))
    seed = (config.get('randomness') or {}).get('seed')
    told = run.environment
    facts.append(('seed', str(told.get('seed', seed) if seed is None else seed)))
    if told:
        facts.append(('trained with', ', '.join(f'{name} {value}' for name, value in told.items() if name != 'seed')))
    facts.append(('report by', f'mmilmil {__version__}, ' + ', '.join(f'{name} {_version(name)}' for name in (
        'mmdet', 'mmengine', 'mmcv', 'torch', 'matplotlib'))))
    if run.figures:
        sets = run.figures.get('sets') or []
        facts.append(('measured on', '; '.join(f'{one["file"]}, {one["images"]} images, {one["boxes"]} boxes' for one in sets)
                      or f'{run.figures.get("images", "?")} images'))
    blocks: list[object] = [Facts(facts)]
    if run.data:
        blocks.append(Commands('\n'.join(run.data), 'What the training found in its data, and what it dropped:'))
    if run.config_file:
        again = run.folder.resolve().with_name(f'{run.name}_again')
        teacher = ['--teacher', str(run.teacher / FINAL_CHECKPOINT)] if run.teacher else []
        train = ['python', 'tools/train.py', str(run.config_file), '--work-dir', str(again), *teacher]
        blocks.append(Commands(f'{shlex.join(train)}\n{run.test_command}',
                               'To train it once more, in a folder of its own, and to test this one (the config is the whole '
                               'one that the run left):'))
    return Section('What was run', blocks)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return '-'

"""What detections tell of a student beside its teacher: curves, confusions, errors, the teacher's boxes and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..evaluation.ap_gaps import ap_gaps
from ..evaluation.average_precision import Image, precision_recall
from ..evaluation.class_groups import group_means
from ..evaluation.confusion import Confusion
from ..evaluation.detections_file import Detections
from ..evaluation.error_kinds import ERROR_KINDS, error_counts
from ..evaluation.teacher_boxes import match
from ..stage import Stage
from . import charts
from .choice import Kind, choose
from .page import Chart, Gallery, Note, Panel, Section, Shown, Table, Tiles
from .pictures import Photo, found_marks, photo, truth_marks
from .relatives import Settings, aligned
from .run import Run

_CURVES = 6  # panels of precision and recall
_REPAIRS = ('old taken for new', 'new taken for old', 'old taken for another old', 'new taken for another new', 'misplaced',
            'found twice', 'old missed', 'new missed', 'background taken for old', 'background taken for new')
NO_DETECTIONS = 'The detections of the test are not there: see “What is missing” for the command that adds them.'


@dataclass(frozen=True)
class Pair:
    """A student's test with its teacher's of the same images.

    Attributes:
        stage: Classes and groups of the student.
        paths: Files of the images.
        sizes: Their heights and widths, (N, 2).
        student: Objects and the student's detections by image.
        teacher: The same with the teacher's; ``None`` without.
        taught: How many classes the teacher knows.
        name: What the teacher is called.
    """

    stage: Stage
    paths: Sequence[str]
    sizes: np.ndarray
    student: Sequence[Image]
    teacher: Sequence[Image] | None = None
    taught: int = 0
    name: str = ''

    @classmethod
    def of(cls, found: Detections, teacher: Run | None) -> 'Pair':
        """A run's detections, with its teacher's where there are some of the same images."""
        hers = teacher.judged if teacher else None
        places = aligned(found, hers)
        if places is None:
            return cls(found.stage, found.paths, found.sizes, found.images)
        # The objects are the student's: of all its classes.
        images = [Image(mine.boxes, mine.labels, mine.ignored_boxes, mine.ignored_labels, hers.images[place].detections,
                        hers.images[place].detected_labels, mine.evaluated) for mine, place in zip(found.images, places)]
        return cls(found.stage, found.paths, found.sizes, found.images, images, len(hers.stage.classes), teacher.name)


def curve_section(run: Run, pair: Pair | None, before: Mapping[str, float | None]) -> Section:
    """Precision and recall of the classes that lost most, or of a first stage of the worst ones.

    Args:
        run: The student.
        pair: Its detections; ``None`` without.
        before: The teacher's AP by class.
    """
    title = 'Precision and recall'
    if pair is None:
        return Section(title, [Note(NO_DETECTIONS, missing=True)])
    after = run.figures['per_class']
    compared = pair.teacher is not None and bool(before)
    if compared:
        lost = {name: before[name] - after[name] for name in pair.stage.classes[:pair.taught]
                if before.get(name) is not None and after[name] is not None}
        chosen = [name for name in sorted(lost, key=lost.get, reverse=True) if lost[name] > 0][:_CURVES]
        intro = f'The old classes that lost most AP from the teacher to this run: {_listed(chosen, lost)}.'
        if not chosen:
            return Section(title, [Note('No old class lost AP.')])
    else:
        known = {name: ap for name, ap in after.items() if ap is not None}
        chosen = sorted(known, key=known.get)[:_CURVES]
        intro = 'The classes of the lowest AP.'
    panels = {}
    for name in chosen:
        label = pair.stage.classes.index(name)
        panels[name] = {'teacher': precision_recall(pair.teacher, label)} if compared else {}
        panels[name]['this run'] = precision_recall(pair.student, label)
    return Section(title, [Chart(
        charts.precision_recall_curves(panels), 'Precision over recall at IoU 0.5, each point a score. The line of this run '
        'lies below its teacher where it forgot.' if compared else
        'Precision over recall at IoU 0.5, each point a score.')], intro)


def _listed(names: Sequence[str], lost: Mapping[str, float]) -> str:
    return ', '.join(f'{name} (−{100 * lost[name]:.1f})' for name in names)


def confusion_section(pair: Pair | None, settings: Settings) -> Section:
    """The confusion matrix with the sums of its blocks."""
    title = 'Taken for what'
    if pair is None:
        return Section(title, [Note(NO_DETECTIONS, missing=True)])
    num_old = len(pair.stage.old)
    mine = _confusion(pair.student, pair.stage, settings)
    blocks = mine.blocks()
    objects = {'old': int(mine.matrix[:num_old].sum()), 'new': int(mine.matrix[num_old:-1].sum())}
    shown = []
    if num_old:
        shown.append(Tiles([(name.capitalize(), str(blocks[name]), _share(blocks[name], objects[name[:3]], name[:3]))
                            for name in ('old taken for new', 'new taken for old', 'old taken for another old',
                                         'new taken for another new')]))
    parts = 'old | new | background' if num_old else 'classes | background'
    shown.append(Chart(charts.confusion_heat(mine.matrix, pair.stage.classes, num_old),
                       f'Rows are what is there, columns what it was taken for, ordered {parts}; blue is right, red is wrong, '
                       'the stronger the greater the share of the row.', wide=len(pair.stage.classes) > 12))
    columns, rows = ['this run'], [[name, str(value)] for name, value in blocks.items()]
    if pair.teacher is not None:
        hers = _confusion(pair.teacher, pair.stage, settings).blocks()
        columns.append('its teacher')
        rows = [[*row, str(hers[row[0]]) if 'new' not in row[0] else '-'] for row in rows]
    if not num_old:
        rows = [[row[0].removeprefix('new ').replace('another new', 'another class').replace('for new', 'for a class'),
                 *row[1:]] for row in rows if row[0].startswith(('new', 'background taken for new')) and 'old' not in row[0]]
    shown.append(Table([['block', *columns], *rows], 'All blocks of the matrix, and detections on top of found objects',
                       folded=True))
    return Section(title, shown, f'At a score of {settings.score_thr:g}: detections, the surest first, each take the free '
                   'object of highest IoU, 0.5 or more, whatever its class. A detection without one is taken for background.')


def _confusion(images: Sequence[Image], stage: Stage, settings: Settings) -> Confusion:
    confusion = Confusion(len(stage.classes), len(stage.old), settings.score_thr)
    for image in images:
        confusion.add(image)
    return confusion


def _share(part: int, whole: int, group: str) -> str:
    return f'{100 * part / whole:.1f} % of {whole} {group} objects' if whole else f'no {group} object'


def error_section(pair: Pair | None, settings: Settings) -> Section:
    """Errors by kind for old and for new, in numbers and in AP."""
    title = 'Errors by kind'
    if pair is None:
        return Section(title, [Note(NO_DETECTIONS, missing=True)])
    classes, num_old = len(pair.stage.classes), len(pair.stage.old)
    counts = error_counts(pair.student, classes, num_old, settings.score_thr)
    groups = ('old', 'new') if num_old else ('new', )
    named = {group: f'{group} classes' if num_old else 'classes' for group in groups}
    blocks = [Chart(charts.grouped_bars(
        ERROR_KINDS, {named[group]: [counts[group][kind] for kind in ERROR_KINDS] for group in groups},
        f'errors at a score of {settings.score_thr:g}', groups if num_old else ('old', )),
        'Wrong detections by their class, missed objects by theirs.')]
    aps, repaired = ap_gaps(pair.student, classes, num_old)
    means = group_means(pair.stage, aps)
    if means['all'] is not None:
        kinds = [kind for kind in _REPAIRS if num_old or 'old' not in kind]
        gains = {kind: 100 * (group_means(pair.stage, repaired[kind])['all'] - means['all']) for kind in kinds}
        kinds = sorted(kinds, key=lambda kind: -gains[kind])
        blocks.append(Chart(charts.grouped_bars(
            [kind if num_old else kind.replace('new ', '').replace(' for new', '').replace('another new', 'another')
             for kind in kinds], {'gain': [max(0., gains[kind]) for kind in kinds]},
            'points of AP over all classes', ('all', ), 1),
            'What AP would gain where one kind were repaired and all others stayed, over all scores, at IoU 0.5.'))
    rows = [['', *named.values()]]
    for kind in ('objects', 'found', *ERROR_KINDS):
        rows.append([kind, *(str(counts[group][kind]) for group in groups)])
    blocks.append(Table(rows, 'The numbers', folded=True))
    return Section(title, blocks, 'Class: on an object of another class. Place: IoU of 0.1 to 0.5 with one of its class. Both: '
                   'the same with one of another class. Twice: on an object that a surer one found. Background: none of these. '
                   'Missed: an object that none of them explains.')


def teacher_boxes(pair: Pair | None, score_thr: float | None) -> list[object]:
    """Precision and recall of the teacher's boxes on the test's images, over the score from which they are taken.

    Args:
        pair: The detections.
        score_thr: From which score they are merged; ``None`` where they are not.
    """
    if pair is None or pair.teacher is None:
        return []
    thresholds = [round(0.1 + 0.05 * step, 2) for step in range(18)]
    at = sorted({*thresholds, *([score_thr] if score_thr is not None else [])})
    # The surest come first, so that what a threshold leaves out changes nothing of the others: one matching does for all.
    scores, right, wrong, objects = [], [], [], 0
    for image in pair.teacher:
        chosen = image.detections[:, 4] >= at[0]
        labels = np.concatenate([image.labels, image.ignored_labels])
        old = labels < pair.taught
        hits, misses = match(image.detections[chosen], image.detected_labels[chosen],
                             np.concatenate([image.boxes, image.ignored_boxes])[old], labels[old],
                             (np.arange(len(labels)) >= len(image.labels))[old])
        scores.append(image.detections[chosen, 4])
        right.append(hits)
        wrong.append(misses)
        objects += int((image.labels < pair.taught).sum())
    scores, right, wrong = (np.concatenate(column) for column in (scores, right, wrong))
    figures = {}
    for threshold in at:
        hits, misses = (int(column[scores >= threshold].sum()) for column in (right, wrong))
        figures[threshold] = (hits / (hits + misses) if hits + misses else None, hits / objects if objects else None,
                              (hits + misses) / len(pair.teacher))
    blocks: list[object] = []
    if score_thr is not None:
        precision, recall, number = figures[score_thr]
        blocks.append(Tiles([
            ('Precision', _told(precision), f'of boxes with a score of {score_thr:g} or more, from which they are merged'),
            ('Recall', _told(recall), 'of the old objects'),
            ('Boxes', f'{number:.2f}', 'an image')]))
    series = {name: (at, [None if figures[one][place] is None else 100 * figures[one][place] for one in at])
              for place, name in enumerate(('precision', 'recall'))}
    blocks.append(Chart(charts.curves(series, 'score', 'per cent', bounds=(0, 100)),
                        "The teacher's boxes of old classes on the test's images, at IoU 0.5, over the score from which they "
                        'are taken. Merging refuses those that lie on annotated objects, so of what it takes more is right.'))
    return blocks


def _told(share: float | None) -> str:
    return '-' if share is None else f'{100 * share:.1f} %'


def picture_section(pair: Pair | None, settings: Settings) -> Section:
    """Ground truth, teacher and student side by side."""
    title = 'Pictures'
    if pair is None:
        return Section(title, [Note(NO_DETECTIONS, missing=True)])
    kinds = choose(pair.student, pair.teacher, len(pair.stage.classes), len(pair.stage.old), settings.images,
                   settings.score_thr, settings.seed)
    columns = {'teacher': (pair.teacher, pair.taught)} if pair.teacher is not None else {}
    columns['this run'] = pair.student, len(pair.stage.classes)
    return Section(title, galleries(pair, kinds, columns, settings), picture_words(settings, bool(pair.stage.old)))


def picture_words(settings: Settings, grouped: bool) -> str:
    """What the colours of pictures mean."""
    colors = 'Old classes are blue, new ones orange' if grouped else 'Boxes are blue'
    return (f'{colors}; red with ✕ is a detection that finds no object of its class, grey is what does not count, dashed an '
            'object that was missed. '
            f'Detections have a score of {settings.score_thr:g} or more.')


def galleries(pair: Pair, kinds: Sequence[Kind], columns: Mapping[str, tuple[Sequence[Image], int]],
              settings: Settings) -> list[object]:
    """Pictures of chosen images.

    Args:
        pair: Whose objects, paths and sizes they have.
        kinds: The choice.
        columns: By title the images with a detector's detections, and how many classes it knows.
        settings: Of the report.

    Returns:
        Galleries; before them, where files are gone, a line that tells how many.
    """
    photos: dict[int, Photo | None] = {place: photo(pair.paths[place]) for kind in kinds for place in kind.images}
    found = []
    for kind in kinds:
        shown = []
        for place in kind.images:
            image, size = pair.student[place], _size(pair, place, photos[place])
            panels = [Panel('ground truth', truth_marks(image, pair.stage, size))]
            panels += [Panel(title, found_marks(images[place], pair.stage, size, settings.score_thr, classes))
                       for title, (images, classes) in columns.items()]
            shown.append(Shown(pair.paths[place] if photos[place] is None else Path(pair.paths[place]).name, photos[place],
                               panels))
        found.append(Gallery(kind.title, f'{kind.rule[:1].upper()}{kind.rule[1:]}.', shown))
    gone = sum(one is None for one in photos.values())
    lead = [Note(f'{gone} of {len(photos)} image files are gone since the test; where they lay stands below.', missing=True)]
    return [*(lead if gone else []), *found]


def _size(pair: Pair, place: int, shown: Photo | None) -> tuple[int, int]:
    if shown is not None:
        return shown.width, shown.height
    height, width = (int(side) for side in pair.sizes[place])
    return width or 1, height or 1

"""mmilmil.report and tools/report.py: what a test leaves, what a report makes of it, and what it does where something lacks."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmilmil import InputError
from mmilmil.evaluation.average_precision import Image, class_results, precision_recall
from mmilmil.evaluation.class_groups import group_figures
from mmilmil.evaluation.detections_file import DetectionsFile, read_detections
from mmilmil.evaluation.error_kinds import error_counts
from mmilmil.evaluation.evaluated_sets import EvaluatedSet
from mmilmil.evaluation.matching import match_objects
from mmilmil.report import Settings, charts, report_after, write_report, write_several
from mmilmil.report.choice import choose
from mmilmil.report.pictures import found_marks
from mmilmil.report.relatives import ancestors, beside
from mmilmil.report.run import Run
from mmilmil.report.training import training_section
from mmilmil.stage import Stage

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')


def image(objects, detections, ignored=()):
    """Objects as ``(label, x1, y1, x2, y2)``, detections as ``(label, score, x1, y1, x2, y2)``."""
    boxes = np.array([one[1:] for one in objects], dtype=float).reshape(-1, 4)
    found = np.array([(*one[2:], one[1]) for one in detections], dtype=float).reshape(-1, 5)
    others = np.array([one[1:] for one in ignored], dtype=float).reshape(-1, 4)
    return Image(boxes, np.array([one[0] for one in objects], int), others, np.array([one[0] for one in ignored], int), found,
                 np.array([one[0] for one in detections], int))


# What a test leaves


def sample(path, found, truth=((0, 1., 2., 30., 40.), ), ignored=()):
    def part(rows, scores=None):
        rows = np.array(rows, dtype=float).reshape(-1, 5)
        return dict(bboxes=rows[:, 1:], labels=rows[:, 0].astype(int), **({} if scores is None else dict(scores=scores)))
    return dict(img_path=path, ori_shape=(48, 64), gt_instances=part(truth), ignored_instances=part(ignored),
                pred_instances=part([row[:5] for row in found], np.array([row[5] for row in found])))


def test_detections_come_back(tmp_path):
    metric = DetectionsFile(str(tmp_path / 'd.npz'))
    metric.dataset_meta = dict(classes=('a', '<螺丝>'), split=(1, 1))
    found = [(1, 0., 0., 9., 9., 0.5), (0, 1., 2., 30., 40.5, 0.25)]
    metric.process(None, [sample('/x/1.jpg', found, ignored=[(1, 3., 3., 5., 5.)]), sample('/x/2.jpg', [], truth=[])])
    assert metric.evaluate(2) == {}
    read = read_detections(tmp_path / 'd.npz')
    assert read.stage.classes == ('a', '<螺丝>') and read.stage.split == (1, 1) and read.annotated
    assert read.paths == ('/x/1.jpg', '/x/2.jpg') and read.sizes.tolist() == [[48, 64]] * 2
    first, second = read.images
    assert first.boxes.tolist() == [[1, 2, 30, 40]] and first.labels.tolist() == [0]
    assert first.ignored_boxes.tolist() == [[3, 3, 5, 5]] and first.ignored_labels.tolist() == [1]
    assert first.detections.tolist() == [[0, 0, 9, 9, 0.5], [1, 2, 30, 40.5, 0.25]] and first.detected_labels.tolist() == [1, 0]
    assert len(second.boxes) == len(second.detections) == 0


@pytest.mark.parametrize('content, told', [(b'no file of numpy', 'is no file of detections'),
                                           (None, 'does not exist: test again')])
def test_detections_that_cannot_be_read(tmp_path, content, told):
    if content:
        (tmp_path / 'd.npz').write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_detections(tmp_path / 'd.npz')


def test_detections_of_another_version(tmp_path):
    np.savez(tmp_path / 'd.npz', format=np.int64(9))
    with pytest.raises(InputError, match='has the format 9, of another version'):
        read_detections(tmp_path / 'd.npz')


def test_a_test_keeps_what_its_figures_are_of(chain):
    for name in ('base', 'student'):
        figures = json.loads((chain.runs / name / 'metrics.json').read_text())
        read = read_detections(chain.runs / name / 'detections.npz')
        results = class_results(read.images, len(read.stage.classes))
        assert {one: result.ap[figures['eval_mode']] for one, result in zip(read.stage.classes, results)} == pytest.approx(
            figures['per_class'], nan_ok=True)
        assert len(read.paths) == figures['images'] == 4 and all(Path(path).is_file() for path in read.paths)


# Counts


BOX, NEAR, FAR = (10, 10, 50, 50), (10, 30, 50, 70), (200, 200, 240, 240)  # IoU of the first two: 1/3


@pytest.mark.parametrize('objects, detections, kinds', [
    ([(0, *BOX)], [(0, .9, *BOX)], dict(found=1)),
    ([(0, *BOX)], [(0, .9, *BOX), (0, .8, *BOX)], dict(found=1, twice=1)),
    ([(0, *BOX)], [(1, .9, *BOX)], {'new class': 1}),
    ([(0, *BOX)], [(0, .9, *NEAR)], dict(place=1)),
    ([(0, *BOX)], [(1, .9, *NEAR)], {'missed': 1, 'new both': 1}),
    ([(0, *BOX)], [(0, .9, *FAR)], dict(missed=1, background=1)),
    ([(0, *BOX)], [(0, .2, *BOX)], dict(missed=1)),
])
def test_errors_by_kind(objects, detections, kinds):
    counts = error_counts([image(objects, detections)], 2, 1)
    told = {name: value for name, value in counts['old'].items() if value and name != 'objects'}
    told |= {f'new {name}': value for name, value in counts['new'].items() if value}
    assert told == kinds and counts['old']['objects'] == 1


def test_an_ignored_object_is_neither_right_nor_wrong():
    counts = error_counts([image([], [(0, .9, *BOX)], ignored=[(0, *BOX)])], 2, 1)
    assert not any(counts['old'].values())


def test_pictures_agree_with_the_counts():
    """On an ignored object, and of a class that the set does not measure, a detection is neither right nor wrong."""
    stage = Stage(('a', 'b'), (1, 1))
    ignored = image([], [(0, .9, *BOX)], ignored=[(0, *BOX)])
    not_measured = replace(image([(1, *FAR)], [(0, .9, *BOX), (1, .8, *FAR), (1, .7, *BOX)]), evaluated=EvaluatedSet(
        annotated=frozenset({1})))
    assert [mark.kind for mark in found_marks(ignored, stage, (300, 300), .3, 2)] == ['ignored']
    marks = found_marks(not_measured, stage, (300, 300), .3, 2)
    assert [(mark.kind, mark.text) for mark in marks] == [('wrong', 'b 0.70 ✕'), ('new', 'b 0.80'), ('ignored', 'a 0.90')]
    counts = error_counts([not_measured], 2, 1)
    assert not any(counts['old'].values()) and counts['new']['background'] == counts['new']['found'] == 1


def test_a_single_group_has_the_colour_of_old_classes():
    marks = found_marks(image([(0, *BOX)], [(0, .9, *BOX)]), Stage(('a', ), (1, )), (300, 300), .3, 1)
    assert [mark.kind for mark in marks] == ['old']
    assert 'var(--old)' in (svg := charts.class_bars({'a': (None, .5)}, 1, '', 'AP')) and 'var(--new)' not in svg


def test_a_class_that_is_never_detected_has_no_curve():
    none = np.zeros(0)
    assert '<svg' in charts.precision_recall_curves({'a': {'teacher': (np.ones(1), np.ones(1)), 'this run': (none, none)}})


def test_precision_recall():
    images = [image([(0, *BOX), (0, *FAR)], [(0, .9, *BOX), (0, .8, *NEAR), (0, .7, *FAR)])]
    recall, precision = precision_recall(images, 0)
    assert recall.tolist() == [.5, .5, 1] and precision == pytest.approx([1, .5, 2 / 3])
    assert len(precision_recall(images, 1)[0]) == 0


def test_choice_of_pictures():
    old, new = (0, *BOX), (1, *FAR)
    students = [image([old], []), image([old], [(0, .9, *BOX)]), image([new], [(1, .9, *FAR)]), image([new], []), image([], [])]
    teachers = [image([old], [(0, .9, *BOX)]), image([old], [(0, .9, *BOX)]), *students[2:]]
    kinds = {kind.title: kind.images for kind in choose(students, teachers, 2, 1, 3, 0.3)}
    assert kinds == {'Forgotten worst': (0, ), 'Learned worst': (3, ), 'Kept best': (1, ), 'Learned best': (2, ),
                     'Drawn at random': (4, )}
    assert match_objects(students[1], .95).found.tolist() == [False]


def test_charts_say_what_they_draw():
    svg = charts.curves({'rate <1>': ([0, 1], [0., .0004])}, 'step', 'rate')
    ticks = [float(text.replace('−', '-')) for text in re.findall(r'>([−\d.]+)</text>', svg)]
    assert {0., .0001, .0004} <= set(ticks)  # as they are, while lines are rounded
    assert 'var(--' in svg and '#010' not in svg and '<style' not in svg and 'rate &lt;1&gt;' not in svg  # one line, no legend


# Pages


class Page(HTMLParser):
    """Words of a page, and every address that it names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words, self.addresses, self.ids, self.tags = [], [], [], []
        self.feed(path.read_text(encoding='utf-8'))
        self.text = ' '.join(' '.join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ('src', 'href', 'xlink:href')]
        self.ids += [value for name, value in attrs if name == 'id']

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope='module')
def runs(chain, tmp_path_factory):
    """A copy of the finished chain whose pages may be written."""
    folder = tmp_path_factory.mktemp('moved') / "it's <runs> 运行"
    shutil.copytree(chain.runs, folder)
    return folder


@pytest.fixture(scope='module')
def student(runs):
    return Page(write_report(runs / 'student'))


def figures_of(folder):
    return json.loads((folder / 'metrics.json').read_text())


def test_tools_leave_reports(chain):
    for name in ('base', 'student', '.'):
        assert (chain.runs / name / 'report/index.html').is_file() and (chain.runs / name / 'report/report.md').is_file()
    assert re.search(r'^report: +runs/report/index.html$', chain.output, re.M) and 'Traceback' not in chain.output
    assert 'href="../student/report/index.html"' in (chain.runs / 'report/index.html').read_text()


def test_page_of_a_stage(runs, student):
    figures = figures_of(runs / 'student')
    for name in ('old', 'new', 'all'):
        assert f'{100 * figures[name]:.1f} %' in student.text
    # One file that needs nothing else, in which no id stands twice.
    assert all(address.startswith(('#', 'data:image/')) for address in student.addresses)
    assert len(student.ids) == len(set(student.ids))
    for title in ('Figures', 'Over the stages', 'Classes', 'Precision and recall', 'Taken for what', 'Errors by kind',
                  'Pictures', 'Training', "The teacher's boxes", 'Cost, and what is kept', 'What was run'):
        assert title in student.words
    assert 'this run' in student.words and 'ground truth' in student.words and 'teacher' in student.words
    assert student.tags.count('image') >= 4 and 'What is missing' not in student.words
    assert str(runs) in student.text and '4 of 4 images kept' in student.text  # escaped, and told by the log
    text = (runs / 'student/report/report.md').read_text(encoding='utf-8')
    assert "it's &lt;runs> 运行" in text and f'| {100 * figures["old"]:.1f} |' in text
    assert (runs / 'student/report/index.html').stat().st_size < 2e6


def test_moved_teacher_is_found(runs):
    chain = ancestors(Run(runs / 'student'))
    assert [run.folder for run in chain] == [runs / 'base', runs / 'student'] and not chain[-1].problems


def test_page_of_a_chain(runs):
    page = Page(write_report(runs))
    assert 'chains of 2 stages' in page.text and 'forgot of group 0' in page.words
    assert f'{100 * figures_of(runs / "student")["all"]:.1f} %' in page.text


def test_several_side_by_side(runs, tool, tmp_path):
    done = tool('report.py', runs / 'base', runs / 'student')
    assert done.status == 1 and 'name it by --out' in done.err
    done = tool('report.py', runs / 'base', runs / 'student', '--out', tmp_path / 'both', '--images', '1')
    assert done.status == 0, done.err
    assert done.out.split() == [str(tmp_path / 'both/index.html'), str(tmp_path / 'both/report.md')]
    assert 'base and student' in Page(tmp_path / 'both/index.html').words


def test_page_of_a_comparison(runs, tmp_path):
    shutil.copytree(runs, tmp_path / 'c/seed0')
    figures = {name: dict(values={'0': value}) for name, value in dict(
        old=.5, new=.25, all=.4, avg=None).items() if value is not None} | {name: dict(values={}) for name in (
            'avg', 'forgetting', 'fpp', 'gap', 'all/joint', 'omega', 'rsd', 'rpd', 'step', 'step_seconds', 'peak_memory_mib',
            'memory_bytes', 'images', 'image_bytes')}
    row = dict(split='student', method='default', is_joint=False, seeds=[0], figures=figures)
    one = dict(split='student', method='default', seed=0, is_joint=False, cost=None, stages=[figures_of(runs / 'student')])
    content = dict(rows=[row], runs=[one], failed=['x: its teacher failed'], configs=[], split='test', made=dict(
        command='python tools/compare.py', commit=None, changed=None, versions=dict(torch='2'), machine={}))
    (tmp_path / 'c/comparison.json').write_text(json.dumps(content))
    page = Page(write_report(tmp_path / 'c'))
    assert '50.0' in page.words and '25.0' in page.words and 'failed: x: its teacher failed' in page.words
    (tmp_path / 'c/comparison.json').write_text('{"rows": 1}')
    page = Page(write_report(tmp_path / 'c'))
    assert 'cannot be used (it holds no figures by method)' in page.text and 'Over the stages' in page.words


# What is missing or broken


@pytest.fixture
def copy(runs, tmp_path):
    shutil.copytree(runs / 'base', tmp_path / 'base')
    shutil.copytree(runs / 'student', tmp_path / 'student')
    return tmp_path / 'student'


def test_figures_of_a_validation_do_not_compare_with_those_of_a_test(copy):
    """They stand neither beside each other nor over the stages, and a chain's page says which are of what."""
    base = copy.parent / 'base'
    (base / 'metrics.json').rename(base / 'metrics_val.json')
    (base / 'detections.npz').unlink()
    page = Page(write_report(copy))
    assert 'Over the stages' not in page.words and not re.search(r'teacher \d', page.text) and 'base' not in page.words
    assert 'those of student are of the test set, those of base of the validation set. Test it: python' in page.text
    page = Page(write_report(copy.parent))
    assert 'of runs that are not tested on the validation set' in page.text and 'base (validation)' in page.words
    assert 'Over the stages' not in page.words and 'forgot of group 0' not in page.words


def test_figures_of_other_sets_do_not_compare(copy):
    figures = figures_of(copy.parent / 'base')
    for one in figures['sets']:
        one['file'] = '/another/test.json'
    (copy.parent / 'base/metrics.json').write_text(json.dumps(figures))
    page = Page(write_report(copy))
    assert 'Over the stages' not in page.words and 'are of different sets' in page.text
    del figures['sets']
    (copy.parent / 'base/metrics.json').write_text(json.dumps(figures))
    page = Page(write_report(copy))
    assert 'Over the stages' not in page.words and 'those of base do not tell on which sets' in page.text


@pytest.mark.parametrize('tested, told', [
    (dict(checkpoint='epoch_1.pth'), 'student/epoch_1.pth --work-dir {folder}'),
    (dict(checkpoint='final.pth', fused=['/x/other.pth']), 'student/final.pth --work-dir {folder} --fuse /x/other.pth'),
])
def test_figures_of_other_weights(copy, tested, told):
    """The page says of which; the command tests the same ones."""
    assert 'images, of final.pth.' in Page(write_report(copy)).text
    (copy / 'metrics.json').write_text(json.dumps({**figures_of(copy), **tested}))
    files = ' and '.join([tested['checkpoint'], *tested.get('fused', ())])
    page = Page(write_report(copy))
    assert f'images, of {files}.' in page.text and f'The figures of student are of {files}, not of final.pth.' in page.text
    run = Run(copy)
    assert run.figures and run.test_command.endswith(told.format(folder=copy))


def test_a_teacher_that_is_found_by_its_name(copy):
    """A folder that only has its name is told to be taken for it."""
    config = next(path.with_name('config.py') for path in sorted(copy.glob('2*/vis_data/scalars.json')))
    config.write_text(re.sub(r"checkpoint='[^']*base/final.pth'", "checkpoint='/gone/base/final.pth'", config.read_text()))
    page = Page(write_report(copy))
    assert f"the teacher's folder /gone/base is not there: {copy.parent / 'base'} is taken for it" in page.text


def test_without_detections(copy):
    """As a test of an earlier version left it."""
    (copy / 'detections.npz').unlink()
    (copy / 'cost.json').unlink()
    page = Page(write_report(copy))
    assert 'detections.npz is missing, so curves, confusions, errors and pictures are too: python tools/test.py' in page.text
    assert 'has no cost.json' in page.text and f'{100 * figures_of(copy)["all"]:.1f} %' in page.text


def test_detections_of_another_test_are_not_used(copy):
    figures = figures_of(copy)
    name = next(name for name, ap in figures['per_class'].items() if ap is not None)
    figures['per_class'][name] = .123
    (copy / 'metrics.json').write_text(json.dumps(figures))
    assert f'is of another test than metrics.json (AP of {name} differs)' in Page(write_report(copy)).text


def test_half_finished_and_without_teacher(copy):
    for name in ('metrics.json', 'metrics_val.json', 'detections.npz', 'final.pth', 'cost.json'):
        (copy / name).unlink()
    shutil.rmtree(copy.parent / 'base')
    config = next(path.with_name('config.py') for path in sorted(copy.glob('2*/vis_data/scalars.json')))
    config.write_text(re.sub(r"checkpoint='[^']*base/final.pth'", "checkpoint='/gone/base/final.pth'", config.read_text()))
    with open(config.with_name('scalars.json'), 'a') as file:
        file.write('{"loss": 1.0, "st')  # where it was stopped
    page = Page(write_report(copy))
    assert 'The run has no figures yet.' in page.words and 'has no metrics.json: test the run' in page.text
    assert "the teacher's folder /gone/base is not there" in page.text and 'Training' in page.words


def test_of_another_version(copy):
    (copy / 'metrics.json').write_text('{"mAP": 0.5}')
    (copy / 'metrics_val.json').unlink()
    assert 'metrics.json: metainfo' in (text := Page(write_report(copy)).text) or 'classes is empty' in text
    figures = dict(classes=['a'], split=[1], per_class=dict(a=.5))
    (copy / 'metrics.json').write_text(json.dumps(figures))
    assert 'has no old, new, all, avg, groups, so it is of another version' in Page(write_report(copy)).text


def test_images_that_are_gone(copy):
    read = read_detections(copy / 'detections.npz')
    with np.load(copy / 'detections.npz') as file:
        arrays = dict(file)
    arrays['images'] = np.array([read.paths[0], *('/gone/' + Path(path).name for path in read.paths[1:])])
    np.savez(copy / 'detections.npz', **arrays)
    page = Page(write_report(copy))
    assert '3 of 4 image files are gone' in page.text and f'/gone/{Path(read.paths[1]).name}: the file is gone' in page.text
    assert page.tags.count('image') >= 1 and 'Taken for what' in page.words


def test_no_work_dir(tool, tmp_path):
    done = tool('report.py', tmp_path / 'none')
    assert done.status == 1 and done.err.startswith('error: the work dir') and 'does not exist' in done.err
    done = tool('report.py', tmp_path)
    assert done.status == 1 and 'is no work dir: it has neither metrics.json' in done.err
    done = tool('report.py', tmp_path, '--score-thr', '2')
    assert done.status == 2


def test_a_failure_is_a_line(copy, monkeypatch, capsys):
    """Whatever goes wrong in a page, the run has its results and says so."""
    def broken(*args):
        raise ZeroDivisionError('a fault of\nthe page')
    monkeypatch.setattr('mmilmil.report.write.stage_page', broken)
    report_after(copy)
    out = capsys.readouterr().out
    assert out.count('\n') == 1
    assert 'no report could be written, the results stand (ZeroDivisionError: a fault of the page)' in out


# Any classes, any number of stages


def made_up(folder: Path, classes, split, teacher=None, seed=0):
    """A tested run of three images without a training."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    metric = DetectionsFile(str(folder / 'detections.npz'))
    metric.dataset_meta = dict(classes=classes, split=split)
    for place in range(3):
        path = folder.parent / f'{place} "image".jpg'
        if not path.is_file():
            cv2.imwrite(str(path), rng.integers(0, 255, (48, 64, 3), np.uint8))
        truth = [(label, 5., 5., 30., 30.) for label in range(place, len(classes), 3)]
        metric.process(None, [sample(str(path), [(*row, rng.uniform(.2, 1)) for row in truth], truth)])
    metric.evaluate(3)
    results = class_results(read_detections(folder / 'detections.npz').images, len(classes))
    aps = [None if np.isnan(result.ap['area']) else result.ap['area'] for result in results]
    figures = group_figures(Stage(tuple(classes), tuple(split)), [np.nan if ap is None else ap for ap in aps])
    (folder / 'metrics.json').write_text(json.dumps(dict(
        figures, classes=list(classes), split=list(split), eval_mode='area', iou_thr=.5, images=3, boxes=len(classes))))
    model = dict(type='FasterRCNN', **({'teacher': dict(checkpoint=str(teacher / 'final.pth'))} if teacher else {}))
    (folder / f'{folder.name}.py').write_text(f'metainfo = dict(classes={tuple(classes)!r}, split={tuple(split)!r})\n'
                                              f'model = {model!r}\nwork_dir = {str(folder)!r}\n')
    return folder


def test_two_hundred_classes_with_odd_names(tmp_path):
    classes = [f'<b>class "{index}" 螺丝 $x_{index}$ | \'' for index in range(200)]
    base = made_up(tmp_path / 'a b', classes[:150], [150])
    page = Page(write_report(made_up(tmp_path / 'c & d', classes, [150, 50], base)))
    assert 'All 200 classes' in page.words and classes[199] in page.words and 'b' not in page.tags
    assert 'Of 200 classes the 40 are drawn' in page.text
    assert classes[199].replace('<', '&lt;').replace('|', '\\|') in (tmp_path / 'c & d/report/report.md').read_text()


def test_one_class(tmp_path):
    page = Page(write_report(made_up(tmp_path / 'one', ['nut'], [1])))
    assert 'First stage: 1 class.' in page.text and 'nut' in page.words


def test_eleven_stages(tmp_path):
    classes = [f'c{index}' for index in range(11)]
    teacher = None
    for stage in range(1, 12):
        teacher = made_up(tmp_path / 'runs' / f's{stage:02}', classes[:stage], [1] * stage, teacher, seed=stage)
    assert [run.name for run in ancestors(Run(teacher))] == [f's{stage:02}' for stage in range(1, 12)]
    page = Page(write_report(tmp_path / 'runs'))
    assert 'chains of 11 stages' in page.text and '11 s11' in page.words and 'group 10' in page.words


def test_a_circle_of_teachers_ends(tmp_path):
    one = made_up(tmp_path / 'one', ['a'], [1], tmp_path / 'two')
    made_up(tmp_path / 'two', ['a'], [1], one)
    assert [run.name for run in ancestors(Run(one))] == ['two', 'one']
    assert write_report(tmp_path).is_file()


def test_a_folder_that_may_not_be_read_is_no_run(tmp_path, monkeypatch):
    one = made_up(tmp_path / 'one', ['a', 'b'], [1, 1])
    (tmp_path / 'closed').mkdir()
    is_file = Path.is_file

    def denied(path):
        if path.parent.name == 'closed':
            raise PermissionError(13, 'Permission denied', str(path))
        return is_file(path)
    monkeypatch.setattr(Path, 'is_file', denied)
    assert beside(Run(one)) == [] and Page(write_report(one)).text


def comparison_of(folder, split='test', **seeds):
    """A comparison's file with a run of one stage a seed, by its folder."""
    values = {seed.removeprefix('seed'): .5 for seed in seeds}
    names = ('old', 'new', 'all', 'avg', 'forgetting', 'fpp', 'gap', 'all/joint', 'omega', 'rsd', 'rpd', 'step', 'step_seconds',
             'peak_memory_mib', 'memory_bytes', 'images', 'image_bytes')
    figures = {name: dict(values=values if name in ('old', 'new', 'all') else {}) for name in names}
    row = dict(split='mine', method='default', is_joint=False, seeds=[int(seed) for seed in values], figures=figures)
    (folder / 'comparison.json').write_text(json.dumps(dict(
        rows=[row], failed=[], configs=[], split=split, runs=[dict(
            split='mine', method='default', seed=int(seed.removeprefix('seed')), is_joint=False, cost=None,
            work_dirs=[f'{seed}/{run}'], stages=[figures_of(folder / seed / run)]) for seed, run in seeds.items()])))


def test_a_comparison_is_of_the_runs_that_it_names(tmp_path):
    """Not of what an earlier call left beside them, and by the figures of its split."""
    for seed, name in (('seed0', 'mine'), ('seed0', 'left'), ('seed1', 'mine')):
        made_up(tmp_path / seed / name, ['a', 'b'], [1, 1])
    comparison_of(tmp_path, seed0='mine')
    page = Page(write_report(tmp_path))
    assert 'over 1 seed.' in page.text and 'left' not in page.words and str(tmp_path / 'seed1') not in page.text
    figures = figures_of(tmp_path / 'seed0/mine')
    (tmp_path / 'seed0/mine/metrics_val.json').write_text(json.dumps(dict(figures, all=.123)))
    assert '12.3' not in page.words
    comparison_of(tmp_path, 'val', seed0='mine')
    assert '12.3' in Page(write_report(tmp_path)).words


def test_what_stands_beside(tmp_path):
    one = made_up(tmp_path / 'one', ['a', 'b'], [1, 1])
    made_up(tmp_path / 'two', ['a', 'b'], [1, 1])
    made_up(tmp_path / 'other classes', ['b', 'a'], [1, 1])
    assert [run.name for run in beside(Run(one))] == ['two']
    with pytest.raises(InputError, match='has no run'):
        write_several([one, tmp_path / 'one/report'.replace('report', 'nothing')], tmp_path / 'out', Settings())


# What the logs tell


def logged(folder, start, *lines):
    """A start of a training with lines of its log; returns the folder."""
    file = folder / start / 'vis_data/scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return folder


def test_all_terms_of_a_loss_are_shown(tmp_path):
    """Those of a cascade too, and one that a line of the log lacks; the parts add up to the total."""
    lines = [dict(step=10, loss=3., loss_rpn_cls=.5, **{'s0.loss_cls': 1., 's0.acc': 90., 's1.loss_cls': .5}, loss_kd_hint=1.),
             dict(step=20, loss=2., loss_rpn_cls=.5, **{'s0.loss_cls': 1., 's0.acc': 90., 's1.loss_cls': .5})]
    section = training_section(Run(logged(tmp_path / 'a', '20260101_000000', *lines)))
    charts_of = [block for block in section.blocks if hasattr(block, 'caption')]
    assert [chart.caption.split(',')[0] for chart in charts_of[1:]] == ['Terms of detector', 'Terms of distillation']
    assert 's0.cls' in charts_of[1].svg and 's1.cls' in charts_of[1].svg and 'acc' not in charts_of[1].svg
    assert 'hint' in charts_of[2].svg and not any('add up' in getattr(block, 'text', '') for block in section.blocks)
    lines[0]['loss'] = 4.
    section = training_section(Run(logged(tmp_path / 'b', '20260101_000000', *lines)))
    assert any('In 1 of 2 lines of the log the terms do not add up to the total; furthest off at step 10: 3 of 4.'
               in getattr(block, 'text', '') for block in section.blocks)


def test_what_a_training_showed_of_its_teacher(tmp_path):
    folder = made_up(tmp_path / 'student', ['a', 'b'], [1, 1], made_up(tmp_path / 'base', ['a'], [1]))
    assert 'What the training showed' not in Page(write_report(folder)).text
    logged(folder, '20260101_000000', {'loss': 1., 'step': 10}, {'teacher/found': 3., 'boxes/merged': 1., 'step': 10},
           {'loss': 1., 'step': 20}, {'teacher/found': 4., 'teacher/mean_score': .9, 'boxes/merged': 2., 'step': 20})
    assert [line['teacher/found'] for line in Run(folder).shown] == [3, 4]
    assert 'What the training showed' in Page(write_report(folder)).text


def test_a_training_that_was_started_afresh(tmp_path):
    """What an earlier start went through later than the new one is gone, of validations too."""
    def epochs(*numbers):
        return [line for epoch in numbers for line in (dict(step=10 * epoch, loss=1.), dict(step=epoch, all=.5))]
    run = Run(logged(logged(tmp_path, '20260101_000000', *epochs(1, 2, 3, 4)), '20260102_000000', *epochs(1, 2)))
    assert [line['step'] for line in run.steps] == [10, 20] and [step for step, _ in run.validations] == [1, 2]
    resumed = Run(logged(logged(tmp_path / 'r', '20260101_000000', *epochs(1, 2, 3)), '20260102_000000', *epochs(3, 4)))
    assert [step for step, _ in resumed.validations] == [1, 2, 3, 4]


# In a browser


@pytest.mark.skipif(CHROMIUM is None, reason='no chromium to open a page with')
@pytest.mark.parametrize('width', [1280, 390])
def test_in_a_browser(runs, student, tmp_path, width):
    """A frame of that width, as a window of a headless browser has a least one, reports what the page is like."""
    page = (runs / 'student/report/index.html').read_text(encoding='utf-8')
    probe = """<script>
const errors = [];
addEventListener('error', (event) => errors.push(String(event.message || event.target.outerHTML)), true);
console.error = (...all) => errors.push(all.join(' '));
</script>"""
    told = """<script>addEventListener('load', () => {
  document.querySelector('button.shown').click();
  const dialog = document.querySelector('dialog'), opened = dialog.open, panels = dialog.querySelectorAll('svg').length;
  dialog.close();
  parent.postMessage({errors, opened, panels, wide: document.documentElement.scrollWidth, inner: innerWidth,
    figure: JSON.parse(document.getElementById('data').textContent).figures.all,
    tile: [...document.querySelectorAll('.tile .value')].map((one) => one.textContent)}, '*');
});</script>"""
    (tmp_path / 'page.html').write_text(page.replace('<head>', f'<head>{probe}', 1).replace('</body>', f'{told}</body>'),
                                        encoding='utf-8')
    (tmp_path / 'frame.html').write_text(
        f'<iframe src="page.html" width="{width}" height="900" style="border:0"></iframe><pre></pre><script>'
        "addEventListener('message', (e) => { document.querySelector('pre').textContent = JSON.stringify(e.data); });</script>")
    done = subprocess.run(
        [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=5000', '--dump-dom',
         f'--user-data-dir={tmp_path / "profile"}', f'--window-size={width + 100},1000', f'file://{tmp_path}/frame.html'],
        capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre>(\{.*\})</pre>', done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-2000:]
    seen = json.loads(found[1].replace('&lt;', '<').replace('&gt;', '>').replace('&amp;', '&'))
    assert seen['errors'] == [] and seen['inner'] == width and seen['wide'] <= width
    assert seen['opened'] and seen['panels'] == 3
    figures = figures_of(runs / 'student')
    assert seen['figure'] == figures['all'] and f'{100 * figures["all"]:.1f} %' in seen['tile']

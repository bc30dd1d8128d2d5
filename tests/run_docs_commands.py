"""Run the commands that README and docs show, as they stand there, on tiny drawn sets: `make docs-commands`.

A folder is made for each page, with the repository's tools and configs, in which every stage has one epoch, images are small
and the small Faster R-CNN stands for R50-FPN, with a tiny set where each config looks for its data, and with the files that the
pages' words stand for (CONFIG, photos/, ...). There bash runs each command that `docs_commands.NOT_RUN` does not name, in the
order of the page. Fails where one fails, or where none is asked for.

    python tests/run_docs_commands.py [--only PATTERN ...] [--jobs N] [--keep FOLDER]
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from conftest import make_voc
from docs_commands import Command, commands

from mmilmil.config import load_config
from mmilmil.data_tools.shapes import ShapesSettings, write_shapes

REPO = Path(__file__).resolve().parents[1]
SETS = {'VOC': 'frcnn_voc_15+5', 'PCB': 'frcnn_pcb_4+2', 'FODA20': 'frcnn_foda20_15+5'}
CHAIN = 'python tools/train_chain.py configs/ilmil/frcnn_pcb_4+2.py --methods finetune joint'
# Runs that pages speak of without making them, by what makes them.
BEFORE = {
    'deploy.md': [CHAIN], 'pruning.md': [CHAIN], 'reference.md': [CHAIN],
    'report.md': [CHAIN, 'cp -r work_dirs pcb && cp -r pcb a && cp -r pcb b && mv pcb a b work_dirs'],
    'inference.md': [CHAIN, 'python tools/export_onnx.py CONFIG CHECKPOINT --out DIR'],
    'running.md': [CHAIN, 'python tools/train_chain.py configs/ilmil/frcnn_foda20_15+5.py'],
}
WORDS = {'CONFIG': 'configs/ilmil/frcnn_pcb_4+2.py', 'CHECKPOINT': 'work_dirs/frcnn_pcb_4+2/final.pth',
         'OTHER.pth': 'work_dirs/frcnn_pcb_4+2_finetune/final.pth', 'THIRD.pth': 'work_dirs/frcnn_pcb_4+2_joint/final.pth',
         'PATH/final.pth': 'work_dirs/frcnn_pcb_4/final.pth', 'DIR': 'exported', '[DIR ...]': ''}
# In running.md DIR is a folder of images.
PHOTOS = {'DIR': 'photos'}


def draw_objects(names: tuple[str, ...], number: int) -> list[tuple]:
    """Three objects of an image of 96 pixels, so that a few images show all classes."""
    rng = random.Random(number)
    objects = []
    for place in range(3):
        x, y = rng.randint(1, 50), 1 + 30 * place
        objects.append((names[(3 * number + place) % len(names)], x, y, x + rng.randint(24, 44), y + 28))
    return objects


def draw_voc(root: Path, names: tuple[str, ...], splits: tuple[str, ...] = ('train', 'val', 'test'), images: int = 0) -> None:
    """A set in VOC layout: in each split every class."""
    images = images or -(-len(names) // 3) + 1
    lists = {split: [f'{split}{number:02}' for number in range(images)] for split in splits}
    make_voc(root, {name: draw_objects(names, int(name[-2:])) for split in lists.values() for name in split}, size=(96, 96),
             splits={**lists, 'trainval': sum((lists[split] for split in splits if split != 'test'), [])})


def draw_coco(folder: Path, names: tuple[str, ...], images: int = 20) -> None:
    """`all.json` and `images/`."""
    draw_voc(folder / 'drawn', names, ('train', ), images)
    (folder / 'drawn/JPEGImages').rename(folder / 'images')
    shutil.rmtree(folder / 'drawn')
    boxes = [dict(image_id=number, category_id=names.index(name), bbox=[x1, y1, x2 - x1, y2 - y1])
             for number in range(images) for name, x1, y1, x2, y2 in draw_objects(names, number)]
    (folder / 'all.json').write_text(json.dumps(dict(
        images=[dict(id=number, file_name=f'train{number:02}.jpg', width=96, height=96) for number in range(images)],
        annotations=[dict(box, id=number) for number, box in enumerate(boxes)],
        categories=[dict(id=number, name=name) for number, name in enumerate(names)])))


def draw_yolo(folder: Path, names: tuple[str, ...], splits: bool) -> None:
    """A folder with `data.yaml` and three parts, or with a list of names and all images together."""
    parts = ('train', 'val', 'test') if splits else ('train', )
    draw_voc(folder / 'drawn', names, parts, 4 if splits else 20)
    for part in parts:
        place = folder / 'images' / (part if splits else '')
        place.mkdir(parents=True, exist_ok=True)
        labels = folder / 'labels' / (part if splits else '')
        labels.mkdir(parents=True, exist_ok=True)
        for image in (folder / 'drawn/JPEGImages').glob(f'{part}*'):
            image.rename(place / image.name)
            lines = [f'{names.index(name)} {(x1 + x2) / 192} {(y1 + y2) / 192} {(x2 - x1) / 96} {(y2 - y1) / 96}\n'
                     for name, x1, y1, x2, y2 in draw_objects(names, int(image.stem[-2:]))]
            (labels / f'{image.stem}.txt').write_text(''.join(lines))
    shutil.rmtree(folder / 'drawn')
    if not splits:
        (folder / 'classes.txt').write_text(''.join(f'{name}\n' for name in names))
        return
    listed = ''.join(f'{part}: images/{part}\n' for part in parts)
    (folder / 'data.yaml').write_text(f'{listed}names: [{", ".join(names)}]\n')


class Sandbox:
    """The folder that a page's commands are run in."""

    def __init__(self, folder: Path, page: str) -> None:
        self.folder = folder
        for name in ('configs', 'tools', 'benchmarks'):
            shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
        for path in (folder / 'configs').rglob('*.py'):
            path.write_text(small(path.read_text()))
        # A step of R50-FPN takes seconds on a CPU whatever the images.
        shutil.copy(folder / 'configs/_base_/models/frcnn_r18_fpn_small.py', folder / 'configs/_base_/models/frcnn_r50_fpn.py')
        self.env = dict(os.environ, PYTHONPATH=str(REPO), OMP_NUM_THREADS='1',
                        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
        for name in [name for name in self.env if re.fullmatch(r'MMILMIL_\w+_ROOT', name)]:
            del self.env[name]
        for variable, config in SETS.items():
            root = folder / 'sets' / variable
            # Int8 is calibrated on ten images or more that the stage keeps.
            images = 24 if page == 'deploy.md' else 0
            draw_voc(root, tuple(load_config(str(REPO / f'configs/ilmil/{config}.py')).metainfo.classes), images=images)
            self.env[f'MMILMIL_{variable}_ROOT'] = str(root)
        write_shapes(str(folder / 'data/shapes'), ShapesSettings(train=8, val=4, test=4))
        self.env['MMILMIL_SHAPES_ROOT'] = str(folder / 'data/shapes')
        self._draw_images()

    def _draw_images(self) -> None:
        pictures = [np.random.default_rng(number).integers(0, 255, (96, 96, 3), np.uint8) for number in range(12)]
        (self.folder / 'photos').mkdir()
        for number, picture in enumerate(pictures):
            cv2.imwrite(str(self.folder / f'photos/{number}.jpg'), picture)
        cv2.imwrite(str(self.folder / 'street.jpg'), pictures[0])
        video = cv2.VideoWriter(str(self.folder / 'drive.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10, (96, 96))
        for picture in pictures[:3]:
            video.write(picture)
        video.release()

    def begin(self, page: str) -> list[str]:
        """Makes ready for a page; the commands that it stands on."""
        if page in ('own_data.md', 'configs.md'):
            draw_voc(self._screws(), ('bolt', 'nut', 'washer', 'pin', 'hook'))
        return BEFORE.get(page, [])

    def _screws(self) -> Path:
        shutil.rmtree(self.folder / 'data/screws', ignore_errors=True)
        for written in (self.folder / 'configs').rglob('*screws*'):
            written.unlink()
        (self.folder / 'data/screws').mkdir(parents=True)
        return self.folder / 'data/screws'

    def before(self, command: Command) -> None:
        """Lays out `data/screws` as the section says."""
        names = ('bolt', 'nut', 'washer', 'pin', 'hook')
        if command.page != 'own_data.md':
            return
        if 'split_dataset.py' in command.text:
            if 'all.json' in command.text:
                draw_coco(self._screws(), names)
            elif command == next(other for other in commands() if (other.page, other.text) == (command.page, command.text)):
                draw_voc(self._screws(), names)
                shutil.rmtree(self.folder / 'data/screws/ImageSets')
            else:  # for the second time: labels of YOLO
                draw_yolo(self._screws(), names, splits=False)
        elif '--classes bolt' in command.text:
            draw_voc(self._screws(), names)
        elif '--ann data/screws/all_train.json' in command.text:
            draw_coco(self._screws(), names)
            self.run('python tools/split_dataset.py data/screws/all.json')
        elif 'build_memory.py mine' in command.text:
            draw_yolo(self._screws(), ('bolt', 'nut'), splits=True)
            self.run(CHAIN.replace(' --methods finetune joint', ''))
            (self.folder / 'mine').mkdir()
            shutil.copy(self.folder / 'work_dirs/frcnn_pcb_4/final.pth', self.folder / 'mine/weights.pth')
            (self.folder / 'mine/config.py').write_text("_base_ = '../configs/ilmil/frcnn_pcb_4.py'\n")
            draw_voc(self.folder / 'data/before', ('copper', 'mousebite', 'open', 'pin-hole'))
        elif '--ann data/nails' in command.text:
            draw_yolo(self.folder / 'data/nails', ('nail', ), splits=True)

    def after(self, command: Command) -> None:
        """Makes what it wrote as small as the rest."""
        if 'new_split.py' in command.text:
            for path in (self.folder / 'configs').rglob('*.py'):
                path.write_text(small(path.read_text()))

    def run(self, text: str) -> tuple[int, str]:
        """The status of a command and what it said."""
        done = subprocess.run(['bash', '-e', '-c', text], cwd=self.folder, env=self.env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout


def small(config: str) -> str:
    """A config with one epoch a stage, and images of 96 pixels where they were larger."""
    config = re.sub(r'^((?:joint_)?epochs) = \d+', r'\1 = 1', config, flags=re.MULTILINE)
    config = re.sub(r'(max_epochs|val_interval)=\d+', r'\1=1', config)
    return re.sub(r'scale ?= ?\((?:1000, 600|256, 256|640, 640|1333, 800)\)', 'scale=(96, 96)', config)


def filled(command: Command) -> str:
    """The command with files for its words."""
    text = command.text
    for word, file in {**WORDS, **(PHOTOS if command.page == 'running.md' else {})}.items():
        text = re.sub(rf'(?<!\S){re.escape(word)}(?!\S)', file, text)
    return text


class Failure(NamedTuple):
    """What failed, in words, and what it said."""

    name: str
    told: str
    said: str


def run_page(page: str, asked: list[Command], folder: Path) -> list[Failure]:
    """Run a page's commands in its sandbox, and tell which failed."""
    sandbox = Sandbox(folder, page)
    for text in sandbox.begin(page):
        status, said = sandbox.run(filled(Command(page, 0, text)))
        if status:
            return [Failure(page, f'{page} stands on `{text}`, which failed', said)]
    failed = []
    for command in asked:
        sandbox.before(command)
        start = time.monotonic()
        status, said = sandbox.run(filled(command))
        result = f'{"failed" if status else "ok":6} {time.monotonic() - start:5.0f} s  {command.name}: {command.text}'
        print(result, flush=True)
        sandbox.after(command)
        if status:
            failed.append(Failure(command.name, result, said))
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', nargs='+', default=['*'], metavar='PATTERN', help='pages, or pages and lines: running.md:13')
    parser.add_argument('--jobs', type=int, default=len(os.sched_getaffinity(0)), metavar='N', help='pages side by side')
    parser.add_argument('--keep', type=Path, metavar='FOLDER', help='work in this new folder, one for each page, and leave it')
    args = parser.parse_args()
    pages: dict[str, list[Command]] = {}
    for command in commands():
        if command.excuse is None and any(fnmatchcase(name, one) for one in args.only for name in (command.name, command.page)):
            pages.setdefault(command.page, []).append(command)
    longest_first = sorted(pages, key=lambda page: -len(pages[page]))
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(args.jobs) as pool:
        root = args.keep or Path(temporary)
        failed = sum(pool.map(lambda page: run_page(page, pages[page], root / Path(page).stem), longest_first), [])
    asked = sum(map(len, pages.values()))
    # Last, as CI shows the end of what it prints.
    for one in failed:
        print(f'\n{one.told}\n{one.said[-3000:]}')
    print(f'{asked} commands, failed: {", ".join(one.name for one in failed) or "none"}')
    sys.exit(bool(failed) or not asked)


if __name__ == '__main__':
    main()

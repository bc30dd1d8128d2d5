"""What distillation costs: a fine-tuning step and ILMIL's in turn, in one process.

`python benchmarks/step_time.py` prints medians for the small R18 and for R50-FPN, with a line `<model> <step> ratio <number>
memory <number>` for each step but fine-tuning's: that step over fine-tuning. The steps are

- `finetune`: no teacher;
- `ilmil`: the full method with a feature memory. The student's own forward and backward pass cost about three forward passes
  and the teacher's one, so about 1.33 is to be expected; less where the teacher's heads see fewer RoIs;
- `still`: the same with backbone, neck and RPN frozen (`model.frozen`), so that one pass of them serves teacher and student;
- `cached`: the full method with the teacher's boxes from a cache;
- `boxes`: cached boxes and the score term only, no memory, so that the teacher does not run: the cheapest step with merged
  boxes.

Memory is the peak of resident memory over what the process held before the models were built, each step in a process of its
own; on a GPU it is the peak of allocated memory.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmilmil.engine.methods import lay_over
from mmilmil.models.box_cache import head_line, image_line
from mmilmil.models.memory import MEMORY_FILE, FeatureMemory, roi_shape
from mmilmil.models.still import PARTS
from mmilmil.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
BOXES_ONLY = dict(feature=None, rpn_cls=None, rpn_reg=None, roi_cls=None, roi_reg=None, apart_cls=None, apart_reg=None,
                  cross_head=None)
MODES = ('finetune', 'ilmil', 'still', 'cached', 'boxes')
CASES = {
    # name: (config, image size in pixels, batch size)
    'r18-small': ('ilmil/frcnn_pcb_4+2.py', 256, 8),
    'r50-fpn': ('ilmil/frcnn_voc_15+5.py', 320, 2),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', choices=CASES, default=list(CASES), help='which of them')
    parser.add_argument('--steps', type=int, default=15, help='timed steps of each kind; default 15')
    parser.add_argument('--warmup', type=int, default=3, help='steps of each kind before timing; default 3')
    parser.add_argument('--threads', type=int, help='threads of torch; default all cores')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


def make_teacher(student: Config, folder: str) -> str:
    """Write a teacher with random weights for a student's config; returns the checkpoint's path."""
    config = Config.fromfile(student.model.teacher.config)
    torch.manual_seed(0)
    detector = MODELS.build(config.model)
    path = f'{folder}/teacher.pth'
    torch.save(
        dict(state_dict=detector.state_dict(), meta=dict(dataset_meta=dict(classes=config.metainfo.classes))), path)
    return path


def make_batch(size: int, images: int, label: int, device: str) -> dict:
    """Noise images (images, 3, size, size) with four objects of one new class each."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for index in range(images):
        corner = torch.rand(4, 2, generator=generator) * size * 0.7
        extent = (0.1 + 0.2 * torch.rand(4, 2, generator=generator)) * size
        shape = (size, size)
        sample = DetDataSample(
            metainfo=dict(img_id=index, img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0), homography_matrix=np.eye(3)),
            gt_instances=InstanceData(bboxes=torch.cat([corner, corner + extent], 1), labels=torch.full((4, ), label)),
            ignored_instances=InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)))
        samples.append(sample)
    pixels = torch.randint(0, 256, (images, 3, size, size), generator=generator, dtype=torch.uint8)
    return dict(inputs=list(pixels.to(device)), data_samples=[sample.to(device) for sample in samples])


def make_cache(model: torch.nn.Module, images: int, size: int, folder: str) -> str:
    """Write a cache with four of the teacher's boxes an image; returns its path."""
    generator = torch.Generator().manual_seed(1)
    lines = [head_line(model.teacher.fingerprint, model.teacher.classes, 0.3)]
    for index in range(images):
        corner = torch.rand(4, 2, generator=generator) * size * 0.7
        lines.append(image_line(index, InstanceData(
            bboxes=torch.cat([corner, corner + 0.2 * size], 1), labels=torch.zeros(4).long(), scores=torch.full((4, ), 0.9))))
    path = Path(folder) / 'boxes.jsonl'
    path.write_text(''.join(lines))
    return str(path)


def make_memory(model: torch.nn.Module, folder: str) -> None:
    """Write a memory of noise beside the teacher, 160 tensors a class and 640 of background, and have it read."""
    classes = len(model.teacher.classes)
    labels = torch.cat([torch.arange(classes).repeat_interleave(160), torch.full((640, ), classes)])
    features = torch.randn(len(labels), *roi_shape(model), generator=torch.Generator().manual_seed(2))
    memory = FeatureMemory(features, labels, model.teacher.classes, model.teacher.fingerprint)
    torch.save(memory.content(), Path(folder) / MEMORY_FILE)
    assert model.memory is not None


def make_step(case: str, mode: str, device: str) -> Callable[[], None]:
    """A training step of one kind: preprocessing, losses, backward pass and optimizer."""
    init_default_scope('mmilmil')
    MMLogger.get_current_instance().setLevel('ERROR')
    path, size, images = CASES[case]
    config = Config.fromfile(CONFIGS / path)
    if mode == 'finetune':
        config = lay_over(config, CONFIGS / 'methods/finetune.py')
    with tempfile.TemporaryDirectory() as folder:
        config.model.teacher.checkpoint = make_teacher(config, folder)
        if mode == 'boxes':
            config.model.distiller.update(BOXES_ONLY)
            config.model.memory = None
        if mode == 'still':
            config.model.frozen = list(PARTS)
        model = MODELS.build(config.model)
        model.init_weights()
        if mode not in ('finetune', 'boxes'):
            make_memory(model, folder)
        if mode in ('cached', 'boxes'):
            model.teacher_boxes = make_cache(model, images, size, folder)
            model.cache.check_images(range(images))  # read while the file is there
    model.to(device).train()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    batch = make_batch(size, images, len(config.metainfo.classes) - 1, device)
    return lambda: model.train_step(batch, optimizer)


def seconds(step: Callable[[], None], device: str) -> float:
    """Wall time of one step."""
    start = time.perf_counter()
    step()
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def status(field: str) -> float:
    """A size in MiB from ``/proc/self/status``."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f'/proc/self/status has no {field}: memory is measured on Linux only')


def peak_memory(case: str, mode: str, device: str, threads: int) -> float:
    """Peak memory of three steps in MiB; to be called in a fresh process."""
    torch.set_num_threads(threads)
    before = status('VmRSS')
    step = make_step(case, mode, device)
    for _ in range(3):
        step()
    return torch.cuda.max_memory_allocated() / 2**20 if device.startswith('cuda') else status('VmHWM') - before


def main() -> None:
    args = parse_args()
    threads = args.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    print(f'torch {torch.__version__}, {args.device}, {threads} threads, medians of {args.steps} steps in turn')
    for case in args.models:
        _, size, images = CASES[case]
        # A fresh process for each, so that one's peak does not hide the other's.
        with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
            memory = [pool.apply(peak_memory, (case, mode, args.device, threads)) for mode in MODES]
        steps = [make_step(case, mode, args.device) for mode in MODES]
        times = [[] for _ in MODES]
        for turn in range(args.warmup + args.steps):
            for step, kept in zip(steps, times):
                spent = seconds(step, args.device)
                if turn >= args.warmup:
                    kept.append(spent)
        medians = [statistics.median(kept) for kept in times]
        for mode, median, peak in zip(MODES, medians, memory):
            print(f'{case} {mode}: {median:.3f} s a step at {size} px, batch {images}; peak {peak:.0f} MiB')
        for mode, median, peak in list(zip(MODES, medians, memory))[1:]:
            print(f'{case} {mode} ratio {median / medians[0]:.3f} memory {peak / memory[0]:.3f}')


if __name__ == '__main__':
    main()

"""What a detector costs on a device: torch, ONNX Runtime and OpenVINO, in float and in int8, full and pruned, in one run.

    python benchmarks/edge.py --row full CONFIG CHECKPOINT DIR --row pruned CONFIG CHECKPOINT DIR --memory --out edge.json

DIR is what `tools/export_onnx.py` wrote, with `--int8` or without. Every image goes through all forms of all rows in turn, at
one thread, so that what else the machine does meets all alike; figures are medians of an image, from input tensor to
detections, and ratios to torch's of the first row. The images are those of the first row's validation set, else drawn ones.

*Layers* are convolutions, fully connected layers, normalisation, activations and pooling. In torch their time is taken by hooks
around the modules, in a pass of its own; in ONNX Runtime by its profiler, where conversions to and from int8 belong to the
layers and additions to the rest. The rest is what remains: anchors, proposals, suppression, RoIAlign, what lies between.

Memory (`--memory`) is the peak of resident memory of whole processes on the same image files: `tools/infer.py`, and `python -m
mmilmil.runtime` in a fresh environment that has nothing but onnxruntime, numpy and pillow, which pip fetches.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmilmil.atomic_write import write_atomically
from mmilmil.deploy.images import Images, PreparedImage, images_of
from mmilmil.deploy.model import fitted
from mmilmil.deploy.parity import predicted
from mmilmil.engine.cli import number, read_config, user_errors
from mmilmil.engine.provenance import made_by
from mmilmil.models.loading import load_detector
from mmilmil.runtime import Detector
from mmilmil.runtime.backends import BACKENDS
from mmilmil.runtime.detector import INT8_FILE
from mmilmil.table_layout import markdown_table

REPO = Path(__file__).resolve().parents[1]
LAYERS = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.ReLU, nn.SiLU, nn.Sigmoid,
          nn.Hardsigmoid, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
OPERATORS = ('Conv', 'FusedConv', 'QLinearConv', 'Gemm', 'FusedGemm', 'QGemm', 'MatMul', 'FusedMatMul', 'QLinearMatMul',
             'MatMulInteger', 'BatchNormalization', 'Relu', 'Clip', 'QuickGelu', 'HardSigmoid', 'MaxPool', 'AveragePool',
             'GlobalAveragePool', 'QuantizeLinear', 'DequantizeLinear', 'ReorderInput', 'ReorderOutput')
Run = Callable[[PreparedImage], object]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--row', nargs=4, action='append', required=True, metavar=('NAME', 'CONFIG', 'CHECKPOINT', 'DIR'),
                        help='a detector and its export; may be given several times')
    parser.add_argument('--images', type=number(int, 2), default=50, help='number of images; default 50')
    parser.add_argument('--backends', nargs='+', choices=BACKENDS, default=['onnxruntime'], help='default onnxruntime')
    parser.add_argument('--memory', action='store_true', help='measure peak memory too')
    parser.add_argument('--out', help='write the figures to this JSON file')
    return parser.parse_args()


def forms(name: str, detector: nn.Module, folder: Path, backends: list[str]) -> dict[str, Run]:
    """What runs on an image, by name."""
    runs = {f'{name}, torch': lambda image: predicted(detector, image.pixels, image.shape)}
    for backend in backends:
        for int8 in (False, True)[:1 + (folder / INT8_FILE).is_file()]:
            model = Detector(folder, int8=int8, threads=1, backend=backend)
            kind = ('ONNX' if backend == 'onnxruntime' else backend) + ', int8' * int8

            def run(image: PreparedImage, model: Detector = model):
                pixels = fitted(image.pixels, model.metadata, image.name)
                return model.run(pixels.numpy(), np.array(image.shape, np.int64))

            runs[f'{name}, {kind}'] = run
    return runs


@torch.no_grad()
def latencies(runs: dict[str, Run], images: Images) -> dict[str, float]:
    """Median milliseconds of an image, by form."""
    times = {name: [] for name in runs}
    for index, image in enumerate(images):
        for name, run in runs.items():
            start = time.perf_counter()
            run(image)
            if index:  # the first pass prepares the others
                times[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(taken) for name, taken in times.items()}


@torch.no_grad()
def torch_layers(detector: nn.Module, images: Images) -> dict[str, float]:
    """Median milliseconds of an image in the layers and beside them."""
    spent, began = 0., 0.

    def before(*_) -> None:
        nonlocal began
        began = time.perf_counter()

    def after(*_) -> None:
        nonlocal spent
        spent += time.perf_counter() - began

    hooks = [hook for layer in detector.modules() if isinstance(layer, LAYERS)
             for hook in (layer.register_forward_pre_hook(before), layer.register_forward_hook(after))]
    layers, rest = [], []
    for image in images:
        spent, start = 0., time.perf_counter()
        predicted(detector, image.pixels, image.shape)
        layers.append(spent)
        rest.append(time.perf_counter() - start - spent)
    for hook in hooks:
        hook.remove()
    return dict(layers=1e3 * statistics.median(layers[1:]), rest=1e3 * statistics.median(rest[1:]))


def onnx_layers(model: Detector, images: Images) -> dict[str, float]:
    """The same of a model file in ONNX Runtime, by its profiler."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f'{folder}/profile'
        session = onnxruntime.InferenceSession(str(model.path), options, providers=['CPUExecutionProvider'])
        wanted = {value.name for value in session.get_inputs()}
        count = 0
        for image in images:
            feed = dict(image=fitted(image.pixels, model.metadata, image.name).numpy(), image_shape=np.array(image.shape))
            session.run(None, {key: value for key, value in feed.items() if key in wanted})
            count += 1
        events = json.loads(Path(session.end_profiling()).read_text(encoding='utf-8'))
    spent = defaultdict(float)
    for event in events:
        if event.get('cat') == 'Node' and 'op_name' in event.get('args', {}):
            spent['layers' if event['args']['op_name'] in OPERATORS else 'rest'] += event['dur']
    return {part: spent[part] / count / 1e3 for part in ('layers', 'rest')}


# By a process of its own: the peak that the system tells of a child is at least what its parent held when it was made.
_LAUNCH = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(done.stdout[-2000:], resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, sep='\\n')
sys.exit(done.returncode)
"""


def peak_memory(command: list[str], **environment: str) -> float:
    """Peak of resident memory in MB of a command, its start-up included; on Linux."""
    done = subprocess.run([sys.executable, '-c', _LAUNCH, *command], env=dict(os.environ, OMP_NUM_THREADS='1', **environment),
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{" ".join(command)} ended with status {done.returncode}:\n{done.stdout}')
    return int(done.stdout.splitlines()[-1]) * 1024 / 1e6


def memories(rows: list, images: Images, folder: Path) -> dict[str, float]:
    """Peak memory by form."""
    photos = folder / 'photos'
    photos.mkdir()
    for index, image in enumerate(images):
        shutil.copy(image.name, photos / f'{index}{Path(image.name).suffix}')
    venv.create(folder / 'bare', with_pip=True)
    python = str(folder / 'bare/bin/python')
    subprocess.run([python, '-m', 'pip', 'install', '--quiet', 'onnxruntime', 'numpy', 'pillow'], check=True)
    found = {}
    for name, config, checkpoint, exported in rows:
        tool, result = str(REPO / 'tools/infer.py'), str(folder / 'found.json')
        found[f'{name}, torch'] = peak_memory([sys.executable, tool, str(photos), config, checkpoint, '--json', result])
        for int8 in (False, True)[:1 + (Path(exported) / INT8_FILE).is_file()]:
            found[f'{name}, ONNX{", int8" * int8}'] = peak_memory(
                [python, '-m', 'mmilmil.runtime', exported, str(photos), '--threads', '1', *(['--int8'] * int8)],
                PYTHONPATH=str(REPO))
    return found


def table(forms: dict[str, dict], first: str) -> str:
    """All figures in Markdown."""
    rows = [('', 'ms', 'torch / this', 'file (MB)', 'of torch', 'layers (ms)', 'rest (ms)', 'peak memory (MB)')]
    whole = forms[first]

    def shown(value: float | None, digits: int = 1) -> str:
        return '-' if value is None else f'{value:.{digits}f}'

    for name, one in forms.items():
        rows.append((name, shown(one['ms']), shown(whole['ms'] / one['ms'], 2), shown(one['mb'], 2),
                     shown(one['mb'] / whole['mb'], 2), shown(one.get('layers')), shown(one.get('rest')),
                     shown(one.get('memory'), 0)))
    return markdown_table(rows)


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    init_default_scope('mmilmil')
    runs, figures, images = {}, {}, None
    detectors: dict[str, tuple[Config, nn.Module]] = {}
    for name, config, checkpoint, folder in args.row:
        cfg = read_config(config)
        detector, _ = load_detector(checkpoint, cfg.model, 'the ', '')
        detectors[name] = cfg, detector.eval()
        images = images or images_of(cfg, detector.data_preprocessor, args.images)
        here = forms(name, detector, Path(folder), args.backends)
        runs |= here
        for form in here:
            path = Path(checkpoint) if form.endswith('torch') else Detector(folder, int8=form.endswith('int8')).path
            figures[form] = dict(mb=path.stat().st_size / 1e6)
    for form, taken in latencies(runs, images).items():
        figures[form]['ms'] = taken
    for name, _, _, folder in args.row:
        figures[f'{name}, torch'] |= torch_layers(detectors[name][1], images)
        for form in (f'{name}, ONNX', f'{name}, ONNX, int8'):
            if form in figures:
                figures[form] |= onnx_layers(Detector(folder, int8=form.endswith('int8'), threads=1), images)
    if args.memory:
        with tempfile.TemporaryDirectory() as folder:
            for form, peak in memories(args.row, images, Path(folder)).items():
                if form in figures:
                    figures[form]['memory'] = peak
    print(f'{args.images} images ({images.source}), one thread\n\n{table(figures, next(iter(figures)))}')
    if args.out:
        report = dict(images=args.images, source=images.source, forms=figures, made_by=made_by(REPO / 'benchmarks', 'edge.py'))
        write_atomically((json.dumps(report, indent=1) + '\n').encode(), Path(args.out))


if __name__ == '__main__':
    with user_errors():
        main()

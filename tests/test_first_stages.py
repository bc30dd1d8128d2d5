"""Every shipped first stage and joint training as it stands: on data in the official layout, with weights as published.

Nothing in a config is changed. The sets are found through their environment variables, the weights' files through
``MMILMIL_WEIGHTS``.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import REPO, make_voc
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import EpochBasedTrainLoop

from mmilmil.registry import DATASETS, METRICS, MODELS

CONFIGS = REPO / 'configs'
# In the form of the official sets: images wider and higher than they are high and wide, which make two batches an epoch.
# Narrow, so that a step of a full-size detector takes seconds.
SIZES = ((500, 100), (100, 375))
VOC = {'voc07': 'VOCdevkit/VOC2007', 'pcb': 'DeepPCB-320', 'foda20': 'FODA-20', 'foda20x4': 'FODA-20x4', 'shapes': 'shapes'}


def resnet50() -> dict[str, torch.Tensor]:
    """Names and shapes of torchvision's resnet50, each tensor of one number and so hardly a byte on disk."""
    weights = {'conv1.weight': (64, 3, 7, 7), 'fc.weight': (1000, 2048), 'fc.bias': (1000, )}
    norms = {'bn1': 64}
    inputs = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
        for block in range(blocks):
            name, outputs = f'layer{stage}.{block}', 4 * width
            weights |= {f'{name}.conv1.weight': (width, inputs, 1, 1), f'{name}.conv2.weight': (width, width, 3, 3),
                        f'{name}.conv3.weight': (outputs, width, 1, 1)}
            norms |= {f'{name}.bn1': width, f'{name}.bn2': width, f'{name}.bn3': outputs}
            if block == 0:
                weights[f'{name}.downsample.0.weight'] = (outputs, inputs, 1, 1)
                norms[f'{name}.downsample.1'] = outputs
            inputs = outputs
    filled = {name: filled_tensor(shape) for name, shape in weights.items()}
    for name, width in norms.items():
        filled |= {f'{name}.{part}': filled_tensor((width, ), value)
                   for part, value in (('weight', 1.), ('bias', 0.), ('running_mean', 0.), ('running_var', 1.))}
    return filled


def vgg16() -> dict[str, torch.Tensor]:
    """The same of torchvision's vgg16: 528 MB in the published file."""
    weights, inputs = {}, 3
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    for place, width in zip(places, (64, 64, 128, 128, *[256] * 3, *[512] * 6)):
        weights |= {f'features.{place}.weight': (width, inputs, 3, 3), f'features.{place}.bias': (width, )}
        inputs = width
    for place, shape in {0: (4096, 512 * 7 * 7), 3: (4096, 4096), 6: (1000, 4096)}.items():
        weights |= {f'classifier.{place}.weight': shape, f'classifier.{place}.bias': shape[:1]}
    return {name: filled_tensor(shape) for name, shape in weights.items()}


def filled_tensor(shape: tuple[int, ...], value: float | None = None) -> torch.Tensor:
    """One number in this shape; by default one that keeps the signal's size through ReLUs."""
    fan_in = math.prod(shape[1:])
    return torch.tensor((1 / fan_in if len(shape) > 1 else 0.) if value is None else value).expand(shape)


PUBLISHED = {'resnet50-0676ba61.pth': resnet50, 'vgg16-397923af.pth': vgg16}

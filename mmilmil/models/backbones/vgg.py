"""VGG16 without its last pooling, the backbone of the ILMIL paper."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS

VGG16_CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@MODELS.register_module()
class VGG16(BaseModule):
    """VGG16 (Simonyan 2015) in 5 levels of 2, 2, 3, 3 and 3 convolutions, as ILMIL's Faster R-CNN uses it.

    A level's output comes after its max pooling; the last level has none. The strides are therefore 2, 4, 8, 16, 16, and
    levels 4 and 5 are the ``pool4`` and ``conv5`` that the paper's hints compare. Parameters are named ``features.N`` as in
    torchvision, whose weights load unchanged: ``init_cfg=dict(type='Pretrained', checkpoint=URL)``, with the URL in
    ``configs/_base_/models/frcnn_vgg16.py`` (RGB, ImageNet mean and standard deviation). Levels above the highest one in
    ``out_indices`` are not built.

    Args:
        out_indices (Sequence[int]): Levels to return, counted from 0, ascending. The detector takes the last one through
            :class:`SelectLevels`; the others are there for the hints.
        frozen_stages (int): How many levels, from the input on, do not train; the name is MMDetection's. The paper freezes
            2; without pretrained weights it must be 0.
        channels (Sequence[Sequence[int]]): Width of each convolution, a sequence a level: a pruned net has its own.
        in_channels (int): Channels of the image.
        init_cfg (dict, optional): Initialisation; the default is Kaiming for every convolution.

    Raises:
        InputError: ``out_indices`` or ``frozen_stages`` do not fit the number of levels.
    """

    def __init__(self,
                 out_indices: Sequence[int] = (3, 4),
                 frozen_stages: int = 2,
                 channels: Sequence[Sequence[int]] = VGG16_CHANNELS,
                 in_channels: int = 3,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg or dict(type='Kaiming', layer='Conv2d'))
        out_indices = tuple(out_indices)
        if not out_indices or list(out_indices) != sorted({i for i in out_indices if 0 <= i < len(channels)}):
            raise InputError(f'VGG16: out_indices={out_indices} must be ascending levels from 0 to {len(channels) - 1}')
        num_levels = out_indices[-1] + 1
        if not 0 <= frozen_stages <= num_levels:
            raise InputError(f'VGG16: frozen_stages={frozen_stages} must lie in 0..{num_levels}, the number of levels built')
        self.out_indices = out_indices
        self.frozen_stages = frozen_stages

        # One flat Sequential keeps torchvision's numbering; _level_ends cuts it into levels again.
        layers, self._level_ends = [], []
        for level, widths in enumerate(channels[:num_levels]):
            for width in widths:
                layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                in_channels = width
            if level < len(channels) - 1:
                layers.append(nn.MaxPool2d(2, stride=2))
            self._level_ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        if frozen_stages:
            self.features[:self._level_ends[frozen_stages - 1]].requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps of the levels in ``out_indices``.

        Args:
            x (Tensor): Images (N, 3, H, W).

        Returns:
            tuple[Tensor]: A map (N, C_i, H_i, W_i) a level, of stride 2, 4, 8, 16, 16.
        """
        outs, start = [], 0
        for level, end in enumerate(self._level_ends):
            for layer in self.features[start:end]:  # one by one: a slice is no module of this net, and no tracer finds it
                x = layer(x)
            start = end
            if level in self.out_indices:
                outs.append(x)
        return tuple(outs)

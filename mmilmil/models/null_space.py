"""Null-space projection: a trunk's weights move only where its inputs from old images are next to nothing.

A layer that computes W x for the rows x of its input computes the same after W + D where D x = 0. So D is multiplied by a
projector onto the directions in which the old inputs have hardly any extent, which their covariance tells.

Source: NSGP of NSGP-RePRE (arXiv 2502.05540); of the update, not the gradient, as Adam-NSCL (arXiv 2103.07113) does, since Adam
turns a projected gradient out of the null space.
"""

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError

COVARIANCE_FILE = 'covariance.pth'
"""Name of the file beside the ``final.pth`` of the stage that it was made by."""
VERSION = 1
SMOOTHED_FROM = 128
"""Number of eigenvalues from which a spectrum is smoothed before its cut is looked for."""
SIGMA = 10
PARTS = ('backbone', 'neck')
_REMEDY = 'remove it, so that the old images are read again for a new one'


def layers_of(detector: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear layers of a detector's backbone and neck, by name; grouped convolutions are left out."""
    return {f'{part}.{name}': layer for part in PARTS if getattr(detector, part, None) is not None
            for name, layer in getattr(detector, part).named_modules()
            if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)}


def input_covariance(layer: nn.Module, inputs: Tensor) -> Tensor:
    """``X^T X`` of the rows x that a layer multiplies its weight with.

    In the place of a convolution's input stands its mean over the batch, as in the paper's code.

    Args:
        layer: A convolution or a linear layer.
        inputs: Its input, (N, C, H, W) or (..., C).

    Returns:
        (n, n), float64; n is C * kernel height * kernel width, in the order of the flattened weight, or C.
    """
    if isinstance(layer, nn.Linear):
        rows = inputs.reshape(-1, inputs.size(-1))
    else:
        mean = inputs.float().mean(dim=0, keepdim=True)
        columns = F.unfold(mean, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        rows = columns.transpose(1, 2).flatten(0, 1)
    return (rows.float().T @ rows.float()).double()


def flat_from(spectrum: Tensor) -> int:
    """Index from which a spectrum counts as nothing: where its second difference is largest.

    Args:
        spectrum: Eigenvalues, (n,), the largest first. From 128 of them on it is smoothed by a Gaussian of sigma 10 before. Of
            two, the second counts as nothing; of one, none.
    """
    if len(spectrum) < 3:
        return 1
    if len(spectrum) >= SMOOTHED_FROM:
        offsets = torch.arange(-4 * SIGMA, 4 * SIGMA + 1, dtype=spectrum.dtype)
        kernel = (-0.5 * (offsets / SIGMA) ** 2).exp()
        padded = F.pad(spectrum[None, None], (4 * SIGMA, 4 * SIGMA), mode='replicate')
        spectrum = F.conv1d(padded, (kernel / kernel.sum())[None, None])[0, 0]
    return 1 + int((spectrum[:-2] - 2 * spectrum[1:-1] + spectrum[2:]).argmax())


def projector(covariance: Tensor, scaled: bool = False) -> Tensor:
    """``P = U0 U0^T``, U0 the eigenvectors of what counts as nothing.

    Args:
        covariance: (n, n), symmetric.
        scaled: Whether P is divided by its Frobenius norm, which makes steps smaller where more directions are free.

    Returns:
        (n, n), float32; all zeros where no direction is free.
    """
    values, vectors = torch.linalg.eigh(covariance.double())  # the smallest first
    free = vectors[:, :len(values) - flat_from(values.flip(0))]
    projection = free @ free.T
    norm = projection.norm()
    return (projection / norm if scaled and norm > 0 else projection).float()


@dataclass
class Covariances:
    """What the layers of a detector's trunk saw of all images that it and its teachers were trained on.

    Attributes:
        sums: By layer, the sum of :func:`input_covariance` over the batches, float32.
        images: Number of images.
        teacher: Hash of the weights that they were gathered with last (:func:`mmilmil.models.hashes.weights_hash`).
        path: The file that they were read from, for messages.
    """

    sums: dict[str, Tensor]
    images: int
    teacher: str
    path: Path | None = None

    def __str__(self) -> str:
        size = sum(value.numel() * 4 for value in self.sums.values())
        return f'{size / 1e6:.1f} MB of {len(self.sums)} layers and {self.images} images'

    def content(self) -> dict:
        """What :meth:`load` reads: tensors and plain data."""
        return dict(kind='mmilmil covariances', version=VERSION, sums=self.sums, images=self.images, teacher=self.teacher)

    @classmethod
    def load(cls, path: Path) -> 'Covariances':
        """Read a file.

        Raises:
            InputError: it is cut off, none of covariances, or of another version.
        """
        try:
            content = torch.load(path, map_location='cpu', weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f'the covariances {path} cannot be read ({first}): {_REMEDY}') from error
        if not isinstance(content, dict) or content.get('kind') != 'mmilmil covariances':
            raise InputError(f'{path} holds no covariances: {_REMEDY}')
        if content.get('version') != VERSION:
            raise InputError(f'the covariances {path} are of version {content.get("version")!r}, and this mmilmil reads '
                             f'{VERSION}: update mmilmil, or {_REMEDY}')
        return cls(content['sums'], content['images'], content['teacher'], path)

    def check(self, fingerprint: str, detector: nn.Module, checkpoint: str) -> None:
        """They are this teacher's, and of the student's layers.

        Args:
            fingerprint: Hash of the teacher's weights.
            detector: The student.
            checkpoint: The teacher's file, for messages.

        Raises:
            InputError: tells what differs.
        """
        if self.teacher != fingerprint:
            raise InputError(f'the covariances {self.path} are of another teacher ({self.teacher[:12]}) than {checkpoint} '
                             f'({fingerprint[:12]}): {_REMEDY}')
        for name, layer in layers_of(detector).items():
            wanted = layer.weight[0].numel()
            found = self.sums[name].size(0) if name in self.sums else 0
            if found != wanted:
                raise InputError(f'the covariances {self.path} have {found} inputs for {name}, which has {wanted} in the '
                                 "student: null-space projection needs a student of its teacher's structure")

    def joined(self, sums: Mapping[str, Tensor], images: int, teacher: str) -> 'Covariances':
        """With those of one stage more."""
        return Covariances({name: self.sums[name] + value for name, value in sums.items()}, self.images + images, teacher)


@torch.no_grad()
def gather(detector: nn.Module, batches: Iterable[dict]) -> dict[str, Tensor]:
    """The sums of a detector over batches.

    Args:
        detector: It is put into eval mode for this.
        batches: As a loader gives them.

    Returns:
        By layer of :func:`layers_of`, (n, n), float32.
    """
    layers = layers_of(detector)
    # Where the layers are, and only at the end on CPU: those of a large layer have many megabytes.
    sums = {name: torch.zeros(2 * (layer.weight[0].numel(), ), dtype=torch.float64, device=layer.weight.device)
            for name, layer in layers.items()}

    def look(name: str):
        def add(layer: nn.Module, args: tuple) -> None:
            sums[name] += input_covariance(layer, args[0])
        return add

    handles = [layer.register_forward_pre_hook(look(name)) for name, layer in layers.items()]
    mode = detector.training
    detector.eval()
    try:
        for batch in batches:
            detector.extract_feat(detector.data_preprocessor(batch)['inputs'])
    finally:
        detector.train(mode)
        for handle in handles:
            handle.remove()
    return {name: value.float().cpu() for name, value in sums.items()}


class Projection:
    """Turns each update of a trunk's weights into the null space.

    Args:
        detector: The student.
        sums: By layer of :func:`layers_of`, its covariance.
        scaled: Whether the backbone's projectors are divided by their Frobenius norms; the neck's never are.
        hold_norms: Whether weights and biases of normalisation layers of the trunk stay as they are, and so do the biases of
            the projected layers, which null-space directions do not tell of.
    """

    def __init__(self, detector: nn.Module, sums: Mapping[str, Tensor], scaled: bool = True, hold_norms: bool = True) -> None:
        self._projected = []
        self._held = []
        layers = {name: layer for name, layer in layers_of(detector).items() if layer.weight.requires_grad}
        for name, layer in layers.items():
            matrix = projector(sums[name], scaled and name.startswith('backbone.'))
            self._projected.append((layer.weight, matrix.to(layer.weight.device)))
        if hold_norms:
            own = {id(weight) for weight, _ in self._projected}
            parts = [getattr(detector, part) for part in PARTS if getattr(detector, part, None) is not None]
            self._held = [weight for part in parts for weight in part.parameters()
                          if weight.requires_grad and weight.dim() == 1 and id(weight) not in own]
        self._before: list[Tensor] = []

    def remember(self) -> None:
        """Note the weights before a step."""
        self._before = [weight.detach().clone() for weight in (*(weight for weight, _ in self._projected), *self._held)]

    @torch.no_grad()
    def apply(self) -> None:
        """Project what the step has changed since :meth:`remember`, weight decay included."""
        for (weight, matrix), before in zip(self._projected, self._before):
            update = (weight - before).flatten(1) @ matrix
            weight.copy_(before + update.view_as(weight))
        for weight, before in zip(self._held, self._before[len(self._projected):]):
            weight.copy_(before)

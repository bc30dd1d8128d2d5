"""What a training shows beside its log, through the visualizer: terms by what they are for, teacher boxes, detections."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Optional

import numpy as np
import torch
from mmcv import imread
from mmengine.dist import is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.structures import InstanceData
from torch import Tensor

from ...class_colors import class_colors
from ...loaders import innermost_datasets
from ...models.detectors import IncrementalDetector
from ...registry import HOOKS
from ...stage import Stage
from ...visualization.marked_images import Legend, Mark, MarkedImage, marked_page
from ..loss_groups import is_loss_term, loss_group
from ..runner_state import bare_model


@HOOKS.register_module()
class LiveViewHook(Hook):
    """Gives every backend of the visualizer more than the log has; tools add it where there is one beside local files.

    As often as the log is written, the means over the steps since the last time:

    - ``distillation/<term>``, ``memory/<term>`` and ``detector/<term>`` (the stock detector's own, on annotated and merged
      boxes), and ``<group>/sum`` of each;
    - ``boxes/annotated_old``, ``boxes/annotated_new`` and ``boxes/merged``: boxes a step that are trained on;
    - ``teacher/found``: its boxes a step above ``merging.score_thr``, ``teacher/merged_share``: the share of them that is
      merged, ``teacher/mean_score``: the mean score of those; where there is none neither is told.

    After each epoch, or in a training by iterations after each validation, ``val_<number>``: an image of the validation set
    with its objects and what the detector finds now, in the colours of the class groups. They are the same images every time,
    spread evenly over the set; the weights are those that are trained, without averaging (EMA).

    In several processes what the first one sees is shown. Nothing of a training changes by it.

    Args:
        interval: Steps between two times; ``None`` for the log's.
        images: How many of the validation set are drawn; 0 for none.
        score_thr: Detections with a lower score are not drawn.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: Optional[int] = None, images: int = 4, score_thr: float = 0.3) -> None:
        self.interval = interval
        self.images = images
        self.score_thr = score_thr
        self._forget()

    def _forget(self) -> None:
        self._losses: dict[str, list] = {}
        self._boxes: list[Tensor] = []

    def before_train(self, runner: Runner) -> None:
        """Look at what is merged, and choose the images."""
        self._forget()
        model = bare_model(runner)
        if isinstance(model, IncrementalDetector) and is_main_process():
            model.watch_merging(partial(self._see, model.teacher.num_classes))
        if self.interval is None:
            self.interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 10)

    def _see(self, num_old: int, found: Sequence[InstanceData], merged: Sequence[InstanceData]) -> None:
        """Count a step's boxes: annotated old and new ones, found, merged, and the sum of the scores of those."""
        annotated = torch.cat([one.annotated for one in merged])
        old = torch.cat([one.labels for one in merged]) < num_old
        scores = torch.cat([one.scores for one in merged])
        counts = (annotated & old, annotated & ~old, ~annotated)
        number = sum(len(one) for one in found)
        self._boxes.append(torch.stack([*(one.sum().float() for one in counts), scores.new_tensor(number).float(),
                                        (scores * ~annotated).sum().float()]).detach())

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: Optional[Mapping] = None) -> None:
        """Note the step, and show the means when it is time."""
        if not is_main_process():
            return
        for name, value in (outputs or {}).items():
            if is_loss_term(name):
                # Without its graph, which would stay until the log's line.
                tag = '/'.join(loss_group(name))
                self._losses.setdefault(tag, []).append(value.detach() if isinstance(value, Tensor) else value)
        last = self.end_of_epoch(runner.train_dataloader, batch_idx) and len(runner.train_dataloader) <= self.interval
        if self.every_n_inner_iters(batch_idx, self.interval) or last:
            shown = {**self._loss_means(), **self._box_means()}
            self._forget()
            if shown:
                runner.visualizer.add_scalars(shown, step=runner.iter + 1)

    def _loss_means(self) -> dict[str, float]:
        means = {tag: float(np.mean([float(value) for value in values])) for tag, values in self._losses.items()}
        for group in sorted({tag.partition('/')[0] for tag in means}):
            means[f'{group}/sum'] = sum(value for tag, value in means.items() if tag.startswith(f'{group}/'))
        return means

    def _box_means(self) -> dict[str, float]:
        if not self._boxes:
            return {}
        old, new, merged, found, scores = torch.stack(self._boxes).sum(dim=0).tolist()
        steps = len(self._boxes)
        shown = {'boxes/annotated_old': old / steps, 'boxes/annotated_new': new / steps, 'boxes/merged': merged / steps,
                 'teacher/found': found / steps}
        if found:
            shown['teacher/merged_share'] = merged / found
        if merged:
            shown['teacher/mean_score'] = scores / merged
        return shown

    def after_train_epoch(self, runner: Runner) -> None:
        """Show detections of the epoch."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._show_detections(runner, runner.epoch + 1, 'epoch')

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        """Show detections of a training by iterations."""
        if not isinstance(runner._train_loop, EpochBasedTrainLoop | dict | None):
            self._show_detections(runner, runner.iter, 'iteration')

    def after_train(self, runner: Runner) -> None:
        """Look no longer."""
        model = bare_model(runner)
        if isinstance(model, IncrementalDetector):
            model.watch_merging(None)

    def _show_detections(self, runner: Runner, step: int, unit: str) -> None:
        if not self.images or not is_main_process() or runner.val_loop is None:
            return
        loader = runner.val_loop.dataloader
        dataset, model = loader.dataset, bare_model(runner)
        number = min(self.images, len(dataset))
        indices = [(2 * place + 1) * len(dataset) // (2 * number) for place in range(number)]
        stage = next(innermost_datasets(dataset)).stage
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                for place, index in enumerate(indices):
                    sample = model.test_step(loader.collate_fn([dataset[index]]))[0]
                    picture = detections_picture(sample, stage, self.score_thr, f'after {unit} {step}')
                    runner.visualizer.add_image(f'val_{place + 1}', picture, step=step)
        finally:
            model.train(training)


def detections_picture(sample, stage: Stage, score_thr: float, when: str) -> np.ndarray:
    """Objects and detections of an image beside each other.

    Args:
        sample: A tested data sample, whose objects and detections are in pixels of the image file, as metrics take them.
        stage: Its classes.
        score_thr: Detections with a lower score are not drawn.
        when: What stands on top.

    Returns:
        (height, width, 3), RGB, uint8.
    """
    colors = class_colors(stage.split)
    found = sample.pred_instances
    found = found[found.scores >= score_thr]
    found = found[found.scores.argsort(descending=True)]  # the surest are labelled first
    boxes = getattr(sample.gt_instances.bboxes, 'tensor', sample.gt_instances.bboxes).tolist()
    labels = sample.gt_instances.labels.tolist()
    truth = [Mark(box, colors[label], 'kept', stage.classes[label]) for box, label in zip(boxes, labels)]
    marks = [Mark(box, colors[label], 'kept', f'{stage.classes[label]} {score:.2f}')
             for box, label, score in zip(found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist())]
    there = {stage.classes[label] for label in (*labels, *found.labels.tolist())}
    names = {name: [one for one in group if one in there] for name, group in (('old', stage.old), ('new', stage.new))}
    of = dict(zip(stage.classes, colors))
    legend = Legend(classes={f'{name} classes': {one: of[one] for one in group} for name, group in names.items()})
    panels = {'annotation': truth, f'detections from a score of {score_thr:g}': marks}
    image = imread(sample.img_path, channel_order='rgb')
    picture = MarkedImage(image, sample.img_path.rpartition('/')[2], panels)
    return marked_page([picture], when, legend, side=420, must_label=False).pixels()

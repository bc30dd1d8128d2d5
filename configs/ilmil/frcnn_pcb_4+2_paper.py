# DeepPCB 4+2, in the paper's own form of distillation.
_base_ = ['./frcnn_pcb_4+2.py', '../_base_/distillers/ilmil_paper.py']
model = dict(distiller=_base_.paper_distiller, merging=_base_.paper_merging)

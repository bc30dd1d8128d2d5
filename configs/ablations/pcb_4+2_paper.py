# DeepPCB 4+2 in the paper's own form of distillation.
_base_ = ['./pcb_4+2_full.py', '../_base_/distillers/ilmil_paper.py']
model = dict(distiller=_base_.paper_distiller, merging=_base_.paper_merging)

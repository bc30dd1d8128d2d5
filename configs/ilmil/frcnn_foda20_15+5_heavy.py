# FODA-20 15+5, with a distillation that is heavy enough for images of one object each.
_base_ = ['./frcnn_foda20_15+5.py', '../_base_/distillers/mfrrk_heavy.py']
model = dict(distiller=_base_.heavy_distiller)

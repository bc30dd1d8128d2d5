# Second stage of COCO 2017 40+10x4, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and
# nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_coco_40+10x4_step1.py'
model = dict(distiller=None, merging=None)

# Second stage of COCO 2017 40+20+20, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and
# nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_coco_40+20+20_step1.py'
model = dict(distiller=None, merging=None)

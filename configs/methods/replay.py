# Exemplar replay: fine-tuning on the new images and on 10 kept images of each old class, with their old boxes.
model = dict(distiller=None, merging=None, memory=None, frozen=(), norm_eval=False)
train_dataloader = dict(dataset=dict(replay=dict(per_class=10, seed=0)))

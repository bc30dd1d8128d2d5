# Ablation: without hints.
model = dict(distiller=dict(feature=None))

# Ablation: without the score term.
model = dict(distiller=dict(score=None))

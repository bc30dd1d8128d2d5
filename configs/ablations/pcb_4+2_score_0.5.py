# DeepPCB 4+2 with five times the weight on the score term.
_base_ = './pcb_4+2_full.py'
model = dict(distiller=dict(score=dict(type='ScoreL1Loss', loss_weight=0.5)))

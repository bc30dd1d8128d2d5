# The first stage of DeepPCB 4+2 by Group Fisher pruning, a channel every four iterations until half of the FLOPs are left.
_base_ = './frcnn_pcb_4_iterative.py'
model = dict(
    _delete_=True,
    type='GroupFisherPruning',
    detector=_base_.model.detector,
    checkpoint=_base_.model.checkpoint,
    target_flops=0.5,
    size=_base_.scale,
    interval=4)

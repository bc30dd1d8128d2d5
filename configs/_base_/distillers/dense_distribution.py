# As dense.py, for detectors that tell a distribution of each side of a box (GFL): the student's follows the teacher's, by the
# Kullback-Leibler divergence at the temperature of ERD and of localisation distillation.
_base_ = './dense.py'
distiller = dict(reg=dict(_delete_=True, type='DistributionKDLoss', temperature=10.0, loss_weight=0.2))

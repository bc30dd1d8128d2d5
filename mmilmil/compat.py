"""Every quirk of other packages versions, and nothing else."""
# TEMPORARY by the lead: helper overwrites
import torch
def load_checkpoint_file(path, map_location='cpu'):
    return torch.load(path, map_location=map_location, weights_only=True)
def to_plain(x): return x
def from_plain(x): return x

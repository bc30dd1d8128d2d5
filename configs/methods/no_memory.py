# The method without what the stage before kept: nothing is replayed.
model = dict(memory=None)

# Advances when the run of another seed did: as often, but not as its own
# signals say.
_base_ = 'ahpcl.py'
replay = dict(config='ahpcl', seed='next')

# Advances when the long run of another seed did.
_base_ = 'ahpcl_long.py'
replay = dict(config='ahpcl_long', seed='next')

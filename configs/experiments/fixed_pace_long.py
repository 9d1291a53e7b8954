# Every rung for the epochs that the long adaptive runs spent on it on average.
_base_ = 'ahpcl_long.py'
replay = dict(config='ahpcl_long', seed='mean')

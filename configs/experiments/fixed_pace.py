# Every rung for the epochs that the adaptive runs spent on it on average.
_base_ = 'ahpcl.py'
replay = dict(config='ahpcl', seed='mean')

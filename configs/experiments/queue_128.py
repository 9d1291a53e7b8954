# A short queue.
_base_ = 'ahpcl.py'
model = dict(queue_len=128)

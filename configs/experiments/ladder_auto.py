# A ladder that knows only the number of images.
_base_ = 'ahpcl.py'
custom_hooks = [dict(_base_.custom_hooks[0], ladder=dict(type='AutoLadder'))]

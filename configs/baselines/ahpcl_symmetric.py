# AHPCL with a symmetric instance loss.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
_base_.pop('data')
model = dict(symmetric=True)

# AHPCL on the digits with a symmetric instance loss.
_base_ = '../ahpcl_digits.py'
model = dict(symmetric=True)

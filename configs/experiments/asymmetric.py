# The second view is key only.
_base_ = 'ahpcl.py'
model = dict(symmetric=False)

"""Import this before torch: idle threads sleep instead of spinning.

OpenMP's threads wait for work in a busy loop. On a machine with few cores,
where loader workers or other programs want them, that makes small models many
times slower. A value of your own is kept.
"""

import os

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

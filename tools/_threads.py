"""Import this before torch: the package decides how OpenMP's threads wait."""

import ahpcl  # noqa: F401

# ctest: TIMEOUT 120
# ctest: CASES engine keeper copy
"""The short version of tests/long/kills."""

import harness
import random_kills

harness.cases({name: lambda directory, name=name: getattr(random_kills, name)(directory, 12)
               for name in ("engine", "keeper", "copy")})

# ctest: TIMEOUT 180
"""200 rounds of dump and restore of one small program; tests/long/rounds has 10,000."""

import harness
import long_rounds

harness.run(lambda directory: long_rounds.rounds(directory, 200))

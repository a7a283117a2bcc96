"""Numbers that several modules need."""

import math

LOG_2PI = math.log(2.0 * math.pi)

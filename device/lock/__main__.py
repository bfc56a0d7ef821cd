"""Lock the door now: `python -m device.lock --relock`, for whatever ends without its own last word."""

import sys

from device.lock.relock import main

sys.exit(main())

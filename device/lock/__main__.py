"""Lock the door now: `python -m device.lock --relock`, after a program ended without locking it."""

import sys

from device.lock.relock import main

sys.exit(main())

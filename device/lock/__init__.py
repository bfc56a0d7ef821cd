"""The bolt and the pins around it, and how the recognizer asks for them; `python -m device.lock --relock`."""

"""From a picture to a face: camera, detection, alignment, quality, liveness and embedding."""

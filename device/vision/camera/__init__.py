"""Cameras: picamera2, OpenCV and clips, each giving its newest RGB frame."""

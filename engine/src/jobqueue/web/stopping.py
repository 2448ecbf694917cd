"""The event of a stop: the server sets it at SIGTERM, and `/readyz` reads it."""

import threading

stopping = threading.Event()

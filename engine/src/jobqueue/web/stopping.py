"""Whether this process is stopping: set by the server at SIGTERM, and read by `/readyz`."""

import threading

stopping = threading.Event()

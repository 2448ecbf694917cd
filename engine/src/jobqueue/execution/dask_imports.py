"""Import the modules that a job's Dask processes begin with, in the server that forks them. See `dask_client.LAUNCH`.

The server imports this module, and ends at any exception but ImportError. So exceptions stop here. A part that needs a module which
could not be imported imports it again, and raises the exception.
"""

import importlib
import json
import logging
import os

from jobqueue.execution.dask_client import IMPORTS

for name in json.loads(os.environ.pop(IMPORTS, "[]")):
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:  # SystemExit: of a script that runs when it is imported
        logging.getLogger("jobqueue.dask").warning(
            "Dask's processes begin without the module %s: its import raised %s: %s", name, type(error).__name__, error
        )

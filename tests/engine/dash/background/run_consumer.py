"""A consumer of the small apps: `python -m tests.engine.dash.background.run_consumer URL`."""

import logging
import sys

from jobqueue import DurableHuey
from tests.engine.dash.background.apps import apps_of


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    huey = DurableHuey("dash", sys.argv[1], secret_key="a key for tests", lease_s=2.0, renew_s=0.5)
    apps_of(huey)
    huey.create_consumer(workers=3).run()


if __name__ == "__main__":
    main()

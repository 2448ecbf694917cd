"""A program that finds or installs the Chromium for the tests: `python tests/chromium.py` prints its path.

It looks for the system's browser, then for Playwright's. Otherwise it installs Playwright's, or as root Debian's.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
APPLICATIONS = ["Chromium.app/Contents/MacOS/Chromium", "Google Chrome.app/Contents/MacOS/Google Chrome"]

# Tried in turn, until a browser is found.
INSTALLERS = [[[sys.executable, "-m", "playwright", "install", "chromium"]]]
if shutil.which("apt-get") and os.geteuid() == 0:
    INSTALLERS += [
        [["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]]
    ]


def main() -> None:
    found = find()
    for commands in INSTALLERS if found is None else []:
        if all(subprocess.run(command, stdout=sys.stderr).returncode == 0 for command in commands):
            found = find()
        if found is not None:
            break
    if found is None:
        sys.exit(
            "The browser tests need Chromium, and none was found. Install your system's package (chromium or "
            "google-chrome), or set CHROMIUM to its path."
        )
    print(found)


def find() -> str | None:
    given = os.environ.get("CHROMIUM")
    if given:
        return given
    for found in map(shutil.which, NAMES):
        if found:
            return found
    with sync_playwright() as playwright:
        downloaded = Path(playwright.chromium.executable_path)
    applications = [Path("/Applications", name) for name in APPLICATIONS]
    return next((str(path) for path in (*applications, downloaded) if path.exists()), None)


if __name__ == "__main__":
    main()

"""Build the engine's wheel into the template and pin it there: `make wheel`. Needs no network.

The same source gives the same files in the wheel, with the same dates and modes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ENGINE = Path(__file__).resolve().parent
KIT = ENGINE.parent
VENDOR = KIT / "{{cookiecutter.app_name}}" / "vendor"
# Each names the wheel by its path, with its hash.
PINNED = [KIT / "requirements.txt", *sorted(KIT.glob("templates/requirements-*.txt"))]
LINE = re.compile(r"^(\./.*\bvendor/)dash_jobqueue-[^/\s]+\.whl \\\n +--hash=sha256:[0-9a-f]+$", re.MULTILINE)
DATE = "1580601600"  # of every file in the wheel, in seconds since 1970: hatchling's own default


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        built = build(Path(folder))
        VENDOR.mkdir(exist_ok=True)
        for old in wheels():
            old.unlink()
        shutil.copy(built, VENDOR)
    (wheel,) = wheels()
    for path in PINNED:
        pin(path, wheel)
    print(f"{wheel.relative_to(KIT)}: {wheel.stat().st_size:,} bytes, sha256 {digest(wheel)}")


def wheels() -> list[Path]:
    """Return the wheels in the template."""
    return sorted(VENDOR.glob("*.whl"))


def build(folder: Path, engine: Path = ENGINE) -> Path:
    """Build the wheel of the engine in the folder, which has none yet, and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": DATE}
    done = subprocess.run(command, cwd=engine, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"hatchling cannot build the wheel:\n{done.stdout}{done.stderr}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def pin(requirements: Path, wheel: Path) -> None:
    """Name this wheel and its hash in a file of pinned requirements. Raise LookupError if the file names no wheel."""
    text = requirements.read_text(encoding="utf-8")
    pinned, count = LINE.subn(rf"\g<1>{wheel.name} \\\n    --hash=sha256:{digest(wheel)}", text)
    if count != 1:
        raise LookupError(f"{requirements} names {count} wheels of the engine; it has to name one. Run `make lock`.")
    if pinned != text:
        requirements.write_text(pinned, encoding="utf-8")


def digest(wheel: Path) -> str:
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()

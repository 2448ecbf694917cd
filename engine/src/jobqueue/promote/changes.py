"""Change several files, all or none: a journal keeps what they held, until all are written."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

JOURNAL = ".promote"  # the journal's folder, in the app's


def apply(root: Path, files: Mapping[Path, str | None]) -> None:
    """Write files, or remove those whose content is None. If this is interrupted, `undo` restores all of them.

    :param root: the app's folder.
    :param files: contents by path, relative to the root.
    """
    journal, draft = root / JOURNAL, root / f"{JOURNAL}.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    entries = []
    for number, path in enumerate(files):
        held = root / path
        entries.append({"path": path.as_posix(), "kept": held.exists(), "folders": _missing_folders(root, path)})
        if held.exists():
            _write(draft / f"{number}.before", held.read_bytes())
    for number, content in enumerate(files.values()):
        if content is not None:
            _write(draft / f"{number}.after", content.encode())
    _write(draft / "journal.json", json.dumps(entries).encode())
    os.replace(draft, journal)
    for number, (path, content) in enumerate(files.items()):
        if content is None:
            (root / path).unlink(missing_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(journal / f"{number}.after", root / path)
    _drop(root)


def undo(root: Path) -> str:
    """Restore the files of an interrupted `apply`, and return a sentence for the user. Return "" if there was none."""
    journal, draft, dropped = root / JOURNAL, root / f"{JOURNAL}.new", root / f"{JOURNAL}.old"
    if not journal.exists():
        if not draft.exists() and not dropped.exists():
            return ""
        done = "after it had changed all files" if dropped.exists() else "before it changed a file"
        for left in (draft, dropped):
            shutil.rmtree(left, ignore_errors=True)
        return f"The last command was interrupted {done}. What it left in {JOURNAL}.* is removed."
    entries = json.loads((journal / "journal.json").read_text())
    for number, entry in enumerate(entries):
        path = root / entry["path"]
        if entry["kept"]:
            restored = journal / f"{number}.restored"
            _write(restored, (journal / f"{number}.before").read_bytes())
            os.replace(restored, path)
        else:
            path.unlink(missing_ok=True)
        for folder in entry["folders"]:
            if (root / folder).is_dir() and not any((root / folder).iterdir()):
                (root / folder).rmdir()
    _drop(root)
    names = ", ".join(entry["path"] for entry in entries)
    return f"The last command was interrupted. These files are as they were before it: {names}"


def _missing_folders(root: Path, path: Path) -> list[str]:
    """Return the folders that writing a file makes, the innermost first."""
    return [folder.as_posix() for folder in path.parents if not (root / folder).exists()]


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _drop(root: Path) -> None:
    """Remove the journal: first its name, in one step, then its files."""
    os.replace(root / JOURNAL, root / f"{JOURNAL}.old")
    shutil.rmtree(root / f"{JOURNAL}.old")

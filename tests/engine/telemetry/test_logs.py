"""Logging of a process: every line is one JSON object, whatever is logged, warned, or raised and not caught."""

import json
import subprocess
import sys

from tests.engine.consumers import environment

PROGRAM = """
import logging, multiprocessing, threading, warnings
from jobqueue import logs

logs.configure(as_json=True, release="r1")
logger = logging.getLogger("app")

class Rude:
    def __str__(self):
        raise RuntimeError("never")

def many(name):
    for n in range(300):
        logger.info("%s", name * 6000)

logger.info("two\\nlines \\udcff %s", "ä")
logger.info("%s", Rude())
logger.info("too few %s %s", 1)
logger.info("long " + "x" * 1_000_000)
logger.info({"a": "dict"})
logger.info("extra", extra={"rows": 3, "what": Rude})
with logs.bound(request="r-1", job=None):
    logger.info("bound")
    threading.Thread(target=lambda: 1 / 0).start()
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("caught")
warnings.warn("old")
logging.getLogger("huey").info("no line of Huey's")
processes = [multiprocessing.get_context("fork").Process(target=many, args=(name,)) for name in "ab"]
[process.start() for process in processes]
[process.join() for process in processes]
raise KeyError("uncaught")
"""


def test_every_line_is_one_json_object() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, env=environment()
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    texts = [line["text"] for line in lines]
    assert {line["release"] for line in lines} == {"r1"}
    assert texts[0] == "two\nlines \udcff ä"
    assert "cannot be formatted: RuntimeError" in texts[1] and "cannot be formatted: TypeError" in texts[2]
    assert "never" not in ended.stderr
    assert len(texts[3]) < 20_000
    assert lines[5]["rows"] == 3
    (bound,) = [line for line in lines if line["text"] == "bound"]
    assert bound["request"] == "r-1" and "job" not in bound
    (caught,) = [line for line in lines if line["text"] == "caught"]
    assert caught["level"] == "ERROR" and caught["traceback"].endswith("ZeroDivisionError: division by zero")
    assert [line["level"] for line in lines if "was not caught" in line["text"]] == ["ERROR", "CRITICAL"]
    assert any(line["logger"] == "py.warnings" for line in lines)
    assert "Huey's" not in ended.stderr
    assert sum(text == "a" * 6000 for text in texts) == sum(text == "b" * 6000 for text in texts) == 300

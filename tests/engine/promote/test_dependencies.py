"""The traps of notebooks: each is taken right, or refused with its cell and what to do."""

import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

from jobqueue import DurableHuey
from jobqueue.promote.dependencies import dependencies
from jobqueue.promote.notebook import Notebook
from jobqueue.promote.refusal import Refused
from jobqueue.promote.writing import job_module, new_sources
from tests.engine.promote.notebooks import write

# By name: the cells, an expression of the module, and its value.
TAKEN = {
    "a helper of another cell": ("def net(x): return x * 2\n# %%\ndef total(x): return net(x) + 1", "total(3)", 7),
    "a helper defined in a later cell": (
        "def total(x): return net(x) + 1\n# %%\ndef net(x): return x * 2",
        "total(3)",
        7,
    ),
    "two that call each other": (
        "def even(n): return n == 0 or odd(n - 1)\n# %%\ndef odd(n): return n != 0 and even(n - 1)\n"
        "# %%\ndef total(n): return even(n)",
        "total(4)",
        True,
    ),
    "an own sum in place of Python's": ("def sum(xs): return 42\n# %%\ndef total(): return sum([1])", "total()", 42),
    "parameters and comprehension targets named like globals": (
        "rate = open\nx = 1\n# %%\ndef total(rate): return [x for x in range(rate)]",
        "total(2), 'x' in module, 'rate' in module",
        ([0, 1], False, False),
    ),
    "names in annotations only": (
        "from decimal import Decimal\nfrom fractions import Fraction\nfrom pathlib import Path\n# %%\n"
        "def total(x: 'Decimal', y: list['Fraction'] | None = None) -> Path: return x",
        "total(1), {'Decimal', 'Fraction', 'Path'} <= set(module)",
        (1, True),
    ),
    "a Literal's texts are values": (
        "from typing import Literal\n# %%\ndef total(x: Literal['north'], y: 'list[Literal[1]]' = ()) -> int: return x",
        "total(1)",
        1,
    ),
    "names for the type checker": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from decimal import Decimal\n# %%\n"
        "def total(x: 'Decimal') -> int: return 1",
        "total(1), 'Decimal' in module",
        (1, False),
    ),
    "one of two names of an import": (
        "import math as m, this_does_not_exist\n# %%\ndef total(x): return m.floor(x)".replace(
            "this_does_not_exist", "json"
        ),
        "total(1.5), 'json' in module",
        (1, False),
    ),
    "an import that may fail": (
        "try:\n    import no_such_module as fast\nexcept ImportError:\n    import math as fast\n# %%\n"
        "def total(x): return fast.floor(x)",
        "total(1.5)",
        1,
    ),
    "a closure made by a factory": (
        "def adder(n):\n    def add(x): return x + n\n    return add\n# %%\nadd3 = adder(3)\n# %%\ndef total(x): return add3(x)",
        "total(1)",
        4,
    ),
    "a harmless magic elsewhere": ("%time 1 + 1\n# %%\ndef total(x): return x", "total(1)", 1),
    "an await elsewhere": ("import asyncio\nawait asyncio.sleep(0)\n# %%\ndef total(x): return x", "total(1)", 1),
    "a cell that is timed": ("%%time\ndef total(x): return x + 1", "total(1)", 2),
    "a cached helper": (
        "import functools\n# %%\n@functools.cache\ndef net(x): return x * 2\n# %%\ndef total(x): return net(x)",
        "total(2)",
        4,
    ),
    "comments above a definition": (
        "import json\n\n# Rates.\n# In percent.\nRATES = {'a': 1}\ndef total(): return RATES['a']",
        "total()",
        1,
    ),
    "text that trips writers": (
        'import scipy\ngröße = """a\t\u2028\x0c\n  b\\n"""\n# %%\ndef total():\n\ttext = größe + \\\n\t\t"\\\\"\n\treturn text, bool(scipy)\n'
        "# the end",
        "total()",
        ("a\t\u2028\x0c\n  b\n\\", True),
    ),
    "carriage returns": ("def total(x):\r\n    return x + 1\r\n", "total(1)", 2),
    "a class and a constant": (
        "from enum import Enum\nclass Side(Enum):\n    BUY = 1\n# %%\nDEFAULT = Side.BUY\n# %%\ndef total(side=DEFAULT): return side.name",
        "total()",
        "BUY",
    ),
    "a local import and a nested function": (
        "def total(x):\n    import math\n    def inner(y): return math.floor(y)\n    return inner(x)",
        "total(1.5)",
        1,
    ),
    "a heavy import moves into the function": (
        "from scipy import stats\n# %%\ndef total(x):\n    '''Doc.'''\n    return x if stats is None else stats",
        "'stats' in module, total.func.__doc__",
        (False, "Doc."),
    ),
    "a heavy import that annotations name too": (
        "import pandas as pd\n# %%\ndef total(x: int) -> pd.DataFrame:\n    return pd.DataFrame({'x': [x]})\n",
        "'pd' in module, total(1)['x'].tolist()",
        (False, [1]),
    ),
    "the same definition in two cells": (
        "def net(x): return x\n# %%\ndef net(x):\n    return x\n# %%\ndef total(x): return net(x)",
        "total(5)",
        5,
    ),
    "a pure constant": (
        "import re\nfrom datetime import timedelta\nWORD = re.compile('a+')\nDAY = timedelta(days=1)\n# %%\ndef total(): return bool(WORD.match('aa')), DAY.days",
        "total()",
        (True, 1),
    ),
    "the queue's decorator with options": (
        "from jobqueue.notebook import queue\nTIMES = 2\n# %%\n@queue.task(retries=TIMES)\ndef total(x): return x",
        "total.call_local(3), total.settings['default_retries'], 'queue' in module",
        (3, 2, False),
    ),
}

# By name: the cells and the refusal.
REFUSED = {
    "no definition": (
        "def total(): return rate",
        "[1] total uses rate, which no cell defines. Define it, or make it a parameter.",
    ),
    "a star import": (
        "from math import *\n# %%\ndef total(x): return floor(x)",
        "[1] from math import * hides what total needs. Import floor by name.",
    ),
    "work at the module's level": (
        "import pandas as pd\n# %%\ndf = pd.read_csv('a.csv')\n# %%\ndef total(): return df",
        "[2] df = pd.read_csv('a.csv') would run whenever the app starts. Read it inside total "
        '(job.step("df", ...)), or make it a parameter.',
    ),
    "a key added later": (
        'RATES = {"north": 1}\n# %%\ndef total(r): return RATES[r]\n# %%\nRATES["south"] = 2',
        '[3] changes RATES after its definition in [1]. Put "south" into the definition.',
    ),
    "an update later": (
        "A = {}\n# %%\nA.update(b=1)\n# %%\ndef total(): return A",
        "[2] changes A after its definition in [1].",
    ),
    "an addition later": (
        "A = 1\n# %%\nA += 1\n# %%\ndef total(): return A",
        "[2] changes A after its definition in [1].",
    ),
    "a deletion later": (
        'A = {"b": 1}\n# %%\ndel A["b"]\n# %%\ndef total(): return A',
        "[2] changes A after its definition in [1].",
    ),
    "two definitions": (
        "def total(): return 1\n# %%\nx = 1\n# %%\ndef total(): return 2",
        "[1] and [3] define total differently. Keep one.",
    ),
    "two definitions of a helper": (
        "RATE = 1\n# %%\nRATE = 2\n# %%\ndef total(): return RATE",
        "[1] and [2] define RATE differently. Keep one.",
    ),
    "a shell line inside": (
        "def total():\n    !ls\n    return 1",
        "[1] !ls works only in a notebook. Use subprocess or pathlib.",
    ),
    "a line magic inside": ("def total():\n    %time 1\n    return 1", "[1] %time 1 works only in a notebook."),
    "a help line inside": ("def total(x):\n    x?\n    return 1", "[1] x? works only in a notebook."),
    "display": (
        "def total(x):\n    display(x)\n    return x",
        "display works only in a notebook. Return the value instead.",
    ),
    "display, imported": (
        "from IPython.display import display\n# %%\ndef total(x):\n    display(x)\n    return x",
        "[1] from IPython.display import display works only in a notebook. Return the value instead.",
    ),
    "the last value": ("1 + 1\n# %%\ndef total(): return _", "[2] _ works only in a notebook."),
    "earlier inputs": ("def total(): return In[1]", "[1] In works only in a notebook."),
    "an async function": ("async def total(): return 1", "[1] total is async, and promote writes plain functions."),
    "an await at the top level": (
        "async def read(): return 1\n# %%\nRATE = await read()\n# %%\ndef total(): return RATE",
        "[2] RATE = await read() works only in a notebook. Use plain Python instead.",
    ),
    "earlier outputs": ("def total(): return Out[1]", "[1] Out works only in a notebook."),
    "a lambda": ("total = lambda x: x", "[1] total = lambda x: x makes total. Write it as a function: def total(...)."),
    "a partial": (
        "from functools import partial\ntotal = partial(int, base=2)",
        "[1] total = partial(int, base=2) makes total. Write it as a function",
    ),
    "a class": ("class total: ...", "[1] total is a class, and a job is a function."),
    "a generator": (
        "def total():\n    yield 1",
        "total returns a generator, which the queue cannot keep. Return a list.",
    ),
    "a hidden cell": ("%%bash\ndef total(): pass", "[1] %%bash hides total. Remove the line."),
    "a global that is changed": (
        "COUNT = 0\n# %%\ndef total():\n    global COUNT\n    COUNT += 1\n    return COUNT",
        "[2] global COUNT changes a global, which each worker has for itself. Return the value instead.",
    ),
    "a default value that is changed": (
        "def total(x, seen=[]):\n    seen.append(x)\n    return seen",
        "[1] def total(x, seen=[]): changes the default value of seen",
    ),
    "a definition in an if": (
        "import sys\nif sys.platform:\n    def net(x): return x\n# %%\ndef total(x): return net(x)",
        "[1] if sys.platform: decides how net is defined. Define it once, outside of the block.",
    ),
    "a definition in a loop": (
        "for i in range(3):\n    def net(x): return x + i\n# %%\ndef total(x): return net(x)",
        "[1] for i in range(3): decides how net is defined.",
    ),
    "a seed set in another cell": (
        "import random\nrandom.seed(0)\n# %%\ndef total(): return random.random()",
        "[1] random.seed(0) sets what total draws. Set it inside total.",
    ),
    "a generator of random numbers": (
        "import numpy as np\nrng = np.random.default_rng(0)\n# %%\ndef total(): return rng.random()",
        "[1] rng = np.random.default_rng(0) makes random numbers that earlier jobs of a worker use up. Make it inside total.",
    ),
    "__file__": ("def total(): return __file__", "uses __file__, which a notebook does not have. Pass the path."),
    "a definition for scripts only": (
        'if __name__ == "__main__":\n    RATE = 2\n# %%\ndef total(): return RATE',
        'if __name__ == "__main__": decides how RATE is defined.',
    ),
    "a decorator of the task": (
        "import functools\n# %%\n@functools.cache\ndef total(x): return x",
        "[2] @functools.cache is not a queue's decorator, so a job cannot keep it. Use it on a helper that total calls.",
    ),
    "a helper that is a task": (
        "from jobqueue.notebook import queue\n@queue.task()\ndef net(x): return x\n# %%\ndef total(x): return net(x)",
        "[1] net is a task itself. Promote it first, or remove its decorator.",
    ),
    "the notebook's queue inside": (
        "from jobqueue.notebook import queue\n# %%\ndef total(x): return queue.jobs()",
        "[1] from jobqueue.notebook import queue works only in a notebook.",
    ),
    "a name that a loop leaves": ("for i in range(3): pass\n# %%\ndef total(): return i", "decides how i is defined."),
    "a slip": ("def net(): ...\n# %%\ndef totl(): ...", "sales.ipynb has no function total. It has: net, totl."),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_function_is_taken_with_what_it_needs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, expression, value = TAKEN[name]
    notebook = Notebook(write(tmp_path / "sales.ipynb", source))
    text = job_module(tmp_path, Path("notebooks/sales.ipynb"), "total", dependencies(notebook, "total"), None, None)
    jobs = ModuleType("app.jobs")
    jobs.huey = DurableHuey("app", "sqlite://", immediate=True)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "app", ModuleType("app"))
    monkeypatch.setitem(sys.modules, "app.jobs", jobs)
    module: dict[str, object] = {"__name__": "app.jobs.sales"}
    exec(text, module)
    module["total"].call = module["total"]  # type: ignore[attr-defined]
    found = eval(expression, {"total": Local(module["total"]), "module": module})
    assert found == value, text


class Local:
    """A task whose call returns the value."""

    def __init__(self, task: object) -> None:
        self.task = task

    def __call__(self, *args: object) -> object:
        return self.task.call_local(*args)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self.task, name)


@pytest.mark.parametrize("name", REFUSED)
def test_a_function_is_refused_with_its_cell_and_what_to_do(name: str, tmp_path: Path) -> None:
    source, refusal = REFUSED[name]
    notebook = Notebook(write(tmp_path / "sales.ipynb", source))
    with pytest.raises(Refused) as refused:
        dependencies(notebook, "total")
    assert refusal in str(refused.value)


@pytest.mark.parametrize("above", ["%%time\n", "\n%%capture out\n\n", "\n\n"])
def test_a_cells_magic_and_empty_lines_stay_above_what_takes_a_definitions_place(above: str, tmp_path: Path) -> None:
    source = f"{above}import math\n# Doubles.\ndef total(x): return math.floor(x) * 2\nRATE = 3"
    path = tmp_path / "sales.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), path)
    notebook = Notebook(path)
    [new] = new_sources(notebook, dependencies(notebook, "total"), "total", "sales").values()
    lines = "from app.jobs import sales\n\ntotal = sales.total.call_local"
    assert new == f"{above.lstrip()}import math\n{lines}\nRATE = 3"

"""Drops what the answers exclude, by a list for each, and says what to type next. The standard library alone, and no network."""

import shlex
import shutil
from pathlib import Path

# Of the portfolio example; what is left without these is the blank one.
PORTFOLIO = [
    "app/jobs/analysis.py",
    "app/jobs/frontier.py",
    "app/jobs/market.py",
    "app/jobs/parallel.py",
    "app/jobs/weekly.py",
    "app/pages/analysis.py",
    "app/pages/analysis_results.py",
    "app/pages/frontier.py",
    "app/pages/market.py",
    "app/pages/market_weights.py",
    "app/portfolio",
    "app/sources",
    "notebooks/prices.ipynb",
    "notebooks/reports",
    "tests/portfolio",
]
IMAGE = [".dockerignore", "Dockerfile", "tests/test_dockerfile.py"]
COMPOSE = ["compose.yaml", "tests/test_compose.py"]
KUBERNETES = ["kubernetes", "tests/test_kubernetes.py"]
EXCLUDED = {
    "portfolio": [],
    "blank": PORTFOLIO,
    "procfile": IMAGE + COMPOSE + KUBERNETES,
    "containers": KUBERNETES,
    "kubernetes": COMPOSE,
}
# Left by who worked on the template, and copied with it.
CACHES = ["__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"]
ANSWERS = ["{{ cookiecutter.example }}", "{{ cookiecutter.deploy }}"]
FOLDERS = ["app", "notebooks", "tests"]


def main() -> None:
    dropped = [Path(cache) for cache in CACHES]
    dropped += [found for folder in FOLDERS for cache in CACHES for found in Path(folder).rglob(cache)]
    dropped += [Path(name) for answer in ANSWERS for name in EXCLUDED[answer]]
    for path in dropped:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    print(f"\nMade {{ cookiecutter.app_name }}. Next:\n\n    cd {shlex.quote(str(Path.cwd()))}\n    make start\n")


if __name__ == "__main__":
    main()

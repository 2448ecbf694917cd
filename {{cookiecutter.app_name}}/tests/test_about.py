"""What the app is called is read from pyproject.toml, whatever characters it has."""

from pathlib import Path

from app.about import read

ODD = 'L\'Éq "Q" {{7*7}} <b>'


def test_any_text_is_read_as_it_stands(tmp_path: Path) -> None:
    quoted = ODD.replace('"', '\\"')
    path = tmp_path / "pyproject.toml"
    path.write_text(
        f'[project]\nname = "desk"\ndescription = "{quoted}"\nauthors = [{{ name = "{quoted}" }}]\n'
        f'[tool.app]\ntitle = "{quoted}"\n',
        encoding="utf-8",
    )
    about = read(path)
    assert (about.name, about.title, about.description, about.author) == ("desk", ODD, ODD, ODD)

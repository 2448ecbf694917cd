"""`python -m app`: the same as the command that the app installs."""

from app.cli import main

if __name__ == "__main__":
    main(prog_name="python -m app")

"""The command line: `python -m app`, or the app's name once it is installed."""

from jobqueue.accounts.cli import user_commands
from jobqueue.cli import commands, importing
from jobqueue.web.cli import web_command

with importing():
    from app.jobs import huey
    from app.settings import project, settings

main = commands(huey, settings)
main.add_command(user_commands(huey, project.title))
main.add_command(web_command(settings))

if __name__ == "__main__":
    main(prog_name="python -m app")

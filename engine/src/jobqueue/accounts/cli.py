"""`users`: the commands that add, list and remove users and set their passwords."""

from collections.abc import Callable
from datetime import UTC, datetime

import click

from jobqueue.accounts.passwords import SHORTEST, WeakPassword
from jobqueue.accounts.throttle import HOUR
from jobqueue.accounts.users import FIRST_PASSWORD, Users
from jobqueue.huey import DurableHuey


def user_commands(huey: DurableHuey, title: str = "") -> click.Group:
    """Return the group `users`. Add it to the app's commands: `main.add_command(user_commands(huey, title))`."""
    users = Users(huey, title)
    group = click.Group("users", help="List, add and remove the users who may log in.", context_settings={"obj": users})
    for command in (list_users, add, passwd, remove):
        group.add_command(command)
    return group


@click.command("list")
@click.pass_obj
def list_users(users: Users) -> None:
    """List users."""
    found = users.all()
    for user in found:
        created = f"{datetime.fromtimestamp(user['created_at'], UTC):%Y-%m-%d %H:%M:%S} UTC"
        first = ", has a first password" if user["first_until"] is not None else ""
        click.echo(f"{created}  {'admin' if user['admin'] else 'user':<5}  {user['name']}{first}")
    if not found:
        click.echo(f"No users. To add the first: {_program()} add NAME --admin")


@click.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="Let the user see and change everyone's jobs.")
@click.pass_obj
def add(users: Users, name: str, admin: bool) -> None:
    """Add a user. Asks for a password; without one, a first password is generated."""
    _with_password(name, lambda password: users.add(name, password, admin=admin))


@click.command()
@click.argument("name")
@click.pass_obj
def passwd(users: Users, name: str) -> None:
    """Set a user's password and end the user's sessions."""
    _with_password(name, lambda password: users.set_password(name, password))


@click.command()
@click.argument("name")
@click.pass_obj
def remove(users: Users, name: str) -> None:
    """Remove a user and end the user's sessions. The jobs stay; a new user of the same name would own them."""
    if not users.remove(name):
        raise click.ClickException(f"There is no user {name!r}. To list users: {_program()} list")
    click.echo("Removed.")


def _with_password(name: str, save: Callable[[str | None], str]) -> None:
    """Ask for a password until it is accepted. An empty one has one generated."""
    click.echo(f"Password for {name}: at least {SHORTEST} characters. Leave it empty to generate one.", err=True)
    while True:
        given = click.prompt(
            "Password", default="", show_default=False, hide_input=True, confirmation_prompt=True, err=True
        )
        try:
            password = save(given or None)
            break
        except WeakPassword as error:
            click.echo(error, err=True)
        except (ValueError, LookupError) as error:
            raise click.ClickException(str(error)) from error
    if given:
        click.echo(f"{name} can log in now.")
    else:
        hours = FIRST_PASSWORD // HOUR
        click.echo(f"{name} can log in with {password} for {hours} hours, and then has to set another password.")


def _program() -> str:
    """Return how the user called this group: `python -m app users`."""
    context = click.get_current_context().parent
    return "python -m app users" if context is None else context.command_path

"""`edgeloop deploy`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--type", "kind", type=click.Choice(["docker", "systemd"]), required=True, help="On what it shall run.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the files.")
@click.option("--host", "hosts", multiple=True, required=True, help="What devices call the server; may be repeated.")
@click.option("--database", default="", metavar="URL", help="A PostgreSQL that is there already.")
@click.option("--objects", default="", metavar="URL", help="An object store that is there already, s3://BUCKET/PREFIX.")
@click.option("--endpoint", default="", metavar="URL", help="Where that object store is, if it is not Amazon's.")
@click.option("--servers", type=int, default=1, show_default=True, help="Server processes, in containers.")
@click.option("--force", is_flag=True, help="Replace files that are there; secrets stay.")
def deploy(kind: str, out: Path, force: bool, **told: object) -> None:
    """Write the files that make a service of the cloud side: containers, or systemd units.

    Nothing is put in place and nothing is started; README.md among the files says what to do with them.
    """
    import secrets
    import shutil
    import sys
    from importlib import metadata

    import edge
    from cloud_train.deploy.pins import installed_pins
    from cloud_train.deploy.plan import DeployPlan, DeployType
    from cloud_train.deploy.reach import barred_by
    from cloud_train.deploy.write import write_deployment
    from edge.errors import UsageError

    if kind == "systemd" and told["servers"] != 1:
        raise UsageError("one server runs on a machine", hint="leave --servers out, or give --type docker")
    beside = Path(sys.executable).parent / "edgeloop"
    found = shutil.which("edgeloop")
    plan = DeployPlan(
        version=edge.__version__,
        executable=(beside if beside.is_file() or found is None else Path(found)).absolute(),
        prefix=Path(sys.base_prefix).absolute(),
        pins=installed_pins(metadata.distributions()),
        password=secrets.token_urlsafe(32),
        access_key=secrets.token_hex(10),
        secret_key=secrets.token_urlsafe(32),
        console_key=secrets.token_hex(32),
        **told,  # type: ignore[arg-type]
    )
    for line in write_deployment(plan, DeployType(kind), out, force=force):
        click.echo(line)
    barred = barred_by(plan.executable, plan.prefix) if kind == "systemd" else None
    if barred is not None:
        click.echo(f"note: only its owner may enter {barred}, and the services have a user of their own:")
        click.echo(
            "  install edgeloop and its Python where all may read, as in /opt/edgeloop, and write the files anew"
        )

"""`vecsync schemas`: the Avro schemas of this version, and what a schema registry has of them."""

from __future__ import annotations

import typer

from connector.cli.options import Json, example, invocation
from connector.cli.output import count, out, print_json, table
from connector.errors import DifferenceFound
from connector.runtime import schemas

app = typer.Typer(no_args_is_help=True, help="The Avro schemas, and what a schema registry has of them.")


@app.command("list", epilog=example("vecsync schemas list"))
def list_(context: typer.Context, json: Json = False) -> None:
    """The schemas of this version with their fingerprints; with a registry, also subjects, versions and ids."""
    settings = invocation(context).settings()
    files = schemas.files()
    subjects = [] if settings.registry.url is None else schemas.registered(settings)
    if json:
        print_json(
            {
                "files": [file._asdict() for file in files],
                "registry": settings.registry.url,
                "subjects": [subject._asdict() for subject in subjects],
            }
        )
        return
    console = out()
    rows = [[file.file, ", ".join(file.records), file.fingerprint or "-"] for file in files]
    console.print(table(["file", "records", "fingerprint"], rows))
    if subjects:
        console.print()
        console.print(_subjects(subjects))


@app.command(epilog=example("vecsync schemas check"))
def check(context: typer.Context, json: Json = False) -> None:
    """Whether a registry has these schemas, and whether they agree with every version there (FULL_TRANSITIVE)."""
    settings = invocation(context).settings()
    found = schemas.check(settings)
    if json:
        print_json([difference._asdict() for difference in found])
    elif not found:
        out().print("The schemas are registered, and agree with every version.")
    for difference in [] if json else found:
        version = "" if difference.version is None else f" version {difference.version}"
        for problem in difference.problems:
            out().print(f"{difference.subject}{version}: {problem}", highlight=False)
    if found:
        missing = all(difference.version is None for difference in found)
        raise DifferenceFound(
            f"{count(len(found), 'difference')} from what the schema registry has",
            hint="Run `vecsync schemas register`."
            if missing
            else "Records of that version could not be read, or ours not by its readers: give it another prefix or "
            "registry, or run the version of the connector that registered it.",
        )


@app.command(epilog=example("vecsync schemas register"))
def register(context: typer.Context, json: Json = False) -> None:
    """Register what is missing, and have the registry hold later versions to FULL_TRANSITIVE."""
    settings = invocation(context).settings()
    found = schemas.register(settings)
    if json:
        print_json([subject._asdict() for subject in found])
        return
    out().print(_subjects(found))


def _subjects(subjects: list[schemas.Subject]) -> object:
    rows = [
        [s.subject, s.schema, "not registered" if s.version is None else str(s.version), str(s.id or "-")]
        for s in subjects
    ]
    return table(["subject", "schema", "version", "id"], rows, numbers=["id"])

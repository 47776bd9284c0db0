"""``alaas jobs``: queries and pushes of a server that run on when nobody waits for them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from alaas.cli import answer, options, output
from alaas.cli.ask import Question, connect, submit_there
from alaas.client import JobStatus, QueryResult
from alaas.core.wire import Item

app = typer.Typer(
    help="Look at the jobs of a server, wait for them, and end them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[
    str, typer.Option("--server", metavar="URL", help="The server, such as http://localhost:8081.")
]
Name = Annotated[str, typer.Argument(metavar="ID", help="The job.")]


def begin(
    pool: Sequence[Item] | str,
    question: Question,
    *,
    server: str | None,
    by_uri: bool,
    api_key: str | None,
) -> None:
    """Begin a query as a job, and print its id: ``alaas query --job``."""
    if server is None:
        raise typer.BadParameter("needs --server", param_hint="--job")
    job = submit_there(pool, question, url=server, by_uri=by_uri, api_key=api_key)
    print(job.id)
    if sys.stderr.isatty():
        output.note(f"`alaas jobs result {job.id} --server {server}` waits for its answer")


@app.command("list")
def list_jobs(
    server: Url,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many at most.")] = 50,
    as_json: options.Json = False,
    api_key: options.ApiKey = None,
) -> None:
    """List your jobs, newest first."""
    with connect(server, api_key=api_key) as client:
        found = client.jobs(limit=limit)
    if as_json:
        output.show_json([asdict(job) for job in found])
        return
    table = output.table("id", "type", "state", "done", "failed", "created")
    for job in found:
        table.add_row(*_row(job))
    output.show(table)


@app.command()
def show(
    name: Name, server: Url, as_json: options.Json = False, api_key: options.ApiKey = None
) -> None:
    """Show how a job stands."""
    with connect(server, api_key=api_key) as client:
        job = client.job(name).status()
    _show(job, as_json=as_json)


@app.command()
def cancel(
    name: Name, server: Url, as_json: options.Json = False, api_key: options.ApiKey = None
) -> None:
    """End a job that is not finished; one that is stays as it is."""
    with connect(server, api_key=api_key) as client:
        job = client.job(name).cancel()
    _show(job, as_json=as_json)


@app.command()
def result(
    name: Name,
    *,
    server: Url,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            callback=answer.check_out,
            help="Write a .csv or .json file; repeat it for more.",
        ),
    ] = None,
    as_json: options.Json = False,
    no_progress: options.NoProgress = False,
    api_key: options.ApiKey = None,
) -> None:
    """Wait for a job's end, and print its answer as `alaas query` does."""
    progress = False if no_progress else None
    with connect(server, progress=progress, api_key=api_key) as client:
        found = client.job(name).wait()
    if isinstance(found, QueryResult):
        answer.write(found, out=out or [], as_json=as_json)
    else:
        output.show_json(found.to_json())
    if found.failures:
        raise typer.Exit(output.PARTIAL)


def _show(job: JobStatus, *, as_json: bool) -> None:
    if as_json:
        output.show_json(asdict(job))
        return
    table = output.table("", "")
    total = "" if job.progress.total is None else f" of {job.progress.total}"
    rows = {
        "id": job.id,
        "type": job.type,
        "state": job.state,
        "waiting before it": "" if job.position is None else str(job.position),
        "done": f"{job.progress.done}{total}, {job.progress.failed} failed",
        "created": job.created,
        "started": job.started or "",
        "finished": job.finished or "",
        "begun": f"{job.attempt} times" if job.attempt > 1 else "",
        "problem": "" if job.problem is None else str(job.problem.get("detail", "")),
    }
    for what, value in rows.items():
        if value:
            table.add_row(what, output.printable(value))
    for stage, timing in job.stages.items():
        table.add_row(stage, f"{timing.items} items, {timing.busy_s:.1f} s of work")
    output.show(table)


def _row(job: JobStatus) -> tuple[str, ...]:
    progress = job.progress
    done = str(progress.done) if progress.total is None else f"{progress.done}/{progress.total}"
    return (job.id, job.type, job.state, done, str(progress.failed), job.created)

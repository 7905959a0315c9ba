"""The command line of ``semfed``."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import click
import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperArgument, TyperCommand

from semfed.errors import SemfedError
from semfed.runs.terminal import console, escape_what_cannot_be_encoded

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Federated semantic communication on Flower.",
)


class Command(TyperCommand):
    """A command that refuses an option that is given twice, where the last one alone would count.

    Its help has the texts of arguments, too, which Click 8.5 takes away from the Typer that Flower asks for.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        hints = get_type_hints(self.callback, include_extras=True)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument) and parameter.name:
                parameter.help = get_args(hints[parameter.name])[1].help

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return what is left of the arguments; raises ``UsageError``."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, times in Counter(order).items():
            if times > 1 and isinstance(parameter, click.Option) and not (parameter.multiple or parameter.count):
                raise click.UsageError(f"{parameter.opts[0]} is given {times} times; give it once", ctx)
        return super().parse_args(ctx, args)


ScenarioName = Annotated[str, typer.Argument(help="A built-in's name (see `semfed list`), a folder, or a TOML file.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a setting; may be repeated.")
]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder with the data sets, as torchvision lays them out; SEMFED_DATA by default."),
]
Workers = Annotated[int | None, typer.Option(help="Engine ray: number of actors; one a CPU by default.")]


def _version(asked: bool) -> None:
    if asked:
        from semfed import __version__

        print(f"semfed {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Federated semantic communication on Flower."""


@contextmanager
def _told_clearly(*, debug: bool = False) -> Iterator[None]:
    """Print errors that are the user's to mend without a traceback, and end with a code that says what happened."""
    from semfed.events.interruption import Interruption, exit_code

    escape_what_cannot_be_encoded()
    try:
        with Interruption():
            yield
    except SemfedError as error:
        _complain("error:", str(error), *getattr(error, "__notes__", ()))
        raise typer.Exit(1) from error
    except (typer.Exit, click.ClickException):
        raise
    except Exception as error:  # of somebody's plugin, or ours: the traceback is in the run folder, if there is one
        notes = getattr(error, "__notes__", ())
        if debug or not notes:
            raise
        _complain("error:", f"{type(error).__name__}: {error}", *notes, "add --debug to see the traceback")
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        notes = getattr(error, "__notes__", ())
        _complain("interrupted:", "what was measured is kept in the run folder", *notes)
        raise typer.Exit(exit_code(error)) from error


def _number(text: str | None) -> int | str | None:
    """Return a whole number as one, and anything else as it is."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text


def _complain(kind: str, *sentences: str) -> None:
    with suppress(OSError):  # a terminal that has gone away
        console(stderr=True).print(Text(kind, style="red"), "\n".join(sentences), soft_wrap=True)


@app.command(cls=Command)
def run(
    scenario: Annotated[
        str | None,
        typer.Argument(help="A built-in's name (see `semfed list`), a folder, or a TOML file; not needed to resume."),
    ] = None,
    engine: Annotated[str, typer.Option(help="inprocess, ray, or flower (Flower's own simulation).")] = "inprocess",
    arms: Annotated[str | None, typer.Option(help="Only these arms, separated by commas.")] = None,
    seeds: Annotated[str | None, typer.Option(help="These seeds: 0-4 or 0,2,5.")] = None,
    overrides: Overrides = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH=V,V,...",
            help="Run every arm with every value of a setting, or of a range FIRST:LAST:STEP; repeated: the product.",
        ),
    ] = None,
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; a new one below runs/ by default.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on in this run folder, from its last checkpoint.")
    ] = None,
    workers: Workers = None,
    ray_address: Annotated[str | None, typer.Option(help="Engine ray: join this cluster.")] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(help="Engine ray: share of a GPU for every actor; none by default.")
    ] = None,
    state_memory: Annotated[
        float | None,
        typer.Option(metavar="MB", help="Engines inprocess and ray: client states beyond this (256) go to disk."),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of clients and of plugins; the run folder has them anyway.")
    ] = False,
    callbacks: Annotated[
        list[str] | None,
        typer.Option("--callback", metavar="MODULE:ATTRIBUTE", help="Tell this callback of the run; may be repeated."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Log metrics to tensorboard, wandb or mlflow, too; may be repeated."),
    ] = None,
    cohort: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Engine inprocess: clients that train side by side (equal up to float rounding); auto: what pays.",
        ),
    ] = None,
    together: Annotated[
        int | None,
        typer.Option(help="Engine inprocess: seeds of an arm that train side by side in one process, as one cohort."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Arms and seeds that run side by side; engine inprocess: all cores by default, if it pays; ray: 1."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Engines inprocess and ray: keep trials here, and run none that is here."),
    ] = None,
) -> None:
    """Run a scenario, show the result, and leave a run folder behind."""
    with _told_clearly(debug=debug):
        from semfed.report import drawing, tables
        from semfed.runs import api, folder
        from semfed.runs.progress import Progress

        done = api.run(
            scenario,
            engine=engine,
            arms=arms,
            seeds=seeds,
            overrides=overrides or (),
            sweep=sweep,
            data_root=data_root,
            out=out,
            resume=resume,
            callbacks=[Progress(debug=debug), *(callbacks or ())],
            track=track or (),
            workers=workers,
            ray_address=ray_address,
            gpus_per_worker=gpus_per_worker,
            state_memory_mb=state_memory,
            cohort=_number(cohort),
            together=together,
            jobs=jobs,
            cache=cache,
        )
        names = [client.name for client in done.scenario.clients]
        tables.show(done.summary, folder.read_metrics(done.folder), console(), names)
        drawing.draw(done.folder)
        console().print(
            f"\nrun folder: {done.folder}\nfigures:    {done.folder / 'plots'}",
            soft_wrap=True,
        )


@app.command(cls=Command)
def profile(
    scenario: ScenarioName,
    engine: Annotated[str, typer.Option(help="inprocess or ray (its server's side).")] = "inprocess",
    arm: Annotated[str | None, typer.Option(help="The first one by default.")] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="4 by default; the first one is left out if there are several.")
    ] = None,
    overrides: Overrides = None,
    data_root: DataRoot = None,
    workers: Workers = None,
) -> None:
    """Say where a round's time goes: run a few rounds and keep nothing."""
    with _told_clearly():
        from semfed.runs import profile as profiles

        found = profiles.take(
            scenario,
            engine=engine,
            arm=arm,
            rounds=rounds,
            overrides=overrides or (),
            data_root=data_root,
            workers=workers,
        )
        console().print(profiles.table(found))


@app.command(name="list", cls=Command)
def list_() -> None:
    """List the scenarios that come with the package."""
    from semfed import scenario as scenarios

    table = Table(box=None, pad_edge=False)
    table.add_column("scenario", style="bold", no_wrap=True)
    table.add_column("what it is")
    for name, path in scenarios.built_in().items():
        table.add_row(name, str(scenarios.read(path).get("description", "")))
    console().print(table)


@app.command(cls=Command)
def show(scenario: ScenarioName, overrides: Overrides = None) -> None:
    """Print a scenario with every default in place, as TOML."""
    with _told_clearly():
        from semfed.scenario.overrides import load

        sys.stdout.write(load(scenario, overrides or ()).to_toml())


@app.command(cls=Command)
def data(folder: Annotated[Path, typer.Argument(help="A folder of class folders, or of train and test.")]) -> None:
    """List what data source `imagefolder` finds in a folder: classes, counts, sizes, modes, and what it leaves out."""
    with _told_clearly():
        from semfed.data import listing
        from semfed.errors import DataError

        if not folder.is_dir():
            raise DataError(
                f"'{folder}' cannot be read: it is no folder of images, as data source 'imagefolder' takes them; of "
                "other sources a run says before it trains what is missing or wrong"
            )
        table = Table(box=None, pad_edge=False)
        for heading in ("part", "class or file", "images", "pixels", "mode", "to be known"):
            table.add_column(heading, overflow="fold")
        for row in listing.table(folder):
            table.add_row(*row)
        console().print(table)


@app.command(cls=Command)
def plot(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Draw the figures of a run again, from its folder."""
    with _told_clearly():
        from semfed.report import drawing

        for path in drawing.draw(folder):
            console().print(str(path), soft_wrap=True)


@app.command(cls=Command)
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are set side by side.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="The page; report.html in the folder of one run by default."),
    ] = None,
) -> None:
    """Write one HTML page about runs, complete in itself: tables, figures, scenario, environment."""
    with _told_clearly():
        from semfed.report.drawing import without_backend

        with without_backend():
            from semfed.report import page

        console().print(str(page.write(runs, out)), soft_wrap=True)


@app.command(cls=Command)
def predict(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, of the size of the run's.")],
    arm: Annotated[str | None, typer.Option(help="The first one by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="The first one by default.")] = None,
    client: Annotated[str | None, typer.Option(help="By name; the first one by default.")] = None,
    noise: Annotated[int, typer.Option(min=0, help="Seed of the channel's noise.")] = 0,
) -> None:
    """Send images through a client's trained encoder, channel and decoder, and say what is decided."""
    with _told_clearly():
        from semfed.runs.loading import load
        from semfed.runs.predict import predict

        link = load(folder).link(arm, seed, client)
        who = link.trial.scenario.clients[link.client].name
        table = Table(
            box=None,
            pad_edge=False,
            title=Text(f"{who}, arm {link.trial.arm}, seed {link.trial.seed}, after round {link.round}"),
            caption=f"through the scenario's channel, noise of seed {noise}",
            title_justify="left",
            caption_justify="left",
        )
        for heading in ("image", "task", "decision"):
            table.add_column(heading, overflow="fold")
        table.add_column("probability", justify="right")
        for one in predict(link, images, noise):
            table.add_row(*map(Text, (str(one.image), one.task, one.value)), f"{one.probability:.3f}")
        console().print(table)


@app.command(cls=Command)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; of one, its arms are compared.")],
    metric: Annotated[
        str | None, typer.Option(help="As the history has it, such as f1/average; the headline by default.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="ARM", help="Compare with this arm; with the best one by default.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="Also tell what it takes to reach this value of the metric.")
    ] = None,
) -> None:
    """Compare arms of a run, or of several, seed by seed, and tell the settings that they differ in."""
    with _told_clearly():
        from semfed.report import comparison
        from semfed.runs.side_by_side import gather

        comparison.show(gather(runs, metric=metric, reference=reference, target=target), console())


@app.command(cls=Command)
def table(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    format_: Annotated[str, typer.Option("--format", help="latex (for booktabs), csv or markdown.")] = "markdown",
    metric: Annotated[
        list[str] | None, typer.Option(help="A column, such as f1/average; may be repeated; the headline's by default.")
    ] = None,
) -> None:
    """Write the table of a run for a paper or a program: mean, 95 % interval and n of every arm."""
    with _told_clearly():
        from semfed.runs.formats import of_run

        print(of_run(folder, format_, metric or ()))


@app.command(cls=Command)
def plugins(
    name: Annotated[str | None, typer.Argument(help="Show this part with its settings.")] = None,
    group: Annotated[str | None, typer.Option(help="Show the parts of this group with their settings.")] = None,
) -> None:
    """List the exchangeable parts, built-in and third-party; by name or by group, with their settings."""
    with _told_clearly():
        from semfed.report import parts
        from semfed.scenario import catalogue

        found = catalogue.entries(name, group)
        for shown in [parts.listing(found)] if name is None and group is None else parts.details(found):
            console().print(shown)


@app.command(cls=Command)
def new(
    kind: Annotated[str, typer.Argument(help="strategy, client, channel, model, dataset, partition or callback.")],
    name: Annotated[str, typer.Argument(help="Of the part and of its package, such as my-channel.")],
    out: Annotated[Path, typer.Option(help="Where the package's folder is made.")] = Path(),
) -> None:
    """Write a package with a part of your own, to begin with: installable, typed, tested."""
    with _told_clearly():
        from semfed.testing import package

        folder = package.write(kind, name, out)
        console().print(f"{folder}\nnext: pip install -e '{folder}[dev]' && pytest '{folder}'", soft_wrap=True)


@app.command(cls=Command)
def schema() -> None:
    """Print the JSON schema of scenario files, for editors that complete and check TOML."""
    with _told_clearly():
        import json

        from semfed.scenario.json_schema import scenario_schema

        sys.stdout.write(json.dumps(scenario_schema(), indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    app()

"""`learn`: labels learned on fixed images, and the file that a killed run goes on from."""

from pathlib import Path
from typing import Any

from ddlabel import __version__
from ddlabel.cli.labels import figures_of, real_of
from ddlabel.cli.make import Force, Out, runs_of
from ddlabel.cli.old_command import BundleIn, Reporter, command, one_standard_input, run_filter
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import Input, canonical_json, sha256_of_path, sha256_of_text
from ddlabel.data.reading import STANDARD, is_stream


@command("learn", LearnOptions)
def learn(
    bundle: BundleIn, out: Out, options: LearnOptions, reporter: Reporter, force: Force = False
) -> None:
    """Learn soft labels for the images as they are: by students' loss on real images, or experts' paths."""
    one_standard_input([bundle, options.real or ""])
    left = None if out == STANDARD or is_stream(Path(out)) else Path(f"{out}.resume")
    inputs: list[Input] = []

    def run(source: Bundle) -> Bundle:
        from ddlabel.commands.learn import learn as step
        from ddlabel.training.resume import loaded_state, save_state

        real = None if options.real is None else real_of(options.real, inputs)
        experts = runs_of(options.expert, reporter)
        folders = [each.folder.resolve() for each in experts]
        inputs.extend(
            Input(role="expert", name=path.name, sha256=sha256_of_path(path)) for path in folders
        )
        # The number of iterations is left out: a run goes on to more of them, or ends with those that are done.
        what = [
            __version__,
            options.recorded() | {"iterations": 0},
            source.header().digest,
            *map(vars, inputs),
        ]
        key = sha256_of_text(canonical_json(what))

        def save(state: dict[str, Any]) -> None:
            reporter.note(f"iteration {state['iteration']}: outer loss {state['loss']:.4f}")
            if left is not None:
                save_state(left, state | {"key": key})

        state = None
        if left is not None and left.exists():
            with loaded_state(left) as state:
                if state["key"] != key:
                    raise IncompatibleError(
                        "left by other options or inputs: give those, or delete it to begin again"
                    )
            reporter.note(f"{left}: going on from iteration {state['iteration']}")
        return step(
            source, options, save, real=real, experts=experts, state=state, progress=reporter.bar
        )

    result = run_filter("learn", bundle, out, options, run, reporter, force, inputs)
    if left is not None:
        left.unlink(missing_ok=True)
    reporter.note(figures_of(result, "soft"))

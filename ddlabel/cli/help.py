"""The help of a command: its options in panels, in 80 columns."""

from typing import Any

from typer.core import TyperCommand

from ddlabel.core.option import OUTPUT, PANELS


class PanelCommand(TyperCommand):
    """A command whose help shows its options in panels, those that decide the outcome first."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the arguments of the usage line, without Typer's braces."""
        pieces: list[str] = super().collect_usage_pieces(ctx)
        return [piece.replace("{", "").replace("}", "") for piece in pieces]

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "show this help"
        return option

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, and then one section for each panel that has options."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        sections |= {panel: [] for panel in PANELS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            # Typer writes the type behind the name of an argument.
            name = record[0].partition(" <")[0]
            is_argument = parameter.param_type_name == "argument"
            # --help itself has no panel.
            panel = getattr(parameter, "rich_help_panel", None) or OUTPUT
            sections["Arguments" if is_argument else panel].append((name, record[1]))
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

"""What the demo prints: a line for every event that arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from poller.redaction import printable

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "partial": "yellow",
    "stopped": "yellow",
    "expired": "red",
    None: "cyan",
}


class Show:
    """Prints to a console.

    Args:
        console: Where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, jobs: int, web: str | None, seconds: float) -> None:
        """Say what is going to happen."""
        how_long = f"for {seconds:g} s" if seconds else "until Ctrl-C"
        self._line(f"A simulated Bedrock gets {jobs} jobs of both kinds; this runs {how_long}.")
        if web:
            self._line(f"Metrics: {web}/metrics   Health: {web}/-/healthy")
        self._line("Each line is an event that a webhook receiver got, its signature verified:\n")

    def arrived(self, event: dict[str, Any]) -> None:
        """Print one event."""
        data = event["data"]
        name = data["job_name"] or data["job_id"]
        records = data["records"]
        counts = (
            f"  {records['processed']}/{records['total']} records" if records and records["total"] else ""
        )
        text = Text(f"{data['observed_at'][11:19]}  {data['kind']:<21} {printable(name)[:32]:<32} ")
        text.append(f"{printable(data['previous_status'] or 'new'):>10} -> ")
        text.append(f"{printable(data['status']):<18}", style=_STYLES.get(data["outcome"], ""))
        text.append(f" verified{counts}", style="dim")
        self._console.print(text, soft_wrap=True)

    def judging(self) -> None:
        """Say that the end is near."""
        self._line("\nTime stands still in the simulator; one last poll, then the verdict.")

    def _line(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

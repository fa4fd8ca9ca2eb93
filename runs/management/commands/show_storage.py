"""`manage.py show_storage`: what takes how much room, and where that ends."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand
from django.utils import timezone

from runs.analytics.storage import end_of_growth, sizes_in, told
from runs.queries.storage import WINDOW_DAYS, stored


class Command(BaseCommand):
    """Say what is stored and how much it will be."""

    help = "Say what takes how much room, how fast it grows, and how much it will be."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=90, help="how far to look ahead (90)")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        found = stored(timezone.now())
        for each in found:
            kept = f"{each.term} days" if each.term else "for ever"
            sizes = f"{told(each.size):>11}{told(each.daily):>11}"
            self.stdout.write(f"{each.kind:<26}{sizes} a day  kept {kept}")
        days, end = options["days"], end_of_growth(found)
        self.stdout.write(f"{'all':<26}{told(sizes_in(found, 0)):>11}")
        held = (
            "Something grows that is kept for ever: nothing holds it."
            if end is None
            else f"Retention keeps it at about {told(end)}."
        )
        ahead = f"{told(sizes_in(found, days))} in {days} days"
        self.stdout.write(f"At the pace of the last {WINDOW_DAYS} days: {ahead}. {held}")
        self.stdout.write(
            "Rests on files as large as they were sent, and on rows of a kind as large as each other; blocks "
            "of a file system, write-ahead logs and backups are not in it."
        )

"""`manage.py reap_environments [--expired]`: for a timer, or for an operator's hand."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, override

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from environments.engines import available_engines
from environments.reaper import reap, reap_expired


class Command(BaseCommand):
    """Remove environments that nobody holds."""

    help = "Remove environments that nobody holds: by leases, or with --expired by labels alone."
    requires_system_checks = ()

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--expired",
            action="store_true",
            help="only what is past its end, read from labels: works while the database is gone",
        )
        parser.add_argument("--instance", default=settings.INSTANCE, help="whose environments")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        work = reap_expired if options["expired"] else reap
        result = work(available_engines(), now=timezone.now(), instance=options["instance"])
        if result.is_skipped:
            self.stdout.write("Another reaper is at work.")
            return
        for name in result.removed:
            self.stdout.write(f"removed {name}")
        self.stdout.write(f"{len(result.removed)} removed, {len(result.left)} left")
        if result.left:
            raise CommandError("\n".join(result.left))

"""`manage.py apply_retention [--dry-run]`: what beat does at night, by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from runs.actions.retention import Outlived, Terms, remove_outlived


class Command(BaseCommand):
    """Remove what has outlived its term."""

    help = "Remove what has outlived its term (ITDASH_KEEP_…_DAYS), as is done every night."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        terms = Terms.set()
        if terms == Terms():
            self.stdout.write("Everything is kept for ever: no ITDASH_KEEP_…_DAYS is set.")
            return
        found = remove_outlived(now=timezone.now(), terms=terms, dry_run=options["dry_run"])
        if not found:
            self.stdout.write("Another worker is at it.")
        for each in found:
            self.stdout.write(_told(each, "would go" if options["dry_run"] else "removed"))


def _told(each: Outlived, verb: str) -> str:
    size = "" if each.size is None else f", {filesizeformat(each.size)}".replace("\xa0", " ")
    left = f"; left: {each.left}" if each.left else ""
    return f"{each.kind}: {each.count:,}{size} {verb}{left}"

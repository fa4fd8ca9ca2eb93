"""What the analytics judged of each case, kept with its evidence."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0006_quarantine_cases"),
    ]

    operations = [
        migrations.CreateModel(
            name="CaseState",
            fields=[
                (
                    "case",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="state",
                        serialize=False,
                        to="runs.testcase",
                    ),
                ),
                ("flakiness", models.CharField(default="healthy", max_length=12)),
                ("is_broken", models.BooleanField(default=False)),
                ("direct_count", models.PositiveIntegerField(default=0)),
                ("isolated_count", models.PositiveIntegerField(default=0)),
                ("commit_count", models.PositiveIntegerField(default=0)),
                ("masked_count", models.PositiveIntegerField(default=0)),
                ("evidence", models.FloatField(default=0)),
                ("evidence_low", models.FloatField(default=0)),
                ("evidence_high", models.FloatField(default=0)),
                ("lost_ms_per_week", models.PositiveBigIntegerField(default=0)),
                ("median_duration_ms", models.PositiveIntegerField(blank=True, null=True)),
                ("inputs", models.JSONField(blank=True, default=dict)),
                ("algorithm_version", models.PositiveSmallIntegerField(default=1)),
                ("changed_at", models.DateTimeField()),
                ("judged_at", models.DateTimeField()),
            ],
        ),
        migrations.AddIndex(
            model_name="casestate",
            index=models.Index(
                condition=models.Q(("flakiness", "healthy"), _negated=True),
                fields=["-lost_ms_per_week"],
                name="cases_that_are_not_healthy",
            ),
        ),
        migrations.AddConstraint(
            model_name="casestate",
            constraint=models.CheckConstraint(
                condition=models.Q(("flakiness__in", ["healthy", "suspect", "likely_flaky", "flaky"])),
                name="a_case_has_a_known_flakiness",
            ),
        ),
    ]

"""Pairs of cases that look like one test are kept until somebody decides, and a case may be a former name."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0021_find_attempts_by_failure"),
    ]

    operations = [
        migrations.CreateModel(
            name="Rename",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.CharField(max_length=7)),
                ("name_likeness", models.FloatField()),
                ("place_likeness", models.FloatField()),
                ("pace_likeness", models.FloatField(blank=True, null=True)),
                ("old_place", models.TextField(blank=True, default="")),
                ("new_place", models.TextField(blank=True, default="")),
                ("status", models.CharField(default="proposed", max_length=9)),
                ("proposed_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("undo", models.JSONField(blank=True, default=dict, editable=False)),
            ],
        ),
        migrations.AddField(
            model_name="project",
            name="confirms_moves",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="testcase",
            name="same_as",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="former_names",
                to="runs.testcase",
            ),
        ),
        migrations.AddField(
            model_name="rename",
            name="decided_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="rename",
            name="new",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="runs.testcase"
            ),
        ),
        migrations.AddField(
            model_name="rename",
            name="old",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="renames",
                to="runs.testcase",
            ),
        ),
        migrations.AddField(
            model_name="rename",
            name="run",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="runs.run"
            ),
        ),
        migrations.AddField(
            model_name="rename",
            name="suite",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="renames",
                to="runs.suite",
            ),
        ),
        migrations.AddIndex(
            model_name="rename",
            index=models.Index(fields=["suite", "status"], name="renames_of_suite"),
        ),
        migrations.AddConstraint(
            model_name="rename",
            constraint=models.UniqueConstraint(
                fields=("old", "new"), name="two_cases_are_proposed_as_one_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="rename",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["moved", "renamed"])), name="a_rename_is_of_a_known_kind"
            ),
        ),
        migrations.AddConstraint(
            model_name="rename",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["proposed", "confirmed", "refused", "withdrawn", "parted"])
                ),
                name="a_rename_has_a_known_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="rename",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at__isnull", True), ("status", "proposed")),
                    models.Q(models.Q(("status", "proposed"), _negated=True), ("decided_at__isnull", False)),
                    _connector="OR",
                ),
                name="a_decided_rename_says_when",
            ),
        ),
    ]

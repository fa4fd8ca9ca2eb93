"""Hold an environment that failed until a moment, with the reason and the ways inside."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0002_keep_what_services_use"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="environment",
            name="environment_state_is_known",
        ),
        # Backwards, before the older constraint is back: what was held is left to the reaper.
        migrations.RunSQL(
            sql=migrations.RunSQL.noop,
            reverse_sql="UPDATE environments_environment SET state = 'removing' WHERE state = 'held'",
        ),
        migrations.AddField(
            model_name="environment",
            name="held_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="environment",
            name="held_because",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="environment",
            name="held_for",
            field=models.CharField(blank=True, db_default="", max_length=200),
        ),
        migrations.AddField(
            model_name="environment",
            name="held_until",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="environmentservice",
            name="addresses",
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name="environmentservice",
            name="commands",
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name="environmentservice",
            name="cpu_limit",
            field=models.FloatField(null=True),
        ),
        migrations.AddField(
            model_name="environmentservice",
            name="memory_limit_bytes",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AlterField(
            model_name="environment",
            name="state",
            field=models.CharField(
                choices=[
                    ("creating", "creating"),
                    ("ready", "ready"),
                    ("held", "held"),
                    ("removing", "removing"),
                    ("removed", "removed"),
                ],
                default="creating",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="environment",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["creating", "ready", "held", "removing", "removed"])),
                name="environment_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="environment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("held_at__isnull", True),
                        ("held_until__isnull", True),
                        models.Q(("state", "held"), _negated=True),
                    ),
                    models.Q(("held_at__isnull", False), ("held_until__isnull", False)),
                    _connector="OR",
                ),
                name="environment_is_held_from_and_until",
            ),
        ),
        migrations.AddConstraint(
            model_name="environment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("held_until__isnull", True), ("held_until__lte", models.F("expires_at")), _connector="OR"
                ),
                name="environment_is_not_held_past_its_end",
            ),
        ),
    ]

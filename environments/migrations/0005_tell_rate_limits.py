"""Know one more reason for which an environment can fail; nothing changes in the table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("environments", "0004_find_those_that_were_held")]

    operations = [
        migrations.AlterField(
            model_name="environment",
            name="failure_kind",
            field=models.CharField(
                blank=True,
                choices=[
                    ("image_missing", "image_missing"),
                    ("rate_limited", "rate_limited"),
                    ("build_failed", "build_failed"),
                    ("never_healthy", "never_healthy"),
                    ("service_exited", "service_exited"),
                    ("port", "port"),
                    ("disk", "disk"),
                    ("out_of_memory", "out_of_memory"),
                    ("engine_unavailable", "engine_unavailable"),
                    ("unsupported", "unsupported"),
                    ("internal", "internal"),
                ],
                max_length=20,
            ),
        ),
    ]

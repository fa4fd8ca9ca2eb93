"""Keep what services use of processor and memory, a few seconds of samples a row."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("environments", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="ServiceUsage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("began_at", models.DateTimeField()),
                (
                    "offsets_ms",
                    django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField()),
                ),
                (
                    "memory_kib",
                    django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField()),
                ),
                (
                    "cpu_millis",
                    django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(null=True)),
                ),
                (
                    "throttled_ms",
                    django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(null=True)),
                ),
                ("memory_limit_bytes", models.BigIntegerField(null=True)),
                (
                    "service",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="usage",
                        to="environments.environmentservice",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["service", "began_at"], name="service_usage_in_order")],
            },
        ),
    ]

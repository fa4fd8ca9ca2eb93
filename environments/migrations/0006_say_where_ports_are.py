"""Keep where a service's published ports are reached."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0005_tell_rate_limits"),
    ]

    operations = [
        migrations.AddField(
            model_name="environmentservice",
            name="published",
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
    ]

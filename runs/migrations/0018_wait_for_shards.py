"""Uploads that say how many shards there are keep their run open until all of them are in."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0017_count_by_day"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="shards_expected",
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="shards_received",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
    ]

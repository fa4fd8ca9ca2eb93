"""A person pins a run, which retention then passes by; of any other it says when its results went."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0019_list_uploads"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="pinned_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="pinned_by",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="results_removed_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
    ]

"""A schedule knows where it came from and what it queued last."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0007_keep_case_states"),
    ]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="is_from_suite_file",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="schedule",
            name="last_due_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]

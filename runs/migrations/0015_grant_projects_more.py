"""An administrator can let a project's environments ask for more than everyone's may."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0014_end_sessions_and_count_failed_sign_ins"),
    ]

    operations = [
        migrations.AddField(
            model_name="project",
            name="policy_grants",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(), blank=True, db_default=[], default=list
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="policy_quota",
            field=models.JSONField(
                blank=True, db_default=models.Value({}, output_field=models.JSONField()), default=dict
            ),
        ),
    ]

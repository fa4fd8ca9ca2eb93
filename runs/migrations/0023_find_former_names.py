"""What a suite's tests were called before is found without reading what they are called."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("runs", "0022_propose_renames"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="testcase",
            index=models.Index(
                condition=models.Q(("same_as__isnull", False)),
                fields=["suite", "same_as"],
                name="former_names_of_suite",
            ),
        ),
    ]

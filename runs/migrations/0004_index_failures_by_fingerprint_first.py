"""The index on failure groups begins with the fingerprint, so that no other question can take it."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("runs", "0003_find_cases_and_failures_by_digest_alone")]

    operations = [
        RemoveIndexConcurrently(model_name="failure", name="failures_of_group"),
        AddIndexConcurrently(
            model_name="failure",
            index=models.Index(fields=["fingerprint", "project"], name="failures_of_group"),
        ),
    ]

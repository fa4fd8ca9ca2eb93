"""A person can end all their sessions; wrong passwords and tokens are counted."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0013_find_results_by_failure"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="session_generation",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.CreateModel(
            name="FailedSignIn",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("subject", models.BinaryField(max_length=32)),
                ("failed_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["subject", "failed_at"], name="failed_sign_ins_of_a_subject"),
                    models.Index(fields=["failed_at"], name="failed_sign_ins_by_age"),
                ],
            },
        ),
    ]

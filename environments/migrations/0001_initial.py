import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Environment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=63, unique=True)),
                ("instance", models.CharField(max_length=63)),
                ("owner", models.CharField(max_length=200)),
                ("shard", models.PositiveIntegerField(default=1)),
                ("fence", models.PositiveIntegerField()),
                ("engine", models.CharField(max_length=20)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("creating", "creating"),
                            ("ready", "ready"),
                            ("removing", "removing"),
                            ("removed", "removed"),
                        ],
                        default="creating",
                        max_length=10,
                    ),
                ),
                (
                    "failure_kind",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("image_missing", "image_missing"),
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
                ("error", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ready_at", models.DateTimeField(null=True)),
                ("removed_at", models.DateTimeField(null=True)),
                ("lease_expires_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "removed"), _negated=True),
                        fields=["instance", "engine"],
                        name="environment_live",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("instance", "owner", "shard", "fence"), name="environment_try_is_unique"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["creating", "ready", "removing", "removed"])),
                        name="environment_state_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("removed_at__isnull", False), ("state", "removed")),
                            models.Q(
                                models.Q(("state", "removed"), _negated=True), ("removed_at__isnull", True)
                            ),
                            _connector="OR",
                        ),
                        name="environment_is_removed_at_a_moment",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "ready"), _negated=True),
                            ("ready_at__isnull", False),
                            _connector="OR",
                        ),
                        name="environment_ready_has_a_moment",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("fence__gte", 1), ("shard__gte", 1)),
                        name="environment_counts_from_one",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="EnvironmentService",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                ("position", models.PositiveSmallIntegerField(default=0)),
                ("is_tests", models.BooleanField(default=False)),
                ("image", models.TextField(blank=True)),
                ("image_digest", models.TextField(blank=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("created", "created"),
                            ("running", "running"),
                            ("paused", "paused"),
                            ("restarting", "restarting"),
                            ("exited", "exited"),
                            ("gone", "gone"),
                        ],
                        default="gone",
                        max_length=10,
                    ),
                ),
                (
                    "health",
                    models.CharField(
                        choices=[
                            ("none", "none"),
                            ("starting", "starting"),
                            ("healthy", "healthy"),
                            ("unhealthy", "unhealthy"),
                        ],
                        default="none",
                        max_length=10,
                    ),
                ),
                ("exit_code", models.IntegerField(null=True)),
                ("out_of_memory", models.BooleanField(default=False)),
                ("restart_count", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("ready_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "environment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="services",
                        to="environments.environment",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("environment", "name"), name="environment_service_name_is_unique"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["created", "running", "paused", "restarting", "exited", "gone"])
                        ),
                        name="environment_service_status_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("health__in", ["none", "starting", "healthy", "unhealthy"])),
                        name="environment_service_health_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("finished_at__isnull", True),
                            ("started_at__isnull", True),
                            ("finished_at__gte", models.F("started_at")),
                            _connector="OR",
                        ),
                        name="environment_service_finishes_after_it_starts",
                    ),
                ],
            },
        ),
    ]

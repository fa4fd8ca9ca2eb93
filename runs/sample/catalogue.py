"""The tests of the shop: those of `examples/shop`, and an end-to-end suite that another CI runs."""

from __future__ import annotations

from dataclasses import dataclass

CHECKOUT, DATABASE, E2E = "checkout", "database", "e2e"
#: First days of a test count back from today: this is "always".
ALWAYS = 10_000.0


@dataclass(frozen=True, slots=True)
class Test:
    """A test as its report names it."""

    __test__ = False  # not pytest's

    class_name: str
    name: str
    #: What it usually takes.
    seconds: float
    #: It came this many days ago.
    since_days: float = ALWAYS
    #: Why it is skipped; empty for one that runs.
    skipped: str = ""

    @property
    def file(self) -> str:
        """Where it is written."""
        return f"{self.class_name.replace('.', '/')}.py"


def tests_of(suite: str, *, days_ago: float) -> list[Test]:
    """The suite's tests as they were so many days ago, in the order of their files."""
    return [test for test in _TESTS[suite] if test.since_days >= days_ago]


def _of(
    class_name: str, seconds: float, *names: str, since_days: float = ALWAYS, skipped: str = ""
) -> list[Test]:
    return [Test(class_name, name, seconds, since_days, skipped) for name in names]


def _each(name: str, *parameters: str) -> list[str]:
    return [f"{name}[{one}]" for one in parameters]


_NOTIFICATIONS = "tests.checkout.test_notifications"
_ORDERS = "tests.checkout.test_orders"
_OUTAGES = "tests.checkout.test_outages"
_USERS = "tests.checkout.test_users"
_CONSTRAINTS = "tests.database.test_constraints"
_MIGRATIONS = "tests.database.test_migrations"
_TRANSACTIONS = "tests.database.test_transactions"
_BASKET = "tests.e2e.test_basket"
_CHECKOUT = "tests.e2e.test_checkout"
_ACCOUNT = "tests.e2e.test_account"
_SEARCH = "tests.e2e.test_search"
_DELIVERY = "tests.e2e.test_delivery"
_GIFT_CARDS = "tests.e2e.test_gift_cards"

_TESTS: dict[str, list[Test]] = {
    CHECKOUT: [
        *_of(_NOTIFICATIONS, 0.22, "test_a_paid_order_is_announced"),
        *_of(_NOTIFICATIONS, 0.41, "test_an_event_delivered_twice_is_told_once"),
        *_of(_NOTIFICATIONS, 0.35, "test_an_event_nobody_can_read_is_set_aside_and_those_behind_it_arrive"),
        *_of(_NOTIFICATIONS, 0.19, "test_a_refused_order_is_not_announced"),
        *_of(_NOTIFICATIONS, 0.24, "test_flaky_on_purpose_the_notification_arrives_within_a_second"),
        *_of(
            _ORDERS,
            0.09,
            "test_an_order_charges_the_user_and_can_be_read_back",
            "test_an_order_the_balance_does_not_cover_is_refused_and_leaves_the_balance_alone",
            "test_an_order_for_a_user_who_does_not_exist_is_refused",
            *_each(
                "test_bad_lines_are_refused_before_anything_is_charged",
                "none",
                "a-text",
                "no-tea",
                "true-tea",
                "negative-price",
                "no-sku",
                "sku-twice",
            ),
            "test_an_unknown_order_is_missing",
            "test_a_stranger_places_no_order",
        ),
        *_of(
            _OUTAGES,
            3.4,
            "test_without_user_service_an_order_is_refused_and_works_again_afterwards",
            "test_what_was_ordered_while_notification_service_was_down_is_announced_when_it_is_back",
            "test_what_was_ordered_while_the_queue_was_down_is_announced_when_it_is_back",
        ),
        *_of(
            _USERS,
            0.06,
            "test_a_new_user_can_be_read_back",
            "test_the_same_address_again_is_a_conflict",
            *_each(
                "test_a_bad_user_is_refused_and_the_field_is_named",
                "empty",
                "no-address",
                "no-name",
                "blank-name",
                "name-is-a-number",
                "a-list",
            ),
            "test_a_body_that_is_not_json_is_refused",
            "test_an_unknown_user_is_missing",
            "test_without_the_token_nobody_is_let_in",
        ),
        *_of(_USERS, 0.9, "test_of_many_who_create_the_same_user_at_once_exactly_one_succeeds"),
        *_of(_USERS, 1.4, "test_concurrent_debits_never_overdraw_a_balance"),
        *_of(_USERS, 0.12, "test_the_same_debit_sent_twice_moves_money_once"),
    ],
    DATABASE: [
        *_of(
            _CONSTRAINTS,
            0.03,
            *_each(
                "test_the_database_refuses",
                "-account_balance_is_never_negative",
                "-account_name_is_not_blank",
                "-account_email_is_unique_in_any_case",
                "-line_quantity_is_positive",
                "-line_price_is_not_negative",
                "-line_pkey",
                "-purchase_total_is_not_negative",
                "-purchase_status_is_known",
            ),
            "test_a_line_needs_its_order",
            "test_lines_go_with_their_order",
        ),
        *_of(_CONSTRAINTS, 0.03, "test_the_database_refuses[-purchase_currency_is_a_code]", since_days=20),
        *_of(_MIGRATIONS, 1.6, "test_all_migrations_go_up_and_down_without_a_trace"),
        *_of(
            _MIGRATIONS,
            0.55,
            *_each(
                "test_each_migration_is_undone_by_its_counterpart",
                "0001_users",
                "0002_orders",
                "0003_notifications",
            ),
        ),
        *_of(
            _MIGRATIONS,
            0.55,
            "test_each_migration_is_undone_by_its_counterpart[0004_order_currency]",
            "test_rows_written_before_a_column_came_get_its_default",
            since_days=20,
        ),
        *_of(
            _MIGRATIONS,
            0.7,
            "test_migrating_again_changes_nothing",
            "test_a_migration_that_cannot_be_applied_leaves_everything_as_it_was",
            "test_of_two_who_migrate_at_once_one_does_the_work",
        ),
        *_of(
            _TRANSACTIONS,
            0.08,
            "test_an_error_in_the_middle_takes_back_what_was_done_before_it",
            "test_nobody_sees_what_is_not_committed",
            "test_a_savepoint_takes_back_its_part_only",
            "test_a_row_that_another_has_locked_is_skipped_by_those_who_ask_to",
            "test_a_broken_connection_is_not_lent_again",
        ),
    ],
    E2E: [
        *_of(
            _BASKET,
            3.1,
            "test_an_article_is_put_into_the_basket",
            "test_the_quantity_can_be_changed",
            "test_an_article_is_taken_out_again",
            "test_the_total_follows_the_quantity",
            "test_a_basket_survives_signing_in",
            "test_signing_out_empties_the_basket",
            "test_two_baskets_are_merged",
            "test_an_empty_basket_says_so",
            "test_an_article_out_of_stock_cannot_be_added",
            "test_a_coupon_lowers_the_total",
            "test_a_coupon_that_ran_out_is_refused",
            "test_the_basket_is_kept_for_thirty_days",
        ),
        *_of(
            _CHECKOUT,
            6.4,
            "test_a_guest_buys_one_article",
            "test_a_member_buys_with_a_stored_card",
            "test_a_declined_card_can_be_changed",
            "test_the_order_is_shown_with_its_number",
            "test_a_receipt_is_sent",
            "test_paying_twice_charges_once",
            "test_going_back_from_payment_keeps_the_basket",
            "test_an_address_abroad_changes_the_shipping",
            "test_terms_have_to_be_accepted",
            "test_an_invoice_can_be_asked_for",
            "test_a_note_reaches_the_warehouse",
            "test_an_order_with_forty_lines",
        ),
        *_of(
            _CHECKOUT, 6.4, "test_payment_with_3d_secure", skipped="the sandbox of the bank is closed to us"
        ),
        *_of(
            _ACCOUNT,
            2.2,
            "test_signing_up",
            "test_signing_in_and_out",
            "test_a_wrong_password_says_so",
            "test_resetting_a_password",
            "test_changing_the_address",
            "test_orders_are_listed",
            "test_an_order_can_be_cancelled_before_it_is_sent",
            "test_the_account_can_be_deleted",
            "test_two_sessions_at_once",
            "test_a_session_ends_after_an_hour",
        ),
        *_of(
            _SEARCH,
            1.7,
            "test_search_finds_by_name",
            "test_search_finds_what_was_just_added",
            "test_a_typo_finds_the_article",
            "test_nothing_found_suggests_something",
            "test_results_are_filtered_by_price",
            "test_results_are_sorted",
            "test_the_second_page_goes_on",
            *_each("test_search_in_every_language", "de", "en", "fr", "sv"),
        ),
        *_of(
            _DELIVERY,
            2.6,
            "test_delivery_is_promised_for_tomorrow_before_the_cut_off",
            "test_delivery_on_a_saturday_costs_more",
            "test_a_parcel_can_be_followed",
            "test_a_pick_up_point_is_chosen",
            "test_an_island_takes_longer",
            *_each("test_shipping_costs", "letter", "parcel", "freight"),
        ),
        *_of(
            _GIFT_CARDS,
            4.8,
            "test_a_gift_card_is_bought",
            "test_a_gift_card_pays_an_order",
            "test_a_gift_card_pays_part_of_an_order",
            "test_the_balance_of_a_gift_card_is_shown",
            since_days=26,
        ),
    ],
}

#: On the branch that splits payments, and not yet anywhere else.
SPLIT_PAYMENTS = [
    *_of(
        _ORDERS,
        0.14,
        "test_a_payment_is_split_between_two_users",
        "test_a_split_payment_is_refused_as_a_whole",
        "test_the_rest_of_a_split_payment_is_rounded_for_the_first_user",
    )
]

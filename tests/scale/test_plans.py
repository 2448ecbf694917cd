"""Tests of the plan of every statement: the indexes that it may use on a large ledger, with any parameters."""

import itertools
from collections import defaultdict

from tests import statements
from tests.scale.growth import Pair

BY_ID = {"jobs (id)"}
BY_HANDLE = {"handles (id)"}
BY_ID_OR_HANDLE = BY_ID | BY_HANDLE
BY_TOKEN = {"jobs_tokens", "jobs (id)"}
BY_LOCK = {"entries (key)", "jobs_tokens"}
WITH_RESULT = {"jobs (id)", "results (job_id)"}
END_ALONE = BY_TOKEN | {"entries (key)", "entries_expired", "results (job_id)", "logs (job_id)"}

# If a statement may use one of several indexes, each of them leads to the few rows that it needs. Postgres chooses by
# current row counts. SQLite chooses by columns, because nobody runs ANALYZE there.
PLANS: dict[str, set[str]] = {
    "INSERT": {"jobs (id)", "jobs_turns", "jobs_turns_running", "jobs_turns_by_owner", "jobs_of_owner"},
    "QUEUES": {"jobs_in_queue"},
    "CLAIM": {"jobs_in_queue", "jobs (seq)", "entries (key)"},
    "NEXT_FOR_ONE_WRITER": {"jobs_in_queue", "jobs (seq)"},
    "CLAIM_FOR_ONE_WRITER": {"jobs_in_queue", "jobs (seq)", "entries (key)"},
    "CLAIM_WITHIN_CAPS": {"jobs_in_queue", "jobs_in_queue_of_owner", "jobs (seq)", "entries (key)"},
    "NEXT_WITHIN_CAPS_FOR_ONE_WRITER": {"jobs_in_queue", "jobs_in_queue_of_owner", "jobs (seq)"},
    "CLAIM_WITHIN_CAPS_FOR_ONE_WRITER": {"jobs_in_queue", "jobs_in_queue_of_owner", "jobs (seq)", "entries (key)"},
    "COUNT_RUNNING": {"jobs_held"},
    "END": BY_TOKEN,
    # If there is nothing to delete, Postgres knows that it needs no entry, and may choose any partial index.
    "END_ALONE": END_ALONE,
    "END_AND_SAVE": END_ALONE,
    "RETRY_AND_SAVE": END_ALONE,
    "END_AND_CLAIM": END_ALONE | {"jobs_in_queue", "jobs (seq)"},
    "RETRY": BY_TOKEN,
    "MARK_LOST": BY_TOKEN,
    "RELEASE_CLAIM": BY_TOKEN,
    "RELEASE_WORKER": {"jobs_held"},
    "RELEASE_UNHEARD": {"jobs_held"},
    "RELEASE_CONSUMER": {"jobs_held"},
    "CANCEL": BY_ID,
    "COUNT_CHORD_MEMBER": BY_ID,
    "RELEASE_DEPENDENT": BY_ID,
    "CANCEL_DEPENDENT": BY_ID,
    "UNSUCCESSFUL_BEFORE": BY_ID,
    "RETRY_JOB": BY_ID | {"jobs_unique"},
    "WAIT_AGAIN": BY_ID,
    "AWAIT_ONE_MORE": BY_ID,
    "UNCOUNT_CHORD_MEMBER": BY_ID,
    "SET_FOLLOWER": BY_ID,
    "REPOINT_FOLLOWS": BY_ID,
    "RETRIES_LEFT": {"jobs_tokens"},
    "HELD_JOB": BY_TOKEN,
    "SAVE_STEP": BY_TOKEN | {"steps (job_id, name)"},
    "PROGRESS": BY_TOKEN,
    "STEP_NAMES": {"steps (job_id, name)"},
    "STEP": {"steps (job_id, name)"},
    "DELETE_RESULT": {"results (job_id)"},
    "DELETE_VERSIONS": {"dataset_versions (name, version)"},
    "NEWEST_VERSION": {"datasets (name)", "dataset_versions (name, version)"},
    "VERSION": {"dataset_versions (name, version)"},
    "KEPT_VERSIONS": {"dataset_versions (name, version)"},
    "LAST_REFRESH": {"jobs_of_task"},
    "RENEW_LEASES": {"jobs_tokens", "jobs (seq)"},
    "HELD_BY_CONSUMERS": {"jobs_held"},
    "HELD_BY_CONSUMER": {"jobs_held"},
    "HELD_BY_WORKER": {"jobs_held"},
    "STEP_BACK": {"jobs (seq)"},
    "NEXT_RANGE": {"jobs (seq)"},
    "OLD_JOBS": {"jobs (seq)", "jobs (id)"},
    "PRUNE": BY_ID | {"handles_of_job"},
    "PRUNE_RESULTS": {"results (job_id)"},
    "PRUNE_STEPS": {"steps (job_id, name)"},
    "PRUNE_FILE_NAMES": {"files_of_job"},
    "PRUNE_LOGS": {"logs (job_id)"},
    "PRUNE_HANDLES": {"handles_of_job"},
    "PRUNE_UPDATES": {"callback_updates (job_id, name)"},
    "PRUNE_ANSWERS": {"answers_of_job"},
    "CALLBACK": WITH_RESULT | {"callback_updates (job_id, name)"},
    "SAVE_CALLBACK_UPDATE": BY_TOKEN | {"callback_updates (job_id, name)"},
    "FIND_ANSWER": WITH_RESULT | {"callback_answers (question)", "answers_of_job"},
    "PRUNE_REVOCATIONS": {"entries (key)"},
    "PRUNE_ENTRIES": {"entries (key)", "entries_expired"},
    "LAPSED": {"jobs_leases"},
    "ANY_DUE": {"jobs_due"},
    "PROMOTE": {"jobs_due", "jobs (seq)"},
    "QUEUED_TASKS": {"jobs_queued"},
    "UNKNOWN": {"jobs_queued"},
    "FAIL_UNKNOWN": BY_ID,
    "NEW_HANDLE": BY_ID_OR_HANDLE,
    "OPEN_RUN": {"jobs_unique"},
    "RECENT_RUN": {"jobs_recent"},
    "DELETE_UNUSED_RUN": BY_ID,
    "POINT_HANDLE_AT_RUN": BY_HANDLE,
    "RUN_OF_HANDLE": BY_ID_OR_HANDLE,
    "DETACH_HANDLE": BY_HANDLE,
    "STILL_WANTED": {"handles_of_job"},
    "REATTACH_HANDLE": BY_HANDLE,
    "JOB_BY_ID": WITH_RESULT | BY_HANDLE | {"steps (job_id, name)"},
    "JOBS_AHEAD": BY_ID_OR_HANDLE | {"jobs_turns"},
    "RESULT": WITH_RESULT | BY_HANDLE,
    "HISTORY": BY_ID_OR_HANDLE,
    "MESSAGE": BY_ID_OR_HANDLE,
    "SAVE_LOG": BY_TOKEN | {"logs (job_id)"},
    "LOG": BY_ID_OR_HANDLE | {"logs (job_id)"},
    "ENDED": BY_ID_OR_HANDLE,
    "MEMBERS": {"jobs_members", "results (job_id)"},
    "LIST": {"jobs_of_task", "jobs_of_owner", "jobs_of_state", "jobs_due", "jobs_held", "jobs (seq)"},
    "LIST_HANDLES": {"handles_of_owner", "jobs (id)"},
    "COUNT_STATE": {"jobs_of_state", "jobs_due"},
    "MESSAGES": {"jobs_of_state", "jobs_due"},
    "IDS": {"jobs_of_state", "jobs_due"},
    "ACTIVE_RUN": BY_ID,
    "MARK_FIRED": BY_ID,
    "NEEDS_FIRST_VERSION": {"schedules (name)", "datasets (name)", "jobs_of_task"},
    "MARK_FIRST_VERSION": BY_ID,
    "LOCK_KEY": {"entries (key)"},
    "TAKE_FREE_KEY": BY_LOCK,
    "PEEK_ENTRIES": BY_LOCK,
    "POP_ENTRY": {"entries (key)"},
    "DELETE_ENTRY": {"entries (key)"},
    "RELEASE_LOCK": BY_LOCK,
    "DELETE_STALE_LOCK": BY_LOCK,
}  # fmt: skip
SEARCH_NOTHING = {
    "INSERT_EACH",
    "SAVE_RESULT",
    "SAVE_LOG_AT_END",
    "NEXT_VERSION",
    "SAVE_VERSION",
    "PUT_ENTRY",
    "TAKE_NEW_KEY",
    "NOTE_ADDITION",
    "CLOCK",
    "LOCK_LIMIT",
    "SAVE_ANSWER",
}
OF_SMALL_TABLES = {
    *(
        "REGISTER_CONSUMER",
        "ADD_HOUSEKEEPING",
        "ELECT",
        "RESIGN",
        "PRUNE_CONSUMERS",
        "DEREGISTER_CONSUMER",
        "TOUCH_CONSUMER",
        "COUNT_CONSUMERS",
        "CONSUMERS",
        "KNOWN_TASKS",
        "ADD_TO_COUNTER",
        "DELETE_COUNTER",
    ),
    *(
        "REGISTER_SCHEDULE",
        "UPDATE_PHRASE",
        "SCHEDULE_NAMES",
        "DROP_SCHEDULES",
        "LIVE_CONSUMERS",
        "WATERMARKS",
        "ADVANCE_WATERMARK",
        "NOTE_LAST_FIRE",
        "SCHEDULES",
    ),
    *("PAUSE_SCHEDULE", "RESUME_SCHEDULE"),
}
READ_ALL = {
    "ENTRIES",
    "RESULT_IDS",
    "FLUSH_RESULTS",
    "FLUSH_ENTRIES",
    "FLUSH_COUNTERS",
}  # as Huey's storage interface asks
# Parts of statements.
PARTS = {"RUN", "TURN", "LINES", "NEXT_OWNER", "LINES_OF_OWNERS", "NEXT", "NEXT_WITHIN_CAPS", "CLAIM_STATEMENT",
         "REPLACE_LOG", "REPLACE_RESULT"}  # fmt: skip

OF_OWNERS_WHO_WAIT = {"CLAIM_WITHIN_CAPS", "NEXT_WITHIN_CAPS_FOR_ONE_WRITER", "CLAIM_WITHIN_CAPS_FOR_ONE_WRITER"}
ONE_WRITER = {"END", "RETRY", "SAVE_LOG_AT_END", "NEXT_FOR_ONE_WRITER", "CLAIM_FOR_ONE_WRITER", "NEXT_WITHIN_CAPS_FOR_ONE_WRITER",
              "CLAIM_WITHIN_CAPS_FOR_ONE_WRITER"}  # fmt: skip
MANY_WRITERS = {
    "ELECT",
    "CLAIM",
    "CLAIM_WITHIN_CAPS",
    "LOCK_LIMIT",
    "END_ALONE",
    "END_AND_SAVE",
    "RETRY_AND_SAVE",
    "END_AND_CLAIM",
}


def test_every_statement_has_a_plan_here() -> None:
    named = {name for name in statements.by_name().keys() - statements.LISTING if not name.startswith("_")}
    assert named == PLANS.keys() | SEARCH_NOTHING | OF_SMALL_TABLES | READ_ALL | PARTS


def test_every_statement_uses_its_index(pair: Pair) -> None:
    grown = (
        {"jobs"} if pair.growth.state else {"jobs", "results", "steps", "entries", "handles"}
    )  # others fit in a page or two
    used: dict[str, set[str]] = defaultdict(set)
    read_through: dict[str, set[str]] = defaultdict(set)
    for _, runs in pair.measured.values():
        for execution in itertools.chain.from_iterable(runs):
            used[execution.name] |= execution.searches.keys()
            read_through[execution.name] |= execution.scanned
    seen = set(used)
    for name, indexes in PLANS.items():
        assert used[name] <= indexes, name
        assert not read_through[name] & grown, name

    of_others = MANY_WRITERS if pair.small.ledger.database.dialect.one_writer else ONE_WRITER
    of_all_in_a_state = set() if pair.growth.state is None else {"MESSAGES", "IDS", *OF_OWNERS_WHO_WAIT}
    executed = (PLANS.keys() | SEARCH_NOTHING | OF_SMALL_TABLES) - of_others
    assert executed - of_all_in_a_state <= seen <= executed
    assert [name for name in seen & PLANS.keys() if not used[name] and not read_through[name]] == []

"""Dash's documented features of background callbacks. The same tests run on HueyManager and DiskcacheManager."""

import time
from typing import Any

from dash import Dash

from tests.engine.dash.background.apps import EXPIRE, note, notes
from tests.engine.dash.background.page import Page
from tests.waiting import wait_until

Apps = dict[str, Dash]


def test_one_output_and_a_state(apps: Apps) -> None:
    page = Page(apps["one_output"])
    page.call("one-out.children", one_in=3, one_more=4).wait()
    bold = {"namespace": "dash_html_components", "props": {"children": 7}, "type": "B"}
    assert page.shown == {"one-out.children": [bold, None, {"a": 1.5}]}


def test_several_outputs_and_groups(apps: Apps) -> None:
    page = Page(apps["several_outputs"])
    page.call("..sum.children...left.children...right.title..", a=1, c=2).wait()
    assert page.shown == {"sum.children": 3, "left.children": 1, "right.title": 2}


def test_progress_and_its_default(apps: Apps) -> None:
    page = Page(apps["progress"])
    call = page.call("progress-out.children", progress_in=2)
    for done in ("1", "2"):
        wait_until(lambda: call.poll() and page.shown.get("bar.value") == done)  # noqa: B023
        assert page.shown["bar.max"] == {"of": 2}
        note(f"progress seen {done}")
    call.wait()
    assert page.values("bar.value") == ["1", "2", ""]
    assert page.shown == {"bar.value": "", "bar.max": "none", "progress-out.children": "done"}


def test_what_is_shown_while_it_runs(apps: Apps) -> None:
    page = Page(apps["running"])
    assert page.callbacks["running-out.children"]["background"] == {"interval": 250}
    call = page.call("running-out.children", running_in=5)
    assert page.shown == {"button.disabled": True, "says.children": "working"}
    call.wait()
    assert page.shown == {"button.disabled": False, "says.children": "idle", "running-out.children": 5}


def test_a_page_works_after_it_cancelled_its_callback(apps: Apps) -> None:
    page = Page(apps["cancel"])
    call = page.call("cancel-out.children", cancel_in=1)
    wait_until(lambda: notes("begun 1"))
    page.cancel("stop.id", call, stop=1)
    call.wait()
    assert page.shown == {"stop.disabled": True}
    note("let go 2")
    page.call("cancel-out.children", cancel_in=2).wait()
    assert page.values("cancel-out.children") == ["late"]
    assert not notes("ended 1")


def test_a_new_call_replaces_the_running_one(apps: Apps) -> None:
    page = Page(apps["cancel"])
    first = page.call("cancel-out.children", cancel_in=3)
    wait_until(lambda: notes("begun 3"))
    second = page.call("cancel-out.children", cancel_in=4, old=first)
    note("let go 4")
    second.wait()
    first.wait()
    assert page.values("cancel-out.children") == ["late"]
    assert not notes("ended 3")


def test_cache_by_answers_equal_calls_from_one_run(apps: Apps) -> None:
    page = Page(apps["cached"])
    for value in (4, 5):
        page.call("cached-out.children", cached_in=value).wait()
        assert page.shown["cached-out.children"] == [value * 2, 1]
    note("closed")
    for again in (page, Page(apps["cached"])):
        again.call("cached-out.children", cached_in=4).wait()
        assert again.shown["cached-out.children"] == [8, 1]


def test_cache_args_to_ignore(apps: Apps) -> None:
    page = Page(apps["cached_but_for"])
    page.call("but-out.children", but_in=4, but_clicks=1).wait()
    note("closed")
    page.call("but-out.children", but_in=4, but_clicks=2).wait()
    assert page.values("but-out.children") == [[8, 1], [8, 1]]


def test_a_cache_expires_when_nobody_asks(apps: Apps) -> None:
    page = Page(apps["expiring"])
    page.call("expiring-out.children", expiring_in=4).wait()
    note("closed")
    page.call("expiring-out.children", expiring_in=4).wait()
    assert page.shown["expiring-out.children"] == 1
    time.sleep(EXPIRE + 0.1)
    note("opened")
    page.call("expiring-out.children", expiring_in=4).wait()
    assert page.shown["expiring-out.children"] > 1


def test_the_cache_may_depend_on_the_trigger(apps: Apps) -> None:
    page = Page(apps["triggers"])
    for changed in ("triggers-in", "triggers-other"):
        page.call("triggers-out.children", changed=changed, triggers_in=1, triggers_other=1).wait()
        assert page.shown["triggers-out.children"][0] == changed


def test_set_props_reaches_any_component(apps: Apps) -> None:
    page = Page(apps["properties"])
    page.call("properties-out.children", properties_in=3).wait()
    assert page.values('{"index":2,"type":"beside"}.children') == ["a pattern's"]
    assert page.shown["properties-out.children"] == "done"


def test_a_callback_without_outputs(apps: Apps) -> None:
    page = Page(apps["no_outputs"])
    (output,) = page.callbacks
    page.call(output, none_in=3).wait()
    assert page.shown == {"none-out.children": 3}


def test_no_update_and_prevent_update(apps: Apps) -> None:
    page = Page(apps["no_updates"])
    page.call("..kept.children...changed.children..", no_in=3).wait()
    page.call("..kept.children...changed.children..", no_in=-1).wait()
    assert page.seen == [("changed.children", 3)]


def test_on_error_answers_for_the_callback(apps: Apps) -> None:
    page = Page(apps["errors"])
    page.call("errors-out.children", errors_in=7).wait()
    assert page.shown == {"errors-beside.children": "handled", "errors-out.children": "It says: True"}


def test_an_error_without_a_handler_ends_the_call(apps: Apps) -> None:
    page = Page(apps["errors"])
    call = page.call("errors-out.title", errors_raw=7).wait()
    assert call.failed
    assert page.shown == {}


def test_pattern_matching_ids(apps: Apps) -> None:
    page = Page(apps["patterns"])
    output = '{"index":["MATCH"],"type":"card"}.children'
    calls = [page.call(output, match=index, switch=index * 10) for index in (1, 2)]
    for call in calls:
        call.wait()
    shown = {name: value for name, value in page.shown.items() if name.endswith("children")}
    assert shown == {f'{{"index":{index},"type":"card"}}.children': f"{index}: {index * 10}" for index in (1, 2)}


def test_the_context_of_the_request(apps: Apps) -> None:
    page = Page(apps["context"], cookies={"region": "anns"})
    page.browser.environ_base["HTTP_X_TENANT"] = "north"
    page.call("context-out.children", context_in=1, context_other=2).wait()
    assert page.shown["context-out.children"] == {
        "triggered": [{"prop_id": "context-in.value", "value": 1}],
        "id": "context-in",
        "inputs": {"context-in.value": 1, "context-other.value": 2},
        "cookie": "anns",
        "header": "north",
        "path": "/_dash-update-component",
        "outputs": {"id": "context-out", "property": "children"},
        "grouping": 2,
    }


def test_figures_patches_and_numbers_that_are_none(apps: Apps) -> None:
    page = Page(apps["figures"])
    page.call("..figure.figure...list.children...nan.data..", figure_in=3).wait()
    assert page.shown["figure.figure"]["data"][0]["y"] == [1, 3]
    operations: Any = page.shown["list.children"]["operations"]
    assert operations == [{"location": [], "operation": "Append", "params": {"value": 3}}]
    assert page.shown["nan.data"] == [None, 1]


def test_callbacks_of_pages(apps: Apps) -> None:
    page = Page(apps["pages"])
    page.call("page-out.children", page_in=3).wait()
    assert page.shown == {"page-out.children": "the page's 3"}


def test_a_forged_handle_or_one_of_another_page_load_is_refused(apps: Apps) -> None:
    page, other = Page(apps["cancel"]), Page(apps["cancel"])
    call = page.call("cancel-out.children", cancel_in=5)
    wait_until(lambda: notes("begun 5"))
    for handles in ({"job": call.job.partition("~")[0] + "~0", "cacheKey": "x~0"}, call.handles):
        foreign = other.post(call.body, {}, **handles)
        assert foreign.status_code == 204
    other.cancel("stop.id", call, stop=1)
    note("let go 5")
    call.wait()
    assert page.shown["cancel-out.children"] == "late"

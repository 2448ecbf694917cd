// The jobs page: what is asked for stands in the address; nobody asks while nobody looks; what is selected is confirmed.
(() => {
  "use strict";

  const NAMES = ["tab", "state", "task", "owner", "queue", "text", "time", "window"];
  const TEXTS = ["owner", "text"]; // typed, not chosen
  const DEFAULTS = { tab: "jobs", window: "hour" };
  const ENDED = ["succeeded", "failed", "cancelled"];
  const NARROW = 700; // pixels, below which one column of two lines stands for all of these
  const LEFT_OUT = ["name", "says", "owner", "queue", "attempt", "waited", "ran", "created"];
  const ROW = { wide: 42, narrow: 60 }; // pixels of its height
  const TICKS = ["jobs-tick", "job-tick"];

  const jobqueue = ((window.dash_clientside = window.dash_clientside || {}).jobqueue = {});

  const triggered = () => (window.dash_clientside.callback_context.triggered[0] || {}).prop_id || "";

  // The controls' values, and the page of the list, as one object; and in the address.
  jobqueue.ask = (...given) => {
    const before = given[given.length - 1] || {};
    const asked = {};
    NAMES.forEach((name, n) => (asked[name] = given[n] || DEFAULTS[name] || ""));
    const by = triggered();
    const turned = by === "jobs-older.n_clicks" ? 1 : by === "jobs-newer.n_clicks" ? -1 : 0;
    const same = NAMES.every((name) => asked[name] === (before[name] || DEFAULTS[name] || "")) || by.startsWith("jobs-tab.");
    asked.page = same ? Math.max(1, (before.page || 1) + turned) : 1;
    if (same && !turned && asked.tab === before.tab) return window.dash_clientside.no_update;
    const query = new URLSearchParams();
    NAMES.forEach((name) => asked[name] && asked[name] !== DEFAULTS[name] && query.set(name, asked[name]));
    if (asked.page > 1) query.set("page", asked.page);
    const search = query.toString();
    history.replaceState(history.state, "", location.pathname + (search ? `?${search}` : "") + location.hash);
    return asked;
  };

  jobqueue.clear = () => [null, null, "", null, "", null];

  // An answer is there: when it came; nothing more is asked about a job that has ended, or by a tab that nobody has seen yet.
  jobqueue.seen = (seen) => {
    if (!seen) return window.dash_clientside.no_update;
    if ("ended" in seen) window.dash_clientside.set_props("job-tick", { disabled: seen.ended || document.hidden });
    else if (document.hidden) window.dash_clientside.set_props("jobs-tick", { disabled: true });
    fit();
    return `Updated ${new Date(seen.at).toLocaleTimeString()}`;
  };

  jobqueue.chosen = (rows) => {
    const chosen = rows || [];
    const retried = chosen.filter((row) => canBe("retry", row)).length;
    const cancelled = chosen.filter((row) => canBe("cancel", row)).length;
    return [retried ? `Retry ${retried}` : "Retry", !retried, cancelled ? `Cancel ${cancelled}` : "Cancel", !cancelled];
  };

  jobqueue.confirm = (_retry, _cancel, _no, rows) => {
    const act = { "jobs-retry.n_clicks": "retry", "jobs-cancel.n_clicks": "cancel" }[triggered()];
    const none = window.dash_clientside.no_update;
    if (!act) return [false, none, none, none, null];
    const ids = (rows || []).filter((row) => canBe(act, row)).map((row) => row.id);
    const jobs = ids.length === 1 ? "1 job" : `${ids.length} jobs`;
    const others = (rows || []).length - ids.length;
    const words = act === "retry"
      ? "What failed or was cancelled goes back to the queue, with a new attempt; steps that were done are kept."
      : "What waits will not run, and what runs is stopped. It can be retried afterwards.";
    const rest = others ? ` ${others} of those selected ${others === 1 ? "is" : "are"} left alone: this does not apply.` : "";
    const verb = act === "retry" ? "Retry" : "Cancel";
    return [true, `${verb} ${jobs}?`, words + rest, `${verb} ${jobs}`, { act, ids }];
  };

  function canBe(act, row) {
    return act === "retry" ? row.state === "failed" || row.state === "cancelled" : !ENDED.includes(row.state);
  }

  function fit() {
    const grids = window.dash_ag_grid;
    if (!grids || !document.getElementById("jobs-grid")) return;
    grids.getApiAsync("jobs-grid").then((api) => {
      const wide = window.innerWidth >= NARROW;
      const there = LEFT_OUT.filter((name) => api.getColumn(name));
      if (there.every((name) => api.getColumn(name).isVisible() === wide)) return;
      api.setColumnsVisible(there, wide);
      api.setColumnsVisible(["below"], !wide);
      api.setGridOption("rowHeight", wide ? ROW.wide : ROW.narrow);
      api.resetRowHeights();
    });
  }

  window.addEventListener("resize", fit);

  // A link to this page with other filters, where the page is shown already: the router may take it for the same page.
  function follow() {
    if (!isThere("jobs-asked")) return;
    const query = new URLSearchParams(location.search);
    NAMES.filter((name) => isThere(`jobs-${name}`)).forEach((name) => {
      const given = query.get(name) || DEFAULTS[name] || "";
      const asked = name !== "tab" || hasTab(given) ? given : DEFAULTS.tab;
      const shown = window.dash_component_api.getLayout(`jobs-${name}`).props.value || "";
      if (asked !== shown) window.dash_clientside.set_props(`jobs-${name}`, { value: asked || (TEXTS.includes(name) ? "" : null) });
    });
  }

  // Whoever sees their own jobs alone has the list alone.
  function hasTab(name) {
    const [list] = window.dash_component_api.getLayout("jobs-tab").props.children;
    return list.props.children.some((tab) => tab.props.value === name);
  }

  ["_dashprivate_pushstate", "popstate"].forEach((name) => window.addEventListener(name, () => setTimeout(follow, 300)));

  // By keyboard one moves from cell to cell: Enter follows the link in one.
  document.addEventListener("keydown", (event) => {
    const link = event.key === "Enter" && event.target.matches(".jobs-grid .ag-cell") && event.target.querySelector("a");
    if (link) link.click();
  });

  // A hidden tab asks for nothing; when it is seen again it asks at once.
  document.addEventListener("visibilitychange", () => {
    TICKS.filter(isThere).forEach((id) => {
      window.dash_clientside.set_props(id, document.hidden ? { disabled: true } : { disabled: false, n_intervals: Date.now() });
    });
  });

  function isThere(id) {
    try {
      return Boolean(window.dash_component_api.getLayout(id));
    } catch {
      return false;
    }
  }

  const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});

  const make = (...parts) => window.React.createElement(...parts);
  const link = (job) => make(window.dash_core_components.Link, { href: job.address, children: job.name });

  cells.JobState = (props) =>
    make(window.dash_mantine_components.Badge, { color: props.colours[props.value], variant: "light" }, props.value);

  cells.JobLink = (props) => link(props.data);
  cells.JobBelow = ({ data: job }) =>
    make("div", { className: "jobs-below" },
      make("div", {}, link(job), make("small", {}, job.created)),
      make("div", { title: job.says }, make("small", {}, job.says)));
})();

// The jobs page: keeps its query in the address, stops refreshing while the tab is hidden, and confirms actions on selected jobs.
(() => {
  "use strict";

  const NAMES = ["tab", "state", "task", "owner", "queue", "text", "time", "window"];
  const TEXTS = ["owner", "text"]; // typed, not chosen
  const DEFAULTS = { tab: "jobs", window: "hour" };
  const ENDED = ["succeeded", "failed", "cancelled"];
  const TICKS = ["jobs-tick", "job-tick"];

  const jobqueue = ((window.dash_clientside = window.dash_clientside || {}).jobqueue = {});

  const triggered = () => (window.dash_clientside.callback_context.triggered[0] || {}).prop_id || "";

  // Returns the controls' values and the page of the list as one object, and puts them into the address.
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

  // A refresh was answered. Says when, and stops refreshing a job that has ended, or in a tab that is hidden.
  jobqueue.seen = (seen) => {
    if (!seen) return window.dash_clientside.no_update;
    if ("ended" in seen) window.dash_clientside.set_props("job-tick", { disabled: seen.ended || document.hidden });
    else if (document.hidden) window.dash_clientside.set_props("jobs-tick", { disabled: true });
    return `Updated ${seen.at}`;
  };

  // Keeps the selection, its buttons and "Select all" in step with the jobs that are listed.
  jobqueue.chosen = (all, value, listed) => {
    const jobs = listed || {};
    const ids = Object.keys(jobs);
    const by = triggered();
    if (by === "jobs-listed.data") renew(jobs);
    const chosen = by === "jobs-all.checked" ? (all ? ids : []) : (value || []).filter((id) => id in jobs);
    const every = ids.length > 0 && chosen.length === ids.length;
    const retried = chosen.filter((id) => canBe("retry", jobs[id])).length;
    const cancelled = chosen.filter((id) => canBe("cancel", jobs[id])).length;
    return [every, chosen.length > 0 && !every, chosen,
      retried ? `Retry ${retried}` : "Retry", !retried, cancelled ? `Cancel ${cancelled}` : "Cancel", !cancelled];
  };

  // Ages and progress change all the time. Replaced in place, they leave a row its focus.
  function renew(jobs) {
    document.querySelectorAll("[data-job]").forEach((part) => {
      const { job, text } = part.dataset;
      if (!jobs[job] || part.textContent === jobs[job][text]) return;
      part.textContent = jobs[job][text];
      if (text === "says") part.title = jobs[job][text];
    });
  }

  jobqueue.confirm = (_retry, _cancel, _no, value, listed) => {
    const act = { "jobs-retry.n_clicks": "retry", "jobs-cancel.n_clicks": "cancel" }[triggered()];
    const none = window.dash_clientside.no_update;
    if (!act) return [false, none, none, none, null];
    const chosen = value || [];
    const ids = chosen.filter((id) => listed[id] && canBe(act, listed[id]));
    const jobs = ids.length === 1 ? "1 job" : `${ids.length} jobs`;
    const others = chosen.length - ids.length;
    const words = act === "retry"
      ? "Failed and cancelled jobs return to the queue for a new attempt. Finished steps are kept."
      : "Jobs that wait will not run. Running jobs are stopped. You can retry them afterwards.";
    const rest = others ? ` ${others} of the selected jobs ${others === 1 ? "is" : "are"} not affected.` : "";
    const verb = act === "retry" ? "Retry" : "Cancel";
    return [true, `${verb} ${jobs}?`, words + rest, `${verb} ${jobs}`, { act, ids }];
  };

  function canBe(act, job) {
    return act === "retry" ? job.state === "failed" || job.state === "cancelled" : !ENDED.includes(job.state);
  }

  // A link to this page with other filters, while it is open: the router may take it for the same page.
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

  // A visitor who may see only their own jobs has only the list.
  function hasTab(name) {
    const [list] = window.dash_component_api.getLayout("jobs-tab").props.children;
    return list.props.children.some((tab) => tab.props.value === name);
  }

  ["_dashprivate_pushstate", "popstate"].forEach((name) => window.addEventListener(name, () => setTimeout(follow, 300)));

  // A hidden tab does not refresh. It refreshes at once when it is seen again.
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
})();

// Tells visitors when their jobs end, on whatever page is open, and counts their active jobs in the header's "My jobs".
//
// Only a visible tab asks for news: every SOON while jobs are active and after a click, which may have started one, else RARELY, and
// not at all once nobody has touched the page for AWAY. The jobs page shows all that itself. Tabs share in localStorage what has been
// told, so that one of them tells of an end. Where nobody logs in, news is about the jobs whose panels this browser has shown.
(() => {
  "use strict";

  const SOON = 2000; // milliseconds
  const RARELY = 30000;
  const AWAY = 600000;
  const FOCUSED_FIRST = 400; // for which a tab without the focus lets another one tell
  const SILENCE = 10000; // without an answer, after which a request counts as failed
  const LONGEST = 60000; // between two requests that fail
  const KEPT = 3600000; // for which an end that was told is remembered
  const OVERLAP = 30; // seconds that each request asks for again, as an end may be committed late
  const MOST_IDS = 20; // jobs that a browser asks for
  const NOTICES = "notices"; // the id of the layout's NotificationContainer, as errors.py has it

  let timer;
  let due = Infinity; // when the next request is sent
  let used = Date.now(); // when somebody last touched the page
  let failures = 0;
  let active = 0;
  let unkept = {}; // in place of localStorage, where a browser refuses it

  const entry = () => document.getElementById("my-jobs");
  const read = () => ({ told: {}, shown: {}, ...kept() });

  function kept() {
    try {
      return JSON.parse(localStorage.getItem(key())) || {};
    } catch {
      return unkept;
    }
  }

  function write(changed) {
    unkept = { ...read(), ...changed };
    try {
      localStorage.setItem(key(), JSON.stringify(unkept));
    } catch {
      // kept in this tab alone
    }
  }

  function key() {
    return `jobs:${entry().dataset.news}`;
  }

  function plan(pause) {
    clearTimeout(timer);
    due = Date.now() + pause;
    timer = setTimeout(look, pause);
  }

  async function look() {
    due = Infinity;
    if (document.hidden) return; // until it is seen again
    if (!entry()) return plan(SOON); // not laid out yet
    if (new URL(entry().href).pathname === location.pathname) {
      write({ seen: Date.now() }); // the jobs page shows what ends
      count(0);
      return plan(SOON);
    }
    due = 0; // nothing else may plan while this one waits for its answer
    const pause = await heard().catch(() => null);
    failures = pause === null ? failures + 1 : 0;
    due = Infinity;
    if (pause === null) plan(Math.min(SOON * 2 ** failures, LONGEST));
    else if (pause === SOON || Date.now() - used < AWAY) plan(pause);
  }

  // Asks for news, and returns the pause until the next request. Raises an error if there was no answer.
  async function heard() {
    const { asked } = read();
    const now = Date.now();
    if (!asked) write({ seen: now }); // what ended before this browser's first visit is no news
    const query = { within: asked ? (now - asked) / 1000 + OVERLAP : 0 };
    if (entry().dataset.whose === "browser") query.id = remembered();
    const news = await answer(query);
    count(news.active);
    const untold = news.ended.filter((job) => !read().told[job.key]);
    const wanted = untold.filter((job) => now - 1000 * job.age > (read().seen || 0) && !isWatched(job.id));
    const { notices } = wanted.length ? await answer({ ...query, tell: wanted.map((job) => job.key) }) : { notices: [] };
    if (notices.length && !document.hasFocus()) await new Promise((resolve) => setTimeout(resolve, FOCUSED_FIRST));
    if (document.hidden) return SOON; // another tab tells
    await alone(() => {
      const { told } = read();
      const fresh = notices.filter((notice) => !told[notice.key]);
      untold.forEach((job) => (told[job.key] = now));
      Object.keys(told).forEach((name) => now - told[name] > KEPT && delete told[name]);
      write({ told, asked: now, active });
      if (fresh.length) window.dash_clientside.set_props(NOTICES, { sendNotifications: fresh.map((notice) => notice.shown) });
    });
    return active || Date.now() - used < SOON ? SOON : RARELY;
  }

  // Not with fetch: an app may answer a refusal of that with a reload, in which a form that somebody fills in is lost.
  function answer(query) {
    const pairs = Object.entries(query).flatMap(([name, values]) => [values].flat().map((value) => [name, value]));
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("GET", `${entry().dataset.news}?${new URLSearchParams(pairs)}`);
      request.responseType = "json";
      request.timeout = SILENCE;
      request.onloadend = () => (request.status === 200 && request.response ? resolve(request.response) : reject(new Error("no news")));
      request.send();
    });
  }

  // Without HTTPS a browser has no locks, and two tabs may rarely tell of one end.
  const alone = (act) => (navigator.locks ? navigator.locks.request("jobs", act) : act());

  function count(jobs) {
    if (jobs === active) return;
    active = jobs;
    const words = `My jobs${jobs ? `, ${jobs} active` : ""}`;
    const display = jobs ? "flex" : { base: "none", sm: "flex" }; // a phone shows active jobs alone, as job_notices.py has it
    window.dash_clientside.set_props("my-jobs", { "aria-label": words, title: words, display });
    window.dash_clientside.set_props("my-jobs-active", { children: String(jobs), display: jobs ? "inline-flex" : "none" });
  }

  // The jobs whose panels are on this page.
  function panels() {
    return [...document.querySelectorAll(`[id*='"panel":']`)].map((part) => JSON.parse(part.id).job);
  }

  function isWatched(id) {
    return panels().includes(id) || location.pathname === `${new URL(entry().href).pathname}/${encodeURIComponent(id)}`;
  }

  function remembered() {
    const { shown } = read();
    panels().forEach((id) => (shown[id] = Date.now()));
    const ids = Object.keys(shown).sort((one, other) => shown[other] - shown[one]).slice(0, MOST_IDS);
    write({ shown: Object.fromEntries(ids.map((id) => [id, shown[id]])) });
    return ids;
  }

  function soon() {
    used = Date.now();
    if (due && due > used + SOON) plan(SOON);
  }

  document.addEventListener("visibilitychange", () => document.hidden || !due || plan(0));
  document.addEventListener("click", soon, true);
  document.addEventListener("keydown", (event) => event.key === "Enter" && soon(), true);
  document.addEventListener("pointermove", () => (due === Infinity ? soon() : (used = Date.now())), { capture: true, passive: true });
  window.addEventListener("storage", ({ key: changed }) => entry() && changed === key() && kept().active && !active && soon());
  document.addEventListener("click", ({ target }) => {
    const link = target.closest && target.closest('a[id^="ended:"]');
    if (link) window.dash_clientside.set_props(NOTICES, { hideNotifications: [link.id] });
  });
  plan(SOON / 2); // the page's own requests come first
})();

// Keeps background callbacks and panels going while the web process is away. It comes with every page of an app that has either.
//
// Dash's renderer gives up a background callback at the first request that fails. Here its call and its polls are repeated
// until the server answers, and the page says so meanwhile. So are requests of panels' buttons and of cancel buttons. Panels
// refresh again anyway. A callback that a reloaded page finds again has its token in the address behind the #, which is never
// sent to a server.
(() => {
  "use strict";

  const FIRST = 500; // milliseconds until a failed request is repeated; doubled each time
  const LONGEST = 8000;
  const DOUBLE_CLICK = 1000; // milliseconds after a job was started in which a click counts as the same one
  const SILENCE = 30000; // milliseconds without an answer, after which a request counts as failed
  const SLOWEST = 50; // bytes of a request in a millisecond: a large one may take longer
  const AWAY = [502, 503, 504]; // a proxy's answers for a server that is away

  const CALL = "Callback-Call"; // the id of a call, the same when its request is repeated
  const TOLD = "Callback-Told"; // the number of the last update that the page got
  const KEPT = "Callback-Kept"; // the token by which a reloaded page finds its job

  const MARK = "callback:"; // before the output, in the address

  const ask = window.fetch.bind(window);
  const background = new Set(); // the outputs of background callbacks
  const told = new Map(); // the `number` of the last update, by job
  const found = tokens(); // tokens of the address by output, until their callbacks are called
  const latest = new Map(); // the last calls whose jobs the renderer does not know yet, by output
  const cancels = new Map(); // the Inputs in cancel=, by the outputs of the callbacks that Dash makes of them
  const outdated = new Set(); // replaced jobs that the renderer still polls
  let failing = 0; // number of failing requests
  const starts = new Map(); // answers to starts of jobs, by the callback's output
  const repeated = new Set(); // the outputs of callbacks that a dcc.Interval calls
  const unanswered = new Map(); // the answers to their last calls, by output
  let refreshing = {}; // the refresh of panels that is not answered yet
  let unseen = false; // the last refresh of panels failed
  let page = pathAndSearch();

  window.fetch = async (resource, options) => {
    const url = new URL(resource instanceof Request ? resource.url : resource, location.href);
    if (url.origin !== location.origin) return ask(resource, options);
    if (url.pathname.endsWith("/_dash-dependencies")) return learn(await ask(resource, options));
    if (!url.pathname.endsWith("/_dash-update-component")) return ask(resource, options);
    page = pathAndSearch();

    const job = url.searchParams.get("cacheKey") && url.searchParams.get("job");
    if (job) {
      if (outdated.has(job)) return new Promise(() => {}); // its answer is not needed
      latest.forEach((start, name) => start.job === job && latest.delete(name)); // the renderer knows it
      const known = told.get(job) || {};
      told.set(job, known);
      const answer = await patiently(url, options, known.number ? { [TOLD]: known.number } : {});
      if (answer.headers.has(TOLD)) known.number = answer.headers.get(TOLD); // has no effect if the job was called again meanwhile
      return answer;
    }
    const { output, outputs, state, changedPropIds } = JSON.parse(options.body);
    if (output.includes('"panel":["ALL"]')) {
      if (changedPropIds.some((name) => name.includes('"act":'))) return patiently(url, options, {});
      return refresh(url, options, JSON.stringify([outputs, state]));
    }
    if (output.includes('"part":"trouble"')) return start(url, options, output);
    if (cancels.has(output)) return cancel(url, options, cancels.get(output));
    if (url.searchParams.has("cancelJob")) return patiently(url, options, {});
    if (repeated.has(output)) return repeat(resource, options, output, changedPropIds);
    if (!background.has(output)) return ask(resource, options);
    const name = output.includes('["MATCH"]') ? output + JSON.stringify(outputs) : output; // of this call's components
    const token = tokens().get(name) === found.get(name) && found.get(name);
    found.delete(name);
    return call(url, options, name, token);
  };

  // A call that comes before the answer to the last one replaces it. The renderer does not know the last one's job yet, so it
  // would leave that running and go on showing its updates.
  async function call(url, options, name, token) {
    const before = latest.get(name);
    const start = {};
    start.answered = new Promise((resolve) => { start.end = resolve; });
    latest.set(name, start);
    await before?.answered;
    if (before?.job) {
      outdated.add(before.job);
      url.searchParams.append("oldJob", before.job);
    }
    if (token) url.searchParams.delete("oldJob"); // it may be the job to continue
    const answer = await patiently(url, options, { [CALL]: nonce(), ...(token && { [KEPT]: token }) });
    const { job, cancel: by } = answer.status === 200 ? await answer.clone().json().catch(() => ({})) : {};
    Object.assign(start, { job, by });
    start.end();
    outdated.delete(job);
    told.delete(job); // the page may not show earlier updates of a job that continues
    if (answer.headers.has(KEPT)) keep(name, answer.headers.get(KEPT));
    return answer;
  }

  // A click that cancels jobs. The renderer names the jobs that it knows. A job whose start is not answered yet is cancelled as
  // soon as it is.
  async function cancel(url, options, input) {
    const starts = [...latest.values()];
    await Promise.all(starts.map((start) => start.answered));
    const named = url.searchParams.getAll("cancelJob");
    const isMeant = ({ job, by }) => job && !named.includes(job)
      && by?.some(({ id, property }) => id === input.id && property === input.property);
    starts.filter(isMeant).forEach(({ job }) => url.searchParams.append("cancelJob", job));
    return patiently(url, options, {});
  }

  // A refresh of panels. One that comes before the same one is answered takes that answer. The renderer drops the earlier one,
  // so a server that is slower than the refreshes would never be heard.
  async function refresh(url, options, what) {
    if (refreshing.what !== what) {
      const answer = refreshOnce(url, options);
      refreshing = { what, answer };
      answer.finally(() => {
        if (refreshing.answer === answer) refreshing = {};
      });
    }
    return (await refreshing.answer).clone();
  }

  // A panel's button starts a job. A double click starts one: the second request takes the first one's answer, even if the
  // page has changed with it meanwhile.
  async function start(url, options, output) {
    if (!starts.has(output)) starts.set(output, ask(url, options));
    const shared = starts.get(output);
    const forget = () => starts.get(output) === shared && starts.delete(output);
    try {
      const answer = (await shared).clone();
      const { response } = answer.ok ? await answer.clone().json() : {};
      const started = Object.keys(response || {}).some((part) => !part.includes('"part":"trouble"'));
      setTimeout(forget, started ? DOUBLE_CLICK : 0);
      return answer;
    } catch (error) {
      forget();
      throw error;
    }
  }

  // A callback that a dcc.Interval calls. A tick that comes before the last call is answered takes that answer, as of panels.
  async function repeat(resource, options, output, changed) {
    const ticks = changed.length > 0 && changed.every((name) => name.endsWith(".n_intervals"));
    const answer = (ticks && unanswered.get(output)) || ask(resource, options);
    const forget = () => unanswered.get(output) === answer && unanswered.delete(output);
    unanswered.set(output, answer);
    answer.then(forget, forget);
    return (await answer).clone();
  }

  async function refreshOnce(url, options) {
    const answer = await whole(url.href, options);
    const failed = !answer || AWAY.includes(answer.status);
    if (failed !== unseen) say((failing += failed ? 1 : -1));
    unseen = failed;
    return failed ? new Response(null, { status: 204 }) : answer;
  }

  async function learn(answer) {
    const callbacks = await answer.clone().json();
    callbacks.filter((callback) => callback.background).forEach((callback) => background.add(callback.output));
    callbacks.filter(isCancel).forEach((callback) => cancels.set(callback.output, callback.inputs[0]));
    callbacks
      .filter((callback) => !callback.background && callback.inputs.some((input) => input.property === "n_intervals"))
      .forEach((callback) => repeated.add(callback.output));
    found.forEach(callAgain);
    return answer;
  }

  // Dash makes a callback of each Input in cancel=. Its output is the same component's id.
  function isCancel({ output, inputs }) {
    return background.size > 0 && inputs.length === 1 && output === `${inputs[0].id}.id`;
  }

  async function patiently(url, options, headers) {
    let failed = false;
    try {
      for (let pause = FIRST; ; pause = Math.min(2 * pause, LONGEST)) {
        const answer = await whole(url.href, { ...options, headers: { ...options.headers, ...headers } });
        if (answer && !AWAY.includes(answer.status)) return answer;
        if (!failed) {
          failed = true;
          say(++failing);
        }
        await Promise.race([online(), sleep(pause * (1 + Math.random() / 2))]);
      }
    } finally {
      if (failed) say(--failing);
    }
  }

  // Returns an answer with its whole body, or nothing if there is none or its end is missing.
  async function whole(url, options) {
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(), SILENCE + (options.body || "").length / SLOWEST);
    try {
      const answer = await ask(url, { ...options, signal: silence.signal });
      clearTimeout(timer);
      return answer.status === 204 ? answer : new Response(await answer.blob(), answer);
    } catch {
      clearTimeout(timer);
    }
  }

  function say(failing) {
    let note = document.getElementById("callbacks-reconnecting");
    if (!note) {
      note = document.createElement("div");
      note.id = "callbacks-reconnecting";
      note.setAttribute("role", "status");
      note.setAttribute("aria-live", "polite");
      Object.assign(note.style, {
        position: "fixed", left: "1rem", bottom: "1rem", zIndex: 10000, padding: "0.4rem 0.8rem", borderRadius: "0.25rem",
        background: "#333", color: "#fff", font: "14px sans-serif", pointerEvents: "none",
      });
      document.body.append(note);
    }
    note.hidden = !failing;
    note.textContent = failing ? "Reconnecting…" : "";
  }

  // Repeats the call of a callback that the address names, unless the page does so by itself.
  async function callAgain(token, name) {
    const config = JSON.parse(document.getElementById("_dash-config").textContent);
    const answer = await patiently(
      new URL(`${config.requests_pathname_prefix}_callback?token=${encodeURIComponent(token)}`, location.href), {}, {});
    if (answer.status === 204) {
      found.delete(name);
      keep(name, null);
    }
    if (answer.status !== 200) return;
    const { id, property, value } = await answer.json();
    if (id === undefined) return;
    // The renderer drops a call that comes while it mounts the component. Then it is repeated.
    while (found.has(name) && tokens().has(name)) {
      if (isThere(id) && !isPending(name)) window.dash_clientside.set_props(id, { [property]: value });
      await sleep(100);
    }
  }

  // Back on a page whose address names callbacks.
  window.addEventListener("popstate", () => {
    if (page === pathAndSearch()) return;
    tokens().forEach((token, name) => {
      found.set(name, token);
      callAgain(token, name);
    });
  });

  function isThere(id) {
    try {
      return Boolean(window.dash_component_api.getLayout(id));
    } catch {
      return false; // it is not on the page yet
    }
  }

  function isPending(name) {
    const queues = Object.values(window.store.getState().callbacks).filter(Array.isArray);
    const outputs = queues.flat().map((call) => call.callback.output);
    return outputs.some((output) => name === output || name.startsWith(`${output}{`) || name.startsWith(`${output}[`));
  }

  function tokens() {
    const marked = inAddress().filter((part) => part.startsWith(MARK));
    return new Map(marked.map((part) => part.slice(MARK.length).split("=").map(decodeURIComponent)));
  }

  function keep(name, token) {
    const begins = `${MARK}${encodeURIComponent(name)}=`;
    const parts = inAddress().filter((part) => !part.startsWith(begins));
    if (token) parts.push(begins + encodeURIComponent(token));
    history.replaceState(history.state, "", pathAndSearch() + (parts.length ? `#${parts.join("&")}` : ""));
  }

  function pathAndSearch() {
    return location.pathname + location.search;
  }

  function inAddress() {
    return location.hash.slice(1).split("&").filter(Boolean);
  }

  function nonce() {
    return Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");
  }

  function online() {
    return new Promise((resolve) => window.addEventListener("online", resolve, { once: true }));
  }

  function sleep(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
  }
})();

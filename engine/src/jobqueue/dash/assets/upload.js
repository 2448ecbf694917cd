// Uploads a file in pieces, from a drop zone that upload.py lays out. The zone's dcc.Store gets the id of the stored file.
//
// A piece that fails is sent again, after the server has said where to go on. So an upload survives a web process that restarts.
(() => {
  "use strict";

  const FIRST = 500; // milliseconds until a failed request is repeated; doubled each time
  const LONGEST = 8000;
  const TRIES = 8; // requests in a row that may fail: about half a minute
  const SILENCE = 120000; // milliseconds for a request of one piece
  const AGAIN = [0, 408, 425, 429, 500, 502, 503, 504]; // no answer, or one that another try may change
  const OFFSET = "Upload-Offset"; // as in upload.py

  const uploads = new Map(); // the running upload by the id of its zone

  class Refused extends Error {} // its message is for the user
  class Cancelled extends Error {}

  const zoneOf = (target) => target instanceof Element && target.closest("[data-upload]");

  document.addEventListener("click", (event) => {
    const zone = zoneOf(event.target);
    if (!zone) return;
    if (event.target.closest(".upload-cancel")) uploads.get(zone.dataset.upload)?.cancel();
    else if (event.target.closest(".upload-zone")) choose(zone);
  });

  // A file that is dropped beside a zone would replace the page.
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files") || !document.querySelector("[data-upload]")) return;
      const zone = zoneOf(event.target);
      if (name !== "dragleave") event.preventDefault();
      document.querySelectorAll("[data-upload]").forEach((each) => {
        each.classList.toggle("upload-over", each === zone && name !== "drop" && (name !== "dragleave" || each.contains(event.relatedTarget)));
      });
      if (name === "dragover") event.dataTransfer.dropEffect = zone ? "copy" : "none";
      if (name === "drop" && zone) take(zone, [...event.dataTransfer.files]);
    });
  }

  function choose(zone) {
    const input = document.createElement("input");
    input.type = "file";
    input.accept = zone.dataset.accept;
    input.addEventListener("change", () => take(zone, [...input.files]));
    input.click();
  }

  // Uploads the dropped or chosen file, and says how that went.
  async function take(zone, files) {
    const { upload: id, accept, limit } = zone.dataset;
    if (uploads.has(id) || !files.length) return;
    const show = (part, props) => zone.isConnected && window.dash_clientside.set_props({ part, upload: id }, props);
    const say = (said, trouble) => {
      show("said", { children: said });
      show("trouble", { children: trouble });
    };
    window.dash_clientside.set_props(id, { data: null });
    const [file] = files;
    const trouble = problem(files, accept, Number(limit));
    say("", trouble);
    if (trouble) return;
    const upload = new Upload(zone, file, (sent) => {
      show("progress", { value: String(sent / file.size) });
      show("sent", { children: `${size(sent)} of ${size(file.size)}` });
    });
    uploads.set(id, upload);
    show("zone", { disabled: true });
    show("progress", { value: "0" });
    show("sent", { children: `0 of ${size(file.size)}` });
    show("running", { hidden: false });
    say(`Uploading ${file.name}`, "");
    try {
      const stored = await upload.run();
      say(`${file.name} is uploaded (${size(file.size)}).`, "");
      if (zone.isConnected) window.dash_clientside.set_props(id, { data: stored });
    } catch (error) {
      if (error instanceof Cancelled) say("The upload is cancelled.", "");
      else if (error instanceof Refused) say("", error.message);
      else say("", `${file.name} cannot be read. If it has changed, choose it again.`);
    } finally {
      uploads.delete(id);
      show("running", { hidden: true });
      show("zone", { disabled: false });
    }
  }

  // Returns why a choice of files is refused before anything is sent, or "".
  function problem(files, accept, limit) {
    const [{ name, size: bytes }] = files;
    const suffixes = accept.split(",").map((suffix) => suffix.trim().toLowerCase()).filter(Boolean);
    if (files.length > 1) return "Choose one file.";
    if (suffixes.length && !suffixes.some((suffix) => name.toLowerCase().endsWith(suffix))) {
      return `${name} is of another type. Choose a file of the type ${suffixes.join(" or ")}.`;
    }
    if (!bytes) return `${name} is empty. Choose a file with content.`;
    if (bytes > limit) return `${name} takes ${size(bytes)}, which is more than the limit of ${size(limit)}. Choose a smaller file.`;
    return "";
  }

  // One file on its way. `sent` is called with the number of bytes that have arrived.
  class Upload {
    constructor(zone, file, sent) {
      Object.assign(this, { zone, file, sent, cancelled: false });
      this.address = zone.dataset.address;
      this.piece = Number(zone.dataset.piece);
    }

    cancel() {
      this.cancelled = true;
      this.request?.abort();
      this.wake?.();
    }

    async run() {
      let at = 0;
      try {
        const begun = await this.patiently(() => this.ask("POST", this.address, JSON.stringify({ name: this.file.name, size: this.file.size })));
        this.address += `/${begun.id}`;
        this.begun = true;
        while (at < this.file.size) {
          const piece = await this.file.slice(at, at + this.piece).arrayBuffer(); // the file may have gone
          const answer = await this.patiently((tries) => this.send(at, piece, tries));
          at = answer.received;
          this.sent(at);
        }
        return begun.id;
      } catch (error) {
        if (this.begun) this.ask("DELETE", this.address).catch(() => {}); // else the sweep deletes it
        throw error;
      }
    }

    // Sends a piece. After a failure it may be stored nevertheless: the server says where to go on.
    async send(at, piece, tries) {
      if (tries) {
        const known = await this.ask("GET", this.address);
        if (known.received !== at) return known;
      }
      return this.ask("PATCH", this.address, piece, { [OFFSET]: at }, (loaded) => this.sent(at + loaded));
    }

    // Returns the answer of an attempt. Repeats it while there is none, or one that another try may change.
    async patiently(attempt) {
      for (let tries = 0; ; tries++) {
        const answer = await attempt(tries);
        if (this.cancelled || !this.zone.isConnected) throw new Cancelled();
        if (answer.status === 409 && "received" in answer) return answer;
        if (answer.status === 200) return answer;
        if (!AGAIN.includes(answer.status) || tries + 1 >= TRIES) throw new Refused(this.words(answer));
        await this.pause(Math.min(FIRST * 2 ** tries, LONGEST));
      }
    }

    words({ status, error }) {
      const { name } = this.file;
      if (error) return error;
      if (status === 401) return "You are logged out. Load the page again, log in, and upload the file again.";
      if (AGAIN.includes(status)) return `${name} could not be uploaded, because the server does not answer. Try again in a moment.`;
      return `${name} could not be uploaded (the server answered ${status}). If it happens again, tell the administrator of this app.`;
    }

    // Returns the JSON of an answer, with its status. The status is 0 if there is no answer.
    ask(method, address, body, headers = {}, progressed = () => {}) {
      return new Promise((resolve) => {
        const request = (this.request = new XMLHttpRequest());
        request.open(method, address);
        request.timeout = SILENCE;
        const type = typeof body === "string" ? "application/json" : "application/octet-stream";
        if (body) request.setRequestHeader("Content-Type", type);
        Object.entries(headers).forEach(([name, value]) => request.setRequestHeader(name, value));
        request.upload.onprogress = ({ loaded }) => progressed(loaded);
        request.onloadend = () => resolve({ ...parsed(request.responseText), status: request.status });
        request.send(body);
      });
    }

    pause(milliseconds) {
      return new Promise((resolve) => {
        this.wake = resolve;
        window.addEventListener("online", resolve, { once: true });
        setTimeout(resolve, milliseconds);
      });
    }
  }

  function parsed(text) {
    try {
      const answer = JSON.parse(text);
      return answer && typeof answer === "object" ? answer : {};
    } catch {
      return {};
    }
  }

  // As text.size in Python: 12 bytes, 1.5 kB, 64 MB, 1.02 GB.
  function size(bytes) {
    for (const unit of ["bytes", "kB", "MB"]) {
      if (bytes < 999.5) return `${Number(bytes.toPrecision(3))} ${unit}`;
      bytes /= 1000;
    }
    return `${bytes.toFixed(2)} GB`;
  }
})();

// Adds to pages that work without it: live fragments, keys, local times, copy buttons, and a warning before a session ends.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const status = byId("status");
  const say = (text) => { if (status.textContent !== text) status.textContent = text; };
  const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private mode */ } };

  // Times in the viewer's zone, with UTC at hand.
  function localTimes(part) {
    for (const time of part.querySelectorAll("time[datetime]")) {
      const date = new Date(time.dateTime);
      if (Number.isNaN(date.valueOf())) continue;
      const today = date.toDateString() === new Date().toDateString();
      const clock = date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
      time.title = `${time.dateTime} (UTC)`;
      time.textContent = today ? clock : `${date.toLocaleDateString(undefined, { day: "numeric", month: "short" })} ${clock}`;
    }
  }

  // Copy buttons, also where there is no clipboard API (plain HTTP).
  async function copied(text) {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* below */ }
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  function copyButtons(part) {
    for (const box of part.querySelectorAll("[data-copy]")) {
      if (box.querySelector(":scope > button.copies")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button small copies";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        const source = box.dataset.copy || box.querySelector("pre, code")?.textContent || "";
        const done = await copied(source);
        button.textContent = done ? "Copied" : "Not copied";
        say(done ? "Copied." : "It could not be copied.");
        button.focus();
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      box.append(button);
    }
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.confirm && !confirm(form.dataset.confirm)) { event.preventDefault(); return; }
    if (form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; } // a double click
    form.dataset.sent = "yes";
    setTimeout(() => { delete form.dataset.sent; }, 3000);
  });

  // Live fragments: the server draws them, and those that changed are put in place.
  const box = byId("live");
  const live = document.body.dataset.live;
  const drawn = new Map();
  let source = null;
  let paused = false;
  let again = 0;

  function state(word, kind) {
    byId("live-state").textContent = word;
    box.dataset.state = kind;
  }

  function isBusy(part) {
    const focus = document.activeElement;
    return part.contains(focus) && focus.matches("input, select, textarea");
  }

  function swap(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    for (const fresh of template.content.querySelectorAll("[data-part]")) {
      const old = byId(fresh.id);
      const text = fresh.outerHTML;
      if (!old || drawn.get(fresh.id) === text || isBusy(old)) continue;
      drawn.set(fresh.id, text);
      const open = [...old.querySelectorAll("details")].map((details) => details.open);
      const focused = old.contains(document.activeElement)
        ? [...old.querySelectorAll("a, button, summary, [tabindex]")].indexOf(document.activeElement) : -1;
      old.replaceWith(fresh);
      [...fresh.querySelectorAll("details")].forEach((details, at) => { if (open[at]) details.open = true; });
      localTimes(fresh);
      copyButtons(fresh);
      if (focused >= 0) fresh.querySelectorAll("a, button, summary, [tabindex]")[focused]?.focus();
      const news = fresh.dataset.says;
      if (news && news !== old.dataset.says) say(news);
    }
  }

  function listen() {
    clearTimeout(again);
    if (!live || paused || document.hidden || source) return;
    source = new EventSource(`/live?page=${encodeURIComponent(live)}`);
    source.addEventListener("open", () => state("Live", "live"));
    source.addEventListener("swap", (event) => { state("Live", "live"); swap(event.data); });
    source.addEventListener("slow", () => { state("No answer from the database", "lost"); say("The database does not answer. Trying again."); });
    source.addEventListener("end", () => { hush(); paused = true; state("Session ended", "lost"); say("Your session has ended. Sign in again."); });
    source.addEventListener("error", () => {
      if (paused) return;
      if (box.dataset.state !== "lost") say("The connection is lost. Trying again.");
      state("Connection lost, trying again", "lost");
      hush();
      again = setTimeout(listen, 3000);
    });
  }

  function hush() {
    clearTimeout(again);
    source?.close();
    source = null;
  }

  if (live && "EventSource" in window) {
    box.hidden = false;
    byId("live-pause").addEventListener("click", () => {
      paused = !paused;
      byId("live-pause").textContent = paused ? "Go on" : "Pause";
      byId("live-pause").setAttribute("aria-pressed", String(paused));
      if (paused) { hush(); state("Paused", "paused"); } else { state("Connecting", "live"); listen(); }
    });
    document.addEventListener("visibilitychange", () => { if (document.hidden) hush(); else listen(); });
    addEventListener("pagehide", hush);
    addEventListener("pageshow", listen);
  }

  // Keys.
  const dialog = byId("keys");
  const on = byId("keys-on");
  if (dialog && dialog.showModal) {
    byId("keys-open").hidden = false;
    byId("keys-open").addEventListener("click", () => dialog.showModal());
    on.checked = remembered("postroom-keys") !== "off";
    dialog.addEventListener("close", () => { if (dialog.contains(document.activeElement)) document.activeElement.blur(); });
    on.addEventListener("change", () => remember("postroom-keys", on.checked ? "on" : "off"));
    let wentFor = 0;
    document.addEventListener("keydown", (event) => {
      if (!on.checked || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
      if (event.target.closest("input:not([type=checkbox]), select, textarea, [contenteditable]")) return;
      const key = event.key;
      if (Date.now() - wentFor < 1200) {
        wentFor = 0;
        const link = document.querySelector(`.side a[data-key="${CSS.escape(key)}"]`);
        if (link) { event.preventDefault(); link.click(); }
        return;
      }
      if (key === "/") { event.preventDefault(); (byId("query") ?? byId("find")).focus(); }
      else if (key === "?") { event.preventDefault(); dialog.showModal(); }
      else if (key === "g") wentFor = Date.now();
      else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
    });
  }

  function step(by) {
    const links = [...document.querySelectorAll("table.rows tbody tr")].map((row) => row.querySelector("a[href]")).filter(Boolean);
    const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
    const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + by, 0), links.length - 1)];
    for (const row of document.querySelectorAll("tr.marked")) row.classList.remove("marked");
    if (!next) return;
    next.closest("tr").classList.add("marked");
    next.focus();
  }

  // Suggestions for the last word of a query: the server's list, with what stands before it.
  const query = byId("query");
  const list = byId("keys-of-queries");
  if (query && list) {
    const all = [...list.options].map((option) => option.value);
    query.addEventListener("input", () => {
      const before = query.value.slice(0, query.value.search(/\S*$/));
      const word = query.value.slice(before.length);
      const sign = word.startsWith("-") ? "-" : "";
      const fitting = all.filter((each) => (sign + each).startsWith(word) && (each.endsWith(":") || word.includes(":")));
      list.replaceChildren(...fitting.slice(0, 40).map((each) => new Option("", before + sign + each)));
    });
  }

  // The session: a warning five minutes before its end.
  const ends = new Date(document.body.dataset.ends).valueOf();
  let warned = false;
  function watchSession() {
    const left = Math.floor((ends - Date.now()) / 1000);
    if (Number.isNaN(left)) return;
    if (left < 300) {
      byId("session-ends").hidden = false;
      byId("session-left").textContent = left > 60 ? `${Math.ceil(left / 60)} min` : left > 0 ? `${left} s` : "no time";
      if (!warned) { warned = true; say("Your session ends in less than five minutes. You can extend it at the top of the page."); }
    }
    if (left > -5) setTimeout(watchSession, left < 300 ? 1000 : Math.min((left - 299) * 1000, 3600000));
  }
  watchSession();

  // A preview at two widths and in two modes.
  for (const button of document.querySelectorAll("[data-stage]")) {
    button.closest("[hidden]")?.removeAttribute("hidden");
    button.addEventListener("click", () => {
      const pressed = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!pressed));
      byId("stage").classList.toggle(button.dataset.stage, !pressed);
    });
  }

  for (const part of document.querySelectorAll("[data-part]")) drawn.set(part.id, part.outerHTML);
  localTimes(document);
  copyButtons(document);
  listen();
})();

/* Follows a run: one stream of server-sent events, or asking every two seconds where streams do not get through.
   Both bring whole sections with an id, and lists to append. A section is left alone while it holds the focus
   or selected text, and what was opened in it stays open. */
const POLL_MS = 2000, FIRST_EVENT_MS = 5000, LOG_LINES = 5000, STOP = 286;

export default element => {
  const notice = element.querySelector("[data-live-notice]"), pending = new Map(), shown = new Map();
  let cursor = element.dataset.cursor, heard = new Date(), source, timer, etag = "";

  const address = path => {
    const url = new URL(path, location);
    for (const [name, value] of new URLSearchParams(location.search)) url.searchParams.set(name, value);
    url.searchParams.set("cursor", cursor);
    return url;
  };
  const warn = text => { notice.hidden = !text; if (text) notice.querySelector("p").textContent = text; };
  const lost = () => warn(`Live updates stopped at ${heard.toLocaleTimeString()}. Trying again; what you see is from then.`);

  const isHeld = section => {
    const selection = getSelection();
    return section.contains(document.activeElement) && document.activeElement !== document.body
      || !selection.isCollapsed && section.contains(selection.anchorNode);
  };
  const replace = (id, fresh) => {
    const old = document.getElementById(id);
    if (!old) return;
    if (isHeld(old)) return void pending.set(id, fresh);
    pending.delete(id);
    for (const details of old.querySelectorAll("details[id]")) {
      const same = fresh.querySelector(`#${CSS.escape(details.id)}`);
      if (same) same.open = details.open;
    }
    old.replaceWith(fresh);
    window.htmx?.process(fresh);
  };
  const append = list => {
    const target = document.getElementById(list.dataset.append);
    cursor = list.dataset.cursor;
    target.append(...list.children);
    while (target.children.length > LOG_LINES) target.firstElementChild.remove();
  };
  const apply = html => {
    heard = new Date();
    warn("");
    const box = document.createElement("template");
    box.innerHTML = html;
    for (const child of [...box.content.children]) {
      if (child.dataset.append) append(child);
      else if (shown.get(child.id) !== child.outerHTML) { shown.set(child.id, child.outerHTML); replace(child.id, child); }
    }
    for (const [id, fresh] of [...pending]) replace(id, fresh);
  };

  const poll = async () => {
    try {
      const headers = { "X-Requested-With": "fetch", ...(etag && { "If-None-Match": etag }) };
      const response = await fetch(address(element.dataset.poll), { headers, cache: "no-store" });
      if (response.status === 304) { heard = new Date(); warn(""); }
      else if (response.ok) {
        etag = response.headers.get("ETag") || "";
        apply(await response.text());
        if (response.status === STOP) return;
      } else lost();
    } catch { lost(); }
    timer = setTimeout(poll, POLL_MS);
  };
  const fallBack = () => { source?.close(); clearTimeout(timer); element.dataset.transport = "poll"; poll(); };

  const stream = () => {
    let isAlive = false;
    source = new EventSource(address(element.dataset.stream));
    timer = setTimeout(() => { if (!isAlive) fallBack(); }, FIRST_EVENT_MS);
    source.addEventListener("sections", event => {
      isAlive = true;
      element.dataset.transport = "stream";
      apply(event.data);
    });
    source.addEventListener("end", () => { isAlive = true; source.close(); });
    source.addEventListener("error", () => {
      if (!isAlive) return fallBack();
      lost();
      if (source.readyState === EventSource.CLOSED) { clearTimeout(timer); timer = setTimeout(fallBack, POLL_MS); }
    });
  };

  if (window.EventSource) stream(); else fallBack();
  addEventListener("pagehide", () => { source?.close(); clearTimeout(timer); });
  addEventListener("pageshow", event => { if (event.persisted) fallBack(); });
};

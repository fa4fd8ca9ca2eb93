/* Finds behaviour by data-controller and gives it its element, now and whenever markup arrives.
   Everything here is an enhancement: every page works without it. */
import { shortcuts } from "./shortcuts.js";

const controllers = {
  autosubmit: () => import("./autosubmit.js"),
  chart: () => import("./charts.js"),
  copy: () => import("./copy.js"),
  elapsed: () => import("./elapsed.js"),
  grid: () => import("./grid.js"),
  live: () => import("./live.js"),
  log: () => import("./log.js"),
  newest: () => import("./newest.js"),
  scrub: () => import("./scrub.js"),
  theme: () => import("./theme.js"),
};
const mounted = new WeakSet();

const mount = element => {
  const load = controllers[element.dataset.controller];
  if (!load || mounted.has(element)) return;
  mounted.add(element);
  load().then(module => { module.default(element); element.dataset.ready = ""; });
};
const mountAll = root => {
  if (root.matches?.("[data-controller]")) mount(root);
  root.querySelectorAll?.("[data-controller]").forEach(mount);
};

mountAll(document);
new MutationObserver(records => {
  for (const record of records) for (const node of record.addedNodes) mountAll(node);
}).observe(document.body, { childList: true, subtree: true });
shortcuts();

/* A search field that loses its focus has changed, though what it asks for is shown already: answering would
   draw the list anew under whoever just moved into it. */
const asked = (address, ...more) => [...new URL(address, location).searchParams, ...more]
  .filter(([, value]) => value !== "").map(pair => pair.map(encodeURIComponent).join("=")).sort().join("&");
document.body.addEventListener("htmx:beforeRequest", event => {
  const { verb, path, formData, triggeringEvent } = event.detail.requestConfig;
  if (verb !== "get" || triggeringEvent?.type !== "change") return;
  const there = new URL(path, location).pathname === location.pathname;
  if (there && asked(path, ...formData) === asked(location.href)) event.preventDefault();
});

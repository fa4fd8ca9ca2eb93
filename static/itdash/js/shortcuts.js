/* Single keys, ignored while typing and with modifiers; a person may turn them off. */
const PREFIX_MS = 900;

const rowLinks = () => {
  const rows = document.querySelectorAll(".rows tbody tr");
  return [...rows].map(row => row.querySelector("a")).filter(Boolean);
};
const walk = by => {
  const links = rowLinks();
  if (!links.length) return;
  const at = links.indexOf(document.activeElement);
  const to = links[Math.min(links.length - 1, Math.max(0, at + by))];
  to.focus();
  to.closest("tr").scrollIntoView({ block: "nearest" });
};
const open = (event, id) => {
  const box = document.getElementById(id);
  if (!box) return;
  event.preventDefault();
  box.showPopover();
  box.querySelector("input")?.focus();
};
const filter = event => {
  const field = document.getElementById("q");
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
};

export const shortcuts = () => {
  if (document.documentElement.dataset.shortcuts === "off") return;
  let prefixAt = 0;
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
    const isSecond = Date.now() - prefixAt < PREFIX_MS, link = isSecond && document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    prefixAt = event.key === "g" ? Date.now() : 0;
    if (link) return void link.click();
    if (event.key === "/") open(event, "jump");
    if (event.key === "?") open(event, "keys");
    if (event.key === "f") filter(event);
    if (event.key === "j") walk(1);
    if (event.key === "k") walk(-1);
  });
};

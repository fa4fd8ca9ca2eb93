/* A strip to walk: arrow keys or pointer move a cursor; the list beside it shows the item under it. */
export default strip => {
  const items = [...document.querySelectorAll(`[data-readouts="${strip.id}"] > li`)];
  const cursor = strip.querySelector(".cursor"), step = Number(strip.dataset.step);
  let at = items.length - 1;

  const go = index => {
    at = Math.max(0, Math.min(items.length - 1, index));
    items.forEach((item, each) => { item.hidden = each !== at; });
    cursor.setAttribute("x", at * step);
    strip.setAttribute("aria-valuenow", at + 1);
    strip.setAttribute("aria-valuetext", items[at].textContent.replace(/\s+/g, " ").trim());
  };
  strip.addEventListener("keydown", event => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: items.length - 1, PageUp: at - 10, PageDown: at + 10 };
    if (event.key in moves) { event.preventDefault(); go(moves[event.key]); }
    if (event.key === "Enter") items[at].querySelector("a").click();
  });
  strip.addEventListener("pointermove", event => {
    const box = strip.getBoundingClientRect();
    go(Math.floor(((event.clientX - box.left) / box.width) * items.length));
  });
  strip.addEventListener("click", () => items[at].querySelector("a").click());
  if (items.length) go(at);
};
